// SPDX-License-Identifier: GPL-2.0
//! Resets of functions: the core keeps a device with ATS blocked meanwhile, and its mappings outlive every reset.

use std::fs;

use anyhow::{bail, Context as _, Result};
use hvcore::ids::DomainId;
use hvcore::platform::DeviceTlb;
use hvcore::test_interface::Counter;

use crate::check::{Check, Context};
use crate::disk;
use crate::hotplug::namespace;
use crate::memory::DmaBuffer;
use crate::minihv::Minihv;
use crate::nvme_admin::{self, identify};
use crate::pci::{self, write_sysfs, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::at;

/// Resets by each way.
const TIMES: u64 = 3;

/// What the core does around a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarding {
    /// It blocks the device and attaches it again: the device can ask for translations (ATS).
    Blocked,
    /// Nothing: the device cannot.
    None,
}

impl Guarding {
    /// How often the device's translation changes.
    fn switches(self) -> u64 {
        match self {
            Guarding::Blocked => 2,
            Guarding::None => 0,
        }
    }

    /// Whether the device may keep translations, outside of the reset.
    fn device_tlb(self) -> DeviceTlb {
        match self {
            Guarding::Blocked => DeviceTlb::Enabled,
            Guarding::None => DeviceTlb::Disabled,
        }
    }
}

/// The function and what must hold of it across resets.
pub struct Subject {
    minihv: Minihv,
    function: PciFunction,
    guarding: Guarding,
}

impl Subject {
    /// Takes a function that has a function level reset.
    ///
    /// # Errors
    /// When it has none.
    pub fn new(context: &Context<'_>, function: PciFunction, guarding: Guarding) -> Result<Subject> {
        let path = function.file("reset_method");
        let methods = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if !methods.split_whitespace().any(|method| method == "flr") {
            bail!("{} has no function level reset, but: {methods}", function.address);
        }
        Ok(Subject { minihv: context.minihv()?, function, guarding })
    }

    /// The domain that the function is in.
    ///
    /// # Errors
    /// When it is in none, or ATS is not as it should be.
    pub fn domain(&self) -> Result<DomainId> {
        let id = self.function.logical_id().context("no logical id")?;
        let tlb = self.minihv.device_tlb(id)?;
        if tlb != self.guarding.device_tlb() {
            bail!("{}: ATS is {tlb:?}", self.function.address);
        }
        self.minihv.device_domain(id)?.with_context(|| format!("{} is in no domain", self.function.address))
    }

    /// Resets; the device must be where it was afterwards, and must have been blocked meanwhile if it can have ATS.
    fn reset(&self, reset: impl FnOnce() -> Result<()>) -> Result<()> {
        let domain = self.domain().context("before the reset")?;
        let before = self.minihv.counter(Counter::Switches, 0)?;
        reset()?;
        let switches = self.minihv.counter(Counter::Switches, 0)? - before;
        if switches != self.guarding.switches() {
            bail!("the translation changed {switches} times instead of {}", self.guarding.switches());
        }
        match self.domain().context("after the reset")? {
            same if same == domain => Ok(()),
            other => bail!("in domain {} before the reset, in {} after it", domain.0, other.0),
        }
    }

    /// User space resets the function; `works` tries what it has mapped (pages from `at(0)` on), before and after.
    fn by_user_space(&self, works: impl Fn(&Session, &DmaBuffer) -> Result<()>) -> Result<()> {
        for back_end in BackEnd::ALL {
            let session = Session::open_by(&self.function, back_end)?;
            let buffer = DmaBuffer::new(nvme_admin::PAGES)?;
            session.map(at(0), &buffer, 0, nvme_admin::PAGES)?;
            for _ in 0..TIMES {
                works(&session, &buffer).with_context(|| format!("{back_end:?}: before the reset"))?;
                self.reset(|| session.device().reset().context("VFIO_DEVICE_RESET"))
                    .with_context(|| format!("{back_end:?}"))?;
                let domain = self.domain()?;
                for page in 0..nvme_admin::PAGES {
                    let leaf = self.minihv.walk(domain, at(page as u64))?;
                    let leaf = leaf.with_context(|| format!("{back_end:?}: page {page} is not mapped any more"))?;
                    if !leaf.sends(at(page as u64), buffer.physical(page)?) {
                        bail!("{back_end:?}: page {page} is elsewhere after the reset");
                    }
                }
                works(&session, &buffer).with_context(|| format!("{back_end:?}: after the reset"))?;
            }
        }
        Ok(())
    }

    /// The administrator resets the function, whoever drives it.
    fn by_sysfs(&self) -> Result<()> {
        self.reset(|| write_sysfs(&self.function.file("reset"), "1")).context("by sysfs")
    }
}

/// NVMe, which has no ATS: in the kernel's driver's hands, in nobody's and in user space's.
fn nvme(context: &mut Context<'_>) -> Result<Outcome> {
    let function = context.nvme()?.pop().context("no NVMe controller")?;
    let disk = namespace(&function)?;
    let subject = Subject::new(context, function, Guarding::None)?;
    for _ in 0..TIMES {
        subject.by_sysfs().context("with its driver")?;
        disk::verify(&disk).context("after a reset")?;
    }
    subject.function.unbind()?;
    subject.by_sysfs().context("without a driver")?;
    subject.by_user_space(|session, buffer| identify(session, &subject.function, at(0), buffer))?;
    subject.function.unbind()?;
    subject.function.bind("nvme")?;
    disk::verify(&namespace(&subject.function)?).context("after user space had it")?;
    Ok(Outcome::Pass(format!("{} by sysfs, {} by VFIO, same domain, data right", TIMES + 1, 2 * TIMES)))
}

pub const RESET_NVME: Check = Check::new("reset-keeps-mappings", nvme);

/// A virtio function with ATS: blocked during the reset, and allowed to ask again afterwards.
fn with_ats(context: &mut Context<'_>) -> Result<Outcome> {
    let is_virtio = |f: &&PciFunction| f.id.vendor == pci::VIRTIO_VENDOR;
    let function = context.functions.iter().find(is_virtio).context("no virtio function")?.clone();
    let subject = Subject::new(context, function, Guarding::Blocked)?;
    for _ in 0..TIMES {
        subject.by_sysfs().context("with its driver")?;
        super::virtio::io(context).context("after a reset")?;
    }
    // virtio has no command that could be given in a few lines; the tables tell what is mapped.
    subject.by_user_space(|_, _| Ok(()))?;
    subject.function.unbind()?;
    subject.by_sysfs().context("without a driver")?;
    subject.function.bind("virtio-pci")?;
    subject.domain().context("with its driver again")?;
    super::virtio::io(context).context("after user space had it")?;
    Ok(Outcome::Pass(format!("{} by sysfs, {} by VFIO, blocked meanwhile, ATS on again", TIMES + 1, 2 * TIMES)))
}

pub const RESET_ATS: Check = Check::new("reset-blocks-device-with-ats", with_ats);
