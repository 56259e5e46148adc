// SPDX-License-Identifier: GPL-2.0
//! A jump into another kernel that is to come back (`CONFIG_KEXEC_JUMP`). It suspends the system core as hibernation does,
//! and nobody puts the IOMMU back afterwards: it must be refused.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Gpa;
use linkme::distributed_slice;
use nix::errno::Errno;

use super::hibernation::across;
use super::nvme;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_IOVA;
use crate::checks::protection::VFIO_STALE;
use crate::iomem;
use crate::kexec::Returning;
use crate::memory::PAGE;
use crate::report::Outcome;

/// A page of RAM, whatever it holds: the last one of the largest part.
fn some_page() -> Result<Gpa> {
    let parts = iomem::system_ram()?;
    let largest = parts.into_iter().max_by_key(|part| part.end.0 - part.start.0).context("no RAM")?;
    let page = PAGE as u64;
    Ok(Gpa(largest.end.0 / page * page - page))
}

/// The kernel refuses, and its devices are where they were.
fn jump_refused(context: &mut Context<'_>) -> Result<Outcome> {
    let code = Returning::load(some_page()?)?;
    across(context, "a jump into another kernel", || match code.jump() {
        Err(Errno::EBUSY) => Ok(()),
        other => bail!("the jump was not refused with EBUSY: {other:?}"),
    })?;
    drop(code);
    nvme::quick_io(context)
}

const JUMP_REFUSED: Check = Check::new("kexec-jump-refused", jump_refused);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "kexec-jump",
    summary: "a jump into another kernel and back is refused, and all goes on",
    checks: &[DEVICES, GROUPS, JUMP_REFUSED, NVME_IOVA, NO_FAULTS, VFIO_STALE, VIOLATIONS],
}];
