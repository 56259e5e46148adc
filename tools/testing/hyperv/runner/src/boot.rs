// SPDX-License-Identifier: GPL-2.0
//! One guest from start to end: files, QEMU, watching.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use hvcore::identity::Identity;
use hvcore::options::Options;
use hvprotocol::report::{remark, PREFIX};
use hvprotocol::request::Request;

use crate::console::{message, Follower};
use crate::device::Devices;
use crate::image::{write_bundle, Kernel};
use crate::initramfs::{Fio, Initramfs, Pack};
use crate::monitor::Monitor;
use crate::qemu::{as_shell, Clock, Console, Iommu, Logs, Machine, Payload, Threads, Trace};
use crate::record::{End, Record};
use crate::tools::Tools;

/// How often the logs are looked at.
const TICK: Duration = Duration::from_millis(20);

/// Words for every guest kernel: one console, every line on it, no waiting after a panic.
const COMMAND_LINE: &str =
    "console=ttyS0,115200 ignore_loglevel printk.devkmsg=on log_buf_len=1M oops=panic panic=-1 nvme_core.io_timeout=10 nvme_core.admin_timeout=10";

/// What a check of the guest program that fails means for the rest of the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failures {
    /// The guest goes on.
    Followed,
    /// The boot ends: that something fails is all there is to know.
    End,
}

/// How long a guest may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// What ends it early.
    pub failures: Failures,
    /// From start to end.
    pub total: Duration,
    /// Without a new byte in any log.
    pub silent: Duration,
}

/// Within this time, a kernel whose timers fire says that its tasks are locked up: it looks every 120 s for tasks that have
/// not run for 120 s.
const LOCKUP_IS_SAID: Duration = Duration::from_secs(270);

impl Patience {
    /// How long a guest may be silent. One that hangs by itself gets the time to say so where the emulator may be suspected.
    fn silent_for(self, threads: Threads) -> Duration {
        match threads {
            Threads::Single => self.silent,
            Threads::Multi => self.silent.max(LOCKUP_IS_SAID),
        }
    }

    /// The same, or more from start to end if `total` says so.
    pub fn at_least(self, total: Option<Duration>) -> Patience {
        Patience { total: total.map_or(self.total, |total| total.max(self.total)), ..self }
    }
}

/// What becomes of the disks, the initramfs and the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// They go when the guest has ended.
    Removed,
    /// They stay, in the log directory.
    Kept,
}

impl Leftovers {
    /// Makes a directory for them below `logs`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn directory(self, logs: &Path) -> Result<tempfile::TempDir> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("work-").disable_cleanup(self == Leftovers::Kept);
        builder.tempdir_in(logs).with_context(|| format!("a work directory in {}", logs.display()))
    }
}

/// Where a guest's root file system comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Root {
    /// It is built for this boot: the guest program, and what it needs.
    Built,
    /// An installed system's own initramfs, which finds the system. What the plan has packed does not reach it.
    Installed(PathBuf),
}

/// What is new when the machine is switched on again.
#[derive(Clone, Debug)]
pub struct PowerCycle {
    /// Words added to the kernel's command line.
    pub append: String,
    /// minihv's options; the devices are added.
    pub hypervisor: Options,
}

/// Everything that is chosen for one boot.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of the boot and of its log directory.
    pub name: String,
    /// What boots.
    pub kernel: Kernel,
    /// Where the root file system comes from.
    pub root: Root,
    /// Number of processors.
    pub cpus: u32,
    /// RAM, with QEMU's suffix.
    pub memory: String,
    /// PCI devices.
    pub devices: Devices,
    /// The machine's IOMMU. minihv knows Intel's alone: [`Iommu::Intel`] for guests, [`Iommu::IntelSecondStage`] for a root
    /// partition.
    pub iommu: Iommu,
    /// What drives the guest's clocks.
    pub clock: Clock,
    /// How the processors run.
    pub threads: Threads,
    /// Words added to the kernel's command line, `hvtest.*` included.
    pub append: String,
    /// minihv's options; the devices are added.
    pub hypervisor: Options,
    /// Each time that the machine is switched on again, with the same disks.
    pub power_cycles: Vec<PowerCycle>,
    /// Whether fio is packed.
    pub fio: Fio,
    /// More files for the guest.
    pub packs: Vec<Pack>,
    /// Bytes of a file that nobody reads: it moves everything that the guest allocates. 0: there is no such file.
    pub padding: u32,
    /// The guest's console.
    pub console: Console,
    /// VT-d trace.
    pub trace: Trace,
    /// Time limits.
    pub patience: Patience,
}

/// What a line of the console says of a check of the guest program that failed.
fn failure(line: &str) -> Option<String> {
    Some(message(line).strip_prefix(PREFIX)?.trim_start().strip_prefix("not ok ")?.to_owned())
}

/// A guest from the first start of its machine on.
struct Boot {
    serial: Follower,
    hypervisor: Follower,
    record: Record,
    start: Instant,
}

/// A running QEMU, ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Plan {
    fn command_line(&self, tools: &Tools) -> String {
        let bare = if tools.minihv.is_some() { "" } else { self.iommu.words() };
        let (count, virtio) = (self.devices.count(), self.devices.virtio_count());
        let counts = format!("hvtest.devices={count} hvtest.virtio={virtio}");
        let words = [COMMAND_LINE, bare, &counts, &self.append];
        words.iter().filter(|w| !w.is_empty()).copied().collect::<Vec<_>>().join(" ")
    }

    /// The guest's initramfs. One that has to be built is built in `directory`.
    fn initramfs(&self, tools: &Tools, directory: &Path) -> Result<PathBuf> {
        if let Root::Installed(file) = &self.root {
            return Ok(file.clone());
        }
        let mut archive = Initramfs::new(&tools.guest, tools.busybox.as_deref())?;
        if self.fio == Fio::Packed {
            archive.add_dynamic_program(tools.fio.as_deref().context("fio was not given")?)?;
        }
        if let Some(modules) = &self.kernel.modules {
            archive.add_modules(modules)?;
        }
        for pack in &self.packs {
            if *pack != Pack::Kernel {
                archive.add_programs(pack.into(), tools.directory(*pack).as_deref())?;
            }
        }
        for depth in 0..self.packs.iter().filter(|pack| **pack == Pack::Kernel).count() {
            let inner = directory.join(format!("inner-{depth}.cpio"));
            archive.write(&inner)?;
            archive.add_second_boot(&self.kernel.image, &inner);
        }
        if self.padding > 0 {
            archive.add_padding(self.padding);
        }
        let initramfs = directory.join("initramfs.cpio");
        archive.write(&initramfs)?;
        Ok(initramfs)
    }

    /// Builds what QEMU loads, in `directory`.
    fn payload(&self, tools: &Tools, directory: &Path, initramfs: &Path) -> Result<Payload> {
        let command_line = self.command_line(tools);
        let Some(elf) = &tools.minihv else {
            return Ok(Payload::Kernel {
                image: self.kernel.image.clone(),
                initramfs: initramfs.to_owned(),
                command_line,
            });
        };
        if !elf.is_file() {
            bail!("{} does not exist: minihv is not built", elf.display());
        }
        let bundle = directory.join("bundle.img");
        write_bundle(&bundle, &self.kernel.image, initramfs, &command_line)?;
        // A root partition has the machine's devices as they are.
        let assign = match self.hypervisor.identity {
            Identity::Root => Vec::new(),
            Identity::Guest | Identity::Isolated | Identity::L1vh => self.devices.assignment()?,
        };
        let options = Options { assign, ..self.hypervisor.clone() };
        Ok(Payload::Minihv { elf: elf.clone(), bundle, options: options.to_string() })
    }

    /// The boot after this one.
    fn again(&self, cycle: &PowerCycle) -> Plan {
        Plan { append: cycle.append.clone(), hypervisor: cycle.hypervisor.clone(), ..self.clone() }
    }

    /// Boots the guest and follows it to its end. `watch` sees every console line as it comes.
    ///
    /// A boot that the emulator itself broke says nothing about the guest: it is repeated, `watch` is told so, and the
    /// record has the reason.
    ///
    /// # Errors
    /// When the guest cannot be started at all; a guest that fails is no error here.
    pub fn boot(
        &self,
        tools: &Tools,
        work: &Path,
        logs: Logs,
        watch: &mut dyn FnMut(&str, Duration),
    ) -> Result<Record> {
        let mut repeats = Vec::new();
        loop {
            let record = self.boot_once(tools, work, logs.clone(), watch)?;
            match record.broken(self.threads) {
                Some(broken) if broken.is_repeated(&repeats) => {
                    let error = broken.reason();
                    watch(&format!("{PREFIX}# the boot is repeated: {error}"), record.elapsed);
                    repeats.push(error);
                }
                _ => return Ok(Record { repeats, ..record }),
            }
        }
    }

    fn boot_once(
        &self,
        tools: &Tools,
        work: &Path,
        logs: Logs,
        watch: &mut dyn FnMut(&str, Duration),
    ) -> Result<Record> {
        for log in [&logs.serial, &logs.hypervisor, &logs.qemu, &logs.trace, &logs.state] {
            match fs::remove_file(log) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).context(log.display().to_string()),
                _ => {}
            }
        }
        self.devices.create_disks(work)?;
        let initramfs = self.initramfs(tools, work)?;
        let machine = Machine {
            cpus: self.cpus,
            memory: self.memory.clone(),
            devices: self.devices.clone(),
            iommu: self.iommu,
            clock: self.clock,
            threads: self.threads,
            payload: self.payload(tools, work, &initramfs)?,
            console: self.console,
            trace: self.trace,
        };
        let mut boot = Boot {
            serial: Follower::new(&logs.serial),
            hypervisor: Follower::new(&logs.hypervisor),
            record: Record {
                end: End::Exited,
                serial: vec![],
                hypervisor: vec![],
                logs,
                elapsed: Duration::ZERO,
                repeats: vec![],
            },
            start: Instant::now(),
        };
        self.power_on(tools, work, &machine, &mut boot, watch)?;
        for cycle in &self.power_cycles {
            if boot.record.end == End::Exited {
                let payload = self.again(cycle).payload(tools, work, &initramfs)?;
                self.power_on(tools, work, &Machine { payload, ..machine.clone() }, &mut boot, watch)?;
            }
        }
        let mut record = boot.record;
        record.serial.extend(boot.serial.finish());
        record.hypervisor.extend(boot.hypervisor.finish());
        record.elapsed = boot.start.elapsed();
        Ok(record)
    }

    /// Starts the machine and follows it until it is off, or is not to go on.
    fn power_on(
        &self,
        tools: &Tools,
        work: &Path,
        machine: &Machine,
        boot: &mut Boot,
        watch: &mut dyn FnMut(&str, Duration),
    ) -> Result<()> {
        let Boot { serial, hypervisor, record, start } = boot;
        let arguments = machine.arguments(work, &record.logs);
        fs::write(&record.logs.command, as_shell(&tools.qemu.display().to_string(), &arguments))
            .with_context(|| record.logs.command.display().to_string())?;
        // Not in the command that is kept: who starts it by hand has no such socket.
        let mut monitor = Monitor::new()?;
        let mut qemu = self.spawn(tools, &arguments, &monitor, &record.logs)?;
        monitor.is_given();
        let (mut heard, mut progress, mut failed) = (Instant::now(), 0, None);
        loop {
            // Asked first: what was written before the end is then read below.
            let ended = qemu.0.try_wait().context("waiting for QEMU")?;
            for line in serial.poll()? {
                watch(&line, start.elapsed());
                if let Some(request) = remark(message(&line)).and_then(Request::of) {
                    monitor.fulfil(request)?;
                }
                if self.patience.failures == Failures::End {
                    failed = failed.or_else(|| failure(&line));
                }
                record.serial.push(line);
            }
            record.hypervisor.extend(hypervisor.poll()?);
            if let Some(status) = ended {
                record.end = End::of(status, &record.logs.qemu);
                return Ok(());
            }
            let seen = serial.offset() + hypervisor.offset();
            if seen != progress {
                (heard, progress) = (Instant::now(), seen);
            }
            let patient = self.console == Console::Terminal;
            if let Some(check) = failed.take() {
                record.end = End::Failed(check);
                return Ok(());
            }
            let silent = self.patience.silent_for(self.threads);
            if !patient && heard.elapsed() > silent {
                record.end = End::Silent(silent);
            } else if !patient && start.elapsed() > self.patience.total {
                record.end = End::TimedOut(self.patience.total);
            }
            if record.end != End::Exited {
                let state = monitor.look(self.cpus).unwrap_or_else(|error| format!("{error:#}\n"));
                fs::write(&record.logs.state, state).with_context(|| record.logs.state.display().to_string())?;
                return Ok(());
            }
            std::thread::sleep(TICK);
        }
    }

    fn spawn(&self, tools: &Tools, arguments: &[String], monitor: &Monitor, logs: &Logs) -> Result<Running> {
        let words = fs::File::create(&logs.qemu).with_context(|| logs.qemu.display().to_string())?;
        let mut command = Command::new(&tools.qemu);
        monitor.give_to(command.args(arguments));
        command.stderr(words.try_clone().context("qemu.log")?);
        if self.console == Console::Log {
            command.stdin(Stdio::null()).stdout(words);
        }
        // SAFETY: prctl is async-signal-safe; nothing is allocated between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // No emulator outlives the runner, however that ends.
                nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
                Ok(())
            });
        }
        Ok(Running(command.spawn().with_context(|| format!("starting {}", tools.qemu.display()))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lockup_is_said_before_patience_ends() {
        let patience = |seconds| Patience {
            failures: Failures::End,
            total: Duration::from_secs(600),
            silent: Duration::from_secs(seconds),
        };
        let silent = |seconds, threads| patience(seconds).silent_for(threads).as_secs();
        assert_eq!([120, 600].map(|seconds| silent(seconds, Threads::Single)), [120, 600]);
        assert_eq!([120, 600].map(|seconds| silent(seconds, Threads::Multi)), [270, 600]);
    }

    #[test]
    fn a_failed_check_is_known_by_its_line() {
        let failed = |line| failure(line).is_some();
        assert!(failed("[    1.0] hvtest: not ok 3 a # why") && failed("[    1.0] hvtest:     not ok 3 a"));
        assert!(!failed("[    1.0] hvtest: ok 3 a # not ok ") && !failed("[    1.0]     not ok 3 a"));
    }
}
