// SPDX-License-Identifier: GPL-2.0
//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::device::Bus;
use crate::qemu::Threads;

/// Boots test guests under minihv, follows them and collects the verdict.
///
/// A guest is a Linux kernel with a small initramfs whose first program runs checks, reports in KTAP and switches the
/// machine off. minihv shows it the Hyper-V interface inside plain QEMU; no KVM is needed.
#[derive(Parser)]
#[command(name = "hvrun", version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// The subcommands.
#[derive(Subcommand)]
pub enum Action {
    /// Boot one guest, with a scenario of checks or with a shell.
    Boot(BootArgs),
    /// The main job: two boots of the release kernel (strict and deferred flushing), verified I/O, a table of results.
    Run(RunArgs),
    /// The table of test boots; the last line tells how many passed and failed.
    Test(TestArgs),
    /// The benchmark: what the driver and its peers cost, in instructions, which do not depend on this machine.
    Bench(BenchArgs),
    /// What the last runs of the tests and of the mutants left, as a page for a browser.
    Report(ReportArgs),
    /// Any kernel, with any driver of this IOMMU or with none: what is right, what differs, what was not tried. The exit
    /// status is 0 when nothing differs, 1 when something does, and 3 when the kernel has no driver.
    Conformance(ConformanceArgs),
}

/// What every boot needs, and where it leaves what is left of it.
#[derive(Args)]
pub struct HostArgs {
    /// minihv's ELF file [default: `minihv` beside this program].
    #[arg(long, value_name = "ELF")]
    pub minihv: Option<PathBuf>,
    /// The statically linked guest program [default: `hvguest` beside this program].
    #[arg(long, value_name = "FILE")]
    pub guest: Option<PathBuf>,
    /// The emulator.
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    pub qemu: PathBuf,
    /// Directory for what is left of a run.
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub out: PathBuf,
    /// Directory for logs [default: hvrun-logs below --out].
    #[arg(long, value_name = "DIR")]
    pub log_dir: Option<PathBuf>,
}

/// Programs and files that guests need which do more than what is judged of any kernel.
#[derive(Args)]
pub struct ToolArgs {
    /// What every boot needs.
    #[command(flatten)]
    pub host: HostArgs,
    /// Boot the kernel directly in QEMU, with QEMU's VT-d driven by the kernel's Intel driver (a cross-check of the tests).
    #[arg(long, conflicts_with = "minihv")]
    pub no_hypervisor: bool,
    /// Statically linked busybox.
    #[arg(long, value_name = "FILE", default_value = "/bin/busybox")]
    pub busybox: PathBuf,
    /// fio; its shared libraries are found by ldd.
    #[arg(long, value_name = "FILE", default_value = "/usr/bin/fio")]
    pub fio: PathBuf,
    /// Directory with the kernel's own tests of VFIO and iommufd, built [default: none].
    #[arg(long, value_name = "DIR")]
    pub kselftest: Option<PathBuf>,
    /// Directory with the statically linked programs of samples/ [default: none].
    #[arg(long, value_name = "DIR")]
    pub samples: Option<PathBuf>,
    /// Directory with the modules that measure, those for each kernel in a directory of its name [default: none].
    #[arg(long, value_name = "DIR")]
    pub bench_module: Option<PathBuf>,
    /// Directory with the driver that the attacks use [default: none].
    #[arg(long, value_name = "DIR")]
    pub attack_module: Option<PathBuf>,
    /// Directory with sets of the distribution's programs: `kdump`, `dpdk` [default: none].
    #[arg(long, value_name = "DIR")]
    pub fetched: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Args)]
pub struct ReportArgs {
    /// Ledger of the last run of the tests [default: none].
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Directory with the logs of the guests.
    #[arg(long, value_name = "DIR")]
    pub logs: PathBuf,
    /// Results of the mutants [default: none].
    #[arg(long, value_name = "FILE")]
    pub mutants: Option<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE")]
    pub output: PathBuf,
}

/// Size and time limits of a guest.
#[derive(Args)]
pub struct GuestArgs {
    /// RAM, with QEMU's suffix.
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    pub memory: String,
    /// Longest time from start to end, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub timeout: u64,
    /// Longest time without a line from the guest or the hypervisor, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub silence: u64,
    /// How QEMU runs a guest's processors: taking turns in a single thread, or each in its own. With QEMU 10.0 the
    /// latter loses an interrupt now and then.
    #[arg(long, value_name = "HOW", value_enum, default_value_t)]
    pub threads: Threads,
    /// Keep the disks, the initramfs and the bundle, in the log directory.
    #[arg(long)]
    pub keep: bool,
}

/// Arguments of `conformance`.
#[derive(Args)]
#[command(mut_arg("out", |a| a.default_value("conformance")))]
pub struct ConformanceArgs {
    /// The kernel: a bzImage.
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// Directory with its modules in lib/modules or usr/lib/modules, as a distribution has them, `/` for one.
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// Only cases whose suite/name contains this; repeatable.
    #[arg(long = "case", value_name = "TEXT")]
    pub cases: Vec<String>,
    /// Number of processors.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u32,
    /// Size and time limits.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Programs, and where the results go.
    #[command(flatten)]
    pub host: HostArgs,
}

const DEVICE_HELP: &str = "\
A device: KIND[,option=value...]; repeatable, in this order. Kinds: nvme, edu, virtio-blk, virtio-rng, virtio-net,
xhci. Each gets a PCI domain of its own; '+' joins functions on one bus: edu+edu. The option size= (256M) is the size of a
 disk's empty image, image= a file that the disk starts as, and that stays as it is (its path without ',' and '+'); all
 others go to QEMU's -device. behind=port, and ats=on, puts the device behind a port of its own, behind=bridge behind one
 bridge for all devices that are joined by +";

/// Arguments of `boot`.
#[derive(Args)]
pub struct BootArgs {
    /// The kernel: a bzImage.
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// Root of an installed module tree (INSTALL_MOD_PATH) to pack.
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// The initramfs of an installed system, in place of one with the guest program: what is to be a disk of the system is
    /// given as an image, and the system reports in KTAP through /dev/kmsg, each line behind `hvtest: `. The driver has to
    /// be in service then, and nothing out of the ordinary may be in the logs.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["scenario", "shell", "modules"])]
    pub initramfs: Option<PathBuf>,
    /// Number of processors.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u32,
    #[arg(long = "device", value_name = "KIND", help = DEVICE_HELP)]
    #[allow(missing_docs)]
    pub devices: Vec<Bus>,
    /// Words added to the guest kernel's command line; `hvtest.*` words steer the guest program.
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// minihv's options: words of the form key=value.
    #[arg(long = "hv", value_name = "WORDS", default_value = "")]
    pub hypervisor: String,
    /// Scenario of the guest program.
    #[arg(long, value_name = "NAME", default_value = "dma", conflicts_with = "shell")]
    pub scenario: String,
    /// A shell in the guest, on this terminal; leaving it switches the guest off.
    #[arg(long)]
    pub shell: bool,
    /// Trace QEMU's VT-d: every descriptor, IOTLB fill and fault.
    #[arg(long)]
    pub trace: bool,
    /// Size and time limits.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Programs and files.
    #[command(flatten)]
    pub tools: ToolArgs,
}

/// Arguments of `run`.
#[derive(Args)]
pub struct RunArgs {
    /// The release kernel: a bzImage.
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// Root of an installed module tree (INSTALL_MOD_PATH) to pack.
    #[arg(long, value_name = "DIR")]
    pub modules: Option<PathBuf>,
    /// Number of processors.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u32,
    #[arg(long = "device", value_name = "KIND", help = DEVICE_HELP)]
    #[arg(default_values = ["nvme", "edu", "virtio-blk"])]
    #[allow(missing_docs)]
    pub devices: Vec<Bus>,
    /// Words added to the guest kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub append: String,
    /// minihv's options: words of the form key=value.
    #[arg(long = "hv", value_name = "WORDS", default_value = "")]
    pub hypervisor: String,
    /// A shell in one such guest, on this terminal, instead of the checks; leaving it switches the guest off.
    #[arg(long)]
    pub shell: bool,
    /// Size and time limits.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Programs and files.
    #[command(flatten)]
    pub tools: ToolArgs,
}

/// Arguments of `test`. Kernels with all their checks fill free memory with a pattern when they start: what a case does not
/// need costs it time.
#[derive(Args)]
#[command(mut_arg("memory", |a| a.default_value("512M")))]
pub struct TestArgs {
    /// Only this suite; repeatable.
    #[arg(long = "suite", value_name = "NAME")]
    pub suites: Vec<String>,
    /// Only cases whose suite/name contains this, or is this where it ends in '$'; repeatable.
    #[arg(long = "case", value_name = "TEXT")]
    pub cases: Vec<String>,
    /// Also the cases that take long.
    #[arg(long)]
    pub all: bool,
    /// List the cases instead of running them.
    #[arg(long)]
    pub list: bool,
    /// End a boot at the first check that fails.
    #[arg(long)]
    pub fail_fast: bool,
    /// Keep results in this file, and run no case again that passed with the same kernel, tools and definition.
    #[arg(long, value_name = "FILE")]
    pub resume: Option<PathBuf>,
    /// Number of processors, except for cases that are about their number.
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub cpus: u32,
    /// Guests at the same time [default: three for two processors, at most 3].
    #[arg(long, value_name = "N")]
    pub parallel: Option<usize>,
    /// A kernel's build directory: debug, module, pviommu-off, rust-off, rt, strict, compat, kcsan or release;
    /// modules are taken from `modules` in it.
    /// Cases whose kernel is not given are left out.
    #[arg(long = "kernel-variant", value_name = "NAME=DIR")]
    pub variants: Vec<String>,
    /// Size and time limits.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Programs and files.
    #[command(flatten)]
    pub tools: ToolArgs,
}

/// Arguments of `bench`.
#[derive(Args)]
#[command(mut_arg("memory", |a| a.default_value("4G")))]
#[command(mut_arg("timeout", |a| a.default_value("3600")))]
#[command(mut_arg("silence", |a| a.default_value("600")))]
pub struct BenchArgs {
    /// Build directory of the kernel that is measured; its name is that of the configuration.
    #[arg(long, value_name = "DIR")]
    pub kernel_build: PathBuf,
    /// Build directory of the same kernel with virtio-iommu's driver in Rust [default: none].
    #[arg(long, value_name = "DIR")]
    pub virtio_rust_build: Option<PathBuf>,
    /// Build directory of the same kernel with the driver of the root partition's IOMMU [default: none].
    #[arg(long, value_name = "DIR")]
    pub root_build: Option<PathBuf>,
    /// Only this configuration; repeatable.
    #[arg(long = "config", value_name = "NAME")]
    pub configurations: Vec<String>,
    /// Measure only this kind of thing (a check of the guest's scenario, without its `bench-`); repeatable.
    #[arg(long = "measure", value_name = "NAME", conflicts_with = "record")]
    pub kinds: Vec<String>,
    /// Show only figures whose name contains this; repeatable. Everything is measured all the same.
    #[arg(long = "metric", value_name = "TEXT")]
    pub metrics: Vec<String>,
    /// The results that are kept, to compare with [default: none].
    #[arg(long, value_name = "FILE")]
    pub kept: Option<PathBuf>,
    /// Keep these results from now on: write them to --kept, and a chart of them beside it. With --config, those of the
    /// other configurations stay.
    #[arg(long, requires = "kept")]
    pub record: bool,
    /// Judge these results instead of measuring.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["record", "configurations"])]
    pub show: Option<PathBuf>,
    /// Fail when a target is missed.
    #[arg(long)]
    pub check_targets: bool,
    /// List the configurations instead of measuring.
    #[arg(long)]
    pub list: bool,
    /// Number of processors of each guest.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub cpus: u32,
    /// Guests at the same time [default: three for two processors, at most 3]. Results do not depend on it.
    #[arg(long, value_name = "N")]
    pub parallel: Option<usize>,
    /// Program that tells the sizes of an object's sections.
    #[arg(long, value_name = "PROGRAM", default_value = "size")]
    pub size: PathBuf,
    /// Size and time limits.
    #[command(flatten)]
    pub guest: GuestArgs,
    /// Programs and files.
    #[command(flatten)]
    pub tools: ToolArgs,
}

impl From<RunArgs> for BootArgs {
    /// One guest with a shell, otherwise as the main job has it.
    fn from(run: RunArgs) -> BootArgs {
        let RunArgs { kernel, modules, cpus, devices, append, hypervisor, shell, guest, tools } = run;
        let scenario = "shell".to_owned();
        let initramfs = None;
        BootArgs {
            kernel,
            modules,
            initramfs,
            cpus,
            devices,
            append,
            hypervisor,
            scenario,
            shell,
            trace: false,
            guest,
            tools,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_judges_any_kernel_leaves_its_results_under_its_own_name() {
        let cli = Cli::try_parse_from(["hvrun", "conformance", "--kernel", "k"]).map(|cli| cli.action);
        let Ok(Action::Conformance(args)) = cli else { panic!("no conformance") };
        assert_eq!(args.host.out, PathBuf::from("conformance"));
    }

    #[test]
    fn the_benchmark_takes_more_memory_and_a_test_takes_less() {
        let memory = |words: &[&str]| match Cli::try_parse_from(words).map(|cli| cli.action) {
            Ok(Action::Bench(args)) => args.guest.memory,
            Ok(Action::Test(args)) => args.guest.memory,
            _ => panic!("{words:?}"),
        };
        assert_eq!(memory(&["hvrun", "bench", "--kernel-build", "k"]), "4G");
        assert_eq!(memory(&["hvrun", "test"]), "512M");
    }
}
