// SPDX-License-Identifier: GPL-2.0
//! The report for users, in guests of all kinds.

use super::checks::{DEVICES, GROUPS, REFUSED, VIOLATIONS};
use super::{check, Check, Scenario};
use crate::checks::user_report::{
    blocked, failed, identity, in_service, not_behind, not_offered, switched_off, without_driver,
};

const IN_SERVICE: Check = check("report-in-service", in_service);
const IDENTITY: Check = check("report-identity", identity);
const NOT_BEHIND: Check = check("report-not-behind", not_behind);
const BLOCKED: Check = check("report-blocked", blocked);
const SWITCHED_OFF: Check = check("report-switched-off", switched_off);
const NOT_OFFERED: Check = check("report-not-offered", not_offered);
const FAILED: Check = check("report-failed", failed);
const WITHOUT_DRIVER: Check = check("report-without-driver", without_driver);

/// The scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "report",
        summary: "the report for users, where every device is translated, and where one is not any more",
        checks: &[DEVICES, GROUPS, IN_SERVICE, VIOLATIONS],
    },
    Scenario {
        name: "report-identity",
        summary: "the report where all devices are in identity, and hibernation is refused",
        checks: &[DEVICES, GROUPS, IDENTITY, VIOLATIONS],
    },
    Scenario {
        name: "report-not-behind",
        summary: "the report where one of two edu is not behind the IOMMU, and programs may have it",
        checks: &[DEVICES, NOT_BEHIND, VIOLATIONS],
    },
    Scenario {
        name: "report-blocked",
        summary: "the report where edu is blocked, as the host could not tell about it",
        checks: &[DEVICES, GROUPS, REFUSED, BLOCKED, VIOLATIONS],
    },
    Scenario {
        name: "report-off",
        summary: "the report where the kernel was told to leave the IOMMU alone",
        checks: &[DEVICES, GROUPS, SWITCHED_OFF],
    },
    Scenario {
        name: "report-not-offered",
        summary: "the report where the host has no IOMMU",
        checks: &[DEVICES, GROUPS, NOT_OFFERED],
    },
    Scenario {
        name: "report-failed",
        summary: "the report where the host's IOMMU lacks what the driver needs",
        checks: &[DEVICES, GROUPS, FAILED],
    },
    Scenario {
        name: "report-without-driver",
        summary: "the report where the kernel has no driver",
        checks: &[DEVICES, GROUPS, WITHOUT_DRIVER],
    },
];
