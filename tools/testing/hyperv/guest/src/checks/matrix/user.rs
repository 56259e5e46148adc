// SPDX-License-Identifier: GPL-2.0
//! Operations of a program that has the device open by iommufd: domains made and given up, the device moved between
//! them, pages mapped and unmapped.

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::{DomainId, LogicalDeviceId};
use nix::errno::Errno;

use super::cells::{Operation, Place};
use super::drive::{Attention, Drive, Seen};
use crate::check::Context;
use crate::iommufd::{Cdev, DeviceId, HwptId, Space};
use crate::memory::DmaBuffer;
use crate::minihv::{DeviceTranslation, Effect, Injection, Minihv, Plug};
use crate::pci;
use crate::session::{BackEnd, Session, UnsafeInterrupts};
use crate::witness::{at, Witness, FROM_DEVICE, OTHER};

/// Page of the window that stays mapped, and of the buffer behind it.
const KEPT: u64 = 0;
/// First of the pages that are unmapped while a flush fails. Odd, so that three of them take two blocks to cover.
const GONE: u64 = 9;
/// Their number.
const GONE_PAGES: usize = 3;

/// edu in a domain of its own, with one page mapped.
pub struct User {
    witness: Witness,
    device: DeviceId,
    minihv: Minihv,
    id: LogicalDeviceId,
    home: HwptId,
    home_number: DomainId,
}

impl User {
    /// Takes edu.
    pub fn open(context: &Context<'_>) -> Result<User> {
        let minihv = context.minihv()?;
        let function = pci::find(pci::EDU)?;
        let id = function.logical_id().context("edu has no logical id")?;
        BackEnd::Iommufd.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
        function.bind("vfio-pci")?;
        let (space, cdev) = (Space::new()?, Cdev::open(&function)?);
        let device = cdev.bind(&space.iommufd).context("binding the device to iommufd")?;
        let home = space.iommufd.allocate_hwpt(device, space.ioas).context("a first domain")?;
        cdev.attach_hwpt(home).context("attaching to the first domain")?;
        let home_number = minihv.device_domain(id)?.context("edu is in no domain")?;
        let witness =
            Witness::new(context, function, Session::from_iommufd(cdev, space), DmaBuffer::new(1 + GONE_PAGES)?)?;
        witness.session.map(at(KEPT), &witness.buffer, 0, 1)?;
        Ok(User { witness, device, minihv, id, home, home_number })
    }

    fn make(&self) -> nix::Result<HwptId> {
        let (_, space) = self.witness.iommufd().map_err(|_| Errno::ENODEV)?;
        space.iommufd.allocate_hwpt(self.device, space.ioas)
    }

    fn destroy(&self, hwpt: HwptId) -> Result<()> {
        self.witness.iommufd()?.1.iommufd.destroy_hwpt(hwpt).context("destroying a domain")
    }

    fn enter(&self, hwpt: HwptId) -> nix::Result<()> {
        let (cdev, _) = self.witness.iommufd().map_err(|_| Errno::ENODEV)?;
        cdev.attach_hwpt(hwpt)
    }

    fn go_home(&self) -> Result<()> {
        self.enter(self.home).context("back into the first domain")?;
        match self.minihv.device_domain(self.id)? {
            Some(domain) if domain == self.home_number => Ok(()),
            domain => bail!("back in the first domain, the device is in {domain:?}"),
        }
    }

    fn number(&self) -> Result<DomainId> {
        self.minihv.device_domain(self.id)?.context("edu is in no domain")
    }

    fn place(&self) -> Result<Place> {
        Ok(match (self.minihv.device_translation(self.id)?, self.minihv.device_domain(self.id)?) {
            (DeviceTranslation::Blocked, _) => Place::Blocked,
            (DeviceTranslation::Bypass, _) => Place::Untranslated,
            (_, Some(domain)) if domain == self.home_number => Place::Before,
            _ => Place::Another,
        })
    }

    /// What the device can reach, tried: the page that is mapped, where its domain still is, else nothing.
    fn try_kept(&mut self, place: Place) -> Result<()> {
        match place {
            Place::Before | Place::Another => self.witness.round_trip(at(KEPT), 0, OTHER, "the page that is mapped"),
            Place::Blocked => self.witness.blocked_write(at(KEPT), 0, "a page that the blocked device can reach"),
            Place::Untranslated => bail!("the device is not translated"),
        }
    }

    fn make_and_destroy(&self) -> Result<Option<Errno>> {
        match self.make() {
            Ok(hwpt) => self.destroy(hwpt).map(|()| None),
            Err(errno) => Ok(Some(errno)),
        }
    }

    fn attach(&mut self, attention: Attention) -> Result<Seen> {
        let other = self.make().context("a second domain")?;
        let errno = self.enter(other).err();
        let place = self.place()?;
        if attention == Attention::Watch {
            self.try_kept(place)?;
        }
        self.restore_plug()?;
        self.go_home()?;
        self.destroy(other)?;
        Ok(Seen { errno, place })
    }

    fn block(&mut self, attention: Attention) -> Result<Seen> {
        let errno = self.witness.iommufd()?.0.detach().err();
        let place = self.place()?;
        if attention == Attention::Watch && place == Place::Blocked {
            self.try_kept(place)?;
        }
        self.restore_plug()?;
        self.go_home()?;
        // It may have been kept off the bus.
        self.witness.session.enable_bus_master()?;
        Ok(Seen { errno, place })
    }

    /// Plugs the device in again, if it was pulled.
    fn restore_plug(&self) -> Result<()> {
        self.minihv.plug(self.witness.function.bus().context("edu is on no bus")?, Plug::Connected)
    }

    fn fail_once(&self, call: CallCode, domain: Option<DomainId>) -> Result<()> {
        self.minihv.inject_effect(Injection::next(call), Effect::Answered, domain)
    }

    /// Maps pages, lets the device use them, unmaps them: the device reaches none of them any more, whatever failed.
    fn unmap(&mut self, attention: Attention, prepare: impl FnOnce(&User) -> Result<()>) -> Result<Option<Errno>> {
        self.witness.session.map(at(GONE), &self.witness.buffer, 1, GONE_PAGES).context("map")?;
        if attention == Attention::Watch {
            for page in 0..GONE_PAGES {
                let what = "a page while it was mapped";
                self.witness.round_trip(at(GONE + page as u64), 1 + page, FROM_DEVICE, what)?;
            }
        }
        prepare(self)?;
        self.witness.session.unmap(at(GONE), GONE_PAGES)?;
        Ok(None)
    }

    /// The device goes on trying the pages, which this program still has and looks at.
    fn watch_unmapped(&mut self) -> Result<()> {
        for page in 0..GONE_PAGES {
            let what = "STALE TRANSLATION: a page that was unmapped and given back";
            self.witness.blocked_write(at(GONE + page as u64), 1 + page, what)?;
        }
        Ok(())
    }

    fn flush_list(&mut self, attention: Attention) -> Result<Seen> {
        let errno = self.unmap(attention, |_| Ok(()))?;
        if attention == Attention::Watch {
            self.watch_unmapped()?;
            self.try_kept(Place::Before)?;
        }
        Ok(Seen { errno, place: self.place()? })
    }

    /// In a domain of its own, as it may be lost: both flushes fail, or the first alone.
    fn flush(&mut self, attention: Attention, failing: &[CallCode]) -> Result<Seen> {
        let doomed = self.make().context("a second domain")?;
        self.enter(doomed).context("into the second domain")?;
        let number = self.number()?;
        let errno =
            self.unmap(attention, |this| failing.iter().try_for_each(|&call| this.fail_once(call, Some(number))))?;
        let place = self.place()?;
        if attention == Attention::Watch && place == Place::Blocked {
            self.watch_unmapped()?;
            self.try_kept(place)?;
            // Nothing gets into it any more.
            if self.enter(doomed) != Ok(()) || self.place()? != Place::Blocked {
                // The core thinks that the device never left: it does not ask the driver.
                bail!("the device got back into a domain that cannot be flushed");
            }
        }
        self.go_home()?;
        if place == Place::Blocked && self.enter(doomed) != Err(Errno::ENODEV) {
            bail!("a domain that cannot be flushed takes the device");
        }
        self.destroy(doomed)?;
        Ok(Seen { errno, place })
    }
}

impl Drive for User {
    fn round(&mut self, operation: Operation, attention: Attention) -> Result<Seen> {
        let here = |errno, this: &User| Ok(Seen { errno, place: this.place()? });
        match operation {
            Operation::Create | Operation::Configure => here(self.make_and_destroy()?, self),
            Operation::Delete => here(self.make_and_destroy()?, self),
            Operation::Attach => self.attach(attention),
            Operation::Block => self.block(attention),
            Operation::Strand => {
                self.fail_once(CallCode::ATTACH_DEVICE_DOMAIN, None)?;
                self.block(attention)
            }
            Operation::FlushList => self.flush_list(attention),
            Operation::Flush => self.flush(attention, &[CallCode::FLUSH_DEVICE_DOMAIN_LIST]),
            Operation::FlushDetach => {
                self.flush(attention, &[CallCode::FLUSH_DEVICE_DOMAIN_LIST, CallCode::FLUSH_DEVICE_DOMAIN])
            }
            _ => bail!("{operation:?} is no operation of a program that has the device"),
        }
    }

    /// A domain is made, used and given up: its number is the lowest free one.
    fn free_number(&mut self) -> Result<DomainId> {
        let other = self.make().context("a domain after the cell")?;
        self.enter(other).context("into a domain after the cell")?;
        let number = self.number()?;
        self.witness.round_trip(at(KEPT), 0, FROM_DEVICE, "the page that is mapped, after the cell")?;
        self.go_home()?;
        self.destroy(other)?;
        Ok(number)
    }
}
