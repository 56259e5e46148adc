// SPDX-License-Identifier: GPL-2.0
//! DMA that goes on after a crash: into the crashed kernel's own buffer, until the kernel after it takes the device.
//!
//! The buffer is memory that both kernels were told to leave alone (`memmap=`), mapped for the device by the first one.

use std::time::Instant;

use anyhow::{ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::DomainId;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::ats::{ATS_LEFT_ON, ATS_OFF_WHEN_TAKEN, ATS_ON};
use crate::checks::attack::module::reserved;
use crate::checks::attack::window::Arena;
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::identity::IDENTITY_EDU;
use crate::checks::kexec::{CRASH_KERNEL, CRASH_KERNEL_LOADED, DISK_OFFERED_AGAIN, IN_USE, OLD_TABLES};
use crate::checks::nvme::{NVME_IOVA, NVME_QUICK};
use crate::checks::protection::{RAW_BLOCKED, VFIO_MAPPED, VFIO_STALE, VFIO_UNMAPPED};
use crate::checks::virtio::VIRTIO;
use crate::edu::{Edu, Length, BAR_BYTES};
use crate::memory::{DmaBuffer, PAGE};
use crate::pci::{self, PciFunction};
use crate::processors;
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::{at, FROM_DEVICE};

/// The page that the device writes.
const TARGET: usize = 0x1_0000;
/// Notes of the first kernel.
const NOTES: usize = 0x2_0000;
/// Words of the notes: that they are notes; how many transfers were started; whether one is under way.
const MAGIC: u64 = 0x6876_6372_6173_6865;
const UNDER_WAY: u64 = 1;
const CANARY: u8 = 0x11;

/// What the host does with the device of a kernel that crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// It lets the device go on.
    Keeps,
    /// It resets the device.
    Resets,
}

/// The domain that a function is in.
fn domain_of(context: &Context<'_>, function: &PciFunction) -> Result<DomainId> {
    let id = function.logical_id().context("edu has no logical id")?;
    context.minihv()?.device_domain(id)?.context("edu is in no domain")
}

/// Starts transfers to the buffer, one after the other, until this kernel ends. The buffer is wiped after each one: what it
/// holds afterwards was written when no processor of this kernel ran any more.
fn keep_storing(context: &mut Context<'_>) -> Result<Outcome> {
    let module = reserved()?;
    let function = pci::find(pci::EDU)?;
    let session = Session::open_by(&function, BackEnd::Type1)?;
    session.enable_bus_master()?;
    let buffer = DmaBuffer::new(1)?;
    session.map(at(0), &buffer, 0, 1)?;
    buffer.fill(0, FROM_DEVICE);
    let edu = Edu::new(function.map_bar0(BAR_BYTES)?)?;
    edu.load(at(0))?;
    session.map_range(at(1), module.pages(TARGET, PAGE)).context("mapping reserved memory")?;
    module.window(NOTES..NOTES + PAGE).fill(0);
    module.window(TARGET..TARGET + PAGE).fill(CANARY);
    edu.store(at(1))?;
    let seen = module.window(TARGET..TARGET + PAGE).count(|byte| byte == FROM_DEVICE);
    ensure!(seen == PAGE, "the device does not reach its buffer: {seen} bytes");
    module.window(NOTES..NOTES + PAGE).set_word(0, MAGIC);
    let domain = domain_of(context, &function)?;
    // The device, its mapping and the thread stay to the very end.
    std::mem::forget((session, buffer));
    std::thread::spawn(move || {
        let begun = Instant::now();
        for started in 1_u64.. {
            module.window(TARGET..TARGET + PAGE).fill(CANARY);
            module.window(NOTES..NOTES + PAGE).set_word(1, started);
            module.window(NOTES..NOTES + PAGE).set_word(2, UNDER_WAY);
            edu.start_store(at(1), Length::PAGE);
            while edu.is_busy() && begun.elapsed().as_secs() < 600 {
                std::hint::spin_loop();
            }
            module.window(NOTES..NOTES + PAGE).set_word(2, 0);
        }
    });
    Ok(Outcome::Pass(format!("in domain {}, until the end", domain.0)))
}

const STORING: Check = Check::new("device-writes-to-the-end", keep_storing);

/// The transfer that was under way when the kernel before crashed has arrived, or not, as `host` has it; and the device is
/// where that kernel had it.
fn transfer_ended(_: &mut Context<'_>, host: Host) -> Result<Outcome> {
    let module = reserved()?;
    let notes = module.window(NOTES..NOTES + PAGE);
    ensure!(notes.word(0) == MAGIC, "the notes of the kernel before are gone");
    let (started, under_way) = (notes.word(1), notes.word(2));
    ensure!(started > 0, "the kernel before started no transfer");
    let expected = match host {
        Host::Keeps => {
            ensure!(under_way == UNDER_WAY, "no transfer was under way after {started}");
            PAGE
        }
        // The device is reset while the other processors of a crashing kernel still run.
        Host::Resets => 0,
    };
    let arrived = module.window(TARGET..TARGET + PAGE).count(|byte| byte == FROM_DEVICE);
    ensure!(arrived == expected, "{arrived} bytes arrived after the crash, {expected} expected");
    Ok(Outcome::Pass(format!("{arrived} bytes after the crash, the last of {started} transfers")))
}

const ENDED_KEPT: Check = Check::new("transfer-arrived-after-the-crash", |c| transfer_ended(c, Host::Keeps));
const ENDED_RESET: Check = Check::new("transfer-ended-with-the-crash", |c| transfer_ended(c, Host::Resets));

/// Nobody has used edu since the crash: it is in the domain that the kernel before had it in.
fn device_stays_until_used(context: &mut Context<'_>) -> Result<Outcome> {
    let domain = domain_of(context, &pci::find(pci::EDU)?)?;
    ensure!(
        context.options.domains.contains(&domain),
        "edu is in domain {}, which is none of the crashed kernel's: {:?}",
        domain.0,
        context.options.domains
    );
    Ok(Outcome::Pass(format!("edu is in domain {}", domain.0)))
}

const STAYS_UNTIL_USED: Check = Check::new("device-stays-until-used", device_stays_until_used);

/// edu does not master the bus, so that there was no transfer to spare: it is in a domain of this kernel's before anybody
/// uses it.
fn idle_device_is_attached(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    ensure!(!function.masters_bus()?, "edu masters the bus");
    let domain = domain_of(context, &function)?;
    ensure!(!context.options.domains.contains(&domain), "edu is still in domain {}, the crashed kernel's", domain.0);
    Ok(Outcome::Pass(format!("edu is in domain {}", domain.0)))
}

const IDLE_ATTACHED: Check = Check::new("idle-device-is-attached", idle_device_is_attached);

/// This kernel's domains have numbers of their own: none was found to be taken, whatever the host says of one that is.
fn numbers_are_apart(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let low = context.options.domains.iter().map(|id| id.0).max().context("the crashed kernel left no domain")?;
    let calls = minihv.calls(CallCode::CREATE_DEVICE_DOMAIN)?;
    for number in 1..low + 64 {
        let id = DomainId(number);
        ensure!(
            !minihv.domain_exists(id)? || context.options.domains.contains(&id),
            "domain {number} is new, and so near to those of the crashed kernel: {:?}",
            context.options.domains
        );
    }
    Ok(Outcome::Pass(format!("{calls} calls to create domains, none of them below {}", low + 64)))
}

const NUMBERS_APART: Check = Check::new("domain-numbers-are-apart", numbers_are_apart);

/// The processors of a crash kernel that was told to use as many.
const SEVERAL: usize = 4;

/// This kernel has several processors.
fn several_processors(_: &mut Context<'_>) -> Result<Outcome> {
    let online = processors::online()?;
    ensure!(online.len() == SEVERAL, "processors {online:?} are in use, not {SEVERAL}");
    Ok(Outcome::Pass(format!("{online:?}")))
}

const SEVERAL_PROCESSORS: Check = Check::new("crash-kernel-has-several-processors", several_processors);

/// After a crash with all devices in use; `$first` is looked at first, and `$unused` tells where the device is that nobody uses yet.
macro_rules! after_crash {
    ($name:literal, $summary:literal, $first:ident, $unused:ident) => {
        Scenario {
            name: $name,
            summary: $summary,
            checks: &[
                $first,
                OLD_TABLES,
                DEVICES,
                GROUPS,
                $unused,
                NUMBERS_APART,
                NVME_QUICK,
                NVME_IOVA,
                VIRTIO,
                NO_FAULTS,
                RAW_BLOCKED,
                VFIO_MAPPED,
                VFIO_UNMAPPED,
                VFIO_STALE,
                VIOLATIONS,
            ],
        }
    };
}

/// After a crash while edu wrote to a buffer; `$ended` tells how the last transfer ended, and `$unused` where edu is.
macro_rules! after_storing {
    ($name:literal, $summary:literal, $ended:ident, $unused:ident) => {
        Scenario {
            name: $name,
            summary: $summary,
            checks: &[
                CRASH_KERNEL,
                DEVICES,
                GROUPS,
                $ended,
                $unused,
                NUMBERS_APART,
                NO_FAULTS,
                VFIO_MAPPED,
                VFIO_UNMAPPED,
                VFIO_STALE,
                VIOLATIONS,
            ],
        }
    };
}

/// The scenarios. In those that crash, loading the next kernel comes last: it is told of everything before.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "crash",
        summary: "crashes with all devices in use",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIOLATIONS, NO_FAULTS, IN_USE, CRASH_KERNEL_LOADED],
    },
    after_crash!(
        "crashed",
        "the kernel that runs after the crash, on a host that resets devices",
        CRASH_KERNEL,
        IDLE_ATTACHED
    ),
    after_crash!("crashed-kept", "the same on a host that lets devices go on", CRASH_KERNEL, STAYS_UNTIL_USED),
    after_crash!(
        "crashed-to-several",
        "the same as crashed, with several processors",
        SEVERAL_PROCESSORS,
        IDLE_ATTACHED
    ),
    Scenario {
        name: "crash-of-edu",
        summary: "crashes with edu alone, in use",
        checks: &[DEVICES, GROUPS, VIOLATIONS, NO_FAULTS, IN_USE, CRASH_KERNEL_LOADED],
    },
    Scenario {
        name: "crashed-of-edu",
        summary: "the kernel that runs after that",
        checks: &[
            CRASH_KERNEL,
            OLD_TABLES,
            DEVICES,
            GROUPS,
            IDLE_ATTACHED,
            NUMBERS_APART,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "crashed-in-a-removal",
        summary:
            "the kernel that runs after a crash in which a disk was being removed, which the host offers again later",
        checks: &[
            CRASH_KERNEL,
            OLD_TABLES,
            DEVICES,
            GROUPS,
            IDLE_ATTACHED,
            NUMBERS_APART,
            DISK_OFFERED_AGAIN,
            VIRTIO,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "crash-storing",
        summary: "crashes while edu writes to a buffer",
        checks: &[DEVICES, GROUPS, STORING, VIOLATIONS, CRASH_KERNEL_LOADED],
    },
    after_storing!(
        "crashed-stored",
        "the kernel after that, on a host that lets devices go on",
        ENDED_KEPT,
        STAYS_UNTIL_USED
    ),
    after_storing!("crashed-reset", "the same on a host that resets them", ENDED_RESET, IDLE_ATTACHED),
    Scenario {
        name: "crash-ats",
        summary: "crashes while a device uses ATS",
        checks: &[DEVICES, GROUPS, ATS_ON, VIOLATIONS, NO_FAULTS, CRASH_KERNEL_LOADED],
    },
    Scenario {
        name: "crashed-ats",
        summary: "the kernel after that, which has no driver for the device",
        checks: &[CRASH_KERNEL, DEVICES, GROUPS, ATS_LEFT_ON, ATS_OFF_WHEN_TAKEN, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "crash-identity",
        summary: "crashes with its devices in identity",
        checks: &[DEVICES, GROUPS, NVME_QUICK, IDENTITY_EDU, VIOLATIONS, NO_FAULTS, CRASH_KERNEL_LOADED],
    },
    Scenario {
        name: "crashed-identity",
        summary: "the kernel after that: its devices are translated, whatever it is told",
        checks: &[
            CRASH_KERNEL,
            DEVICES,
            GROUPS,
            STAYS_UNTIL_USED,
            NUMBERS_APART,
            NVME_QUICK,
            NVME_IOVA,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
];
