// SPDX-License-Identifier: GPL-2.0
//! The matrix of hypercalls that fail: every call, every status, every occurrence.
//!
//! The calls that are made at run time share a boot, in which a program in the guest has the hypervisor fail them. Those
//! that are made once, before any program runs, take a boot for each status.

use super::common::{core_warns, with};
use crate::case::Case;
use crate::expect::{self, Expectation, Times};
use crate::mode;

/// What there is of each status of the matrix.
struct Row {
    /// In hexadecimal, two digits.
    code: &'static str,
    /// As the kernel prints it.
    name: &'static str,
    capabilities: &'static str,
    capabilities_fail: &'static str,
    static_domains: &'static str,
    static_domains_fail: &'static str,
}

macro_rules! rows {
    ($($code:literal $name:literal,)*) => {
        [$(Row {
            code: $code,
            name: $name,
            capabilities: concat!("capabilities-", $code),
            capabilities_fail: concat!("inject=125:", $code, ":1:1:garbage"),
            static_domains: concat!("static-domains-", $code),
            static_domains_fail: concat!("inject=b1:", $code, ":1:1 inject=ce:", $code, ":1:1"),
        }),*]
    };
}

const ROWS: [Row; 11] = rows! {
    "02" "INVALID_HYPERCALL_CODE",
    "05" "INVALID_PARAMETER",
    "06" "ACCESS_DENIED",
    "08" "OPERATION_DENIED",
    "0b" "INSUFFICIENT_MEMORY",
    "19" "OBJECT_IN_USE",
    "57" "INVALID_DEVICE_ID",
    "58" "INVALID_DEVICE_STATE",
    "66" "DEVICE_ALREADY_IN_DOMAIN",
    "71" "OPERATION_FAILED",
    "78" "TIME_OUT",
};

impl Row {
    /// The status as the kernel prints it.
    fn status(&self) -> String {
        format!("0x{} {}", self.code.trim_start_matches('0'), self.name)
    }
}

/// What happens is one line.
fn line(meaning: &str, pattern: String) -> Expectation {
    Expectation { meaning: meaning.to_owned(), pattern, times: Times::Once }
}

/// The first list flush that fails, whatever domain it was for.
fn list_flush_fails() -> Expectation {
    let pattern = r"^hv_pviommu: HVCALL_FLUSH_DEVICE_DOMAIN_LIST: .*the whole domain is flushed instead$";
    line("that a list flush fails is a warning, once", pattern.to_owned())
}

/// A boot in which calls fail at run time. Memory that is kept for ever on purpose is no leak.
fn run_time(name: &'static str, scenario: &'static str) -> Case {
    with(Case::new("matrix", name, scenario).devices(&["edu", "nvme"]), &mode::STRICT)
        .append("kmemleak=on")
        .expect(expect::driver_up())
}

/// The host does not tell what its IOMMU can do: devices work untranslated.
fn capabilities(row: &Row) -> Case {
    let case = with(Case::new("matrix", row.capabilities, "unmanaged"), &mode::UNMANAGED)
        .hypervisor(row.capabilities_fail)
        .expect(expect::driver_down());
    match row.name {
        // A host from before the interface.
        "INVALID_HYPERCALL_CODE" => case.expect(expect::driver_silent()),
        _ => case.expect(line(
            "the refusal is one error",
            format!("^hv_pviommu: HVCALL_GET_IOMMU_CAPABILITIES: {}$", row.status()),
        )),
    }
}

/// The blocking domain cannot be created, nor the identity domain configured: devices are detached to block them.
fn static_domains(row: &Row) -> Case {
    let missing = |domain: &str, call: &str| {
        let pattern = format!("^hv_pviommu: no {domain} domain: HVCALL_{call}_DEVICE_DOMAIN: {}$", row.status());
        line("the missing domain is one error", pattern)
    };
    // Other numbers are tried where the status may be about the number. Then the blocking domain is the first one that is
    // configured.
    let (number, unconfigured) = match row.name {
        "INVALID_HYPERCALL_CODE" | "ACCESS_DENIED" | "OPERATION_DENIED" | "INSUFFICIENT_MEMORY" => {
            (missing("blocking", "CREATE"), "identity")
        }
        _ => (expect::another_number(&row.status()), "blocking"),
    };
    with(Case::new("matrix", row.static_domains, "dma"), &mode::STRICT)
        .hypervisor(row.static_domains_fail)
        .expect(expect::driver_up())
        .expect(number)
        .expect(missing(unconfigured, "CONFIGURE"))
}

/// Calls that are made before any program runs.
fn boots() -> Vec<Case> {
    let slow = "inject=125:0:1:1:slow=3000000 inject=b1:0:1:3:slow=3000000 inject=127:0:1:all:slow=3000000";
    let mut cases: Vec<Case> = ROWS.iter().flat_map(|row| [capabilities(row), static_domains(row)]).collect();
    cases.push(
        with(Case::new("matrix", "slow-at-boot", "dma"), &mode::STRICT).hypervisor(slow).expect(expect::driver_up()),
    );
    cases.into_iter().map(Case::thorough).collect()
}

/// The cases.
pub fn cases() -> Vec<Case> {
    // Each cell of a device that comes and goes takes seconds.
    let full = |name, scenario| run_time(name, scenario).minutes(30).thorough();
    let mut cases = vec![
        run_time("sample", "matrix-sample").expect(list_flush_fails()),
        run_time("sample-at-probe", "matrix-sample-at-probe").thorough(),
        full("user", "matrix-user").expect(list_flush_fails()),
        full("property", "matrix-property"),
        full("create-at-probe", "matrix-probe-create"),
        full("configure-at-probe", "matrix-probe-configure"),
        core_warns(full("attach-at-probe", "matrix-probe-attach")),
        core_warns(full("core-warnings-sample", "matrix-warnings-sample")),
        core_warns(full("core-warnings", "matrix-warnings")),
    ];
    cases.extend(boots());
    cases
}
