// SPDX-License-Identifier: GPL-2.0
//! A program takes its device out of a domain that could not be flushed, and puts it back. The driver cannot tell that from
//! the core putting a device back after a reset, which must not fail. So it says that the device is there, and keeps it
//! blocked, with one line.

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::protection::VFIO_STALE;
use crate::minihv::{DeviceTranslation, Injection};
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE};

/// The device goes back to the last domain that was chosen for it, and stays blocked.
fn back_to_the_last(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut witness = Witness::open_by(context, BackEnd::Iommufd, 2)?;
    let id = witness.function.logical_id().context("edu has no logical id")?;
    for page in 0..2 {
        witness.session.map(at(page), &witness.buffer, page as usize, 1)?;
    }
    let (cdev, space) = witness.iommufd()?;
    // A domain of the address space itself would go with its last device.
    let domain = space.iommufd.allocate_hwpt(cdev.id()?, space.ioas).context("a domain")?;
    cdev.attach_hwpt(domain).context("attaching to the domain")?;
    witness.round_trip(at(1), 1, FROM_DEVICE, "the page before anything fails")?;
    for call in [CallCode::FLUSH_DEVICE_DOMAIN_LIST, CallCode::FLUSH_DEVICE_DOMAIN] {
        minihv.inject(Injection::every(call))?;
    }
    let unmapped = witness.session.unmap(at(0), 1);
    minihv.clear_injections()?;
    unmapped.context("unmap")?;

    let (cdev, _) = witness.iommufd()?;
    cdev.detach().context("detach")?;
    cdev.attach_hwpt(domain).context("attaching to the domain that the device was in last")?;
    let translation = minihv.device_translation(id)?;
    if translation != DeviceTranslation::Blocked {
        bail!("back in a domain that could not be flushed, the device is not blocked: {translation:?}");
    }
    witness.blocked_write(at(1), 1, "a page of a domain that could not be flushed")?;

    let (cdev, space) = witness.iommufd()?;
    let other = space.iommufd.allocate_hwpt(cdev.id()?, space.ioas).context("another domain")?;
    cdev.attach_hwpt(other).context("attaching to another domain")?;
    witness.round_trip(at(1), 1, FROM_DEVICE, "the page by a domain that works")?;
    Ok(Outcome::Pass("attached, and blocked".to_owned()))
}

const BACK_TO_THE_LAST: Check = Check::new("back-in-a-stale-domain-is-blocked", back_to_the_last);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "last-domain",
    summary: "a device goes back to the domain that it was in last, and which could not be flushed",
    checks: &[DEVICES, GROUPS, BACK_TO_THE_LAST, NO_FAULTS, VFIO_STALE, VIOLATIONS],
}];
