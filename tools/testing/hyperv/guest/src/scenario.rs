// SPDX-License-Identifier: GPL-2.0
//! Named lists of checks, and how one is run.

use std::time::Duration;

use anyhow::{bail, Result};

use crate::checks::{counters, groups, identity, nvme, protection, virtio, width};
use crate::control::Minihv;
use crate::init;
use crate::options::Options;
use crate::pci::{self, PciFunction};
use crate::report::{Outcome, Reporter, Tally};

/// How long the devices may take to show up. Debug kernels in a loaded emulator are slow.
const DEVICE_PATIENCE: Duration = Duration::from_secs(60);

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

const fn check(name: &'static str, run: fn(&mut Context<'_>) -> Result<Outcome>) -> Check {
    Check { name, run }
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

const DEVICES: Check = check("devices-present", groups::devices_present);
const GROUPS: Check = check("iommu-groups", groups::group_types);
const NVME_QUICK: Check = check("nvme-verified-io", nvme::quick_io);
const NVME_FIO: Check = check("nvme-fio-verified", nvme::fio_jobs);
const NVME_IOVA: Check = check("nvme-queue-addresses-are-iovas", nvme::queue_addresses);
const VIRTIO: Check = check("virtio-io", virtio::io);
const COUNTERS: Check = check("hypervisor-counters", counters::translated_io);
const VIOLATIONS: Check = check("no-protocol-violations", counters::no_violations);
const NO_FAULTS: Check = check("no-stray-dma-faults", counters::no_faults);
const RAW_BLOCKED: Check = check("edu-unmapped-is-blocked", protection::raw_unmapped);
const VFIO_MAPPED: Check = check("vfio-mapped-both-ways", protection::mapped);
const VFIO_UNMAPPED: Check = check("vfio-unmapped-is-blocked", protection::unmapped);
const VFIO_STALE: Check = check("vfio-unmap-flushes", protection::stale);
const VFIO_REMAP: Check = check("vfio-remap-reaches-new-memory", protection::remap);
const VFIO_NEIGHBOUR: Check = check("vfio-unmap-spares-neighbour", protection::neighbour);
const VFIO_FLUSH_FAILURE: Check = check("vfio-failed-flush-blocks", protection::flush_failure);
const VFIO_WALK: Check = check("vfio-table-holds-physical-address", protection::table_walk);
const IDENTITY_EDU: Check = check("edu-reaches-physical-address", identity::edu_untranslated);
const APERTURE: Check = check("aperture", width::aperture);
const LIST_FALLBACK: Check = check("list-flush-tried-once", counters::list_flush_tried_once);

/// All scenarios. The fault check comes before those that cause faults on purpose.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "main",
        summary: "fio on NVMe, translation and protection (what `make run` shows)",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_FIO,
            NVME_IOVA,
            VIRTIO,
            COUNTERS,
            NO_FAULTS,
            RAW_BLOCKED,
            VFIO_MAPPED,
            VFIO_WALK,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "dma",
        summary: "the same with a short NVMe check instead of fio",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            NVME_IOVA,
            VIRTIO,
            COUNTERS,
            NO_FAULTS,
            RAW_BLOCKED,
            VFIO_MAPPED,
            VFIO_WALK,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "identity",
        summary: "bypass: devices use physical addresses; VFIO still translates",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            IDENTITY_EDU,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "unmanaged",
        summary: "no IOMMU: no groups, devices work untranslated",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIRTIO, IDENTITY_EDU, NO_FAULTS],
    },
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
    Scenario {
        name: "list-fallback",
        summary: "a host without the list flush: one try, whole-domain flushes from then on",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VFIO_STALE, VFIO_REMAP, LIST_FALLBACK],
    },
    Scenario {
        name: "refused-device",
        summary: "one device (edu) that the driver could not take: it does no DMA, the others work",
        checks: &[DEVICES, NVME_QUICK, VIRTIO, NO_FAULTS, RAW_BLOCKED, VIOLATIONS],
    },
    Scenario {
        name: "failing-flush",
        summary: "a host on which no flush works",
        checks: &[DEVICES, GROUPS, VFIO_FLUSH_FAILURE],
    },
    Scenario {
        name: "stale",
        summary: "only the stale-translation checks (the runner's test of the tests expects them to fail)",
        checks: &[DEVICES, GROUPS, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario { name: "boot", summary: "nothing but booting and the devices", checks: &[DEVICES] },
    Scenario { name: "kunit", summary: "nothing: the kernel's own tests ran while it booted", checks: &[] },
];

/// Looks a scenario up.
///
/// # Errors
/// When the name is not known.
pub fn find(name: &str) -> Result<&'static Scenario> {
    match SCENARIOS.iter().find(|s| s.name == name) {
        Some(scenario) => Ok(scenario),
        None => bail!("no scenario {name:?}"),
    }
}

/// Runs a scenario to its end; a failing check does not stop the ones after it.
///
/// # Errors
/// When the machine is not fit to start: a module or a device is missing.
pub fn run(scenario: &Scenario, options: &Options, reporter: &mut Reporter) -> Result<Tally> {
    reporter.plan(scenario.checks.len());
    for module in &options.modules {
        init::modprobe(module)?;
    }
    let functions =
        if scenario.checks.is_empty() { Vec::new() } else { pci::wait_for_devices(options.devices, DEVICE_PATIENCE)? };
    let mut context = Context { options, minihv: Minihv::detect(), functions, reporter };
    for (index, check) in scenario.checks.iter().enumerate() {
        let result = (check.run)(&mut context);
        context.reporter.result(index + 1, check.name, &result);
    }
    Ok(reporter.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for scenario in SCENARIOS {
            assert_eq!(SCENARIOS.iter().filter(|s| s.name == scenario.name).count(), 1);
            for check in scenario.checks {
                assert_eq!(scenario.checks.iter().filter(|c| c.name == check.name).count(), 1, "{}", check.name);
            }
        }
    }
}
