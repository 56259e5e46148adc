// SPDX-License-Identifier: GPL-2.0
//! What a result depends on, as a number: the kernel, the tools, the emulator, the case, and who judged it.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{ensure, Context, Result};

use crate::case::Case;
use crate::image::Kernel;
use crate::tools::Tools;

/// The runner's own sources, as far as they judge, as a number; build.rs makes it.
const JUDGE: &str = env!("HVRUN_JUDGE");

/// Content of files and directories as numbers, and what the emulators call themselves, each asked for once.
#[derive(Default)]
pub struct Fingerprints {
    contents: Mutex<BTreeMap<PathBuf, u64>>,
    versions: Mutex<BTreeMap<PathBuf, String>>,
}

impl Fingerprints {
    /// The number of a case that is run with this kernel, these tools, and so many processors and so much memory as
    /// `machine` says.
    ///
    /// # Errors
    /// When a file cannot be read, or the emulator does not tell its version.
    pub fn of(&self, case: &Case, kernel: &Kernel, tools: &Tools, machine: &str) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        // The whole definition, with what goes without saying.
        (JUDGE, format!("{case:?} {:?} {}", case.judged(), case.command_line()), machine).hash(&mut hasher);
        self.version(&tools.qemu)?.hash(&mut hasher);
        let packed = case.packs.iter().filter_map(|pack| tools.directory(*pack));
        let files =
            [Some(kernel.image.clone()), kernel.modules.clone(), tools.minihv.clone(), Some(tools.guest.clone())];
        for path in files.into_iter().flatten().chain(packed) {
            self.content(&path)?.hash(&mut hasher);
        }
        Ok(format!("{:016x}", hasher.finish()))
    }

    /// What an emulator calls itself.
    fn version(&self, qemu: &Path) -> Result<String> {
        let mut known = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(version) = known.get(qemu) {
            return Ok(version.clone());
        }
        let asked = Command::new(qemu).arg("--version").output();
        let output = asked.with_context(|| format!("asking {} for its version", qemu.display()))?;
        ensure!(output.status.success(), "{} --version: {}", qemu.display(), output.status);
        let version = String::from_utf8_lossy(&output.stdout).into_owned();
        known.insert(qemu.to_owned(), version.clone());
        Ok(version)
    }

    /// The number of a file's or a directory's content.
    fn content(&self, path: &Path) -> Result<u64> {
        let mut known = self.contents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.get(path) {
            return Ok(*number);
        }
        let mut hasher = DefaultHasher::new();
        for entry in walkdir::WalkDir::new(path).sort_by_file_name() {
            let entry = entry.with_context(|| path.display().to_string())?;
            entry.path().strip_prefix(path).unwrap_or(path).hash(&mut hasher);
            if entry.file_type().is_file() {
                hash_file(entry.path(), &mut hasher).with_context(|| entry.path().display().to_string())?;
            }
        }
        let number = hasher.finish();
        known.insert(path.to_owned(), number);
        Ok(number)
    }
}

fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            count => hasher.write(&block[..count]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::initramfs::Pack;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn whatever_a_result_depends_on_changes_the_number() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for name in ["kernel", "minihv", "guest"] {
            fs::write(at(name), name).unwrap();
        }
        let emulator = |version: &str| {
            fs::write(at("qemu"), format!("#!/bin/sh\necho version {version}\n")).unwrap();
            fs::set_permissions(at("qemu"), fs::Permissions::from_mode(0o755)).unwrap();
        };
        emulator("1");
        fs::create_dir(at("samples")).unwrap();
        fs::write(at("samples/one"), "1").unwrap();
        let kernel = Kernel { image: at("kernel"), modules: None };
        let tools = Tools {
            qemu: at("qemu"),
            minihv: Some(at("minihv")),
            guest: at("guest"),
            busybox: None,
            fio: None,
            kselftest: None,
            samples: Some(at("samples")),
            fetched: None,
            bench: None,
            attack: None,
        };
        let number = |case: &Case, machine| Fingerprints::default().of(case, &kernel, &tools, machine).unwrap();
        let case = Case::new("suite", "name", "dma");
        let first = number(&case, "2");
        assert_eq!(first, number(&case, "2"));
        assert_ne!(first, number(&case, "4"));
        assert_ne!(first, number(&case.clone().append("word"), "2"));
        assert_ne!(first, number(&case.clone().must_fail("check"), "2"));
        for name in ["kernel", "minihv", "guest"] {
            fs::write(at(name), "other").unwrap();
            assert_ne!(first, number(&case, "2"), "{name}");
            fs::write(at(name), name).unwrap();
        }
        assert_eq!(first, number(&case, "2"));
        emulator("2");
        assert_ne!(first, number(&case, "2"));
        emulator("1");
        assert_eq!(first, number(&case, "2"));
        // Only what the case packs.
        let packing = case.clone().pack(Pack::Samples);
        let second = number(&packing, "2");
        fs::write(at("samples/one"), "2").unwrap();
        assert_eq!(first, number(&case, "2"));
        assert_ne!(second, number(&packing, "2"));
        fs::remove_file(at("guest")).unwrap();
        assert!(Fingerprints::default().of(&case, &kernel, &tools, "2").is_err());
    }
}
