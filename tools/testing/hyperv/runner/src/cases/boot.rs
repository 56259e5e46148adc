// SPDX-License-Identifier: GPL-2.0
//! Modes, hosts, widths and kernels.

use super::common::with;
use crate::case::{Case, Variant};
use crate::expect;
use crate::mode;

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
        with(boot("one-cpu", "dma"), &mode::STRICT).cpus(1).expect(expect::driver_up()).thorough(),
        with(boot("forcedac", "dma"), &mode::STRICT).append("iommu.forcedac=1").expect(expect::driver_up()).thorough(),
        // Byte 5 of the first bus's GUID is above 0x7f: an id whose highest bit is set.
        with(boot("high-logical-id", "dma"), &mode::STRICT)
            .hypervisor("guid=0:69637076-9ee7-6050-6d69-6e6968760000")
            .expect(expect::driver_up())
            .thorough(),
        // The host says that the first bus is near the second node, and the other way round.
        with(boot("numa", "nodes"), &mode::STRICT)
            .devices(&["nvme", "edu"])
            .append("numa=fake=2")
            .hypervisor("numa=1,0")
            .expect(expect::driver_up()),
        with(boot("virtio-rng", "dma"), &mode::STRICT).devices(&["nvme", "edu", "virtio-rng"]).thorough(),
        with(boot("list-flush-unknown", "list-fallback"), &mode::STRICT)
            .hypervisor("inject=d1:2:1:all")
            .expect(expect::list_flush_unknown()),
    ]
}

fn hosts() -> Vec<Case> {
    vec![
        unmanaged("host-without-pviommu", "pviommu=absent").expect(expect::driver_silent()),
        unmanaged("host-with-pviommu-off", "pviommu=off").expect(expect::driver_silent()).thorough(),
        unmanaged("host-without-stage1", "s1=off").expect(expect::no_stage1()).expect(expect::driver_down()).thorough(),
        // What firmware tables announce comes first, and fails.
        with(boot("firmware-iommu-fails", "edu"), &mode::STRICT)
            .devices(&["edu"])
            .append("intel_iommu=on")
            .hypervisor("firmware-iommu=broken")
            .expect(expect::driver_up())
            .expect(expect::firmware_iommu_failed()),
        unmanaged("host-without-4k-pages", "page-sizes=0x40200000")
            .expect(expect::no_small_pages())
            .expect(expect::driver_down())
            .thorough(),
    ]
}

/// Hosts that treat some device, or all of them at first, in another way than others do.
fn devices() -> Vec<Case> {
    let one_unmanaged = |name, scenario, hypervisor| {
        with(boot(name, scenario), &mode::STRICT)
            .devices(&["edu", "nvme", "edu"])
            .hypervisor(hypervisor)
            .expect(expect::driver_up())
    };
    vec![
        one_unmanaged("one-device-unmanaged", "one-unmanaged", "unmanaged=0"),
        one_unmanaged("one-device-unmanaged-and-blocked", "one-unmanaged-blocked", "unmanaged=0 start=blocked")
            .thorough(),
        with(boot("devices-start-blocked", "dma"), &mode::STRICT)
            .hypervisor("start=blocked")
            .expect(expect::driver_up()),
    ]
}

fn widths() -> Vec<Case> {
    vec![
        unmanaged("width-0", "iova-width=0").expect(expect::width_refused()).expect(expect::driver_down()).thorough(),
        unmanaged("width-31", "iova-width=31").expect(expect::width_refused()).expect(expect::driver_down()),
        width("width-32", "iova-width=32", 32, 4).expect(expect::not_clamped()).thorough(),
        width("width-33", "iova-width=33", 33, 4).expect(expect::not_clamped()).thorough(),
        width("width-35-5-levels", "iova-width=35 s1-5lvl=on", 35, 4).expect(expect::not_clamped()).thorough(),
        width("width-36", "iova-width=36", 36, 4).expect(expect::not_clamped()).thorough(),
        width("width-38", "iova-width=38", 38, 4).expect(expect::not_clamped()).thorough(),
        width("width-39", "iova-width=39", 39, 4).expect(expect::not_clamped()).thorough(),
        width("width-47", "iova-width=47", 47, 4).expect(expect::not_clamped()).thorough(),
        width("width-48", "iova-width=48", 47, 4).expect(expect::clamped()).thorough(),
        width("width-57-4-levels", "iova-width=57", 47, 4).expect(expect::clamped()).thorough(),
        width("width-255-4-levels", "iova-width=255", 47, 4).expect(expect::clamped()).thorough(),
        width("width-57-5-levels", "iova-width=57 s1-5lvl=on", 56, 5).expect(expect::clamped()),
        width("width-64-5-levels", "iova-width=64 s1-5lvl=on", 56, 5).expect(expect::clamped()).thorough(),
        width("width-255-5-levels", "iova-width=255 s1-5lvl=on", 56, 5).expect(expect::clamped()).thorough(),
    ]
}

/// A kernel that has pci-hyperv as a module.
fn with_module(name: &'static str, variant: Variant) -> Case {
    with(boot(name, "dma"), &mode::STRICT)
        .variant(variant)
        .append("hvtest.modules=pci-hyperv")
        .expect(expect::driver_up())
}

fn kernels() -> Vec<Case> {
    vec![
        with_module("pci-hyperv-as-module", Variant::Module),
        with_module("pci-hyperv-as-module-gcc", Variant::Gcc),
        with_module("pci-hyperv-as-module-lto", Variant::Lto),
        with_module("pci-hyperv-as-module-btf", Variant::Btf),
        unmanaged("config-pviommu-off", "").variant(Variant::PviommuOff).expect(expect::driver_silent()),
        unmanaged("config-rust-off", "").variant(Variant::RustOff).expect(expect::driver_silent()),
    ]
}

/// The cases.
pub fn cases() -> Vec<Case> {
    [modes(), hosts(), devices(), widths(), kernels()].concat()
}
