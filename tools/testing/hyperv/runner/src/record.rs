// SPDX-License-Identifier: GPL-2.0
//! What is left of a guest when it has ended.

use std::fs;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use crate::console::messages;
use crate::qemu::{Logs, Threads};
use crate::splat::Detector;

/// How minihv reports that the emulator broke a boot.
const EMULATOR_ERROR: &str = "emulator error: ";
/// How the reason of a repeat begins that nothing proves.
const SUSPICION: &str = "suspected emulator error: ";
/// How often a boot is tried that the emulator breaks. QEMU 10.0 with a thread for each processor may go on in the
/// hypervisor, after a world switch, with the guest's nested paging still on; see world_switch.s of minihv.
const ATTEMPTS: usize = 3;

/// Why a boot says nothing about the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// minihv saw that QEMU did not do what a processor does.
    Proven(String),
    /// The guest fell silent as it does when QEMU loses an interrupt; see [`Threads::Single`]. A guest that waits for
    /// itself may look alike.
    Suspected(String),
}

impl Broken {
    /// Whether the boot is tried again, after these `earlier` ones. What is only suspected is believed once: a guest that
    /// falls silent twice has failed.
    pub fn is_repeated(&self, earlier: &[String]) -> bool {
        match self {
            Broken::Proven(_) => earlier.len() + 1 < ATTEMPTS,
            Broken::Suspected(_) => !earlier.iter().any(|reason| is_suspicion(reason)),
        }
    }

    /// For the record.
    pub fn reason(self) -> String {
        match self {
            Broken::Proven(reason) => reason,
            Broken::Suspected(reason) => format!("{SUSPICION}{reason}"),
        }
    }
}

/// Whether a boot was repeated without proof that the emulator broke it.
pub fn is_suspicion(reason: &str) -> bool {
    reason.starts_with(SUSPICION)
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// QEMU ended by itself, with success.
    Exited,
    /// QEMU ended with another status.
    QemuFailed(String),
    /// No new output for too long.
    Silent(Duration),
    /// Took too long altogether.
    TimedOut(Duration),
    /// A check failed, and nobody wanted to know more: the check's line.
    Failed(String),
}

/// What is left of a guest.
#[derive(Clone, Debug)]
pub struct Record {
    /// How it ended.
    pub end: End,
    /// All lines of its console.
    pub serial: Vec<String>,
    /// All lines of the hypervisor's log.
    pub hypervisor: Vec<String>,
    /// Where the logs are.
    pub logs: Logs,
    /// From the start of QEMU to its end.
    pub elapsed: Duration,
    /// Why boots before this one were thrown away, one by one.
    pub repeats: Vec<String>,
}

impl Record {
    /// Whether the emulator broke the boot.
    ///
    /// Silence is a suspicion only where the processors have a thread each, and only if the kernel has nothing to say
    /// against itself: its detectors of lockups speak before the runner's patience ends, unless no timer fires any more.
    pub fn broken(&self, threads: Threads) -> Option<Broken> {
        let said =
            self.hypervisor.iter().find_map(|line| line.find(EMULATOR_ERROR).map(|start| line[start..].to_owned()));
        match (said, &self.end, threads) {
            (Some(said), _, _) => Some(Broken::Proven(said)),
            (None, End::Silent(limit), Threads::Multi) if !self.has_splats() => Some(Broken::Suspected(format!(
                "no output for {} s, with a thread for each processor",
                limit.as_secs()
            ))),
            _ => None,
        }
    }

    /// Whether the kernel says that something is wrong with itself.
    fn has_splats(&self) -> bool {
        // Without patterns of the caller's there is none that could be wrong.
        let detector = Detector::new(&[]);
        detector.is_ok_and(|detector| messages(&self.serial).iter().any(|message| detector.is_splat(message)))
    }
}

impl End {
    /// What the end of QEMU means.
    pub fn of(status: ExitStatus, qemu_log: &Path) -> End {
        if status.success() {
            return End::Exited;
        }
        // What QEMU said last is nearly always the reason.
        let words = fs::read_to_string(qemu_log).unwrap_or_default();
        End::QemuFailed(format!("{status}: {}", words.lines().last().unwrap_or("no message")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(end: End, hypervisor: &[&str]) -> Record {
        Record {
            end,
            serial: Vec::new(),
            hypervisor: hypervisor.iter().map(|line| (*line).to_owned()).collect(),
            logs: Logs::new(Path::new("/logs")),
            elapsed: Duration::ZERO,
            repeats: Vec::new(),
        }
    }

    #[test]
    fn only_what_the_emulator_broke_is_repeated() {
        let said = ["[1.0] minihv: emulator error: vp 1 ran the hypervisor's own code"];
        let silent = End::Silent(Duration::from_secs(120));
        let errors = |end: &End, lines: &[&str]| {
            let record = record(end.clone(), lines);
            [Threads::Single, Threads::Multi].map(|threads| record.broken(threads).is_some())
        };
        assert_eq!(errors(&End::Exited, &[]), [false, false]);
        assert_eq!(errors(&End::Exited, &said), [true, true]);
        assert_eq!(errors(&silent, &[]), [false, true]);
        assert_eq!(errors(&End::TimedOut(Duration::ZERO), &[]), [false, false]);
        let proven = Broken::Proven("emulator error: vp 1 ran the hypervisor's own code".to_owned());
        assert_eq!(record(End::Exited, &said).broken(Threads::Single), Some(proven.clone()));
        assert_eq!(record(silent, &said).broken(Threads::Multi), Some(proven), "proof is more than a suspicion");
    }

    #[test]
    fn a_silent_kernel_that_reported_a_lockup_is_not_excused() {
        let mut record = record(End::Silent(Duration::from_secs(120)), &[]);
        for line in [
            "[  199.0] INFO: task init:1 blocked for more than 50 seconds.",
            "[  199.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [init:1]",
            "[  199.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
        ] {
            record.serial = vec!["[    1.0] all is well".to_owned()];
            assert!(matches!(record.broken(Threads::Multi), Some(Broken::Suspected(_))));
            record.serial.push(line.to_owned());
            assert_eq!(record.broken(Threads::Multi), None, "{line}");
        }
    }

    #[test]
    fn a_suspicion_is_believed_once() {
        let proven = || Broken::Proven("emulator error: x".to_owned());
        let suspected = || Broken::Suspected("silence".to_owned());
        let (proof, suspicion) = (proven().reason(), suspected().reason());
        assert!(is_suspicion(&suspicion) && !is_suspicion(&proof));
        assert!(suspected().is_repeated(&[]) && suspected().is_repeated(&[proof.clone()]));
        assert!(!suspected().is_repeated(&[suspicion.clone()]));
        assert!(!suspected().is_repeated(&[suspicion.clone(), proof.clone()]));
        assert!(proven().is_repeated(&[]) && proven().is_repeated(&[suspicion]));
        assert!(!proven().is_repeated(&[proof.clone(), proof]));
    }
}
