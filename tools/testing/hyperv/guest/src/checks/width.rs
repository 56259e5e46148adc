// SPDX-License-Identifier: GPL-2.0
//! The width of the I/O address space.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use linkme::distributed_slice;
use nix::errno::Errno;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE, VFIO_WALK};
use crate::memory::PAGE;
use crate::report::Outcome;
use crate::witness::Witness;

/// QEMU's VT-d walks 4 levels only; wider tables are walked by minihv in software.
const HARDWARE_BITS: u32 = 48;

/// The last page of the aperture can be mapped and used, the first one behind it is refused.
fn aperture(context: &mut Context<'_>) -> Result<Outcome> {
    let bits = context.options.aperture_bits.context("hvtest.aperture= is missing")?;
    let end = 1_u64.checked_shl(bits).context("hvtest.aperture= is out of range")?;
    let witness = Witness::open(context, 2)?;
    let ranges = witness.session.iova_ranges()?;
    let last = ranges.last().context("no IOVA range")?.1;
    if last != Iova(end - 1) {
        bail!("the I/O address space ends at {:#x} instead of {:#x}", last.0, end - 1);
    }
    let top = Iova(end - PAGE as u64);
    witness.session.map(top, &witness.buffer, 0, 1).with_context(|| format!("mapping the last page {:#x}", top.0))?;
    if let Some(minihv) = context.minihv {
        let leaf = witness.leaf(minihv, top)?.context("the last page is not in the table")?;
        if !leaf.sends(top, witness.buffer.physical(0)?) {
            bail!("the table sends the last page to {:#x}", leaf.address().0);
        }
    }
    if bits < HARDWARE_BITS {
        witness.buffer.fill(0, 0x71);
        witness.edu.load(top)?;
        witness.buffer.fill(0, 0);
        witness.edu.store(top)?;
        witness.buffer.expect(0, 0x71, "DMA at the last page")?;
    }
    witness.session.unmap(top, 1)?;
    match witness.session.map(Iova(end), &witness.buffer, 1, 1) {
        Err(Errno::EINVAL) => Ok(Outcome::Pass(format!("{bits} bits"))),
        other => bail!("mapping {end:#x}, the first address behind the aperture: {other:?} instead of EINVAL"),
    }
}

const APERTURE: Check = Check::new("aperture", aperture);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "widths",
        summary: "the aperture is as wide as announced and no wider",
        checks: &[DEVICES, GROUPS, NVME_QUICK, NO_FAULTS, APERTURE, VFIO_MAPPED, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "widths-no-dma",
        summary: "the same for tables that the emulated hardware cannot walk: by the hypervisor's own walk only",
        checks: &[DEVICES, GROUPS, NO_FAULTS, APERTURE, VFIO_WALK, VIOLATIONS],
    },
];
