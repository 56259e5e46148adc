// SPDX-License-Identifier: GPL-2.0
//! The width of the I/O address space.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use nix::errno::Errno;

use crate::memory::PAGE;
use crate::report::Outcome;
use crate::scenario::Context;
use crate::testbench::Bench;

/// QEMU's VT-d walks 4 levels only; wider tables are walked by minihv in software.
const HARDWARE_BITS: u32 = 48;

/// The last page of the aperture can be mapped and used, the first one behind it is refused.
pub fn aperture(context: &mut Context<'_>) -> Result<Outcome> {
    let bits = context.options.aperture_bits.context("hvtest.aperture= is missing")?;
    let end = 1_u64.checked_shl(bits).context("hvtest.aperture= is out of range")?;
    let bench = Bench::open(context, 2)?;
    let ranges = bench.session.iova_ranges()?;
    let last = ranges.last().context("no IOVA range")?.1;
    if last != Iova(end - 1) {
        bail!("the I/O address space ends at {:#x} instead of {:#x}", last.0, end - 1);
    }
    let top = Iova(end - PAGE as u64);
    bench.session.map(top, &bench.buffer, 0, 1).with_context(|| format!("mapping the last page {:#x}", top.0))?;
    if let Some(minihv) = context.minihv {
        let leaf = bench.leaf(minihv, top)?.context("the last page is not in the table")?;
        if !leaf.sends(top, bench.buffer.physical(0)?) {
            bail!("the table sends the last page to {:#x}", leaf.address().0);
        }
    }
    if bits < HARDWARE_BITS {
        bench.buffer.fill(0, 0x71);
        bench.edu.load(top)?;
        bench.buffer.fill(0, 0);
        bench.edu.store(top)?;
        bench.buffer.expect(0, 0x71, "DMA at the last page")?;
    }
    bench.session.unmap(top, 1)?;
    match bench.session.map(Iova(end), &bench.buffer, 1, 1) {
        Err(Errno::EINVAL) => Ok(Outcome::Pass(format!("{bits} bits"))),
        other => bail!("mapping {end:#x}, the first address behind the aperture: {other:?} instead of EINVAL"),
    }
}
