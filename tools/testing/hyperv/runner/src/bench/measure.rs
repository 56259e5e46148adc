// SPDX-License-Identifier: GPL-2.0
//! The boots of one configuration: two that have to agree, and more that tell what the figures vary by.
//!
//! Two boots of one kernel with the same files execute the same instructions. Another build of the same sources does not:
//! files of other sizes move all that the guest allocates, and a guest that gets other pages does other work. Pages that
//! happen to lie beside each other are mapped together; a tree of addresses has another shape. The boots that differ in
//! nothing but the size of a file show how much of that there is in each figure.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use anyhow::{ensure, Context, Result};

use super::change::{changes, Meaning};
use super::configuration::{tolerance, Build, Configuration, Host};
use super::extrapolation;
use super::figure::Figures;
use super::variation::Variation;
use crate::boot::{Leftovers, Patience, Plan, Root};
use crate::console::message;
use crate::demands::Demands;
use crate::expect::{ordinary, root_driver_up};
use crate::image::Kernel;
use crate::initramfs::{Fio, Pack};
use crate::pool;
use crate::progress::{tail, Progress};
use crate::qemu::{Clock, Console, Iommu, Logs, Threads, Trace};
use crate::record::Record;
use crate::tools::Tools;
use crate::verdict::verdict;

/// Boots of a configuration, by the bytes of the file that moves the guest's allocations.
const BOOTS: [u32; 4] = [0, 0, (3 << 20) + 0x5000, (9 << 20) + 0x1b000];
/// So many of them, the first ones, are the same boot and have to agree.
const SAME: usize = 2;
/// Console lines that are shown of a failing boot.
const TAIL: usize = 30;

/// What all boots have in common.
pub struct Bed<'a> {
    /// The kernel of [`Build::Ordinary`].
    pub kernel: Kernel,
    /// That of [`Build::VirtioRust`], if there is one.
    pub virtio_rust_kernel: Option<Kernel>,
    /// That of [`Build::Root`], if there is one.
    pub root_kernel: Option<Kernel>,
    /// Programs and files, minihv included.
    pub tools: Tools,
    /// Words added to every kernel's command line.
    pub append: String,
    /// Number of processors.
    pub cpus: u32,
    /// RAM, with QEMU's suffix.
    pub memory: String,
    /// Time limits of each boot.
    pub patience: Patience,
    /// What becomes of the guests' files.
    pub leftovers: Leftovers,
    /// Where logs go, a directory for each boot.
    pub logs: PathBuf,
    /// For lines about stages.
    pub progress: &'a Progress,
}

/// What came of a configuration.
pub struct Measured {
    /// What was measured, when every boot was in order.
    pub figures: Option<Figures>,
    /// What the figures vary by.
    pub variation: Variation,
    /// What is wrong, one sentence each.
    pub complaints: Vec<String>,
}

/// One boot, finished: its figures, or what is wrong with it.
struct Boot {
    figures: Figures,
    complaints: Vec<String>,
}

impl Bed<'_> {
    fn kernel(&self, build: Build) -> Result<&Kernel> {
        match build {
            Build::Ordinary => Ok(&self.kernel),
            Build::VirtioRust => self.virtio_rust_kernel.as_ref().context("no --virtio-rust-build was given"),
            Build::Root => self.root_kernel.as_ref().context("no --root-build was given"),
        }
    }

    fn plan(&self, configuration: &Configuration, padding: u32) -> Result<Plan> {
        Ok(Plan {
            name: configuration.name.to_owned(),
            kernel: self.kernel(configuration.build)?.clone(),
            root: Root::Built,
            cpus: configuration.cpus.unwrap_or(self.cpus),
            memory: configuration.memory.unwrap_or(&self.memory).to_owned(),
            devices: configuration.devices()?,
            iommu: match configuration.host {
                Host::Minihv if configuration.is_root() => Iommu::IntelSecondStage,
                Host::Minihv => Iommu::Intel,
                Host::Machine(iommu) => iommu,
            },
            clock: Clock::Instructions,
            threads: Threads::Single,
            append: format!("{} {}", configuration.append(), self.append).trim_end().to_owned(),
            hypervisor: configuration.hypervisor.parse().with_context(|| configuration.name.to_owned())?,
            power_cycles: Vec::new(),
            fio: Fio::Left,
            packs: vec![Pack::Bench],
            padding,
            console: Console::Log,
            trace: Trace::Off,
            patience: self.patience,
        })
    }

    fn boot(&self, configuration: &Configuration, round: usize, padding: u32) -> Result<Boot> {
        let name = configuration.name;
        let logs = self.logs.join(name).join(round.to_string());
        std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
        let work = self.leftovers.directory(&logs)?;
        let mut tools = self.tools.clone();
        tools.bench = tools.bench.map(|modules| modules.join(configuration.build.modules()));
        if let Host::Machine(_) = configuration.host {
            tools.minihv = None;
        }
        self.progress.stage("boot", &format!("{name}, boot {round}"));
        let record = self.plan(configuration, padding)?.boot(&tools, work.path(), Logs::new(&logs), &mut |_, _| {})?;
        let boot = judge(configuration, &record)?;
        let seconds = record.elapsed.as_secs_f64();
        let (count, logs) = (boot.figures.len(), logs.display());
        if boot.complaints.is_empty() {
            self.progress.stage("boot", &format!("{name}, boot {round}: {count} figures after {seconds:.1} s"));
        } else {
            self.progress.stage("boot", &format!("{name}, boot {round}: FAILED after {seconds:.1} s, logs in {logs}"));
            let lines = tail(&record.serial, TAIL).iter().map(|line| format!("  | {line}\n"));
            print!("{}", lines.collect::<String>());
        }
        Ok(boot)
    }

    /// Boots every configuration, `parallel` guests at a time.
    ///
    /// # Errors
    /// When a guest cannot be started at all.
    pub fn measure(&self, configurations: &[Configuration], parallel: usize) -> Result<BTreeMap<String, Measured>> {
        let all =
            configurations.iter().flat_map(|c| (1..).zip(BOOTS).map(move |(round, padding)| (*c, round, padding)));
        let finished = Mutex::new(Vec::new());
        pool::each(all, parallel, |(configuration, round, padding)| {
            let boot = self.boot(&configuration, round, padding)?;
            finished.lock().unwrap_or_else(PoisonError::into_inner).push((configuration.name, round, boot));
            Ok(())
        })?;
        let mut boots: BTreeMap<String, Vec<(usize, Boot)>> = BTreeMap::new();
        for (name, round, boot) in finished.into_inner().unwrap_or_else(PoisonError::into_inner) {
            boots.entry(name.to_owned()).or_default().push((round, boot));
        }
        let together = |(name, boots): (String, _)| agree(&name, boots).map(|measured| (name, measured));
        boots.into_iter().map(together).collect()
    }
}

/// Judges a boot, and reads its figures.
fn judge(configuration: &Configuration, record: &Record) -> Result<Boot> {
    let log = match configuration.host {
        Host::Minihv if configuration.is_root() => vec![root_driver_up()],
        Host::Minihv => ordinary(&[], 1),
        Host::Machine(_) => Vec::new(),
    };
    let mut complaints = verdict(record, &Demands { log, ..Demands::default() })?.complaints;
    let figures = match Figures::read(record.serial.iter().map(|line| message(line))) {
        Ok(figures) => figures,
        Err(error) => {
            complaints.push(format!("{error:#}"));
            Figures::default()
        }
    };
    if figures.len() == 0 {
        complaints.push("nothing was measured".to_owned());
    }
    Ok(Boot { figures, complaints })
}

/// Puts the boots of a configuration together. Those that should agree and do not are told by the names of their figures.
fn agree(configuration: &str, mut boots: Vec<(usize, Boot)>) -> Result<Measured> {
    ensure!(boots.len() == BOOTS.len(), "{} of {} boots", boots.len(), BOOTS.len());
    boots.sort_by_key(|(round, _)| *round);
    let mut complaints = Vec::new();
    for (round, boot) in &mut boots {
        complaints.extend(boot.complaints.iter().map(|complaint| format!("boot {round}: {complaint}")));
        extrapolation::add(&mut boot.figures)?;
    }
    let (same, moved) = boots.split_at(SAME);
    if complaints.is_empty() {
        for pair in same.windows(2) {
            let unlike = changes(&pair[0].1.figures, &pair[1].1.figures, |metric| tolerance(configuration, metric));
            complaints.extend(unlike.iter().map(|change| format!("two boots disagree: {}", change.describe())));
        }
        for (round, boot) in moved {
            let unlike = changes(&same[0].1.figures, &boot.figures, |_| f64::INFINITY);
            let other = unlike.iter().filter(|change| matches!(change.meaning(), Meaning::New | Meaning::Gone));
            complaints
                .extend(other.map(|change| format!("only some boots measure {} (boot {round})", change.describe())));
        }
    }
    let variation = Variation::of(boots.iter().map(|(_, boot)| &boot.figures));
    let figures = boots.into_iter().next().map(|(_, boot)| boot.figures).filter(|_| complaints.is_empty());
    Ok(Measured { figures, variation, complaints })
}

#[cfg(test)]
mod tests {
    use super::super::configuration::ALL;
    use super::*;
    use crate::record::End;
    use std::path::Path;
    use std::time::Duration;

    const SERIAL: &str = "[    0.1] hv_pviommu: aperture 0x0-0x7fffffffffff (47 bits), 4-level tables\n\
        [    1.0] hvtest: KTAP version 1\n[    1.0] hvtest: 1..1\n[    1.1] bench: a/map 1000.000 instructions\n\
        bench: a/calls 1 calls\n[    1.1] hvtest: ok 1 bench\n[    1.3] hvtest: # Totals: pass:1 fail:0 skip:0\n\
        [    1.4] reboot: Power down";

    fn boot(serial: &str) -> Boot {
        let record = Record {
            end: End::Exited,
            serial: serial.lines().map(str::to_owned).collect(),
            hypervisor: Vec::new(),
            logs: Logs::new(Path::new("/logs")),
            elapsed: Duration::ZERO,
            repeats: Vec::new(),
        };
        let own = ALL.iter().find(|c| c.host == Host::Minihv).unwrap();
        judge(own, &record).unwrap()
    }

    fn all(first: &str, second: &str, moved: &str) -> Measured {
        // In the order in which they happen to end.
        agree("hv-strict", vec![(2, boot(second)), (4, boot(first)), (1, boot(first)), (3, boot(moved))]).unwrap()
    }

    fn both(first: &str, second: &str) -> Measured {
        all(first, second, first)
    }

    #[test]
    fn boots_that_were_moved_may_differ_and_tell_the_variation() {
        let measured = all(SERIAL, SERIAL, &SERIAL.replace("1000.000", "1100.000"));
        assert_eq!(measured.complaints, Vec::<String>::new());
        assert_eq!(measured.variation.of_figure("a/map"), 0.1);
        assert_eq!(measured.variation.of_figure("a/calls"), 0.0);
        let fewer = all(SERIAL, SERIAL, &SERIAL.replace("bench: a/calls 1 calls\n", ""));
        assert_eq!(fewer.complaints, ["only some boots measure a/calls: 1 calls (boot 3)"]);
        assert_eq!(fewer.figures, None);
    }

    #[test]
    fn two_boots_that_agree_are_one_result() {
        let measured = both(SERIAL, &SERIAL.replace("1000.000", "1004.000"));
        assert_eq!(measured.complaints, Vec::<String>::new());
        assert_eq!(measured.figures.unwrap().value("a/map"), Some(1000.0));
    }

    #[test]
    fn boots_that_disagree_are_no_result() {
        let measured = both(SERIAL, &SERIAL.replace("1000.000", "1010.000"));
        assert_eq!(measured.complaints, ["two boots disagree: a/map: 1000 -> 1010 instructions (+1.0 %)"]);
        assert_eq!(measured.figures, None);
        let fewer = both(SERIAL, &SERIAL.replace("bench: a/calls 1 calls\n", ""));
        assert_eq!(fewer.complaints, ["two boots disagree: a/calls: 1 calls"]);
    }

    #[test]
    fn what_is_wrong_with_a_boot_is_told() {
        let complaints = |serial: &str| both(SERIAL, serial).complaints;
        let malformed = complaints(&SERIAL.replace("1000.000", "many"));
        assert!(malformed[0].starts_with("boot 2: the line \"a/map many instructions\""), "{malformed:?}");
        assert_eq!(
            complaints(&SERIAL.replace("ok 1 bench", "not ok 1 bench # no module")),
            ["boot 2: bench: no module"]
        );
        assert_eq!(complaints(&SERIAL.replace("bench: a", "a")), ["boot 2: nothing was measured"]);
        assert_eq!(complaints(&SERIAL.replace("hv_pviommu: ", "")).len(), 1);
        assert!(agree("hv-strict", vec![(1, boot(SERIAL))]).is_err());
    }
}
