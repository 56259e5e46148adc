// SPDX-License-Identifier: GPL-2.0
//! A program with iommufd: it makes a domain, moves the device into it, and maps where no table is yet.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::Iova;
use nix::errno::Errno;

use super::Work;
use crate::control::{DeviceTranslation, Minihv};
use crate::iommufd::{DeviceId, HwptId};
use crate::memory::PAGE;
use crate::scenario::Context;
use crate::testbench::{at, Bench, CANARY, FROM_DEVICE};
use crate::vfio::{errno, BackEnd};

/// How far from the page that is always mapped the other one is: no table leads to both but the top one.
const FAR: u64 = 1 << 39;
/// Pages of the buffer: one that is always mapped, and one that comes and goes.
const KEPT: usize = 0;
const OTHER: usize = 1;

/// Where the other page is mapped.
fn far() -> Iova {
    Iova(at(0).0 + FAR)
}

/// edu with iommufd, one page mapped in its IOAS.
pub struct User {
    bench: Bench,
    device: DeviceId,
    made: Option<HwptId>,
}

impl User {
    /// Takes edu.
    ///
    /// # Errors
    /// When a step fails.
    pub fn open(context: &Context<'_>) -> Result<User> {
        let bench = Bench::open_by(context, BackEnd::Iommufd, 2)?;
        let device = bench.iommufd()?.0.id()?;
        bench.session.map(at(0), &bench.buffer, KEPT, 1)?;
        Ok(User { bench, device, made: None })
    }
}

impl Work for User {
    fn act(&mut self) -> Result<()> {
        let (cdev, space) = self.bench.iommufd()?;
        let hwpt = space.iommufd.allocate_hwpt(self.device, space.ioas).context("making a domain")?;
        self.made = Some(hwpt);
        cdev.attach_hwpt(hwpt).context("attaching to it")?;
        self.bench.session.map(far(), &self.bench.buffer, OTHER, 1).context("mapping")?;
        Ok(())
    }

    fn is_no_memory(&self, error: &anyhow::Error) -> bool {
        errno(error) == Some(Errno::ENOMEM)
    }

    /// The device is in a domain, and reaches what is mapped there.
    fn judge(&mut self, minihv: Minihv, lines: &[String]) -> Result<()> {
        let id = self.bench.function.logical_id().context("edu has no logical id")?;
        match minihv.device_translation(id)? {
            DeviceTranslation::Stage1(_) => {}
            place => bail!("the device is {place:?}; the lines are {lines:?}"),
        }
        self.bench.arm(at(0), KEPT, FROM_DEVICE)?;
        self.bench.buffer.fill(KEPT, CANARY);
        self.bench.edu.store(at(0))?;
        self.bench.buffer.expect(KEPT, FROM_DEVICE, "the page that is always mapped")
    }

    fn undo(&mut self) -> Result<()> {
        let (cdev, space) = self.bench.iommufd()?;
        match space.iommufd.unmap(space.ioas, far(), PAGE as u64) {
            Ok(bytes) => ensure!(bytes == PAGE as u64, "{bytes} bytes were unmapped"),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno).context("unmapping"),
        }
        cdev.attach(space.ioas).context("back into the first domain")?;
        if let Some(hwpt) = self.made.take() {
            space.iommufd.destroy_hwpt(hwpt).context("destroying the domain")?;
        }
        Ok(())
    }
}
