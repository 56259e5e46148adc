// SPDX-License-Identifier: GPL-2.0
//! One row of the table of test boots.

use std::time::Duration;

use crate::expect::Expectation;
use crate::qemu::Clock;
use crate::verdict::{Demands, Excuse};

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
    /// Fully preemptible (PREEMPT_RT).
    Rt,
    /// The kernel that is measured: without debugging aids.
    Release,
}

impl Variant {
    /// All of them.
    pub const ALL: [Variant; 6] =
        [Variant::Debug, Variant::Module, Variant::PviommuOff, Variant::RustOff, Variant::Rt, Variant::Release];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Debug => "debug",
            Variant::Module => "module",
            Variant::PviommuOff => "pviommu-off",
            Variant::RustOff => "rust-off",
            Variant::Rt => "rt",
            Variant::Release => "release",
        }
    }
}

/// When a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Always.
    Quick,
    /// Only when everything is asked for: it takes long.
    Thorough,
}

/// What the guest's root file system holds besides the guest program and busybox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pack {
    /// The guest's own kernel, as `/boot/kernel`, and the root file system as it is without it, as
    /// `/boot/initramfs`: for a second boot from inside. Twice: the second boot can do the same once more.
    Kernel,
    /// The kernel's own tests of VFIO and iommufd, in `/kselftest`.
    Kselftest,
    /// The programs of samples/, in `/samples`.
    Samples,
    /// The modules that measure, in `/bench`.
    Bench,
}

/// A boot and what must come of it.
#[derive(Clone, Debug)]
pub struct Case {
    /// Suite that it belongs to.
    pub suite: &'static str,
    /// Name, unique in its suite.
    pub name: &'static str,
    /// When it runs.
    pub tier: Tier,
    /// Kernel.
    pub variant: Variant,
    /// Number of processors, where the case is about it.
    pub cpus: Option<u32>,
    /// RAM with QEMU's suffix, where the case needs its own amount.
    pub memory: Option<&'static str>,
    /// More files for the guest.
    pub packs: Vec<Pack>,
    /// Devices, as on the command line.
    pub devices: Vec<&'static str>,
    /// What drives the guest's clocks.
    pub clock: Clock,
    /// Scenario of the guest program.
    pub scenario: &'static str,
    /// Words for the guest's kernel, besides the scenario.
    pub append: Vec<String>,
    /// minihv's options.
    pub hypervisor: &'static str,
    /// Time limit, where the case needs more than the usual one.
    pub limit: Option<Duration>,
    /// What must be true afterwards.
    pub demands: Demands,
}

impl Case {
    /// A case with the debug kernel, NVMe, edu and a virtio disk.
    pub fn new(suite: &'static str, name: &'static str, scenario: &'static str) -> Case {
        Case {
            suite,
            name,
            tier: Tier::Quick,
            variant: Variant::Debug,
            cpus: None,
            memory: None,
            packs: Vec::new(),
            devices: vec!["nvme", "edu", "virtio-blk"],
            clock: Clock::Host,
            scenario,
            append: Vec::new(),
            hypervisor: "",
            limit: None,
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

    /// RAM, with QEMU's suffix.
    pub fn memory(self, memory: &'static str) -> Case {
        Case { memory: Some(memory), ..self }
    }

    /// Runs only when everything is asked for.
    pub fn thorough(self) -> Case {
        Case { tier: Tier::Thorough, ..self }
    }

    /// May take so many minutes, even if the usual limit is shorter.
    pub fn minutes(self, minutes: u64) -> Case {
        Case { limit: Some(Duration::from_secs(60 * minutes)), ..self }
    }

    /// Adds files to the guest.
    pub fn pack(mut self, pack: Pack) -> Case {
        self.packs.push(pack);
        self
    }

    /// Other devices.
    pub fn devices(self, devices: &[&'static str]) -> Case {
        Case { devices: devices.to_vec(), ..self }
    }

    /// Counts instructions: what the guest measures does not depend on the machine that QEMU runs on.
    pub fn counted(self) -> Case {
        Case { clock: Clock::Instructions, ..self }
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

    /// Leaves for more kernels, each with its own scenario and report.
    pub fn followed_by(mut self, scenarios: &[&'static str]) -> Case {
        self.demands.more_reports = scenarios.len();
        self.append(&format!("hvtest.next={}", scenarios.join(",")))
    }

    /// Takes splats that match this pattern for a part of the test.
    pub fn splat(mut self, pattern: &str) -> Case {
        self.demands.splats.push(pattern.to_owned());
        self
    }

    /// Takes the kernel's reports that went through this function for a part of the test.
    pub fn known_caller(mut self, function: &str) -> Case {
        self.demands.known_callers.push(function.to_owned());
        self
    }

    /// Demands that a check of the guest program fails.
    pub fn must_fail(mut self, check: &str) -> Case {
        self.demands.failing.push(check.to_owned());
        self
    }

    /// Lets checks whose whole name matches this pattern be skipped, for a reason that matches the other one.
    pub fn may_skip(mut self, check: &str, reason: &str) -> Case {
        self.demands.excuses.push(Excuse { check: check.to_owned(), reason: reason.to_owned() });
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
