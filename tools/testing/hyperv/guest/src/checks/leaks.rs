// SPDX-License-Identifier: GPL-2.0
//! What the kernel has lost: kmemleak's list, and the memory of I/O page tables.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context as _, Result};

use crate::check::{Check, Context};
use crate::pci::write_sysfs;
use crate::report::Outcome;

const LIST: &str = "/sys/kernel/debug/kmemleak";
/// kmemleak leaves out what was allocated less than 5 seconds ago.
const OLD_ENOUGH: Duration = Duration::from_secs(6);
/// Most lines of the list that are shown.
const SHOWN: usize = 60;

/// kmemleak, after two scans, knows of no memory that nobody can reach any more.
///
/// The second scan finds objects whose last pointer lay in one that the first had just found.
fn kmemleak(context: &mut Context<'_>) -> Result<Outcome> {
    let file = Path::new(LIST);
    for _ in 0..2 {
        std::thread::sleep(OLD_ENOUGH);
        write_sysfs(file, "scan").context("is the kernel started with kmemleak=on?")?;
    }
    let list = fs::read_to_string(file).context(LIST)?;
    let count = list.lines().filter(|line| line.starts_with("unreferenced object")).count();
    if list.trim().is_empty() {
        return Ok(Outcome::Pass("2 scans, no unreferenced object".to_owned()));
    }
    for line in list.lines().take(SHOWN) {
        context.reporter.note(line);
    }
    bail!("{count} unreferenced objects")
}

pub const KMEMLEAK: Check = Check::new("no-kernel-memory-leak", kmemleak);

/// Memory of page tables that are not a processor's, I/O page tables among them, in bytes.
///
/// # Errors
/// When the kernel does not tell.
pub fn io_page_table_bytes() -> Result<u64> {
    // Processors count for themselves until they are asked to add up.
    write_sysfs(Path::new("/proc/sys/vm/stat_refresh"), "1")?;
    memory_info("SecPageTables")
}

/// A line of `/proc/meminfo`, in bytes.
///
/// # Errors
/// When there is no such line.
pub fn memory_info(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(kib.with_context(|| format!("/proc/meminfo has no {name}"))? << 10)
}
