// SPDX-License-Identifier: GPL-2.0
//! The table of test boots. A new case is a new row here, and a new check in the guest program where it needs one.

use crate::case::{Case, Variant};
use crate::expect;

/// Words for the kernel and for the guest program's idea of what it should see.
mod mode {
    pub const STRICT: [&str; 2] = ["iommu.strict=1", "hvtest.mode=strict"];
    pub const DEFERRED: [&str; 2] = ["iommu.strict=0", "hvtest.mode=deferred"];
    pub const IDENTITY: [&str; 2] = ["iommu=pt", "hvtest.mode=identity"];
    pub const UNMANAGED: [&str; 1] = ["hvtest.mode=unmanaged"];
}

/// Suites in the order in which they run.
pub const SUITES: [&str; 4] = ["kunit", "boot", "faults", "negative"];

fn with(case: Case, words: &[&str]) -> Case {
    words.iter().fold(case, |case, word| case.append(word))
}

fn boot(name: &'static str, scenario: &'static str) -> Case {
    Case::new("boot", name, scenario)
}

/// A host whose pvIOMMU is missing or useless: devices work untranslated.
fn unmanaged(name: &'static str, hypervisor: &'static str) -> Case {
    with(boot(name, "unmanaged"), &mode::UNMANAGED).hypervisor(hypervisor)
}

/// A host that reports some width of the I/O address space. QEMU's IOMMU walks no 5-level tables: there, nothing does DMA.
fn width(name: &'static str, hypervisor: &'static str, bits: u32, levels: u32) -> Case {
    let case = if levels > 4 { boot(name, "widths-no-dma").devices(&["edu"]) } else { boot(name, "widths") };
    with(case, &mode::STRICT)
        .hypervisor(hypervisor)
        .append(&format!("hvtest.aperture={bits}"))
        .append(&format!("hvtest.levels={levels}"))
        .expect(expect::aperture(bits, levels))
}

fn modes() -> Vec<Case> {
    vec![
        with(boot("dma-strict", "dma"), &mode::STRICT).expect(expect::driver_up()),
        with(boot("dma-fq", "dma"), &mode::DEFERRED).expect(expect::driver_up()),
        with(boot("identity", "identity"), &mode::IDENTITY).expect(expect::driver_up()),
        with(boot("one-cpu", "dma"), &mode::STRICT).cpus(1).expect(expect::driver_up()),
        with(boot("forcedac", "dma"), &mode::STRICT).append("iommu.forcedac=1").expect(expect::driver_up()),
        with(boot("virtio-rng", "dma"), &mode::STRICT).devices(&["nvme", "edu", "virtio-rng"]),
        with(boot("list-flush-unknown", "list-fallback"), &mode::STRICT)
            .hypervisor("inject=d1:2:1:all")
            .expect(expect::list_flush_unknown()),
    ]
}

fn hosts() -> Vec<Case> {
    vec![
        unmanaged("host-without-pviommu", "pviommu=absent").expect(expect::driver_silent()),
        unmanaged("host-with-pviommu-off", "pviommu=off").expect(expect::driver_silent()),
        unmanaged("host-without-stage1", "s1=off").expect(expect::no_stage1()).expect(expect::driver_down()),
        unmanaged("host-without-4k-pages", "page-sizes=0x40200000")
            .expect(expect::no_small_pages())
            .expect(expect::driver_down()),
    ]
}

fn widths() -> Vec<Case> {
    vec![
        unmanaged("width-0", "iova-width=0").expect(expect::width_refused()).expect(expect::driver_down()),
        width("width-39", "iova-width=39", 39, 4).expect(expect::not_clamped()),
        width("width-47", "iova-width=47", 47, 4).expect(expect::not_clamped()),
        width("width-48", "iova-width=48", 47, 4).expect(expect::clamped()),
        width("width-57-4-levels", "iova-width=57", 47, 4).expect(expect::clamped()),
        width("width-255-4-levels", "iova-width=255", 47, 4).expect(expect::clamped()),
        width("width-57-5-levels", "iova-width=57 s1-5lvl=on", 56, 5).expect(expect::clamped()),
        width("width-64-5-levels", "iova-width=64 s1-5lvl=on", 56, 5).expect(expect::clamped()),
        width("width-255-5-levels", "iova-width=255 s1-5lvl=on", 56, 5).expect(expect::clamped()),
    ]
}

fn kernels() -> Vec<Case> {
    vec![
        with(boot("pci-hyperv-as-module", "dma"), &mode::STRICT)
            .variant(Variant::Module)
            .append("hvtest.modules=pci-hyperv")
            .expect(expect::driver_up()),
        unmanaged("config-pviommu-off", "").variant(Variant::PviommuOff).expect(expect::driver_silent()),
        unmanaged("config-rust-off", "").variant(Variant::RustOff).expect(expect::driver_silent()),
    ]
}

fn kunit() -> Vec<Case> {
    let case = Case::new("kunit", "built-in", "kunit").devices(&["edu"]);
    vec![expect::KUNIT_SUITES.iter().fold(case, |case, suite| case.kernel_test(suite))]
}

/// Hypercalls that fail.
fn faults() -> Vec<Case> {
    let fault = |name, scenario| with(Case::new("faults", name, scenario), &mode::STRICT);
    vec![
        fault("domain-numbers-taken", "dma").hypervisor("inject=b1:65:1:3").expect(expect::driver_up()),
        fault("no-blocking-domain-at-boot", "dma")
            .hypervisor("inject=b1:b:1:1")
            .expect(expect::driver_up())
            .expect(expect::no_static_domain("blocking")),
        fault("no-identity-domain", "dma")
            .hypervisor("inject=b1:b:2:1")
            .expect(expect::driver_up())
            .expect(expect::no_static_domain("identity")),
        fault("five-levels-refused", "dma")
            .hypervisor("iova-width=57 s1-5lvl=on inject=ce:5:3:1")
            .expect(expect::five_levels_refused()),
        fault("device-cannot-be-asked", "refused-device")
            .devices(&["edu", "nvme", "virtio-blk"])
            .hypervisor("inject=127:71:1:1")
            .expect(expect::device_refused()),
        fault("no-flush-works", "failing-flush")
            .devices(&["edu"])
            .hypervisor("inject=d1:71:1:all inject=d0:71:1:all")
            .expect(expect::domain_blocked()),
    ]
}

/// Tests of the tests: something is broken on purpose, and the check that should see it must fail.
fn negative() -> Vec<Case> {
    // edu alone: without flushes, no driver comes up.
    let stale = |name| {
        let case = Case::new("negative", name, "stale").devices(&["edu"]);
        with(case, &mode::STRICT).must_fail("vfio-unmap-flushes")
    };
    vec![
        stale("driver-drops-flushes").append("hv_pviommu.drop_flush=1"),
        stale("hypervisor-drops-flushes").hypervisor("drop-flush=on"),
    ]
}

/// Every case, in the order of [`SUITES`].
pub fn all() -> Vec<Case> {
    [kunit(), modes(), hosts(), widths(), kernels(), faults(), negative()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Bus, Devices};
    use hvcore::options::Options;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_makes_sense() {
        let cases = all();
        let paths: BTreeSet<String> = cases.iter().map(Case::path).collect();
        assert_eq!(paths.len(), cases.len(), "names are unique");
        for case in &cases {
            assert!(SUITES.contains(&case.suite), "{}", case.path());
            let options: Result<Options, _> = case.hypervisor.parse();
            assert!(options.is_ok(), "{}: {options:?}", case.path());
            let buses: Vec<Bus> = case.devices.iter().map(|d| d.parse().unwrap()).collect();
            assert!(Devices::new(&buses).is_ok(), "{}", case.path());
            assert!(expect::judge(&case.demands.log, &[]).is_ok(), "{}", case.path());
        }
    }
}
