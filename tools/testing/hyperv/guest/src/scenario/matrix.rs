// SPDX-License-Identifier: GPL-2.0
//! The matrix of hypercalls that fail.

use super::checks::{DEVICES, GROUPS, KMEMLEAK, VIOLATIONS};
use super::{check, Check, Scenario};
use crate::checks::matrix::{run, totals, Extent, Operation};

const TOTALS: Check = check("matrix-totals", totals);

/// A check for each operation, with some cells and with all.
macro_rules! operations {
    ($($constant:ident $name:literal $operation:ident;)*) => {
        mod sample {
            use super::*;
            $(pub const $constant: Check = check($name, |c| run(c, Operation::$operation, Extent::Sample));)*
        }
        mod full {
            use super::*;
            $(pub const $constant: Check = check($name, |c| run(c, Operation::$operation, Extent::Full));)*
        }
    };
}

operations! {
    CREATE "create" Create;
    CONFIGURE "configure" Configure;
    ATTACH "attach" Attach;
    BLOCK "attach-to-blocking" Block;
    DETACH "detach" Detach;
    DELETE "delete" Delete;
    FLUSH "flush" Flush;
    FLUSH_DETACH "attach-to-blocking-after-flush" FlushDetach;
    FLUSH_LIST "flush-list" FlushList;
    PROPERTY "property" Property;
    PROBE_CREATE "create-at-probe" ProbeCreate;
    PROBE_CONFIGURE "configure-at-probe" ProbeConfigure;
    RETURN "attach-at-release" Return;
    PROBE_ATTACH "attach-at-probe" ProbeAttach;
    STRAND "detach-in-use" Strand;
}

/// The scenarios. The list flush comes last: that the host does not know it is remembered.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "matrix-sample",
        summary: "some of every hypercall that fails at run time, under I/O",
        checks: &[
            DEVICES,
            GROUPS,
            sample::CREATE,
            sample::CONFIGURE,
            sample::ATTACH,
            sample::BLOCK,
            sample::DETACH,
            sample::DELETE,
            sample::FLUSH,
            sample::FLUSH_DETACH,
            sample::FLUSH_LIST,
            KMEMLEAK,
            VIOLATIONS,
            TOTALS,
        ],
    },
    Scenario {
        name: "matrix-sample-at-probe",
        summary: "some of every hypercall that fails when a device appears, under I/O",
        checks: &[
            DEVICES,
            GROUPS,
            sample::PROPERTY,
            sample::PROBE_CREATE,
            sample::PROBE_CONFIGURE,
            KMEMLEAK,
            VIOLATIONS,
            TOTALS,
        ],
    },
    Scenario {
        name: "matrix-user",
        summary: "every hypercall that a program can cause fails, under I/O",
        checks: &[
            DEVICES,
            GROUPS,
            full::CREATE,
            full::CONFIGURE,
            full::ATTACH,
            full::BLOCK,
            full::DETACH,
            full::DELETE,
            full::FLUSH,
            full::FLUSH_DETACH,
            full::FLUSH_LIST,
            KMEMLEAK,
            VIOLATIONS,
            TOTALS,
        ],
    },
    Scenario {
        name: "matrix-property",
        summary: "the host cannot be asked about a device that appears",
        checks: &[DEVICES, GROUPS, full::PROPERTY, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-probe-create",
        summary: "a device appears, and its default domain cannot be created",
        checks: &[DEVICES, GROUPS, full::PROBE_CREATE, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-probe-configure",
        summary: "a device appears, and its default domain cannot be configured",
        checks: &[DEVICES, GROUPS, full::PROBE_CONFIGURE, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-probe-attach",
        summary: "a device appears, and cannot be attached to its default domain",
        checks: &[DEVICES, GROUPS, full::PROBE_ATTACH, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-warnings-sample",
        summary: "some hypercalls fail where the IOMMU core warns of a driver that refuses",
        checks: &[DEVICES, GROUPS, sample::RETURN, sample::PROBE_ATTACH, sample::STRAND, KMEMLEAK, VIOLATIONS, TOTALS],
    },
    Scenario {
        name: "matrix-warnings",
        summary: "every hypercall fails where the IOMMU core warns of a driver that refuses",
        checks: &[DEVICES, GROUPS, full::RETURN, full::STRAND, KMEMLEAK, VIOLATIONS, TOTALS],
    },
];
