// SPDX-License-Identifier: GPL-2.0
//! Devices that come, go, change hands and are reset.

use super::checks::{
    BINDING_LOOPS, BUSES_APART, BUSES_COME_AND_GO, BUS_DRIVER_UNBOUND, BUS_DRIVER_UNLOADED, COLLIDING_NUMBERS,
    DEBUGFS_DEVICES, DEVICES, FAILED_PROBE, GROUPS, HOTPLUG_CYCLES, KMEMLEAK, MULTI_FUNCTION, NO_FAULTS, NVME_QUICK,
    RESET_ATS, RESET_NVME, REVOCATION, REVOCATION_TORN, SURPRISE, VIOLATIONS, VIRTIO, VPCI_GOES_ON, VPCI_NO_INTERRUPTS,
    VPCI_NO_REGISTERS, VPCI_NO_RELATIONS, VPCI_PROBE_FAILS,
};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "hotplug",
        summary: "edu and one of two NVMe controllers come and go under I/O; hvtest.rounds= says how often",
        checks: &[DEVICES, GROUPS, HOTPLUG_CYCLES, DEBUGFS_DEVICES, NO_FAULTS, NVME_QUICK, KMEMLEAK, VIOLATIONS],
    },
    Scenario {
        name: "surprise-removal",
        summary: "the same, of devices that fail before the host withdraws them",
        checks: &[DEVICES, GROUPS, SURPRISE, NO_FAULTS, NVME_QUICK, VIOLATIONS],
    },
    Scenario {
        name: "buses",
        summary: "a bus with two functions, and two buses that ask for one PCI domain number",
        checks: &[DEVICES, GROUPS, MULTI_FUNCTION, COLLIDING_NUMBERS, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "many-buses",
        summary: "a machine full of buses: all come and go under I/O; hvtest.rounds= says how often",
        checks: &[
            DEVICES,
            GROUPS,
            BUSES_APART,
            BUSES_COME_AND_GO,
            DEBUGFS_DEVICES,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            KMEMLEAK,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "bus-driver-unbound",
        summary: "pci-hyperv is unbound from buses whose devices are in use (hvtest.rounds= times)",
        checks: &[DEVICES, GROUPS, BUS_DRIVER_UNBOUND, NVME_QUICK, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "bus-driver-unloaded",
        summary: "pci-hyperv, a module, is unloaded while devices are in use (hvtest.rounds= times)",
        checks: &[DEVICES, GROUPS, BUS_DRIVER_UNLOADED, NVME_QUICK, VIRTIO, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "hands",
        summary: "drivers come and go (hvtest.rounds= times) or refuse; functions are reset",
        checks: &[
            DEVICES,
            GROUPS,
            BINDING_LOOPS,
            FAILED_PROBE,
            RESET_NVME,
            RESET_ATS,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "revocation",
        summary: "the host takes a device that user space holds",
        checks: &[DEVICES, GROUPS, REVOCATION, REVOCATION_TORN, NVME_QUICK, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "vpci-faults",
        summary: "the host refuses the steps by which pci-hyperv takes edu's bus over, one at a time",
        checks: &[
            DEVICES,
            GROUPS,
            VPCI_PROBE_FAILS,
            VPCI_NO_RELATIONS,
            VPCI_GOES_ON,
            VPCI_NO_REGISTERS,
            VPCI_NO_INTERRUPTS,
            NO_FAULTS,
            KMEMLEAK,
            VIOLATIONS,
        ],
    },
];
