// SPDX-License-Identifier: GPL-2.0
//! The kernel's own tests of VFIO and iommufd. Each of their tests is a result of its own.

use anyhow::{bail, Result};

use crate::kselftest;
use crate::pci::{PciFunction, EDU, VIRTIO};
use crate::report::Outcome;
use crate::scenario::Context;
use crate::vfio::{BackEnd, UnsafeInterrupts};

/// A device's name in the report.
fn kind(function: &PciFunction) -> &str {
    match function.id {
        _ if function.is_nvme() => "nvme",
        EDU => "edu",
        id if id.vendor == VIRTIO => "virtio",
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
pub fn each_device(context: &mut Context<'_>, program: &str, arguments: &[&str]) -> Result<Outcome> {
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

/// Runs a program once, for all devices together: `program.test`.
pub fn all_devices(context: &mut Context<'_>, program: &str) -> Result<Outcome> {
    hand_over(&context.functions)?;
    let addresses: Vec<&str> = context.functions.iter().map(|f| f.address.as_str()).collect();
    kselftest::run(context.reporter, program, program, &addresses, None)
}

/// Runs a program that brings its own, mock devices: `program.test`.
pub fn no_device(context: &mut Context<'_>, program: &str, arguments: &[&str]) -> Result<Outcome> {
    kselftest::run(context.reporter, program, program, arguments, None)
}

/// Which pages the mapping test maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// 4 KiB and 2 MiB, and the limits of the address space.
    Small,
    /// 1 GiB. The tests end after 30 s whatever happens, which pinning that much can take on a busy emulator.
    OneGiB,
}

/// Runs the mapping test for every device, by all interfaces.
pub fn mapping(context: &mut Context<'_>, pages: Pages) -> Result<Outcome> {
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

/// Runs the short ones of iommufd's tests: its requests, and mapping by the interface like type 1.
pub fn iommufd_basics(context: &mut Context<'_>) -> Result<Outcome> {
    const FIXTURES: [&str; 2] = ["iommufd", "vfio_compat_mock_domain"];
    let arguments: Vec<&str> = FIXTURES.into_iter().flat_map(|fixture| ["-f", fixture]).collect();
    no_device(context, "iommufd", &arguments)
}
