// SPDX-License-Identifier: GPL-2.0
//! Where and whether a measurement is made.

use anyhow::Result;

use crate::check::Context;
use crate::report::Outcome;
use hvprotocol::options::DomainMode;

/// Where a kind of thing can be measured, and is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// In every boot.
    Everywhere,
    /// Where an IOMMU translates, once: the mode of the DMA API makes no difference.
    StrictIommu,
    /// Where minihv tells its share from the guest's.
    Minihv,
}

impl Where {
    fn is_here(self, context: &Context<'_>) -> bool {
        match self {
            Where::Everywhere => true,
            Where::StrictIommu => context.options.mode == DomainMode::Strict,
            Where::Minihv => context.minihv.is_some(),
        }
    }
}

/// Runs the measurement `name`, unless this boot is not for it or `hvtest.measure=` leaves it out. `work` returns the
/// number of figures.
pub fn measurement(
    context: &mut Context<'_>,
    name: &str,
    place: Where,
    work: impl FnOnce(&mut Context<'_>) -> Result<usize>,
) -> Result<Outcome> {
    let chosen = &context.options.measure;
    if !place.is_here(context) || !(chosen.is_empty() || chosen.iter().any(|one| one == name)) {
        return Ok(Outcome::Pass("not measured in this boot".to_owned()));
    }
    match work(context)? {
        0 => anyhow::bail!("nothing was measured"),
        count => Ok(Outcome::Pass(format!("{count} figures"))),
    }
}
