// SPDX-License-Identifier: GPL-2.0
//! What becomes of the IOMMU when the kernel goes, sleeps, or is no ordinary guest.

use super::checks::{
    CPU_HOTPLUG, CRASH_KERNEL, CRASH_KERNEL_LOADED, DEVICES, DEVICES_WERE_BLOCKED, DISK_OFFERED_AGAIN, DOMAINS_BOUNDED,
    ENDED_KEPT, ENDED_RESET, GROUPS, HIBERNATION, HIBERNATION_ALLOWED, HIBERNATION_CORE, HIBERNATION_CORE_UNTRANSLATED,
    HIBERNATION_ELSEWHERE, HIBERNATION_GIVEN_UP, HIBERNATION_NEWCOMER, HIBERNATION_REFUSED, HIBERNATION_UNTRANSLATED,
    IDENTITY_EDU, IDLE_ATTACHED, IN_USE, NO_DEVICES, NO_FAULTS, NUMBERS_APART, NUMBERS_TAKEN, NVME_IOVA, NVME_QUICK,
    OLD_TABLES, RAW_BLOCKED, STAYS_UNTIL_USED, STORING, SUCCESSOR_LOADED, SUSPEND, VFIO_MAPPED, VFIO_STALE,
    VFIO_UNMAPPED, VFIO_WALK, VIOLATIONS, VIRTIO, VMCORE_ON_DISK, VMCORE_READ, VMCORE_TO_DISK,
};
use super::Scenario;

/// After a crash with all devices in use; `$unused` tells where the device is that nobody uses yet.
macro_rules! after_crash {
    ($name:literal, $summary:literal, $unused:ident) => {
        Scenario {
            name: $name,
            summary: $summary,
            checks: &[
                CRASH_KERNEL,
                OLD_TABLES,
                DEVICES,
                GROUPS,
                $unused,
                NUMBERS_APART,
                NVME_QUICK,
                NVME_IOVA,
                VIRTIO,
                NO_FAULTS,
                RAW_BLOCKED,
                VFIO_MAPPED,
                VFIO_UNMAPPED,
                VFIO_STALE,
                VIOLATIONS,
            ],
        }
    };
}

/// After a crash while edu wrote to a buffer; `$ended` tells how the last transfer ended, and `$unused` where edu is.
macro_rules! after_storing {
    ($name:literal, $summary:literal, $ended:ident, $unused:ident) => {
        Scenario {
            name: $name,
            summary: $summary,
            checks: &[
                CRASH_KERNEL,
                DEVICES,
                GROUPS,
                $ended,
                $unused,
                NUMBERS_APART,
                NO_FAULTS,
                VFIO_MAPPED,
                VFIO_UNMAPPED,
                VFIO_STALE,
                VIOLATIONS,
            ],
        }
    };
}

/// The scenarios. In those that leave for another kernel, loading it comes last: it is told of everything before.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kexec",
        summary: "leaves for the next kernel with all devices in use",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIOLATIONS, NO_FAULTS, IN_USE, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "kexec-passed",
        summary: "the kernel after that, which leaves for yet another one",
        checks: &[
            DEVICES,
            GROUPS,
            DEVICES_WERE_BLOCKED,
            NUMBERS_TAKEN,
            DOMAINS_BOUNDED,
            NVME_QUICK,
            NO_FAULTS,
            VIOLATIONS,
            IN_USE,
            SUCCESSOR_LOADED,
        ],
    },
    Scenario {
        name: "kexec-arrived",
        summary: "the last kernel: translation and protection as after a cold start",
        checks: &[
            DEVICES,
            GROUPS,
            DEVICES_WERE_BLOCKED,
            NUMBERS_TAKEN,
            DOMAINS_BOUNDED,
            NVME_QUICK,
            NVME_IOVA,
            VIRTIO,
            NO_FAULTS,
            RAW_BLOCKED,
            VFIO_MAPPED,
            VFIO_WALK,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "kexec-arrived-doubtful",
        summary: "the last kernel, on a host that has another word for a domain number that is taken",
        checks: &[
            DEVICES,
            GROUPS,
            DEVICES_WERE_BLOCKED,
            DOMAINS_BOUNDED,
            NVME_QUICK,
            NVME_IOVA,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "kexec-edu",
        summary: "leaves for the next kernel with edu alone, in use",
        checks: &[DEVICES, GROUPS, VIOLATIONS, NO_FAULTS, IN_USE, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "kexec-arrived-without",
        summary: "the last kernel does not use the IOMMU: its devices stay blocked",
        checks: &[DEVICES, GROUPS, DEVICES_WERE_BLOCKED, NO_FAULTS, RAW_BLOCKED, VIOLATIONS],
    },
    Scenario {
        name: "kexec-arrived-identity",
        summary: "the last kernel, its devices in bypass as those of the one before",
        checks: &[
            DEVICES,
            GROUPS,
            DEVICES_WERE_BLOCKED,
            NUMBERS_TAKEN,
            DOMAINS_BOUNDED,
            NVME_QUICK,
            NO_FAULTS,
            IDENTITY_EDU,
            VFIO_MAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "crash",
        summary: "crashes with all devices in use",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIOLATIONS, NO_FAULTS, IN_USE, CRASH_KERNEL_LOADED],
    },
    after_crash!("crashed", "the kernel that runs after the crash, on a host that resets devices", IDLE_ATTACHED),
    after_crash!("crashed-kept", "the same on a host that lets devices go on", STAYS_UNTIL_USED),
    Scenario {
        name: "crashed-in-a-removal",
        summary:
            "the kernel that runs after a crash in which a disk was being removed, which the host offers again later",
        checks: &[
            CRASH_KERNEL,
            OLD_TABLES,
            DEVICES,
            GROUPS,
            IDLE_ATTACHED,
            NUMBERS_APART,
            DISK_OFFERED_AGAIN,
            VIRTIO,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "crashed-dumps",
        summary: "the kernel that runs after the crash writes the crashed one's memory to the NVMe disk",
        checks: &[CRASH_KERNEL, DEVICES, GROUPS, VMCORE_TO_DISK, NVME_IOVA, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "dumped",
        summary: "a kernel that starts afresh finds the crashed one's memory on the NVMe disk",
        checks: &[DEVICES, GROUPS, VMCORE_ON_DISK, VMCORE_READ, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "crash-storing",
        summary: "crashes while edu writes to a buffer",
        checks: &[DEVICES, GROUPS, STORING, VIOLATIONS, CRASH_KERNEL_LOADED],
    },
    after_storing!(
        "crashed-stored",
        "the kernel after that, on a host that lets devices go on",
        ENDED_KEPT,
        STAYS_UNTIL_USED
    ),
    after_storing!("crashed-reset", "the same on a host that resets them", ENDED_RESET, IDLE_ATTACHED),
    Scenario {
        name: "crash-identity",
        summary: "crashes with its devices in identity",
        checks: &[DEVICES, GROUPS, NVME_QUICK, IDENTITY_EDU, VIOLATIONS, NO_FAULTS, CRASH_KERNEL_LOADED],
    },
    Scenario {
        name: "crashed-identity",
        summary: "the kernel after that: its devices are translated, whatever it is told",
        checks: &[
            CRASH_KERNEL,
            DEVICES,
            GROUPS,
            STAYS_UNTIL_USED,
            NUMBERS_APART,
            NVME_QUICK,
            NVME_IOVA,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "sleep",
        summary: "suspension survived, processors go and come back",
        checks: &[DEVICES, GROUPS, SUSPEND, CPU_HOTPLUG, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "hibernation-core",
        summary: "hibernation without an image",
        checks: &[DEVICES, GROUPS, HIBERNATION_CORE, NVME_IOVA, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "hibernation-refused",
        summary: "the hypervisor does not take back what the guest gives back before it hibernates",
        checks: &[DEVICES, GROUPS, HIBERNATION_GIVEN_UP, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "hibernation",
        summary: "the guest hibernates, and goes on in a machine that was switched on again",
        checks: &[
            DEVICES,
            GROUPS,
            HIBERNATION,
            NVME_IOVA,
            VIRTIO,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "hibernation-on-another-host",
        summary: "the machine that is switched on again has another IOMMU",
        checks: &[DEVICES, GROUPS, HIBERNATION_ELSEWHERE],
    },
    Scenario {
        name: "hibernation-newcomer",
        summary: "on the machine that is switched on again, a device is behind the IOMMU that was not",
        checks: &[DEVICES, HIBERNATION_NEWCOMER, VIRTIO],
    },
    Scenario {
        name: "hibernation-untranslated",
        summary: "the same without the IOMMU, which the other machine may have",
        checks: &[DEVICES, HIBERNATION_UNTRANSLATED, VIRTIO],
    },
    Scenario {
        name: "no-hibernation",
        summary: "hibernation and the return from it are refused",
        checks: &[DEVICES, GROUPS, HIBERNATION_REFUSED, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "cpu-hotplug",
        summary: "processors go and come back",
        checks: &[DEVICES, GROUPS, CPU_HOTPLUG, NO_FAULTS, VFIO_STALE, VIOLATIONS],
    },
    Scenario {
        name: "switched-off",
        summary: "the driver is switched off: no groups, devices untranslated, hibernation as without it",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            VIRTIO,
            IDENTITY_EDU,
            HIBERNATION_ALLOWED,
            HIBERNATION_CORE_UNTRANSLATED,
            NO_FAULTS,
        ],
    },
    Scenario {
        name: "no-devices",
        summary: "a partition that has no vPCI devices: it boots, and there is no IOMMU",
        checks: &[NO_DEVICES, GROUPS],
    },
];
