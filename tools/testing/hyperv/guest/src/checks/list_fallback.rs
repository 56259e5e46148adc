// SPDX-License-Identifier: GPL-2.0
//! A host that does not know the list flush.

use anyhow::{bail, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::NO_MINIHV;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::{VFIO_REMAP, VFIO_STALE};
use crate::report::Outcome;

/// After the first list flush that the host did not know, the driver stays with whole-domain flushes.
fn list_flush_tried_once(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip(NO_MINIHV.to_owned())) };
    let list = minihv.calls(CallCode::FLUSH_DEVICE_DOMAIN_LIST)?;
    let domain = minihv.calls(CallCode::FLUSH_DEVICE_DOMAIN)?;
    let seen = format!("{list} list flushes, {domain} domain flushes");
    if list != 1 || domain == 0 {
        bail!("{seen}; expected 1 and at least 1");
    }
    Ok(Outcome::Pass(seen))
}

const LIST_FALLBACK: Check = Check::new("list-flush-tried-once", list_flush_tried_once);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "list-fallback",
    summary: "a host without the list flush: one try, whole-domain flushes from then on",
    checks: &[DEVICES, GROUPS, NVME_QUICK, VFIO_STALE, VFIO_REMAP, LIST_FALLBACK],
}];
