// SPDX-License-Identifier: GPL-2.0
//! The kernel's performance events: counters of its own clock.

use std::fs::File;
use std::io::Read;
use std::os::fd::FromRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;

/// Whom a counter counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The thread that opens it, on any processor.
    ThisThread,
    /// A processor, whatever runs there.
    Processor(u32),
}

/// `struct perf_event_attr` in its first published size.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    config1: u64,
}

const _: () = assert!(size_of::<Attributes>() == 64);

/// `PERF_TYPE_SOFTWARE`, `PERF_COUNT_SW_CPU_CLOCK`.
const SOFTWARE: u32 = 1;
const CPU_CLOCK: u64 = 0;
/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: libc::c_ulong = 8;

/// A counter of nanoseconds.
pub struct Counter(File);

impl Counter {
    /// Opens a counter, which runs from then on.
    ///
    /// # Errors
    /// The kernel's errno; `ENODEV` for a processor that is switched off.
    pub fn open(target: Target) -> nix::Result<Counter> {
        let attributes = Attributes {
            kind: SOFTWARE,
            size: size_of::<Attributes>() as u32,
            config: CPU_CLOCK,
            ..Default::default()
        };
        let (pid, cpu) = match target {
            Target::ThisThread => (0, -1),
            Target::Processor(cpu) => (-1, libc::c_int::try_from(cpu).map_err(|_| Errno::EINVAL)?),
        };
        let no_group: libc::c_int = -1;
        // SAFETY: the structure is as long as its size says, and the kernel only reads it.
        let file = Errno::result(unsafe {
            libc::syscall(libc::SYS_perf_event_open, &raw const attributes, pid, cpu, no_group, CLOSE_ON_EXEC)
        })?;
        // SAFETY: the kernel just handed out this descriptor to us alone.
        Ok(Counter(unsafe { File::from_raw_fd(file as libc::c_int) }))
    }

    /// What it has counted.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn read(&self) -> Result<u64> {
        let mut value = [0; 8];
        (&self.0).read_exact(&mut value).context("reading a counter")?;
        Ok(u64::from_le_bytes(value))
    }
}
