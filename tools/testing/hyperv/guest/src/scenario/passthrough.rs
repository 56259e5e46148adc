// SPDX-License-Identifier: GPL-2.0
//! Devices in the hands of programs, by both interfaces that the kernel has for it.

use super::checks::{
    CDEV_BAR_REFUSED, CDEV_DETACH, CDEV_DMA_BUF, CDEV_EARLY_MAP, CDEV_FIRST, CDEV_LARGE, CDEV_LIMITS, CDEV_MAPPED,
    CDEV_NEIGHBOUR, CDEV_REMAP, CDEV_STALE, CDEV_UNMAPPED, CDEV_UNSAFE, DEVICES, FILE_HANDED_ON, FILE_HOLDER_KILLED,
    FILE_HUGE, FILE_MAPPER_GONE, FILE_SHRUNK, FILE_SMALL, FILE_TRANSPARENT, GROUPS, INTERFACES_EXCLUDE, KERNEL_FIRST,
    NOIOMMU_BLOCKED, NOIOMMU_MANAGED, NOIOMMU_UNMANAGED, NO_FAULTS, NVME_QUICK, ONE_SPACE, ONE_USER, REFUSED,
    SAMPLE_DMA, SAMPLE_DMA_REFUSES, SAMPLE_DMA_STALE, SAMPLE_NVME, TYPE1_BAR, TYPE1_FIRST, TYPE1_LARGE, TYPE1_LIMITS,
    TYPE1_UNSAFE, VECTORS_ALL, VECTORS_HOTPLUG, VECTORS_KERNEL, VECTORS_MOVED, VFIO_MAPPED, VFIO_NEIGHBOUR, VFIO_REMAP,
    VFIO_STALE, VFIO_UNMAPPED, VIOLATIONS,
};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "passthrough",
        summary: "two edu: protection, limits, large pages, device memory, by type 1 and by iommufd",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            NO_FAULTS,
            TYPE1_UNSAFE,
            CDEV_UNSAFE,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            CDEV_MAPPED,
            CDEV_UNMAPPED,
            CDEV_STALE,
            CDEV_REMAP,
            CDEV_NEIGHBOUR,
            CDEV_DETACH,
            CDEV_EARLY_MAP,
            TYPE1_LIMITS,
            CDEV_LIMITS,
            TYPE1_LARGE,
            CDEV_LARGE,
            TYPE1_BAR,
            CDEV_BAR_REFUSED,
            CDEV_DMA_BUF,
            INTERFACES_EXCLUDE,
            ONE_USER,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "shared-group",
        summary: "edu and NVMe in one group: it has one owner and one address space",
        checks: &[DEVICES, GROUPS, NVME_QUICK, NO_FAULTS, KERNEL_FIRST, TYPE1_FIRST, CDEV_FIRST, ONE_SPACE, VIOLATIONS],
    },
    Scenario {
        name: "noiommu",
        summary: "VFIO's no-IOMMU mode beside the IOMMU: two edu, of which one is not behind it, and NVMe",
        checks: &[DEVICES, NVME_QUICK, NO_FAULTS, NOIOMMU_MANAGED, NOIOMMU_UNMANAGED, VIOLATIONS],
    },
    Scenario {
        name: "noiommu-blocked",
        summary: "the same with a device (edu) that the driver could not take",
        checks: &[DEVICES, GROUPS, NVME_QUICK, NO_FAULTS, REFUSED, NOIOMMU_BLOCKED, VIOLATIONS],
    },
    Scenario {
        name: "vectors",
        summary: "a function with several vectors of MSI, in the hands of the kernel and of a program",
        checks: &[DEVICES, GROUPS, VECTORS_KERNEL, VECTORS_ALL, VECTORS_MOVED, VECTORS_HOTPLUG, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "files",
        summary: "memory that iommufd maps from a file, which loses pages meanwhile, and whose mapper ends",
        checks: &[
            DEVICES,
            GROUPS,
            NO_FAULTS,
            FILE_SMALL,
            FILE_HUGE,
            FILE_TRANSPARENT,
            FILE_SHRUNK,
            FILE_MAPPER_GONE,
            FILE_HANDED_ON,
            FILE_HOLDER_KILLED,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "samples",
        summary: "the programs of samples/, as a user runs them",
        checks: &[DEVICES, GROUPS, NVME_QUICK, SAMPLE_NVME, NO_FAULTS, SAMPLE_DMA, SAMPLE_DMA_REFUSES, VIOLATIONS],
    },
    Scenario {
        name: "samples-stale",
        summary: "the sample for iommufd on a host that forgets flushes: it must say so",
        checks: &[DEVICES, SAMPLE_DMA_STALE],
    },
];
