// SPDX-License-Identifier: GPL-2.0
//! One row of the table of test boots.

use crate::expect::Expectation;
use crate::verdict::Demands;

/// Which build of the kernel a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// Everything built in, all checks of the kernel on itself enabled.
    Debug,
    /// pci-hyperv as a module.
    Module,
    /// Without the driver (CONFIG_HYPERV_PVIOMMU=n).
    PviommuOff,
    /// Without Rust (CONFIG_RUST=n).
    RustOff,
}

impl Variant {
    /// All of them.
    pub const ALL: [Variant; 4] = [Variant::Debug, Variant::Module, Variant::PviommuOff, Variant::RustOff];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Debug => "debug",
            Variant::Module => "module",
            Variant::PviommuOff => "pviommu-off",
            Variant::RustOff => "rust-off",
        }
    }
}

/// A boot and what must come of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Suite that it belongs to.
    pub suite: &'static str,
    /// Name, unique in its suite.
    pub name: &'static str,
    /// Kernel.
    pub variant: Variant,
    /// Number of processors, where the case is about it.
    pub cpus: Option<u32>,
    /// Devices, as on the command line.
    pub devices: Vec<&'static str>,
    /// Scenario of the guest program.
    pub scenario: &'static str,
    /// Words for the guest's kernel, besides the scenario.
    pub append: Vec<String>,
    /// minihv's options.
    pub hypervisor: &'static str,
    /// What must be true afterwards.
    pub demands: Demands,
}

impl Case {
    /// A case with the debug kernel, NVMe, edu and a virtio disk.
    pub fn new(suite: &'static str, name: &'static str, scenario: &'static str) -> Case {
        Case {
            suite,
            name,
            variant: Variant::Debug,
            cpus: None,
            devices: vec!["nvme", "edu", "virtio-blk"],
            scenario,
            append: Vec::new(),
            hypervisor: "",
            demands: Demands::default(),
        }
    }

    /// Needs this build of the kernel.
    pub fn variant(self, variant: Variant) -> Case {
        Case { variant, ..self }
    }

    /// Number of processors.
    pub fn cpus(self, cpus: u32) -> Case {
        Case { cpus: Some(cpus), ..self }
    }

    /// Other devices.
    pub fn devices(self, devices: &[&'static str]) -> Case {
        Case { devices: devices.to_vec(), ..self }
    }

    /// Adds a word to the guest's kernel command line.
    pub fn append(mut self, word: &str) -> Case {
        self.append.push(word.to_owned());
        self
    }

    /// minihv's options.
    pub fn hypervisor(self, hypervisor: &'static str) -> Case {
        Case { hypervisor, ..self }
    }

    /// Expects something of the kernel log.
    pub fn expect(mut self, expectation: Expectation) -> Case {
        self.demands.log.push(expectation);
        self
    }

    /// Demands that a check of the guest program fails.
    pub fn must_fail(mut self, check: &str) -> Case {
        self.demands.failing.push(check.to_owned());
        self
    }

    /// Demands that one of the kernel's own tests matches this pattern (and passes, as all of them must).
    pub fn kernel_test(mut self, pattern: &str) -> Case {
        self.demands.kernel_tests.push(pattern.to_owned());
        self
    }

    /// `suite/name`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }

    /// Everything that the guest's kernel is told.
    pub fn command_line(&self) -> String {
        let scenario = format!("hvtest.scenario={}", self.scenario);
        std::iter::once(scenario.as_str()).chain(self.append.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }
}
