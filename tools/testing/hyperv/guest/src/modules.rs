// SPDX-License-Identifier: GPL-2.0
//! Modules of the running kernel: loaded with all that they depend on, and unloaded. No program is needed for it.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags};

/// A module's name as the kernel has it.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in a file.
fn name_of(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    canonical(base.split_once(".ko").map_or(base, |(name, _)| name))
}

/// What is known of a kernel's modules: the text of modules.dep, a line `FILE: FILE...` for each that is a file, and of
/// modules.builtin, a line `FILE` for each that is built in.
struct Lists {
    dependencies: String,
    built_in: String,
}

/// How a module is had.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    /// It is built in.
    BuiltIn,
    /// Its file, and those of all modules that it depends on, directly or not: each is loaded before those that stand
    /// before it.
    File(&'a str, Vec<&'a str>),
}

impl Lists {
    fn read(directory: &Path) -> Result<Lists> {
        let dependencies = directory.join("modules.dep");
        Ok(Lists {
            dependencies: fs::read_to_string(&dependencies).with_context(|| dependencies.display().to_string())?,
            // A kernel without modules of which nothing is known to be built in.
            built_in: fs::read_to_string(directory.join("modules.builtin")).unwrap_or_default(),
        })
    }

    fn find(&self, name: &str) -> Result<Place<'_>> {
        let name = canonical(name);
        let lines = self.dependencies.lines().filter_map(|line| line.split_once(':'));
        if let Some((file, others)) = lines.into_iter().find(|(file, _)| name_of(file) == name) {
            return Ok(Place::File(file, others.split_whitespace().collect()));
        }
        let is_built_in = self.built_in.lines().any(|file| name_of(file) == name);
        is_built_in.then_some(Place::BuiltIn).with_context(|| format!("{name} is no module, and is not built in"))
    }
}

/// Where the modules of the running kernel are.
fn directory() -> Result<PathBuf> {
    let system = nix::sys::utsname::uname().context("uname")?;
    Ok(Path::new("/lib/modules").join(system.release()))
}

/// What the kernel says of a call, in the words of the C library.
fn said(result: nix::Result<()>) -> io::Result<()> {
    result.map_err(io::Error::from)
}

fn load_file(file: &Path, parameters: &[&str]) -> Result<()> {
    let words = CString::new(parameters.join(" ")).context("a module's parameters")?;
    let module = File::open(file).with_context(|| file.display().to_string())?;
    said(finit_module(&module, &words, ModuleInitFlags::empty())).with_context(|| format!("loading {}", file.display()))
}

/// Whether that is the error of a module that is there already.
fn is_there(error: &anyhow::Error) -> bool {
    let number = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    number.map(Errno::from_raw) == Some(Errno::EEXIST)
}

/// Loads a module with everything it depends on. What is built in, or loaded already, is left as it is.
///
/// # Errors
/// When there is no such module, or the kernel refuses it or one that it depends on.
pub fn modprobe(module: &str) -> Result<()> {
    modprobe_with(module, &[])
}

/// The same, and gives the module parameters, `name=value`.
///
/// # Errors
/// When there is no such module, or the kernel refuses it or one that it depends on.
pub fn modprobe_with(module: &str, parameters: &[&str]) -> Result<()> {
    let directory = directory()?;
    let lists = Lists::read(&directory)?;
    let Place::File(file, others) = lists.find(module)? else { return Ok(()) };
    let before = others.iter().rev().map(|other| (*other, &[][..]));
    for (file, parameters) in before.chain([(file, parameters)]) {
        match load_file(&directory.join(file), parameters) {
            Err(error) if !is_there(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Loads a module from a file, alone, with parameters `name=value`.
///
/// # Errors
/// When the file cannot be read, or the kernel refuses it.
pub fn insmod(file: &str, parameters: &[&str]) -> Result<()> {
    load_file(Path::new(file), parameters)
}

/// Unloads a module.
///
/// # Errors
/// When it is not loaded, or something holds it.
pub fn rmmod(module: &str) -> Result<()> {
    let name = CString::new(canonical(module)).context("a module's name")?;
    said(delete_module(&name, DeleteModuleFlags::O_NONBLOCK)).with_context(|| format!("unloading {module}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lists() -> Lists {
        let dependencies = "kernel/d/nvme.ko: kernel/d/nvme-core.ko kernel/l/auth.ko\nkernel/d/nvme-core.ko: kernel/l/auth.ko\nkernel/l/auth.ko:\n";
        Lists { dependencies: dependencies.to_owned(), built_in: "kernel/d/virtio-pci.ko\n".to_owned() }
    }

    #[test]
    fn a_module_is_found_by_its_name_alone() {
        let lists = lists();
        let file = Place::File("kernel/d/nvme-core.ko", vec!["kernel/l/auth.ko"]);
        assert_eq!(lists.find("nvme_core").unwrap(), file);
        assert_eq!(lists.find("nvme-core").unwrap(), file);
        let nvme = Place::File("kernel/d/nvme.ko", vec!["kernel/d/nvme-core.ko", "kernel/l/auth.ko"]);
        assert_eq!(lists.find("nvme").unwrap(), nvme);
    }

    #[test]
    fn what_is_built_in_needs_no_file() {
        assert_eq!(lists().find("virtio_pci").unwrap(), Place::BuiltIn);
        assert!(lists().find("virtio").is_err());
    }

    #[test]
    fn a_module_that_is_there_is_no_failure() {
        let error = |number: Errno| anyhow::Error::from(io::Error::from(number)).context("loading x");
        assert!(is_there(&error(Errno::EEXIST)));
        assert!(!is_there(&error(Errno::ENOEXEC)));
        assert!(format!("{:#}", error(Errno::EAGAIN)).contains("temporarily unavailable"));
    }
}
