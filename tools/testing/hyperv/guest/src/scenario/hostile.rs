// SPDX-License-Identifier: GPL-2.0
//! A hostile host: what it answers comes from a seed (`hvtest.seed=`), another one for each of `hvtest.rounds=`
//! sequences.

use super::checks::{
    DEVICES, GROUPS, HOSTILE_BOOT, HOSTILE_CLOSE, HOSTILE_HOTPLUG, HOSTILE_PROBE, HOSTILE_USER, VFIO_MAPPED, VFIO_STALE,
};
use super::Scenario;

/// The scenarios. In the end the host is honest, and everything works.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hostile-probe",
        summary: "the driver looks for its IOMMU, again and again",
        checks: &[DEVICES, GROUPS, HOSTILE_PROBE, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario {
        name: "hostile-user",
        summary: "a program makes domains, attaches, maps and unmaps",
        checks: &[DEVICES, GROUPS, HOSTILE_USER, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario {
        name: "hostile-close",
        summary: "a program ends: the kernel takes its device back, and may not fail",
        checks: &[DEVICES, GROUPS, HOSTILE_CLOSE, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario {
        name: "hostile-hotplug",
        summary: "devices come and go",
        checks: &[DEVICES, GROUPS, HOSTILE_HOTPLUG, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario { name: "hostile-boot", summary: "a whole boot", checks: &[DEVICES, HOSTILE_BOOT] },
];
