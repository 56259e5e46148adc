// SPDX-License-Identifier: GPL-2.0
//! Hibernation: what was behind the IOMMU is there again, as it was.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::{DomainId, Gpa};
use hvcore::status::Status;
use hvcore::test_interface::Counter;
use linkme::distributed_slice;
use nix::sys::mman::{mlockall, MlockAllFlags};

use super::noiommu::expect_translation;
use super::nvme;
use super::sleep::{expect_kept, transition, KEPT, STATE};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::ats::ATS_ON;
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::identity::IDENTITY_EDU;
use crate::checks::nvme::{NVME_IOVA, NVME_QUICK};
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE, VFIO_UNMAPPED};
use crate::checks::sleep::HIBERNATION_ALLOWED;
use crate::checks::virtio::VIRTIO;
use crate::debugfs;
use crate::faults::Faults;
use crate::init::busybox;
use crate::minihv::{DeviceTranslation, Injection, Minihv};
use crate::pci::{self, write_sysfs};
use crate::report::Outcome;
use crate::witness::{Witness, FROM_DEVICE};

/// What the machine does when the image is written.
const DISK: &str = "/sys/power/disk";
/// How large the image may be, in bytes: the kernel makes it as small as it can.
const IMAGE_SIZE: &str = "/sys/power/image_size";
/// Where the image goes; the kernel is told the same by `resume=`.
const SWAP: &str = "/dev/nvme0n1";

/// Where every device is, as the hypervisor sees it, and the paging domains with their roots, as the kernel does.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    devices: BTreeMap<String, (DeviceTranslation, Option<DomainId>)>,
    roots: BTreeMap<DomainId, Gpa>,
}

impl Seen {
    fn look(context: &Context<'_>) -> Result<Seen> {
        let minihv = context.minihv()?;
        let mut devices = BTreeMap::new();
        for function in &context.functions {
            let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
            devices.insert(function.address.clone(), (minihv.device_translation(id)?, minihv.device_domain(id)?));
        }
        let mut roots = BTreeMap::new();
        for line in debugfs::domains()? {
            if let (Some(id), Some(paging)) = (line.id, line.paging) {
                roots.insert(id, paging.root);
            }
        }
        Ok(Seen { devices, roots })
    }

    /// The hypervisor's domains have these roots.
    fn check_roots(&self, context: &Context<'_>) -> Result<()> {
        for (id, root) in &self.roots {
            let real = context.minihv()?.domain_root(*id)?;
            if real != *root {
                bail!("domain {} has the root {:#x}, not {:#x}", id.0, real.0, root.0);
            }
        }
        Ok(())
    }
}

/// edu in the hands of a program, with a page that it may write, across the sleep that `sleep` is.
pub(super) fn across(context: &mut Context<'_>, what: &str, sleep: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut witness = Witness::open(context, 2)?;
    witness.session.map(KEPT, &witness.buffer, 0, 1)?;
    witness.arm(KEPT, 0, FROM_DEVICE)?;
    let before = Seen::look(context)?;
    before.check_roots(context)?;
    sleep().with_context(|| what.to_owned())?;
    let after = Seen::look(context)?;
    if after != before {
        bail!("{what}: {before:?} became {after:?}");
    }
    after.check_roots(context)?;
    // The machine, and what it counts, may be another one; the device's state is this program's business.
    witness.faults = Faults::listen(context.minihv)?;
    witness.session.enable_bus_master()?;
    witness.arm(KEPT, 0, FROM_DEVICE)?;
    expect_kept(&mut witness, what)
}

/// How far hibernation goes before it turns back: to before anything is given back to the hypervisor, and to after that.
const TURNS: [&str; 2] = ["processors", "core"];
/// The other places where the kernel can be told to turn back. It gives nothing back before any of them.
const EARLIER_TURNS: [&str; 3] = ["freezer", "devices", "platform"];

/// No domain was made whose number had one already: each was deleted before it was made again.
fn expect_no_number_taken(minihv: Minihv) -> Result<()> {
    let taken = minihv.counter(Counter::Status, Status::KEY_ALREADY_EXISTS.0.into())?;
    ensure!(taken == 0, "{taken} domains were still there when they were made again");
    Ok(())
}

/// The kernel goes as far as each of these places without an image, and comes back.
fn turns_back(context: &mut Context<'_>, turns: &[&str]) -> Result<Outcome> {
    for turn in turns {
        across(context, &format!("hibernation as far as {turn}"), || transition(turn, "disk"))?;
    }
    expect_no_number_taken(context.minihv()?)?;
    nvme::quick_io(context)
}

const HIBERNATION_CORE: Check = Check::new("hibernation-without-image", |c| turns_back(c, &TURNS));
const HIBERNATION_EARLIER: Check = Check::new("hibernation-turns-back-early", |c| turns_back(c, &EARLIER_TURNS));

/// The same in a kernel that was told to leave the IOMMU alone: no device gets to know it.
fn without_image_untranslated(context: &mut Context<'_>) -> Result<Outcome> {
    for turn in TURNS {
        transition(turn, "disk")?;
    }
    let calls = context.minihv()?.calls(CallCode::CREATE_DEVICE_DOMAIN)?;
    ensure!(calls == 0, "{calls} domains were asked for");
    nvme::quick_io(context)
}

const HIBERNATION_CORE_UNTRANSLATED: Check =
    Check::new("hibernation-without-image-untranslated", without_image_untranslated);

/// The hypervisor fails one of the calls by which devices and domains are given back: the kernel does not hibernate, and
/// everything is as it was.
fn given_back_in_vain(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    // The second call of its kind: something is given back already. A host may not detach a device at the resume either.
    let second = |injection| Injection { first: 2, ..injection };
    let faults = [
        second(Injection::next(CallCode::DETACH_DEVICE_DOMAIN)),
        second(Injection::every(CallCode::DETACH_DEVICE_DOMAIN)),
        second(Injection::next(CallCode::DELETE_DEVICE_DOMAIN)),
    ];
    for fault in faults {
        let what = format!("hibernation when call {:#x} fails", fault.call.0);
        across(context, &what, || {
            minihv.inject(fault)?;
            // The kernel forgets the error (create_image() in kernel/power/hibernate.c); the case expects its lines.
            let _ = transition("core", "disk");
            minihv.clear_injections()
        })?;
        nvme::quick_io(context)?;
    }
    Ok(Outcome::Pass(String::new()))
}

const HIBERNATION_GIVEN_UP: Check = Check::new("hibernation-refused-by-host", given_back_in_vain);

/// Writes the image, switches the machine off, and returns in the one that was switched on again. What is on the disk is
/// lost.
pub(super) fn hibernate() -> Result<()> {
    busybox(&["mkswap", SWAP])?;
    busybox(&["swapon", SWAP])?;
    write_sysfs(Path::new(DISK), "shutdown")?;
    write_sysfs(Path::new(IMAGE_SIZE), "0")?;
    std::fs::write(STATE, "disk").context("hibernating")
}

/// The machine is off in between.
fn over_power_off(context: &mut Context<'_>) -> Result<Outcome> {
    nvme::quick_io(context)?;
    across(context, "hibernation", hibernate)?;
    busybox(&["swapoff", SWAP])?;
    nvme::quick_io(context)
}

const HIBERNATION: Check = Check::new("hibernation", over_power_off);

/// Every domain of the hypervisor's is one that this kernel knows.
fn expect_no_other_domain(minihv: Minihv) -> Result<()> {
    let own = debugfs::domains()?.into_iter().filter(|line| line.id.is_some()).count() as u64;
    let live = minihv.counter(Counter::LiveDomains, 0)?;
    ensure!(live == own, "the hypervisor has {live} domains, and the kernel knows {own}");
    Ok(())
}

/// The kernel that loaded the image had blocked each device before it handed over, which nobody else in this machine does
/// by a detach, and had deleted each domain.
fn loader_left_nothing(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let (detached, functions) = (minihv.calls(CallCode::DETACH_DEVICE_DOMAIN)?, context.functions.len() as u64);
    ensure!(detached == functions, "{detached} calls to detach {functions} devices");
    expect_no_number_taken(minihv)?;
    expect_no_other_domain(minihv)?;
    Ok(Outcome::Pass(format!("{detached} devices detached")))
}

const LOADER_LEFT_NOTHING: Check = Check::new("loading-kernel-leaves-nothing", loader_left_nothing);

/// Some numbers were taken when the domains were made again: what had them was deleted, and nothing else is there now.
fn numbers_were_cleared(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let taken = minihv.counter(Counter::Status, Status::KEY_ALREADY_EXISTS.0.into())?;
    ensure!(taken > 0, "no number was taken");
    expect_no_other_domain(minihv)?;
    Ok(Outcome::Pass(format!("{taken} numbers were taken")))
}

const NUMBERS_CLEARED: Check = Check::new("taken-numbers-are-cleared", numbers_were_cleared);

/// Every device is blocked.
fn expect_all_blocked(context: &Context<'_>) -> Result<usize> {
    let seen = Seen::look(context)?;
    for (address, (translation, domain)) in &seen.devices {
        if *translation != DeviceTranslation::Blocked {
            bail!("{address}: translation is {translation:?}, in domain {domain:?}");
        }
    }
    Ok(seen.devices.len())
}

/// The IOMMU of the machine that is switched on again cannot be made what it was: every device is blocked. That stays so
/// when the kernel tries to hibernate once more.
fn in_vain(context: &mut Context<'_>) -> Result<Outcome> {
    // What is on the disk cannot be had any more then.
    mlockall(MlockAllFlags::all()).context("keeping this program in memory")?;
    hibernate()?;
    expect_all_blocked(context)?;
    // The driver of a disk that does not answer would keep the kernel from coming as far as that.
    for controller in context.nvme()? {
        controller.unbind()?;
    }
    // The kernel forgets the error; the case expects the driver's line.
    let _ = transition("core", "disk");
    Ok(Outcome::Pass(format!("{} devices are blocked", expect_all_blocked(context).context("the second time")?)))
}

const HIBERNATION_IN_VAIN: Check = Check::new("hibernation-in-vain", in_vain);

/// edu was not behind the IOMMU, and is on the machine that is switched on again: it is blocked, the others go on.
fn with_newcomer(context: &mut Context<'_>) -> Result<Outcome> {
    nvme::quick_io(context)?;
    hibernate()?;
    busybox(&["swapoff", SWAP])?;
    expect_translation(&pci::find(pci::EDU)?, context.minihv()?, DeviceTranslation::Blocked)?;
    nvme::quick_io(context)
}

const HIBERNATION_NEWCOMER: Check = Check::new("hibernation-with-a-newcomer", with_newcomer);

/// The same in a guest without the IOMMU, on hosts that may offer one later: devices do DMA as before.
fn over_power_off_untranslated(context: &mut Context<'_>) -> Result<Outcome> {
    for _ in 0..context.options.rounds {
        nvme::quick_io(context)?;
        hibernate()?;
        busybox(&["swapoff", SWAP])?;
    }
    nvme::quick_io(context)
}

const HIBERNATION_UNTRANSLATED: Check = Check::new("hibernation-untranslated", over_power_off_untranslated);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "hibernation-core",
        summary: "hibernation without an image",
        checks: &[DEVICES, GROUPS, HIBERNATION_CORE, NVME_IOVA, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "hibernation-turns",
        summary: "hibernation that turns back before the IOMMU gets to know it",
        checks: &[DEVICES, GROUPS, HIBERNATION_EARLIER, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "hibernation-identity",
        summary: "hibernation without an image, of a guest whose devices are not translated",
        checks: &[DEVICES, GROUPS, HIBERNATION_CORE, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "hibernation-ats",
        summary: "hibernation without an image, of a guest with a device that uses ATS",
        checks: &[DEVICES, GROUPS, HIBERNATION_CORE, ATS_ON, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "hibernation-refused",
        summary: "the hypervisor does not take back what the guest gives back before it hibernates",
        checks: &[DEVICES, GROUPS, HIBERNATION_GIVEN_UP, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "hibernation",
        summary: "the guest hibernates, and goes on in a machine that was switched on again",
        checks: &[
            DEVICES,
            GROUPS,
            HIBERNATION,
            LOADER_LEFT_NOTHING,
            NVME_IOVA,
            VIRTIO,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "hibernation-numbers-taken",
        summary: "on the machine that is switched on again, numbers of domains are taken",
        checks: &[
            DEVICES,
            GROUPS,
            HIBERNATION,
            NUMBERS_CLEARED,
            NVME_IOVA,
            VIRTIO,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "hibernation-in-vain",
        summary: "the IOMMU of the machine that is switched on again cannot be made what it was",
        checks: &[DEVICES, GROUPS, HIBERNATION_IN_VAIN],
    },
    Scenario {
        name: "hibernation-newcomer",
        summary: "on the machine that is switched on again, a device is behind the IOMMU that was not",
        checks: &[DEVICES, HIBERNATION_NEWCOMER, VIRTIO],
    },
    Scenario {
        name: "hibernation-untranslated",
        summary: "the same without the IOMMU, which the other machine may have",
        checks: &[DEVICES, HIBERNATION_UNTRANSLATED, VIRTIO],
    },
    Scenario {
        name: "switched-off",
        summary: "the driver is switched off: no groups, devices untranslated, hibernation as without it",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            VIRTIO,
            IDENTITY_EDU,
            HIBERNATION_ALLOWED,
            HIBERNATION_CORE_UNTRANSLATED,
            NO_FAULTS,
        ],
    },
];
