// SPDX-License-Identifier: GPL-2.0
//! Another kernel in place of this one: loading it, and leaving for it.
//!
//! The kernel and its root file system lie in `/boot` (the runner puts them there for cases that ask for it). A kernel
//! that was loaded runs once the report is complete: at once, or after a crash that is caused on purpose.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use hvcore::ids::{DomainId, Gpa};
use hvprotocol::request::Request;
use nix::errno::Errno;
use nix::sched::{sched_setaffinity, CpuSet};
use nix::sys::reboot::{reboot, RebootMode};
use nix::unistd::Pid;

use crate::fetched::Set;
use crate::memory::PAGE;
use crate::minihv::Minihv;
use crate::pci;
use crate::report::Reporter;
use hvprotocol::options::{Cause, Loader, Options};

const KERNEL: &str = "/boot/kernel";
const INITRAMFS: &str = "/boot/initramfs";
const SYSRQ: &str = "/proc/sysrq-trigger";
/// How many processors a kernel may have.
const PROCESSORS: &str = "nr_cpus=";
/// How long a crash may take to begin.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a second kernel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It takes over from this one.
    Successor,
    /// It runs in its own, reserved memory after this one has crashed.
    Crash,
}

impl Purpose {
    /// The file that tells whether a kernel for this purpose is loaded.
    fn loaded(self) -> &'static str {
        match self {
            Purpose::Successor => "/sys/kernel/kexec_loaded",
            Purpose::Crash => "/sys/kernel/kexec_crash_loaded",
        }
    }

    /// Whether such a kernel is loaded; never on a kernel without kexec.
    fn is_loaded(self) -> bool {
        fs::read_to_string(self.loaded()).is_ok_and(|text| text.trim() == "1")
    }

    /// `kexec_file_load(2)`'s flags.
    fn flags(self) -> usize {
        const KEXEC_FILE_ON_CRASH: usize = 2;
        match self {
            Purpose::Successor => 0,
            Purpose::Crash => KEXEC_FILE_ON_CRASH,
        }
    }

    /// kexec's option.
    fn option(self) -> &'static str {
        match self {
            Purpose::Successor => "--load",
            Purpose::Crash => "--load-panic",
        }
    }

    /// Words that go with it.
    fn words(self) -> &'static [&'static str] {
        match self {
            Purpose::Successor => &[],
            Purpose::Crash => &["nr_cpus=1", "reset_devices"],
        }
    }
}

/// What the next kernel is told besides what this one was told.
#[derive(Clone, Debug)]
pub struct Next<'a> {
    /// The scenarios of the kernels to come, the next one's first.
    pub scenarios: &'a [String],
    /// Words for it alone.
    pub words: &'a [String],
    /// The number of the next kernel in this boot of the machine, from 2.
    pub kernel: u64,
    /// The domains that this kernel leaves behind.
    pub domains: &'a [DomainId],
}

/// The next kernel's command line, made of the running one's.
fn command_line(current: &str, purpose: Purpose, next: &Next<'_>) -> Result<String> {
    const OWN: [&str; 6] =
        ["hvtest.scenario=", "hvtest.next=", "hvtest.tell=", "hvtest.kernel=", "hvtest.domains=", "crashkernel="];
    let (scenario, later) = next.scenarios.split_first().context("hvtest.next= names no scenario")?;
    let ids: Vec<String> = next.domains.iter().map(|id| id.0.to_string()).collect();
    let kept = current.split_whitespace().filter(|word| !OWN.iter().any(|own| word.starts_with(own)));
    // Of this word the kernel takes the smallest, not the last.
    let is_told =
        |word: &&str| word.starts_with(PROCESSORS) && next.words.iter().any(|own| own.starts_with(PROCESSORS));
    let usual = purpose.words().iter().copied().filter(|word| !is_told(word));
    let mut words: Vec<String> = kept.chain(usual).map(str::to_owned).collect();
    words.extend_from_slice(next.words);
    words.push(format!("hvtest.scenario={scenario}"));
    words.push(format!("hvtest.kernel={}", next.kernel));
    words.push(format!("hvtest.domains={}", ids.join(",")));
    if !later.is_empty() {
        words.push(format!("hvtest.next={}", later.join(",")));
    }
    Ok(words.join(" "))
}

/// Loads the kernel in `/boot`.
///
/// # Errors
/// When there is none, or the running kernel refuses it.
pub fn load(purpose: Purpose, loader: Loader, next: &Next<'_>) -> Result<()> {
    let current = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    let line = command_line(&current, purpose, next)?;
    match loader {
        Loader::File => load_file(purpose, &line)?,
        Loader::Segments => {
            let (kind, initramfs) = (purpose.option(), format!("--initrd={INITRAMFS}"));
            Set::Kdump
                .run("kexec", &["--kexec-syscall", kind, &initramfs, &format!("--command-line={line}"), KERNEL])?;
        }
    }
    ensure!(purpose.is_loaded(), "the kernel does not say that another one is loaded for {purpose:?}");
    Ok(())
}

/// By the system call that takes the files.
fn load_file(purpose: Purpose, line: &str) -> Result<()> {
    let line = CString::new(line)?;
    let kernel = File::open(KERNEL).context(KERNEL)?;
    let initramfs = File::open(INITRAMFS).context(INITRAMFS)?;
    let (bytes, flags) = (line.as_bytes_with_nul().len(), purpose.flags());
    // SAFETY: both descriptors are open, and the line is `bytes` bytes long with the NUL at its end.
    let result = unsafe {
        libc::syscall(libc::SYS_kexec_file_load, kernel.as_raw_fd(), initramfs.as_raw_fd(), bytes, line.as_ptr(), flags)
    };
    Errno::result(result).with_context(|| format!("kexec_file_load for {purpose:?}"))?;
    Ok(())
}

/// Code in place of a kernel, for a jump that comes back (`KEXEC_PRESERVE_CONTEXT`). It returns at once.
pub struct Returning(());

impl Returning {
    /// `kexec_load(2)`'s flag.
    const PRESERVE_CONTEXT: usize = 2;
    /// x86's instruction.
    const RETURN: u8 = 0xc3;

    fn call(entry: Gpa, segments: &[libc::c_ulong]) -> nix::Result<()> {
        /// Words of a `struct kexec_segment`.
        const WORDS: usize = 4;
        let count = segments.len() / WORDS;
        // SAFETY: the list has so many segments. What each names lives as long as the call, which copies it.
        let result = unsafe {
            libc::syscall(libc::SYS_kexec_load, entry.0, count, segments.as_ptr(), Returning::PRESERVE_CONTEXT)
        };
        Errno::result(result).map(drop)
    }

    /// Loads it, in place of a kernel that was loaded. `at` is the page of RAM that it runs in; what the page holds is
    /// kept.
    ///
    /// # Errors
    /// When the running kernel refuses it: it needs `CONFIG_KEXEC_JUMP`.
    pub fn load(at: Gpa) -> Result<Returning> {
        let code = [Returning::RETURN; PAGE];
        let segment = [code.as_ptr() as u64, PAGE as u64, at.0, PAGE as u64];
        Returning::call(at, &segment).context("kexec_load with KEXEC_PRESERVE_CONTEXT")?;
        ensure!(Purpose::Successor.is_loaded(), "the kernel does not say that something is loaded");
        Ok(Returning(()))
    }

    /// Jumps there. Returns when the code has returned, or the running kernel refuses.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn jump(&self) -> nix::Result<()> {
        // SAFETY: the call has no arguments in memory. What it may end is this machine's business, not this program's.
        Errno::result(unsafe { libc::reboot(libc::RB_KEXEC) }).map(drop)
    }
}

impl Drop for Returning {
    fn drop(&mut self) {
        // What is loaded would run at this kernel's end, where the runner would notice it.
        let _ = Returning::call(Gpa(0), &[]);
    }
}

/// Goes to a processor, and stays there.
fn go_to(cpu: u64) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(usize::try_from(cpu)?).context("hvtest.crash-cpu=")?;
    sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("going to processor {cpu}"))
}

fn sysrq() -> Result<()> {
    fs::write(SYSRQ, "c").context(SYSRQ)
}

/// The host withdraws the NVMe controller; returns when the kernel takes the controller from its driver.
fn begin_removal() -> Result<()> {
    let minihv = Minihv::detect().context("only minihv withdraws devices")?;
    let functions = pci::all()?;
    let disk = functions.iter().find(|function| function.is_nvme()).context("no NVMe controller")?;
    minihv.rescind(disk.bus().context("the NVMe controller is on no bus")?)?;
    let begun = Instant::now();
    while disk.driver().is_some() {
        ensure!(begun.elapsed() < PATIENCE, "{} keeps its driver", disk.address);
    }
    ensure!(disk.file("config").exists(), "{} was gone before the crash", disk.address);
    Ok(())
}

/// Crashes. Returns when there was no crash.
fn crash(options: &Options, reporter: &mut Reporter) -> Result<()> {
    if let Some(cpu) = options.crash_cpu {
        go_to(cpu)?;
    }
    match options.crash_by {
        Cause::Sysrq => sysrq(),
        Cause::Removal => {
            begin_removal()?;
            sysrq()
        }
        Cause::Nmi => {
            reporter.note(Request::Nmi.remark());
            std::thread::sleep(PATIENCE);
            bail!("no crash by an NMI within {} s", PATIENCE.as_secs())
        }
    }
}

/// Leaves for the kernel that was loaded, by a crash where it is a crash kernel. Returns when none was.
///
/// # Errors
/// When the running kernel refuses to go.
pub fn leave(options: &Options, reporter: &mut Reporter) -> Result<()> {
    if Purpose::Crash.is_loaded() {
        crash(options, reporter)?;
    } else if Purpose::Successor.is_loaded() {
        reboot(RebootMode::RB_KEXEC).context("reboot by kexec")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_kernel_is_told_what_is_new() {
        let current = "console=ttyS0 crashkernel=256M iommu.strict=1 hvtest.scenario=one hvtest.next=two,three\n";
        let scenarios = ["two".to_owned(), "three".to_owned()];
        let next = Next { scenarios: &scenarios, words: &[], kernel: 2, domains: &[DomainId(1), DomainId(7)] };
        assert_eq!(
            command_line(current, Purpose::Successor, &next).unwrap(),
            "console=ttyS0 iommu.strict=1 hvtest.scenario=two hvtest.kernel=2 hvtest.domains=1,7 hvtest.next=three"
        );
        let last = Next { scenarios: &scenarios[1..], words: &["off".to_owned()], kernel: 3, domains: &[] };
        assert_eq!(
            command_line("quiet hvtest.kernel=2 hvtest.domains=1 hvtest.tell=off", Purpose::Crash, &last).unwrap(),
            "quiet nr_cpus=1 reset_devices off hvtest.scenario=three hvtest.kernel=3 hvtest.domains="
        );
        let told = Next { words: &["nr_cpus=4".to_owned()], ..last };
        assert_eq!(
            command_line("", Purpose::Crash, &told).unwrap(),
            "reset_devices nr_cpus=4 hvtest.scenario=three hvtest.kernel=3 hvtest.domains="
        );
        assert!(
            command_line("", Purpose::Crash, &Next { scenarios: &[], words: &[], kernel: 2, domains: &[] }).is_err()
        );
    }
}
