// SPDX-License-Identifier: GPL-2.0
//! What the kernel says of its memory in `/proc/iomem`.

use std::fs;
use std::ops::Range;

use anyhow::{Context, Result};
use hvcore::ids::Gpa;

const IOMEM: &str = "/proc/iomem";

/// The ranges of one name.
fn ranges(iomem: &str, name: &str) -> Result<Vec<Range<Gpa>>> {
    let range = |line: &str| -> Option<Range<Gpa>> {
        let (start, end) = line.split_once(" : ")?.0.trim_start().split_once('-')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        Some(Gpa(number(start)?)..Gpa(number(end)?.checked_add(1)?))
    };
    let lines = iomem.lines().filter(|line| line.split_once(" : ").is_some_and(|(_, own)| own == name));
    lines.map(|line| range(line).with_context(|| format!("{IOMEM}: {line}"))).collect()
}

fn read() -> Result<String> {
    fs::read_to_string(IOMEM).context(IOMEM)
}

/// The parts of RAM that the kernel calls its own.
///
/// # Errors
/// When it does not tell.
pub fn system_ram() -> Result<Vec<Range<Gpa>>> {
    ranges(&read()?, "System RAM")
}

/// What it set aside for a kernel that runs after a crash.
///
/// # Errors
/// When it does not tell.
pub fn crash_kernel() -> Result<Vec<Range<Gpa>>> {
    ranges(&read()?, "Crash kernel")
}

/// Their size in bytes.
pub fn bytes(ranges: &[Range<Gpa>]) -> u64 {
    ranges.iter().map(|range| range.end.0 - range.start.0).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name() {
        let text =
            "00001000-0009ffff : System RAM\n2b000000-3affffff : System RAM\n  2c000000-2c7fffff : Kernel code\n  \
                    38000000-39ffffff : Crash kernel\nd0000000-dfffffff : PCI Bus\n";
        let ram = [Gpa(0x1000)..Gpa(0xa_0000), Gpa(0x2b00_0000)..Gpa(0x3b00_0000)];
        assert_eq!(ranges(text, "System RAM").unwrap(), ram);
        assert_eq!(bytes(&ram), 0x9_f000 + 0x1000_0000);
        assert_eq!(ranges(text, "Crash kernel").unwrap(), [Gpa(0x3800_0000)..Gpa(0x3a00_0000)]);
        assert!(ranges("x-y : System RAM", "System RAM").is_err());
    }
}
