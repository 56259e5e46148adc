// SPDX-License-Identifier: GPL-2.0
//! The host takes a device away from user space that holds it, as it does when it services a virtual function.

use anyhow::{bail, Context as _, Result};
use linkme::distributed_slice;

use crate::census::Census;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::device_events::{Events, Source};
use crate::hotplug::{bind, functions, offer, wait_until, wait_until_empty};
use crate::memory::DmaBuffer;
use crate::minihv::{DeviceTranslation, Minihv, Plug};
use crate::pci;
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::{at, Witness, FROM_DEVICE, OTHER};

/// How the device is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The host withdraws it; user space gives it back.
    Withdrawn,
    /// The host withdraws it and offers it again before user space has given it back.
    OfferedAgain,
    /// It fails, the host withdraws it, user space gives it back.
    Torn,
    /// It fails, user space gives it back, the host withdraws it.
    TornAndClosed,
}

fn held(context: &Context<'_>, minihv: Minihv, back_end: BackEnd, loss: Loss) -> Result<()> {
    let before = Census::take(minihv)?;
    let witness = Witness::open_by(context, back_end, 4)?;
    witness.session.map(at(0), &witness.buffer, 0, 2)?;
    witness.session.map(at(8), &witness.buffer, 2, 2)?;
    witness.round_trip(at(0), 0, FROM_DEVICE, "the page that the device wrote")?;
    let while_held = Census::take(minihv)?;
    if while_held.pinned < before.pinned + 4 {
        bail!("mapped pages are not pinned: {} before, {} now", before.pinned, while_held.pinned);
    }
    let notice = Events::enable(witness.session.device(), Source::Removal, 1)?;
    let id = witness.function.logical_id().context("edu has no logical id")?;
    let bus = witness.function.bus().context("edu does not sit on a VMBus device")?;

    if matches!(loss, Loss::Torn | Loss::TornAndClosed) {
        minihv.plug(bus, Plug::Unplugged)?;
    }
    if loss != Loss::TornAndClosed {
        minihv.rescind(bus)?;
        wait_until("user space is asked to let go", || notice.has_fired())?;
        if functions(bus)?.is_empty() {
            bail!("the device went while user space had it");
        }
    }
    let translation = minihv.device_translation(id)?;
    if translation != DeviceTranslation::Blocked {
        bail!("translation of the lost device is {translation:?}");
    }
    if loss == Loss::OfferedAgain {
        minihv.offer(bus)?;
    }
    // The address space is usable to its end; the second mapping is left to the close.
    witness.session.unmap(at(0), 2).context("unmapping without the device")?;
    witness.session.map(at(4), &witness.buffer, 0, 1).context("mapping without the device")?;
    let Witness { session, buffer, edu, .. } = witness;
    // Mapped registers hold the device, too.
    drop(edu);
    drop(session);
    if loss == Loss::TornAndClosed {
        minihv.rescind(bus)?;
    }
    if loss == Loss::OfferedAgain {
        // The old function and the new one look alike; only the new one works.
        let works = || minihv.device_translation(id).is_ok_and(|t| matches!(t, DeviceTranslation::Stage1(_)));
        wait_until("the device is back", || Ok(works() && functions(bus)?.len() == 1))?;
    } else {
        wait_until_empty(bus)?;
        wait_until("device and group are gone", || {
            let away = Census::take(minihv)?;
            Ok((away.functions, away.groups) == (before.functions - 1, before.groups - 1))
        })?;
        // The memory is still there: it was not its end that unpinned it.
        wait_until("no page is pinned", || Ok(Census::take(minihv)?.pinned == before.pinned))?;
        offer(minihv, bus, 1)?;
    }
    drop(buffer);
    let function = pci::find(pci::EDU)?;
    wait_until("the device is in a group", || Ok(function.group().is_some()))?;
    bind(&function, "vfio-pci")?;
    let session = Session::open_by(&function, back_end)?;
    let witness = Witness::new(context, function, session, DmaBuffer::new(1)?)?;
    witness.session.map(at(0), &witness.buffer, 0, 1)?;
    witness.round_trip(at(0), 0, OTHER, "the page that the device wrote after its return")?;
    drop(witness);
    before.wait_for_return(minihv)
}

fn by_both_interfaces(context: &mut Context<'_>, losses: [Loss; 2]) -> Result<Outcome> {
    let minihv = context.minihv()?;
    pci::find(pci::EDU)?.bind("vfio-pci")?;
    for back_end in BackEnd::ALL {
        for loss in losses {
            held(context, minihv, back_end, loss).with_context(|| format!("{back_end:?}, {loss:?}"))?;
        }
    }
    Ok(Outcome::Pass(format!("type 1 and iommufd: {losses:?}; gone, unpinned, back, mapped anew")))
}

/// The device works until the host withdraws it.
fn orderly(context: &mut Context<'_>) -> Result<Outcome> {
    by_both_interfaces(context, [Loss::Withdrawn, Loss::OfferedAgain])
}

const REVOCATION: Check = Check::new("device-revoked-from-user", orderly);

/// The device fails before user space hears of it.
fn torn(context: &mut Context<'_>) -> Result<Outcome> {
    by_both_interfaces(context, [Loss::Torn, Loss::TornAndClosed])
}

const REVOCATION_TORN: Check = Check::new("device-torn-from-user", torn);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "revocation",
    summary: "the host takes a device that user space holds",
    checks: &[DEVICES, GROUPS, REVOCATION, REVOCATION_TORN, NVME_QUICK, NO_FAULTS, VIOLATIONS],
}];
