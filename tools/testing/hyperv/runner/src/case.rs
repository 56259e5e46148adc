// SPDX-License-Identifier: GPL-2.0
//! One row of the table of test boots.

use std::time::Duration;

use hvprotocol::faults::Provoked;
use strum::{Display, EnumIter, EnumString, VariantNames};

use crate::bench::Host;
use crate::demands::{Demands, Excuse, Failing, Reporter};
use crate::device::{Bus, Devices};
use crate::expect::{self, Expectation, KunitSuite, Times};
use crate::initramfs::{Fio, Pack};
use crate::known::{KnownCycle, KnownWarning};
use crate::mode;
use crate::qemu::{Clock, Threads};

/// Which build of the kernel a case needs. Its text form is the name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, EnumIter, EnumString, VariantNames)]
#[strum(serialize_all = "kebab-case")]
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
    /// Strict flushing is the built-in default.
    Strict,
    /// Identity is the built-in default, and VFIO's container is iommufd's.
    Compat,
    /// With KCSAN in place of KASAN.
    Kcsan,
    /// pci-hyperv as a module, without KASAN, the C code compiled by gcc.
    Gcc,
    /// The same by clang, with thin link-time optimization.
    Lto,
    /// The same with types for tracers (BTF).
    Btf,
    /// The examples of the Rust documentation as KUnit tests.
    Doctests,
    /// The kernel that is measured: without debugging aids.
    Release,
}

impl Variant {
    /// What kernels with all their checks are told besides: freed pages are filled with a pattern that is compared later,
    /// and slab objects have red zones. A device that reaches freed memory is noticed that way, too. Poisoned objects and
    /// the history of each (`slab_debug=FZPU`) would cost more than the rest of the boot, beside KASAN.
    const POISON: &str = "page_poison=1 slab_debug=FZ";

    /// Words for the kernel's command line in every boot of this variant.
    pub fn words(self) -> &'static str {
        match self {
            // Nothing may cost time that is measured.
            Variant::Release => "",
            _ => Self::POISON,
        }
    }
}

/// Keeps the kernel from running its own tests.
const NO_UNIT_TESTS: &str = "kunit.enable=0";

/// When a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// Always.
    Quick,
    /// Only when everything is asked for: it takes long.
    Thorough,
}

/// What a case is evidence of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// That the driver does what it should.
    Test,
    /// That a check can fail: something is broken on purpose, and the check must notice.
    Control,
}

/// What is new when the machine is switched on again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PowerCycle {
    /// minihv's options.
    pub hypervisor: &'static str,
    /// The scenario of a kernel that starts afresh; `None` where the scenario before goes on, in a kernel that was
    /// hibernated.
    pub scenario: Option<&'static str>,
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
    /// What is below it.
    pub host: Host,
    /// Number of processors, where the case is about it.
    pub cpus: Option<u32>,
    /// RAM with QEMU's suffix, where the case needs its own amount.
    pub memory: Option<&'static str>,
    /// More files for the guest.
    pub packs: Vec<Pack>,
    /// Whether fio is packed.
    pub fio: Fio,
    /// Devices, as on the command line.
    pub devices: Vec<&'static str>,
    /// What drives the guest's clocks.
    pub clock: Clock,
    /// How the processors run, where the case is about it.
    pub threads: Option<Threads>,
    /// Scenario of the guest program.
    pub scenario: &'static str,
    /// Words for the guest's kernel, besides the scenario.
    pub append: Vec<String>,
    /// minihv's options.
    pub hypervisor: &'static str,
    /// Each time that the machine is switched on again, with the same disks, when the guest has switched it off.
    pub power_cycles: Vec<PowerCycle>,
    /// Time limit, where the case needs more than the usual one.
    pub limit: Option<Duration>,
    /// What it is evidence of.
    pub role: Role,
    /// What must be true afterwards, as the case names it; [`Case::judged`] is all of it.
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
            host: Host::Minihv,
            cpus: None,
            memory: None,
            packs: Vec::new(),
            fio: Fio::Left,
            devices: vec!["nvme", "edu", "virtio-blk"],
            clock: Clock::Host,
            threads: None,
            scenario,
            append: Vec::new(),
            hypervisor: "",
            power_cycles: Vec::new(),
            limit: None,
            role: Role::Test,
            demands: Demands::default(),
        }
    }

    /// Processors take turns in one thread, or run at the same time.
    pub fn threads(self, threads: Threads) -> Case {
        Case { threads: Some(threads), ..self }
    }

    /// Needs this build of the kernel.
    pub fn variant(self, variant: Variant) -> Case {
        Case { variant, ..self }
    }

    /// Runs on this, in place of minihv.
    pub fn on(self, host: Host) -> Case {
        Case { host, ..self }
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

    /// Adds fio to the guest.
    pub fn with_fio(self) -> Case {
        Case { fio: Fio::Packed, ..self }
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

    /// The machine is switched on once more, with the same disks, on a host with these options.
    pub fn switched_on_again(mut self, hypervisor: &'static str) -> Case {
        self.power_cycles.push(PowerCycle { hypervisor, scenario: None });
        self
    }

    /// The machine is switched on once more, with the same disks, on the same host, for a scenario of its own.
    pub fn switched_on_again_for(mut self, scenario: &'static str) -> Case {
        self.demands.more_reports += 1;
        self.power_cycles.push(PowerCycle { hypervisor: self.hypervisor, scenario: Some(scenario) });
        self
    }

    /// Expects something of the kernel log.
    pub fn expect(mut self, expectation: Expectation) -> Case {
        self.demands.log.push(expectation);
        self
    }

    /// Who reports.
    pub fn reported_by(mut self, reporter: Reporter) -> Case {
        self.demands.reporter = reporter;
        self
    }

    /// Leaves for more kernels, each with its own scenario and report.
    pub fn followed_by(mut self, scenarios: &[&'static str]) -> Case {
        self.demands.more_reports += scenarios.len();
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

    /// Takes a warning of the kernel for a part of the test: in this file and this function, on behalf of this caller.
    pub fn known_warning(mut self, file: &'static str, function: &'static str, caller: &'static str) -> Case {
        self.demands.warnings.push(KnownWarning { file, function, caller });
        self
    }

    /// Takes lockdep's report of an order of these locks for a part of the test, where no function of the driver is in it.
    pub fn known_cycle(mut self, locks: &'static [&'static str]) -> Case {
        self.demands.cycles.push(KnownCycle { locks });
        self
    }

    /// Expects DMA faults that the guest program does not announce.
    pub fn expect_faults(mut self, faults: Provoked) -> Case {
        self.demands.faults.push(faults);
        self
    }

    /// Demands that a check of the guest program fails, whatever it says.
    pub fn must_fail(self, check: &str) -> Case {
        self.must_fail_by(check, "")
    }

    /// Demands that a check of the guest program fails, and says what matches this pattern.
    pub fn must_fail_by(mut self, check: &str, reason: &str) -> Case {
        self.demands.failing.push(Failing { check: check.to_owned(), reason: reason.to_owned() });
        self
    }

    /// Proves that a check can fail: something is broken on purpose, and this check must fail for this reason.
    pub fn control(self, check: &str, reason: &str) -> Case {
        Case { role: Role::Control, ..self.must_fail_by(check, reason) }
    }

    /// Proves that a check can fail, in a guest whose own checks expect it to.
    pub fn control_by_guest(self) -> Case {
        Case { role: Role::Control, ..self }
    }

    /// Lets checks whose whole name matches this pattern be skipped, for a reason that matches the other one.
    pub fn may_skip(self, check: &str, reason: &str) -> Case {
        self.excused(check, reason, Times::AtMost(usize::MAX))
    }

    /// Demands that so many checks whose whole name matches this pattern are skipped, for a reason that matches the other
    /// one.
    pub fn must_skip(self, count: usize, check: &str, reason: &str) -> Case {
        self.excused(check, reason, Times::Exactly(count))
    }

    fn excused(mut self, check: &str, reason: &str, times: Times) -> Case {
        self.demands.excuses.push(Excuse { check: check.to_owned(), reason: reason.to_owned(), times });
        self
    }

    /// Takes violations that match this pattern for a part of the test, and demands one.
    pub fn violation(mut self, pattern: &str) -> Case {
        self.demands.violations.push(pattern.to_owned());
        self
    }

    /// Demands these suites of the kernel's own tests.
    pub fn kunit_suites(mut self, suites: &[KunitSuite]) -> Case {
        self.demands.kunit_suites.extend(suites);
        self
    }

    /// Whether the guest's driver is to bring the IOMMU up.
    fn is_managed(&self) -> bool {
        let is_root = self.hypervisor.split(' ').any(|word| word == "partition=root");
        self.host == Host::Minihv
            && !is_root
            && !mode::UNMANAGED.iter().any(|word| self.append.iter().any(|own| own == word))
    }

    /// Whether one of the devices is virtio's.
    fn has_virtio(&self) -> bool {
        let buses: Option<Vec<Bus>> = self.devices.iter().map(|device| device.parse().ok()).collect();
        buses.and_then(|buses| Devices::new(&buses).ok()).is_none_or(|devices| devices.virtio_count() > 0)
    }

    /// What must be true afterwards: what the case names, and what goes without saying.
    pub fn judged(&self) -> Demands {
        let mut demands = self.demands.clone();
        if self.is_managed() {
            // A kernel that loads an image reports nothing.
            let loaders = self.power_cycles.iter().filter(|cycle| cycle.scenario.is_none()).count();
            let kernels = 1 + demands.more_reports + loaders;
            let ordinary = expect::ordinary(&demands.log, kernels);
            demands.log.extend(ordinary);
        }
        if !self.has_virtio() {
            let (check, reason) = ("virtio-io".to_owned(), "^no virtio function in this guest$".to_owned());
            demands.excuses.push(Excuse { check, reason, times: Times::AtMost(usize::MAX) });
        }
        demands
    }

    /// `suite/name`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }

    /// Whether the kernel runs its own tests. They take seconds of each boot, and say the same in most.
    fn runs_unit_tests(&self) -> bool {
        self.variant != Variant::Debug
            || matches!((self.suite, self.tier), ("kunit" | "mock", _) | ("boot", Tier::Thorough))
    }

    /// Everything that the guest's kernel is told.
    pub fn command_line(&self) -> String {
        self.command_line_for(self.scenario)
    }

    /// Everything that the kernel of a scenario is told.
    pub fn command_line_for(&self, scenario: &str) -> String {
        let scenario = format!("hvtest.scenario={scenario}");
        let unit_tests = if self.runs_unit_tests() { "" } else { NO_UNIT_TESTS };
        let words = [self.variant.words(), unit_tests, &scenario];
        let words = words.into_iter().chain(self.append.iter().map(String::as_str));
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strum::IntoEnumIterator;

    #[test]
    fn what_goes_without_saying() {
        let case = Case::new("suite", "name", "dma");
        assert_eq!(case.judged().log, expect::ordinary(&[], 1));
        assert_eq!(case.judged().excuses.len(), 0);
        assert_eq!(case.clone().devices(&["edu"]).judged().excuses.len(), 1);
        assert_eq!(case.clone().followed_by(&["a", "b"]).judged().log, expect::ordinary(&[], 3));
        assert_eq!(case.clone().switched_on_again("").judged().log, expect::ordinary(&[], 2));
        let dumped = case.clone().switched_on_again_for("a").followed_by(&["b"]);
        assert_eq!((dumped.judged().log, dumped.demands.more_reports), (expect::ordinary(&[], 3), 2));
        assert_eq!(case.clone().expect(expect::driver_up()).judged().log.len(), 2);
        assert_eq!(case.append(mode::UNMANAGED[0]).judged().log, []);
    }

    #[test]
    fn the_kernels_own_tests_run_where_hosts_differ_and_on_other_kernels() {
        let runs = |case: Case| !case.command_line().contains(NO_UNIT_TESTS);
        assert!(runs(Case::new("kunit", "x", "dma")) && runs(Case::new("boot", "x", "dma").thorough()));
        assert!(!runs(Case::new("boot", "x", "dma")));
        assert!(!runs(Case::new("faults", "x", "dma")));
        assert!(runs(Case::new("faults", "x", "dma").variant(Variant::Rt)));
    }

    #[test]
    fn only_the_measured_kernel_is_not_poisoned() {
        let words = |variant| Case::new("suite", "name", "dma").variant(variant).command_line();
        for variant in Variant::iter() {
            assert_eq!(words(variant).contains("page_poison=1"), variant != Variant::Release, "{variant:?}");
        }
        assert_eq!(words(Variant::Release), "hvtest.scenario=dma");
    }

    #[test]
    fn a_control_names_its_reason() {
        let case = Case::new("suite", "name", "dma").control("check", "STALE");
        assert_eq!(case.role, Role::Control);
        assert_eq!(case.demands.failing, [Failing { check: "check".to_owned(), reason: "STALE".to_owned() }]);
    }
}
