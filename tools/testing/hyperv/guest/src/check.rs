// SPDX-License-Identifier: GPL-2.0
//! What a check is, what it may use, and the lists that checks are put on.
//!
//! A file below `checks` has the checks of one concern, and the scenarios that are about it. Nothing else has to know of
//! the file: its scenarios are on [`SCENARIOS`] because they are there.

use anyhow::{bail, Context as _, Result};
use linkme::distributed_slice;

use crate::minihv::Minihv;
use crate::pci::PciFunction;
use crate::report::{Outcome, Reporter};
use hvprotocol::options::Options;

/// What a check may use.
pub struct Context<'a> {
    /// What the runner asked for.
    pub options: &'a Options,
    /// The test interface, when minihv is below.
    pub minihv: Option<Minihv>,
    /// Every PCI function, without bridges.
    pub functions: Vec<PciFunction>,
    /// For diagnostic lines.
    pub reporter: &'a mut Reporter,
}

impl Context<'_> {
    /// minihv's test interface.
    ///
    /// # Errors
    /// When something else is below.
    pub fn minihv(&self) -> Result<Minihv> {
        self.minihv.context("this check needs minihv")
    }

    /// The NVMe controllers.
    ///
    /// # Errors
    /// When there is none.
    pub fn nvme(&self) -> Result<Vec<PciFunction>> {
        let found: Vec<PciFunction> = self.functions.iter().filter(|f| f.is_nvme()).cloned().collect();
        if found.is_empty() {
            bail!("the guest has no NVMe controller");
        }
        Ok(found)
    }
}

/// One check: its name in the report, and what it does.
#[derive(Clone, Copy)]
pub struct Check {
    /// Stable name; the runner's expectations use it.
    pub name: &'static str,
    /// What it does.
    pub run: fn(&mut Context<'_>) -> Result<Outcome>,
}

impl Check {
    /// Names a check.
    pub const fn new(name: &'static str, run: fn(&mut Context<'_>) -> Result<Outcome>) -> Check {
        Check { name, run }
    }
}

/// A named list of checks.
pub struct Scenario {
    /// Name, as in `hvtest.scenario=`.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// The checks, in order.
    pub checks: &'static [Check],
}

/// The scenarios of every file, in no order.
#[distributed_slice]
pub static SCENARIOS: [&'static [Scenario]];
