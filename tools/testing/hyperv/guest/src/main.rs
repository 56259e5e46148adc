// SPDX-License-Identifier: GPL-2.0
//! The program inside the test guest.
//!
//! As process 1 it sets the machine up, runs the scenario named on the kernel's command line, reports in KTAP and
//! switches the machine off. From a shell it runs scenarios and shows what minihv knows.

mod attack;
mod blockio;
mod census;
mod checks;
mod cli;
mod control;
mod debugfs;
mod device_events;
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
mod kernel_log;
mod kexec;
mod kselftest;
mod mapbench;
mod memfd;
mod memory;
mod mmio;
mod noiommu;
mod nvme_admin;
mod nvme_sysfs;
mod options;
mod pci;
mod perf;
mod processors;
mod report;
mod scenario;
mod testbench;
mod tracing;
mod type1;
mod usb;
mod vfio;
mod xhci;

use anyhow::Result;

use crate::options::Options;
use crate::report::Reporter;

/// What process 1 does before the machine is switched off.
fn first_process(reporter: &mut Reporter) -> Result<()> {
    let options = Options::from_kernel()?;
    if let Some(bits) = options.aperture_bits {
        testbench::set_width(bits);
    }
    if options.scenario == "shell" {
        return init::shell();
    }
    scenario::run(scenario::find(&options.scenario)?, &options, reporter).map(|_| ())
}

fn main() -> std::process::ExitCode {
    if std::process::id() != 1 {
        return cli::main();
    }
    init::mount_all();
    let mut reporter = Reporter::to_kernel_log();
    if let Err(error) = first_process(&mut reporter) {
        reporter.note(&format!("Bail out! {error:#}"));
    }
    // Words that cannot be parsed were complained about.
    if let Ok(options) = Options::from_kernel() {
        if let Err(error) = kexec::leave(&options, &mut reporter) {
            reporter.note(&format!("Bail out! {error:#}"));
        }
    }
    init::power_off()
}
