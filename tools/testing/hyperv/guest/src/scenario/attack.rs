// SPDX-License-Identifier: GPL-2.0
//! Attacks: what a device can reach and what not, row by row.

use super::checks::{
    ATTACK_DEFERRED, ATTACK_DMA_API, ATTACK_DMA_API_BARE, ATTACK_IDENTITY, ATTACK_IOMMUFD, ATTACK_IOMMUFD_BARE,
    ATTACK_KEEP_FIRING, ATTACK_MOVING, ATTACK_NOTHING_ARRIVED, ATTACK_RESERVED, ATTACK_START_OPEN, ATTACK_START_SHUT,
    ATTACK_TYPE1, ATTACK_TYPE1_BARE, DEVICES, GROUPS, SUCCESSOR_LOADED, VIOLATIONS,
};
use super::Scenario;

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "attack-dma-api",
        summary: "attacks on mappings of the DMA API, each unmap flushed at once",
        checks: &[DEVICES, GROUPS, ATTACK_DMA_API, VIOLATIONS],
    },
    Scenario {
        name: "attack-deferred",
        summary: "attacks on mappings of the DMA API, flushes deferred, and the window that this opens",
        checks: &[DEVICES, GROUPS, ATTACK_DEFERRED, ATTACK_DMA_API, VIOLATIONS],
    },
    Scenario {
        name: "attack-type1",
        summary: "attacks on mappings of type 1 containers",
        checks: &[DEVICES, GROUPS, ATTACK_TYPE1, VIOLATIONS],
    },
    Scenario {
        name: "attack-iommufd",
        summary: "attacks on mappings of iommufd, and on a device that is moved between domains",
        checks: &[DEVICES, GROUPS, ATTACK_MOVING, ATTACK_IOMMUFD, VIOLATIONS],
    },
    Scenario {
        name: "attack-identity",
        summary: "attacks in bypass",
        checks: &[DEVICES, GROUPS, ATTACK_IDENTITY, VIOLATIONS],
    },
    Scenario {
        name: "attack-start-open",
        summary: "attacks by a device that nobody took charge of, on a host that starts devices in bypass",
        checks: &[DEVICES, GROUPS, ATTACK_START_OPEN],
    },
    Scenario {
        name: "attack-start-shut",
        summary: "attacks by a device that is blocked until somebody takes charge of it",
        checks: &[DEVICES, GROUPS, ATTACK_START_SHUT],
    },
    Scenario {
        name: "attack-kexec",
        summary: "leaves for the next kernel while edu does DMA",
        checks: &[DEVICES, GROUPS, ATTACK_RESERVED, ATTACK_KEEP_FIRING, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "attack-kexec-arrived",
        summary: "the next kernel: nothing arrived",
        checks: &[ATTACK_NOTHING_ARRIVED, DEVICES, GROUPS, ATTACK_RESERVED],
    },
    Scenario {
        name: "attack-dma-api-bare",
        summary: "the rows of attack-dma-api without protection: all must fail",
        checks: &[DEVICES, ATTACK_DMA_API_BARE],
    },
    Scenario {
        name: "attack-type1-bare",
        summary: "the rows of attack-type1 without protection: all must fail",
        checks: &[DEVICES, ATTACK_TYPE1_BARE],
    },
    Scenario {
        name: "attack-iommufd-bare",
        summary: "the rows of attack-iommufd without protection: all must fail",
        checks: &[DEVICES, ATTACK_IOMMUFD_BARE],
    },
];
