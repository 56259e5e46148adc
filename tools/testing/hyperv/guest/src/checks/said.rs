// SPDX-License-Identifier: GPL-2.0
//! What the driver must say while a check runs, and nothing else.

use anyhow::{bail, ensure, Result};
use hvprotocol::report::Accounted;

use crate::kernel_log::is_drivers;
use crate::report::remark;

/// Said once in a boot; the runner counts it.
const SAID_ONCE: &str = "the whole domain is flushed instead";

/// Each message once, and nothing else from the driver or that says that something is wrong.
///
/// # Errors
/// When the lines are others.
pub fn compare_lines(messages: &[String], warnings: usize, lines: &[String]) -> Result<()> {
    let mut said: Vec<&String> = lines.iter().filter(|line| is_drivers(line) && !line.contains(SAID_ONCE)).collect();
    for message in messages {
        let Some(at) = said.iter().position(|line| matches(message, line)) else {
            bail!("no message {message:?} among {said:?}")
        };
        said.remove(at);
    }
    ensure!(said.is_empty(), "unexpected messages: {said:?}");
    let seen: Vec<&String> = lines.iter().filter(|line| is_warning(line)).collect();
    ensure!(seen.len() == warnings, "{} warnings instead of {warnings}: {seen:?}", seen.len());
    Ok(())
}

/// Tells the runner which of the driver's lines and which warnings were compared with what a cell must come to. It
/// fails the boot for every other one.
pub fn account_for(lines: &[String]) {
    for line in lines.iter().filter(|line| (is_drivers(line) && !line.contains(SAID_ONCE)) || is_warning(line)) {
        remark(&Accounted(line).to_string());
    }
}

/// Whether the line starts the report of something that must not be. All but the IOMMU core's warnings fail the boot
/// anyway; here they are counted for the cell that they belong to.
pub fn is_warning(line: &str) -> bool {
    ["WARNING: ", "BUG: ", "Oops: "].iter().any(|start| line.starts_with(start))
}

/// Whether a line has the parts of a message, one after the other; a star stands between parts.
fn matches(message: &str, line: &str) -> bool {
    let mut rest = line;
    message.split('*').all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[&str]) -> Vec<String> {
        text.iter().map(|line| (*line).to_owned()).collect()
    }

    #[test]
    fn every_line_of_the_driver_is_accounted_for() {
        let log =
            lines(&["hv_pviommu: domain 7 cannot be flushed: 0x71 X; 1 devices blocked, 0 not", "nvme nvme0: ok"]);
        let wanted = lines(&["cannot be flushed*; 1 devices blocked, 0 not"]);
        assert!(compare_lines(&wanted, 0, &log).is_ok());
        assert!(compare_lines(&[], 0, &log).is_err());
        assert!(compare_lines(&lines(&["1 devices*cannot be flushed"]), 0, &log).is_err());
        assert!(compare_lines(&[wanted.clone(), wanted].concat(), 0, &log).is_err());
    }

    #[test]
    fn warnings_are_counted() {
        let log = lines(&["WARNING: drivers/iommu/iommu.c:157 at f+0x0, CPU#0: init/1", "pci 0000:00:00.0: IOMMU: no"]);
        assert!(compare_lines(&lines(&["IOMMU: no"]), 1, &log).is_ok());
        assert!(compare_lines(&lines(&["IOMMU: no"]), 0, &log).is_err());
    }
}
