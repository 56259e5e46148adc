// SPDX-License-Identifier: GPL-2.0
//! DMA through kernel drivers and through VFIO, in the modes and on the hosts that there are.

use super::checks::{
    APERTURE, CACHES_CLEAN, COUNTERS, DEVICES, GROUPS, HYPERVISOR_OUT_OF_REACH, IDENTITY_EDU, LIST_FALLBACK, NO_FAULTS,
    NVME_FIO, NVME_IOVA, NVME_QUICK, RAW_BLOCKED, TYPE_BY_SYSFS, UNMANAGED_ALONE, UNMANAGED_BLOCKED, VFIO_MAPPED,
    VFIO_NEIGHBOUR, VFIO_REMAP, VFIO_STALE, VFIO_UNMAPPED, VFIO_WALK, VIOLATIONS, VIRTIO,
};
use super::Scenario;

/// The scenarios. The fault check comes before those that cause faults on purpose.
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
            CACHES_CLEAN,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "edu",
        summary: "translation and protection, by edu alone",
        checks: &[DEVICES, GROUPS, NO_FAULTS, RAW_BLOCKED, VFIO_MAPPED, VFIO_UNMAPPED, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "default-type",
        summary: "the types of groups, by default and by sysfs, and that VFIO translates all the same",
        checks: &[DEVICES, GROUPS, TYPE_BY_SYSFS, NO_FAULTS, VFIO_MAPPED, VFIO_STALE, VIOLATIONS],
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
            HYPERVISOR_OUT_OF_REACH,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "unmanaged",
        summary: "no IOMMU: no groups, devices work untranslated",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIRTIO, IDENTITY_EDU, NO_FAULTS, HYPERVISOR_OUT_OF_REACH],
    },
    Scenario {
        name: "one-unmanaged",
        summary: "of two edu, one is not behind the IOMMU and works untranslated; the other one and NVMe are",
        checks: &[DEVICES, NVME_QUICK, NO_FAULTS, UNMANAGED_ALONE, VIOLATIONS],
    },
    Scenario {
        name: "one-unmanaged-blocked",
        summary: "the same on a host that blocks what nobody has attached",
        checks: &[DEVICES, NVME_QUICK, NO_FAULTS, UNMANAGED_BLOCKED, VIOLATIONS],
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
    Scenario { name: "boot", summary: "nothing but booting and the devices", checks: &[DEVICES] },
    Scenario { name: "kunit", summary: "nothing: the kernel's own tests ran while it booted", checks: &[] },
];
