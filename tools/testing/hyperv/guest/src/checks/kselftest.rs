// SPDX-License-Identifier: GPL-2.0
//! The kernel's own tests of VFIO and iommufd. Each of their tests is a result of its own.

use anyhow::{bail, Result};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::kselftest;
use crate::pci::{PciFunction, EDU, VIRTIO_VENDOR};
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};

/// A device's name in the report.
fn kind(function: &PciFunction) -> &str {
    match function.id {
        _ if function.is_nvme() => "nvme",
        EDU => "edu",
        id if id.vendor == VIRTIO_VENDOR => "virtio",
        _ => &function.address,
    }
}

/// Does what the tests' own setup.sh does, and allows devices without isolated interrupts, as a user must here.
fn hand_over(functions: &[PciFunction]) -> Result<()> {
    for back_end in BackEnd::ALL {
        back_end.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    }
    functions.iter().try_for_each(|function| function.bind("vfio-pci"))
}

/// Runs a program for every device, one after the other: `program.device.test`.
fn each_device(context: &mut Context<'_>, program: &str, arguments: &[&str]) -> Result<Outcome> {
    hand_over(&context.functions)?;
    let depth = context.reporter.depth();
    context.reporter.enter(program, context.functions.len());
    let (mut failed, mut skipped) = (Vec::new(), Vec::new());
    for (index, function) in context.functions.iter().enumerate() {
        let kind = kind(function);
        let result = kselftest::run(context.reporter, kind, program, arguments, Some(&function.address));
        match &result {
            Ok(Outcome::Pass(_)) => {}
            Ok(Outcome::Skip(_)) => skipped.push(kind),
            Err(_) => failed.push(kind),
        }
        context.reporter.result(index + 1, kind, &result);
    }
    context.reporter.leave(depth);
    if !failed.is_empty() {
        bail!("failed with {}", failed.join(", "));
    }
    let count = context.functions.len();
    Ok(match skipped.len() {
        0 => Outcome::Pass(format!("{count} devices")),
        all if all == count => Outcome::Skip(format!("skipped with {}", skipped.join(", "))),
        _ => Outcome::Pass(format!("{count} devices, skipped with {}", skipped.join(", "))),
    })
}

const SELFTEST_SETUP: Check = Check::new("vfio_iommufd_setup_test", |c| each_device(c, "vfio_iommufd_setup_test", &[]));
const SELFTEST_DEVICE: Check = Check::new("vfio_pci_device_test", |c| each_device(c, "vfio_pci_device_test", &[]));
const SELFTEST_MMIO: Check =
    Check::new("vfio_dma_mapping_mmio_test", |c| each_device(c, "vfio_dma_mapping_mmio_test", &[]));
const SELFTEST_DRIVER: Check = Check::new("vfio_pci_driver_test", |c| each_device(c, "vfio_pci_driver_test", &[]));
const SELFTEST_SRIOV: Check =
    Check::new("vfio_pci_sriov_uapi_test", |c| each_device(c, "vfio_pci_sriov_uapi_test", &[]));

/// Runs a program once, for all devices together: `program.test`.
fn all_devices(context: &mut Context<'_>, program: &str) -> Result<Outcome> {
    hand_over(&context.functions)?;
    let addresses: Vec<&str> = context.functions.iter().map(|f| f.address.as_str()).collect();
    kselftest::run(context.reporter, program, program, &addresses, None)
}

const SELFTEST_PERF: Check =
    Check::new("vfio_pci_device_init_perf_test", |c| all_devices(c, "vfio_pci_device_init_perf_test"));

/// Runs a program that brings its own, mock devices: `program.test`.
fn no_device(context: &mut Context<'_>, program: &str, arguments: &[&str]) -> Result<Outcome> {
    kselftest::run(context.reporter, program, program, arguments, None)
}

const SELFTEST_IOMMUFD: Check = Check::new("iommufd", |c| no_device(c, "iommufd", &[]));
const SELFTEST_FAIL_NTH: Check = Check::new("iommufd_fail_nth", |c| no_device(c, "iommufd_fail_nth", &[]));

/// Which pages the mapping test maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 4 KiB and 2 MiB, and the limits of the address space.
    Small,
    /// 1 GiB. The tests end after 30 s whatever happens, which pinning that much can take on a busy emulator.
    OneGiB,
}

/// Runs the mapping test for every device, by all interfaces.
fn mapping(context: &mut Context<'_>, pages: Pages) -> Result<Outcome> {
    const INTERFACES: [&str; 5] =
        ["vfio_type1_iommu", "vfio_type1v2_iommu", "iommufd_compat_type1", "iommufd_compat_type1v2", "iommufd"];
    let option = match pages {
        Pages::Small => "-V",
        Pages::OneGiB => "-v",
    };
    let variants = INTERFACES.map(|interface| format!("{interface}_anonymous_hugetlb_1gb"));
    let arguments: Vec<&str> = variants.iter().flat_map(|variant| [option, variant]).collect();
    each_device(context, "vfio_dma_mapping_test", &arguments)
}

const SELFTEST_MAPPING: Check = Check::new("vfio_dma_mapping_test", |c| mapping(c, Pages::Small));
const SELFTEST_MAPPING_1G: Check = Check::new("vfio_dma_mapping_test", |c| mapping(c, Pages::OneGiB));

/// Runs the short ones of iommufd's tests: its requests, and mapping by the interface like type 1.
fn iommufd_basics(context: &mut Context<'_>) -> Result<Outcome> {
    const FIXTURES: [&str; 2] = ["iommufd", "vfio_compat_mock_domain"];
    let arguments: Vec<&str> = FIXTURES.into_iter().flat_map(|fixture| ["-f", fixture]).collect();
    no_device(context, "iommufd", &arguments)
}

const SELFTEST_IOMMUFD_BASICS: Check = Check::new("iommufd", iommufd_basics);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "kselftest-vfio",
        summary: "the kernel's tests of VFIO, on every device of the guest",
        checks: &[
            DEVICES,
            GROUPS,
            SELFTEST_SETUP,
            SELFTEST_DEVICE,
            SELFTEST_MMIO,
            SELFTEST_MAPPING,
            SELFTEST_PERF,
            SELFTEST_DRIVER,
            SELFTEST_SRIOV,
            NO_FAULTS,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "kselftest-vfio-1g",
        summary: "the kernel's test of VFIO that maps 1 GiB pages, on every device of the guest",
        checks: &[DEVICES, GROUPS, SELFTEST_MAPPING_1G, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "kselftest-iommufd-basics",
        summary: "the short ones of the kernel's tests of iommufd, on mock devices",
        checks: &[DEVICES, SELFTEST_IOMMUFD_BASICS, VIOLATIONS],
    },
    Scenario {
        name: "kselftest-iommufd",
        summary: "the kernel's tests of iommufd, all of them, on mock devices, also with failing allocations",
        checks: &[DEVICES, SELFTEST_IOMMUFD, SELFTEST_FAIL_NTH, VIOLATIONS],
    },
];
