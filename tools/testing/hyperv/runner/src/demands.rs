// SPDX-License-Identifier: GPL-2.0
//! What must be true of a boot.

use hvprotocol::faults::Provoked;

use crate::expect::{Expectation, KunitSuite, Times};
use crate::known::{KnownCycle, KnownWarning};

/// Checks of the guest program that only minihv makes possible.
pub const HYPERVISOR_CHECKS: [&str; 6] = [
    "nvme-queue-addresses-are-iovas",
    "hypervisor-counters",
    "no-stray-dma-faults",
    "vfio-table-holds-physical-address",
    "no-protocol-violations",
    "unmaps-leave-nothing-cached",
];

/// A check that may be skipped for a reason, as long as it gives that reason.
#[derive(Clone, Debug)]
pub struct Excuse {
    /// Pattern for the check's whole name.
    pub check: String,
    /// Pattern for the reason.
    pub reason: String,
    /// How many checks it excuses.
    pub times: Times,
}

/// A check that must fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Its whole name.
    pub check: String,
    /// Pattern for what it says; a failure for another reason fails the case.
    pub reason: String,
}

/// What lines of the driver mean that nothing names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unnamed {
    /// They fail the boot.
    #[default]
    Fails,
    /// They are no concern of the verdict: nobody knows what was tried.
    Passes,
}

/// Who tells how a boot went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reporter {
    /// The guest program and the kernel.
    #[default]
    Guest,
    /// minihv, in a test of itself.
    Hypervisor,
    /// The same of a host of a root partition.
    RootHost,
}

/// Which results are right.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    /// Whose report it is.
    pub reporter: Reporter,
    /// About the kernel log.
    pub log: Vec<Expectation>,
    /// What other lines of the driver and DMA faults mean.
    pub unnamed: Unnamed,
    /// DMA faults, besides those that the guest program announces.
    pub faults: Vec<Provoked>,
    /// Patterns of violations of the interface that are part of the test: each must match a line of minihv's log, from
    /// behind `violation: ` on.
    pub violations: Vec<String>,
    /// Checks of the guest program that must fail; all others must not.
    pub failing: Vec<Failing>,
    /// Checks of the guest program that may be skipped; all others may not.
    pub skippable: Vec<String>,
    /// The same by pattern, for one reason each.
    pub excuses: Vec<Excuse>,
    /// Patterns of splats that are part of the test.
    pub splats: Vec<String>,
    /// Warnings of the kernel that are part of the test.
    pub warnings: Vec<KnownWarning>,
    /// Orders of locks whose reports are part of the test.
    pub cycles: Vec<KnownCycle>,
    /// Functions whose appearance in a report's call trace makes the report part of the test.
    pub known_callers: Vec<String>,
    /// Reports besides the first one: those of kernels that this one leaves for, in the same boot.
    pub more_reports: usize,
    /// Suites that the kernel's own tests must contain.
    pub kunit_suites: Vec<KunitSuite>,
}
