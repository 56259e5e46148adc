// SPDX-License-Identifier: GPL-2.0
//! Sequences, each with its own seed.

use std::num::NonZeroU64;

use anyhow::{bail, Context as _, Result};
use hvcore::hostile::random::Seed;

use crate::check::Context;
use crate::kernel_log::KernelLog;
use crate::minihv::Minihv;

/// Where the seeds start when nothing else is asked for.
const FIRST: NonZeroU64 = NonZeroU64::MIN;

/// The host while it is hostile; honest again when this goes.
pub struct Hostility(Minihv);

impl Hostility {
    /// Starts.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn begin(minihv: Minihv, seed: Seed) -> Result<Hostility> {
        minihv.set_hostile(Some(seed))?;
        Ok(Hostility(minihv))
    }

    /// Ends; how many answers were wrong.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn end(self) -> Result<u64> {
        self.0.set_hostile(None)
    }
}

impl Drop for Hostility {
    fn drop(&mut self) {
        // Nothing is left to be told.
        let _ = self.0.set_hostile(None);
    }
}

/// By what the kernel says that something is wrong with itself. The runner looks for more, but does not know the seed.
const SPLATS: [&str; 6] = ["UBSAN: ", "BUG: ", "WARNING: ", "Oops: ", "refcount_t: ", "corruption"];
/// Where the IOMMU core warns of a driver that refuses what it may not refuse: some hosts leave it no choice. Whether
/// such a warning is part of the test is the runner's business.
const CORE: &str = "WARNING: drivers/iommu/iommu.c";

/// Finds what the kernel says about itself.
fn expect_no_splat(lines: &[String]) -> Result<()> {
    let is_splat = |line: &&String| SPLATS.iter().any(|word| line.contains(word)) && !line.starts_with(CORE);
    match lines.iter().find(is_splat) {
        None => Ok(()),
        Some(line) => bail!("the kernel says {line:?}"),
    }
}

/// How the sequences went.
#[derive(Default)]
pub struct Tally {
    /// How many.
    pub sequences: u64,
    /// Answers of the host that were wrong.
    pub wrong: u64,
}

/// Runs as many sequences as were asked for, with the seeds that follow each other from the one that was asked for.
/// `sequence` is given the sequence's number and seed and the kernel's log, which has no older lines; it returns the
/// number of wrong answers. The error names the seed, by which the sequence can be run alone.
///
/// # Errors
/// The first sequence that fails.
pub fn each(
    context: &mut Context<'_>,
    mut sequence: impl FnMut(&mut Context<'_>, u64, Seed, &mut KernelLog) -> Result<u64>,
) -> Result<Tally> {
    let first = context.options.seed.map_or(FIRST, |seed| seed.0);
    let (mut log, mut splats) = (KernelLog::follow()?, KernelLog::follow()?);
    let mut tally = Tally::default();
    for number in 0..context.options.rounds {
        let seed = Seed(first.saturating_add(number));
        log.take()?;
        let wrong = sequence(context, number, seed, &mut log)
            .and_then(|wrong| expect_no_splat(&splats.take()?).map(|()| wrong))
            .with_context(|| format!("sequence {number}, reproduced by hvtest.seed={seed} hvtest.rounds=1"))?;
        tally.sequences += 1;
        tally.wrong += wrong;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_warns_where_a_driver_may_not_refuse() {
        let lines = |line: &str| vec!["hv_pviommu: fine".to_owned(), line.to_owned()];
        assert!(expect_no_splat(&lines("WARNING: drivers/iommu/iommu.c:157 at f")).is_ok());
        for line in ["WARNING: mm/page_alloc.c:1 at f", "UBSAN: shift-out-of-bounds in x", "BUG: KASAN: slab-use"] {
            assert!(expect_no_splat(&lines(line)).is_err(), "{line}");
        }
    }
}
