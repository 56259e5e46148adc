// SPDX-License-Identifier: GPL-2.0
//! A program with iommufd: it makes a domain, moves the device into it, and maps where no table is yet.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::Iova;
use nix::errno::Errno;

use super::work::Work;
use crate::check::Context;
use crate::iommufd::{DeviceId, HwptId};
use crate::memory::PAGE;
use crate::minihv::{DeviceTranslation, Minihv};
use crate::session::BackEnd;
use crate::vfio::errno;
use crate::witness::{at, Witness, CANARY, FROM_DEVICE};

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
    witness: Witness,
    device: DeviceId,
    made: Option<HwptId>,
}

impl User {
    /// Takes edu.
    ///
    /// # Errors
    /// When a step fails.
    pub fn open(context: &Context<'_>) -> Result<User> {
        let witness = Witness::open_by(context, BackEnd::Iommufd, 2)?;
        let device = witness.iommufd()?.0.id()?;
        witness.session.map(at(0), &witness.buffer, KEPT, 1)?;
        Ok(User { witness, device, made: None })
    }
}

impl Work for User {
    fn act(&mut self) -> Result<()> {
        let (cdev, space) = self.witness.iommufd()?;
        let hwpt = space.iommufd.allocate_hwpt(self.device, space.ioas).context("making a domain")?;
        self.made = Some(hwpt);
        cdev.attach_hwpt(hwpt).context("attaching to it")?;
        self.witness.session.map(far(), &self.witness.buffer, OTHER, 1).context("mapping")?;
        Ok(())
    }

    fn is_no_memory(&self, error: &anyhow::Error) -> bool {
        errno(error) == Some(Errno::ENOMEM)
    }

    /// The device is in a domain, and reaches what is mapped there.
    fn judge(&mut self, minihv: Minihv, lines: &[String]) -> Result<()> {
        let id = self.witness.function.logical_id().context("edu has no logical id")?;
        match minihv.device_translation(id)? {
            DeviceTranslation::Stage1(_) => {}
            place => bail!("the device is {place:?}; the lines are {lines:?}"),
        }
        self.witness.arm(at(0), KEPT, FROM_DEVICE)?;
        self.witness.buffer.fill(KEPT, CANARY);
        self.witness.edu.store(at(0))?;
        self.witness.buffer.expect(KEPT, FROM_DEVICE, "the page that is always mapped")
    }

    fn undo(&mut self) -> Result<()> {
        let (cdev, space) = self.witness.iommufd()?;
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
