// SPDX-License-Identifier: GPL-2.0
//! The programs that go into guests or start them.

use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

use crate::cli::{HostArgs, ToolArgs};
use crate::emulator;
use crate::initramfs::Pack;

/// Programs that go into guests or start them.
#[derive(Clone, Debug)]
pub struct Tools {
    /// qemu-system-x86_64.
    pub qemu: PathBuf,
    /// The hypervisor; `None` boots kernels directly.
    pub minihv: Option<PathBuf>,
    /// The guest program, static.
    pub guest: PathBuf,
    /// busybox, static; `None` where no guest has a use for it.
    pub busybox: Option<PathBuf>,
    /// fio; `None` where no guest has a use for it.
    pub fio: Option<PathBuf>,
    /// Directory with the kernel's own tests, where they were built.
    pub kselftest: Option<PathBuf>,
    /// Directory with a directory for each set of the distribution's programs, where some were fetched.
    pub fetched: Option<PathBuf>,
    /// Directory with the programs of samples/, where they were built.
    pub samples: Option<PathBuf>,
    /// Directory with the modules that measure, where they were built: for each kernel a directory of its name, until
    /// a boot has chosen its kernel.
    pub bench: Option<PathBuf>,
    /// Directory with the driver that the attacks use; `None` where there is none.
    pub attack: Option<PathBuf>,
}

impl Tools {
    /// The directory of what is packed, where it was built or fetched.
    pub fn directory(&self, pack: Pack) -> Option<PathBuf> {
        match pack {
            Pack::Kernel => None,
            Pack::Kselftest => self.kselftest.clone(),
            Pack::Samples => self.samples.clone(),
            Pack::Bench => self.bench.clone(),
            Pack::Attack => self.attack.clone(),
            Pack::Kdump | Pack::Dpdk => {
                let directory = self.fetched.as_ref()?.join(<&str>::from(pack));
                directory.is_dir().then_some(directory)
            }
        }
    }
}

/// A program that is built together with this one, in the directory `own` of this one.
fn beside(own: &Path, name: &str, option: &str) -> Result<PathBuf> {
    let program = own.join(name);
    ensure!(
        program.is_file(),
        "{} does not exist: {name} belongs beside hvrun, or {option} names it",
        program.display()
    );
    Ok(program)
}

/// The directory of this program.
fn own_directory() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    Ok(own.parent().context("the path of this program")?.to_owned())
}

impl HostArgs {
    fn minihv(&self) -> Result<PathBuf> {
        self.minihv.clone().map_or_else(|| beside(&own_directory()?, "minihv", "--minihv"), Ok)
    }

    fn guest(&self) -> Result<PathBuf> {
        self.guest.clone().map_or_else(|| beside(&own_directory()?, "hvguest", "--guest"), Ok)
    }

    /// What guests need that load their modules and run their checks, and do nothing else.
    ///
    /// # Errors
    /// When a program is missing, or the emulator is too old.
    pub fn tools(&self) -> Result<Tools> {
        emulator::examine(&self.qemu)?;
        Ok(Tools {
            qemu: self.qemu.clone(),
            minihv: Some(self.minihv()?),
            guest: self.guest()?,
            busybox: None,
            fio: None,
            kselftest: None,
            samples: None,
            fetched: None,
            bench: None,
            attack: None,
        })
    }

    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.log_dir.clone().unwrap_or_else(|| self.out.join("hvrun-logs"))
    }
}

impl ToolArgs {
    /// What all guests need.
    ///
    /// # Errors
    /// When a program is missing, or the emulator is too old.
    pub fn tools(&self) -> Result<Tools> {
        emulator::examine(&self.host.qemu)?;
        Ok(Tools {
            qemu: self.host.qemu.clone(),
            minihv: if self.no_hypervisor { None } else { Some(self.host.minihv()?) },
            guest: self.host.guest()?,
            busybox: Some(self.busybox.clone()),
            fio: Some(self.fio.clone()),
            kselftest: self.kselftest.clone(),
            samples: self.samples.clone(),
            fetched: self.fetched.clone(),
            bench: self.bench_module.clone(),
            attack: self.attack_module.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_beside_this_one_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = beside(directory.path(), "minihv", "--minihv").unwrap_err().to_string();
        assert!(error.contains("minihv does not exist") && error.contains("--minihv"), "{error}");
        std::fs::write(directory.path().join("minihv"), "").unwrap();
        assert_eq!(beside(directory.path(), "minihv", "--minihv").unwrap(), directory.path().join("minihv"));
    }
}
