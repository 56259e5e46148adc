// SPDX-License-Identifier: GPL-2.0
//! Processors that are switched off and on, and the one that a check has for itself.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, Context as _, Result};
use nix::errno::Errno;
use nix::sched::{sched_getaffinity, sched_getcpu, sched_setaffinity, CpuSet};
use nix::unistd::Pid;

const CPUS: &str = "/sys/devices/system/cpu";
/// How often a processor is asked to go that the kernel keeps because an event is on its way to it.
const ATTEMPTS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// What a processor is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not used.
    Offline,
    /// In use.
    Online,
}

/// Numbers in a list such as `0-2,5`; `None` for what is none.
pub fn parse_list(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        numbers.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(numbers)
}

/// The processors in use.
///
/// # Errors
/// When the kernel does not tell.
pub fn online() -> Result<Vec<u32>> {
    let path = format!("{CPUS}/online");
    let text = fs::read_to_string(&path).context(path.clone())?;
    parse_list(&text).with_context(|| format!("{path}: {text}"))
}

/// Switches a processor off or on; returns how often the kernel put it off.
///
/// # Errors
/// When it does not do so.
pub fn switch(cpu: u32, state: State) -> Result<u64> {
    let path = PathBuf::from(format!("{CPUS}/cpu{cpu}/online"));
    let digit = if state == State::Online { "1" } else { "0" };
    for refusals in 0..ATTEMPTS {
        match fs::write(&path, digit) {
            Ok(()) => return Ok(u64::from(refusals)),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => std::thread::sleep(PAUSE),
            Err(error) => return Err(error).with_context(|| format!("writing {digit} to {}", path.display())),
        }
    }
    bail!("processor {cpu} is still busy after {ATTEMPTS} attempts")
}

/// The first processor alone; the others come back when this is dropped.
pub struct Alone {
    others: Vec<u32>,
}

impl Alone {
    /// Switches the others off.
    ///
    /// # Errors
    /// When one stays.
    pub fn new() -> Result<Alone> {
        let mut alone = Alone { others: Vec::new() };
        for cpu in online()?.into_iter().skip(1) {
            switch(cpu, State::Offline)?;
            alone.others.push(cpu);
        }
        Ok(alone)
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        for &cpu in &self.others {
            // Whoever needs it says what is wrong if this fails.
            let _ = switch(cpu, State::Online);
        }
    }
}

/// The calling thread stays on the processor that it runs on until this is dropped.
pub struct Pinned {
    /// Where the thread may run otherwise.
    cpus: CpuSet,
}

impl Pinned {
    /// Stays.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn here() -> Result<Pinned> {
        let cpus = sched_getaffinity(Pid::from_raw(0)).context("which processors the thread may run on")?;
        let mut here = CpuSet::new();
        here.set(sched_getcpu().context("the thread's processor")?)?;
        sched_setaffinity(Pid::from_raw(0), &here).context("staying on a processor")?;
        Ok(Pinned { cpus })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It cannot be refused: the thread could run there before.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.cpus);
    }
}

/// A processor on which no kernel thread of ordinary priority runs while the calling thread does not sleep: a work item
/// that it queues there waits. This ends when it is dropped.
pub struct Undisturbed {
    _pinned: Pinned,
}

impl Undisturbed {
    /// Takes the processor that the calling thread runs on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn new() -> Result<Undisturbed> {
        let undisturbed = Undisturbed { _pinned: Pinned::here()? };
        set_policy(libc::SCHED_FIFO, 1).context("a priority above that of kernel threads")?;
        Ok(undisturbed)
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        // It cannot be refused: the thread had it before.
        let _ = set_policy(libc::SCHED_OTHER, 0);
    }
}

/// Sets the calling thread's scheduling policy.
fn set_policy(policy: libc::c_int, priority: libc::c_int) -> Result<()> {
    let parameters = libc::sched_param { sched_priority: priority };
    // Straight to the kernel: musl's own function refuses.
    // SAFETY: the parameters are valid for the length of the call, which reads them only.
    let result = unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &parameters) };
    Errno::result(result)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(parse_list("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_list("0\n"), Some(vec![0]));
        assert_eq!(parse_list("a-b"), None);
    }
}
