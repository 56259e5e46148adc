// SPDX-License-Identifier: GPL-2.0
//! What this program measures itself: calls into the kernel, as a whole.

use core::arch::x86_64::_rdtsc;

use anyhow::Result;
use hvcore::test_interface::Counter;

use crate::minihv::Minihv;

/// Counts what happens between two points.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    minihv: Option<Minihv>,
    /// Instructions of an exit that minihv's own clock does not see.
    world_switch: u64,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Instructions, minihv's included.
    pub instructions: u64,
    /// minihv's part of them, where it is below.
    pub hypervisor: Option<u64>,
    /// IOMMU hypercalls, where minihv is below.
    pub calls: Option<u64>,
}

#[derive(Clone, Copy)]
struct Counts {
    exits: u64,
    ticks: u64,
    calls: u64,
}

/// The time-stamp counter.
fn ticks() -> u64 {
    // SAFETY: the instruction has no preconditions; Linux lets every program execute it.
    unsafe { _rdtsc() }
}

impl Meter {
    /// Measures below a hypervisor, if there is one, whose world switches take so many instructions.
    pub fn new(minihv: Option<Minihv>, world_switch: u64) -> Meter {
        Meter { minihv, world_switch }
    }

    fn counts(self) -> Result<Option<Counts>> {
        let Some(minihv) = self.minihv else { return Ok(None) };
        Ok(Some(Counts {
            calls: minihv.iommu_calls()?,
            exits: minihv.counter(Counter::Exits, 0)?,
            ticks: minihv.counter(Counter::HypervisorTicks, 0)?,
        }))
    }

    /// Does `work`, and tells what it cost. Asking minihv costs some hundred instructions of its own time, which are
    /// left in: what is measured here is far longer.
    ///
    /// # Errors
    /// Those of `work`, and when minihv does not answer as documented.
    pub fn measure<R>(self, work: impl FnOnce() -> Result<R>) -> Result<(R, Cost)> {
        let before = self.counts()?;
        let start = ticks();
        let result = work()?;
        let instructions = ticks() - start;
        let spent = self.counts()?.zip(before).map(|(after, before)| Counts {
            exits: after.exits - before.exits,
            ticks: after.ticks - before.ticks,
            calls: after.calls - before.calls,
        });
        let hypervisor = spent.map(|spent| spent.ticks + spent.exits * self.world_switch);
        Ok((result, Cost { instructions, hypervisor, calls: spent.map(|spent| spent.calls) }))
    }
}
