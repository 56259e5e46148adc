// SPDX-License-Identifier: GPL-2.0
//! Rights that a mapping takes away: memory that a device could write is mapped once more at the same address, to be read.

use anyhow::{Context as _, Result};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::memory::Rights;
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE, OTHER};

/// The page whose rights change, and the one by which is seen what the device has read.
const CHANGES: u64 = 90;
const STAYS: u64 = 91;

/// A device wrote a page. The page is unmapped, and mapped again at the same address for reading only: the device does not
/// write it by the old translation, and reads it by the new one.
fn taken_away(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut witness = Witness::open_by(context, back_end, 2)?;
    witness.session.map(at(CHANGES), &witness.buffer, 0, 1)?;
    witness.session.map(at(STAYS), &witness.buffer, 1, 1)?;
    witness.round_trip(at(CHANGES), 0, FROM_DEVICE, "the page while the device may write it")?;
    witness.session.unmap(at(CHANGES), 1)?;
    let page = witness.buffer.range(0, 1);
    witness.session.map_for(at(CHANGES), page, Rights::Read).context("mapping for reading")?;
    // The write comes first: the emulated IOMMU reports none that meets a translation which a read has left behind.
    witness.blocked_write(at(CHANGES), 0, "STALE TRANSLATION: a page that the device may only read now")?;
    witness.arm(at(CHANGES), 0, OTHER)?;
    witness.edu.store(at(STAYS))?;
    witness.buffer.expect(1, OTHER, "what the device has read of the page")?;
    witness.faults.expect_none()?;
    Ok(Outcome::Pass("the write is blocked, the read is not".to_owned()))
}

const VFIO_RIGHTS: Check = Check::new("vfio-right-to-write-is-taken-away", |c| taken_away(c, BackEnd::Type1));
const CDEV_RIGHTS: Check = Check::new("cdev-right-to-write-is-taken-away", |c| taken_away(c, BackEnd::Iommufd));

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "rights",
    summary: "memory that a device could write is mapped again for reading, at the same address",
    checks: &[DEVICES, GROUPS, NO_FAULTS, VFIO_RIGHTS, CDEV_RIGHTS, VIOLATIONS],
}];
