// SPDX-License-Identifier: GPL-2.0
//! The log: QEMU's debug console, one whole line at a time.

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicU8, Ordering};

use hvcore::platform::LogLevel;
use spin::Mutex;
use x86_64::instructions::port::Port;

use crate::time;

const DEBUG_CONSOLE: u16 = 0xe9;
/// Longer lines are cut.
const LINE_BYTES: usize = 512;

static LINE: Mutex<Line> = Mutex::new(Line { bytes: [0; LINE_BYTES], used: 0 });
/// The least urgent [`LogLevel`] that appears.
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// The line being formatted: sent only when it is complete.
struct Line {
    bytes: [u8; LINE_BYTES],
    used: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().map(|b| if b == b'\n' { b' ' } else { b }) {
            let Some(slot) = self.bytes.get_mut(self.used) else { break };
            *slot = byte;
            self.used += 1;
        }
        Ok(())
    }
}

impl Line {
    fn send(&mut self) {
        let mut port = Port::<u8>::new(DEBUG_CONSOLE);
        for &byte in self.bytes.iter().take(self.used).chain(b"\n") {
            // SAFETY: the debug console's port accepts any byte and changes nothing else.
            unsafe { port.write(byte) }
        }
        self.used = 0;
    }
}

/// Sets which of the core's lines appear from now on: those of `level` and more urgent ones.
pub fn set_level(level: LogLevel) {
    LEVEL.store(level as u8, Ordering::Relaxed);
}

/// Whether lines of `level` appear.
pub fn shows(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Writes one line: time, `prefix`, `text`. Used through [`log!`](crate::console::log).
pub fn line(prefix: &str, text: fmt::Arguments<'_>) {
    let now = time::microseconds();
    // A processor that dies while it holds the lock must not silence the others.
    let mut guard = None;
    let _ = time::wait_until(1000, || {
        guard = LINE.try_lock();
        guard.is_some()
    });
    let mut own = Line { bytes: [0; LINE_BYTES], used: 0 };
    let target = guard.as_deref_mut().unwrap_or(&mut own);
    let _ = write!(target, "[{}.{:06}] {prefix}{text}", now / 1_000_000, now % 1_000_000);
    target.send();
}

/// `log!("subsystem", "text {}", value)`: a line in the log.
macro_rules! log {
    ($subsystem:literal, $($text:tt)*) => {
        $crate::console::line(concat!($subsystem, ": "), format_args!($($text)*))
    };
}

/// `fatal!("text {}", value)`: a last line, then the machine stops with [`crate::power::Outcome::Fatal`].
macro_rules! fatal {
    ($($text:tt)*) => {{
        $crate::console::line("minihv: fatal: ", format_args!($($text)*));
        $crate::power::stop($crate::power::Outcome::Fatal)
    }};
}

pub(crate) use {fatal, log};
