// SPDX-License-Identifier: GPL-2.0
//! The guest's root file system: a newc archive with the guest program as `/init`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use cpio::newc::{trailer, Builder};
use strum::IntoStaticStr;

use crate::program::{is_static, shared_libraries};

/// File type bits of a mode (stat(2)).
mod kind {
    pub const DIRECTORY: u32 = 0o040_000;
    pub const CHARACTER: u32 = 0o020_000;
    pub const FILE: u32 = 0o100_000;
}

/// A file to be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Directory,
    /// Character device: major, minor.
    Device(u32, u32),
    /// A copy of a file of the host, with its permission bits.
    Copy(PathBuf),
    /// A file of so many zero bytes.
    Zeros(u32),
}

/// What goes into the archive, by path without the leading slash.
#[derive(Clone, Debug)]
pub struct Initramfs {
    entries: BTreeMap<String, Entry>,
}

/// Whether fio is packed: it brings some 80 MiB of libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fio {
    /// Pack it.
    Packed,
    /// Leave it out.
    Left,
}

/// What the guest's root file system holds besides the guest program and busybox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Pack {
    /// The guest's own kernel, as `/boot/kernel`, and the root file system as it is without it, as
    /// `/boot/initramfs`: for a second boot from inside. Twice: the second boot can do the same once more.
    Kernel,
    /// The kernel's own tests of VFIO and iommufd, in `/kselftest`.
    Kselftest,
    /// The programs of samples/, in `/samples`.
    Samples,
    /// The modules that measure, in `/bench`.
    Bench,
    /// The driver that maps what the attacks ask for, in `/attack`.
    Attack,
    /// The distribution's kexec and makedumpfile with their libraries, in `/kdump`.
    Kdump,
    /// DPDK's testpmd with its libraries and drivers, in `/dpdk`.
    Dpdk,
}

impl Pack {
    /// Whether it is a set of the distribution's programs.
    pub fn is_fetched(self) -> bool {
        matches!(self, Pack::Kdump | Pack::Dpdk)
    }
}

impl Initramfs {
    /// An archive with `init` as `/init`, and busybox where it is given.
    ///
    /// # Errors
    /// When a program is missing or needs shared libraries.
    pub fn new(init: &Path, busybox: Option<&Path>) -> Result<Initramfs> {
        let mut archive = Initramfs { entries: BTreeMap::new() };
        for (place, program) in [("init", Some(init)), ("bin/busybox", busybox)] {
            let Some(program) = program else { continue };
            if !is_static(program)? {
                bail!("{} is not statically linked", program.display());
            }
            archive.insert(place, Entry::Copy(program.to_owned()));
        }
        archive.insert("dev/console", Entry::Device(5, 1));
        for directory in ["proc", "sys", "tmp", "lib"] {
            archive.insert(directory, Entry::Directory);
        }
        Ok(archive)
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        for (slash, _) in path.match_indices('/') {
            self.entries.entry(path[..slash].to_owned()).or_insert(Entry::Directory);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// Adds a program under `/usr/bin` with its shared libraries and its loader, at their own paths.
    ///
    /// # Errors
    /// When it or one of its libraries is missing.
    pub fn add_dynamic_program(&mut self, program: &Path) -> Result<()> {
        let name = program.file_name().and_then(|n| n.to_str()).context("program name")?;
        for library in shared_libraries(program)? {
            let path = library.to_str().context("library path")?.trim_start_matches('/').to_owned();
            self.insert(&path, Entry::Copy(library));
        }
        self.insert(&format!("usr/bin/{name}"), Entry::Copy(program.to_owned()));
        Ok(())
    }

    /// Adds a tree of kernel modules: what `make modules_install INSTALL_MOD_PATH=root` wrote.
    ///
    /// # Errors
    /// When there is no `lib/modules` in it.
    pub fn add_modules(&mut self, root: &Path) -> Result<()> {
        let modules = root.join("lib/modules");
        if !modules.is_dir() {
            bail!("{} is no module tree: lib/modules is missing", root.display());
        }
        for item in walkdir::WalkDir::new(&modules).sort_by_file_name() {
            let item = item?;
            let relative = item.path().strip_prefix(root)?.to_str().context("module path")?.to_owned();
            // The links `build` and `source` point back to the kernel tree.
            if item.file_type().is_dir() {
                self.insert(&relative, Entry::Directory);
            } else if item.file_type().is_file() {
                self.insert(&relative, Entry::Copy(item.path().to_owned()));
            }
        }
        Ok(())
    }

    /// Adds every file of a directory, in `place`.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn add_programs(&mut self, place: &str, directory: Option<&Path>) -> Result<()> {
        let directory = directory.with_context(|| format!("no directory was given for {place}"))?;
        let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
        for entry in entries {
            let path = entry?.path();
            if !path.is_file() {
                continue;
            }
            let name = path.file_name().and_then(|n| n.to_str()).context("program name")?.to_owned();
            self.insert(&format!("{place}/{name}"), Entry::Copy(path));
        }
        Ok(())
    }

    /// Adds what a second boot from inside the guest needs.
    pub fn add_second_boot(&mut self, kernel: &Path, initramfs: &Path) {
        self.insert("boot/kernel", Entry::Copy(kernel.to_owned()));
        self.insert("boot/initramfs", Entry::Copy(initramfs.to_owned()));
    }

    /// Adds a file of so many bytes that nobody reads. The kernel unpacks it, so that everything which it allocates later
    /// lies somewhere else.
    pub fn add_padding(&mut self, bytes: u32) {
        self.insert("padding", Entry::Zeros(bytes));
    }

    /// Writes the archive; returns the number of bytes.
    ///
    /// # Errors
    /// When a file cannot be read or the archive cannot be written.
    pub fn write(&self, path: &Path) -> Result<u64> {
        let file = fs::File::create(path).with_context(|| path.display().to_string())?;
        let mut out = std::io::BufWriter::new(file);
        for (ino, (name, entry)) in (1..).zip(&self.entries) {
            let builder = Builder::new(name).ino(ino).nlink(1);
            out = match entry {
                Entry::Directory => builder.mode(kind::DIRECTORY | 0o755).write(out, 0).finish()?,
                Entry::Device(major, minor) => {
                    let node = builder.mode(kind::CHARACTER | 0o600).rdev_major(*major).rdev_minor(*minor);
                    node.write(out, 0).finish()?
                }
                Entry::Zeros(length) => {
                    let mut writer = builder.mode(kind::FILE | 0o400).write(out, *length);
                    std::io::copy(&mut std::io::repeat(0).take(u64::from(*length)), &mut writer)
                        .with_context(|| path.display().to_string())?;
                    writer.finish()?
                }
                Entry::Copy(source) => {
                    let source_name = || source.display().to_string();
                    let content = fs::read(source).with_context(source_name)?;
                    let permissions = fs::metadata(source).with_context(source_name)?.permissions().mode() & 0o777;
                    let length = u32::try_from(content.len()).with_context(source_name)?;
                    let mut writer = builder.mode(kind::FILE | permissions).write(out, length);
                    writer.write_all(&content).with_context(|| path.display().to_string())?;
                    writer.finish()?
                }
            };
        }
        let mut out = trailer(out)?;
        out.flush().with_context(|| path.display().to_string())?;
        Ok(fs::metadata(path)?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_has_directories_before_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let module = directory.path().join("lib/modules/7.3/kernel/x.ko");
        fs::create_dir_all(module.parent().unwrap()).unwrap();
        fs::write(&module, b"module").unwrap();
        let mut archive = Initramfs { entries: BTreeMap::new() };
        archive.insert("dev/console", Entry::Device(5, 1));
        archive.add_modules(directory.path()).unwrap();
        archive.add_padding(5000);
        let path = directory.path().join("out.cpio");
        archive.write(&path).unwrap();

        let mut names = Vec::new();
        let mut file = fs::File::open(&path).unwrap();
        loop {
            let reader = cpio::newc::Reader::new(file).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            names.push((reader.entry().name().to_owned(), reader.entry().mode()));
            file = reader.finish().unwrap();
        }
        let paths: Vec<&str> = names.iter().map(|n| n.0.as_str()).collect();
        let expected = [
            "dev",
            "dev/console",
            "lib",
            "lib/modules",
            "lib/modules/7.3",
            "lib/modules/7.3/kernel",
            "lib/modules/7.3/kernel/x.ko",
            "padding",
        ];
        assert_eq!(paths, expected);
        assert_eq!(names[1].1, 0o020_600);
    }

    #[test]
    fn a_tree_without_modules_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut archive = Initramfs { entries: BTreeMap::new() };
        assert!(archive.add_modules(directory.path()).is_err());
    }
}
