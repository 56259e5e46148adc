// SPDX-License-Identifier: GPL-2.0
//! The program inside the test guest.
//!
//! As process 1 it sets the machine up, runs the scenario named on the kernel's command line, reports in KTAP and
//! switches the machine off. From a shell it runs scenarios and shows what minihv knows.

mod census;
pub mod check;
mod checks;
mod cli;
mod debugfs;
mod device_events;
mod disk;
mod dma_map_benchmark;
mod edu;
mod faults;
mod fetched;
mod fio;
mod hotplug;
mod init;
mod instructions;
mod interrupts;
mod iomem;
mod iommufd;
mod iommufd_abi;
mod kernel_log;
mod kexec;
mod kselftest;
mod memfd;
mod memory;
mod minihv;
mod mmio;
mod modules;
mod nodes;
mod noiommu;
mod nvme_admin;
mod nvme_sysfs;
mod old_memory;
mod pci;
mod perf;
mod processors;
mod ranges;
mod report;
mod root_debugfs;
pub mod scenario;
mod session;
mod slot;
mod spare;
mod tracing;
mod type1;
mod usb;
mod vfio;
mod virtio_faults;
mod witness;
mod xhci;

use anyhow::Result;

use crate::report::Reporter;

/// What process 1 does before the machine is switched off.
fn first_process(reporter: &mut Reporter) -> Result<()> {
    let options = init::options()?;
    if let Some(bits) = options.aperture_bits {
        witness::set_width(bits);
    }
    if options.scenario == "shell" {
        return init::shell();
    }
    scenario::run(scenario::find(&options.scenario)?, &options, reporter).map(|_| ())
}

/// Runs the program, as process 1 or from a shell.
pub fn main() -> std::process::ExitCode {
    if std::process::id() != 1 {
        return cli::main();
    }
    init::mount_all();
    let mut reporter = Reporter::to_kernel_log();
    if let Err(error) = first_process(&mut reporter) {
        reporter.bail_out(&error);
    }
    // Words that cannot be parsed were complained about.
    if let Ok(options) = init::options() {
        if let Err(error) = kexec::leave(&options, &mut reporter) {
            reporter.bail_out(&error);
        }
    }
    init::power_off()
}
