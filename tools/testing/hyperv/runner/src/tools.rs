// SPDX-License-Identifier: GPL-2.0
//! The programs that go into guests or start them.

use std::path::PathBuf;

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
    /// busybox, static.
    pub busybox: PathBuf,
    /// fio.
    pub fio: PathBuf,
    /// Directory with the kernel's own tests, where they were built.
    pub kselftest: Option<PathBuf>,
    /// Directory with a directory for each set of the distribution's programs, where some were fetched.
    pub fetched: Option<PathBuf>,
    /// Directory with the programs of samples/, where they were built.
    pub samples: Option<PathBuf>,
    /// Directory with the modules that measure, where they were built.
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
