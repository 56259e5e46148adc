// SPDX-License-Identifier: GPL-2.0
//! The files in debugfs of the root partition's driver (Documentation/virt/hyperv/host-iommu.rst).

use std::fs;
use std::path::Path;

use anyhow::{bail, Context as _, Result};

const ROOT: &str = "/sys/kernel/debug/iommu/hv_root_iommu";

/// One of the files, as it is.
///
/// # Errors
/// When it cannot be read.
pub fn text(name: &str) -> Result<String> {
    let path = Path::new(ROOT).join(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A line of `domains`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainLine {
    /// Its number.
    pub id: u32,
    /// "open", "closed" or "retired".
    pub state: String,
    /// Pages that are mapped.
    pub pages: u64,
    /// Pages of which nobody knows.
    pub stale: u64,
    /// Pieces of 2 MiB of which something is mapped.
    pub leaves: u64,
    /// Those of them that have a table.
    pub tables: u64,
    /// Calls that mapped.
    pub maps: u64,
    /// Calls that unmapped.
    pub unmaps: u64,
    /// Deposits.
    pub deposits: u64,
    /// Failures.
    pub failures: u64,
}

fn parse_domain(line: &str) -> Option<DomainLine> {
    let words: Vec<&str> = line.split(' ').collect();
    let [id, state, numbers @ ..] = &words[..] else { return None };
    let numbers: Vec<u64> = numbers.iter().map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let [pages, stale, leaves, tables, maps, unmaps, deposits, failures] = numbers[..] else { return None };
    let known = ["open", "closed", "retired"].contains(state);
    known.then_some(DomainLine {
        id: id.parse().ok()?,
        state: (*state).to_owned(),
        pages,
        stale,
        leaves,
        tables,
        maps,
        unmaps,
        deposits,
        failures,
    })
}

fn parse_domains(text: &str) -> Result<Vec<DomainLine>> {
    let mut lines = text.lines();
    if lines.next() != Some("id state pages stale leaves tables maps unmaps deposits failures") {
        bail!("no heading as documented: {text:?}");
    }
    lines.map(|line| parse_domain(line).with_context(|| format!("no line as documented: {line:?}"))).collect()
}

/// What `domains` says.
///
/// # Errors
/// When it cannot be read, or is not as documented.
pub fn domains() -> Result<Vec<DomainLine>> {
    parse_domains(&text("domains")?)
}

/// A line of `requesters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequesterLine {
    /// The hypervisor's name: type, segment and requester id.
    pub id: u64,
    /// Devices that have it.
    pub users: u32,
    /// "initial", "detached", "gone", "identity", "blocking", or a domain's number.
    pub place: String,
    /// "-", or where it may be besides.
    pub doubt: String,
}

fn parse_requester(line: &str) -> Option<RequesterLine> {
    let words: Vec<&str> = line.split(' ').collect();
    let [id, users, place, doubt] = words[..] else { return None };
    Some(RequesterLine {
        id: u64::from_str_radix(id.strip_prefix("0x")?, 16).ok()?,
        users: users.parse().ok()?,
        place: place.to_owned(),
        doubt: doubt.to_owned(),
    })
}

/// What `requesters` says.
///
/// # Errors
/// When it cannot be read, or is not as documented.
pub fn requesters() -> Result<Vec<RequesterLine>> {
    let text = text("requesters")?;
    let mut lines = text.lines();
    if lines.next() != Some("id users place doubt") {
        bail!("no heading as documented: {text:?}");
    }
    lines.map(|line| parse_requester(line).with_context(|| format!("no line as documented: {line:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_domains() {
        const HEAD: &str = "id state pages stale leaves tables maps unmaps deposits failures\n";
        let lines = parse_domains(&format!("{HEAD}1 open 7 0 2 1 9 8 3 0\n1048576 closed 0 4 1 0 1 1 0 1\n")).unwrap();
        assert_eq!((lines[0].pages, lines[0].deposits, lines[1].stale), (7, 3, 4));
        assert_eq!((lines[1].id, lines[1].state.as_str()), (0x10_0000, "closed"));
        assert!(parse_domains("id\n").is_err());
        assert!(parse_domains(&format!("{HEAD}1 ajar 7 0 2 1 9 8 3 0\n")).is_err());
        assert!(parse_domains(&format!("{HEAD}1 open 7 0 2 1 9 8 3\n")).is_err());
    }

    #[test]
    fn lines_of_requesters() {
        let line = parse_requester("0x4000000000000028 1 blocking -").unwrap();
        assert_eq!((line.id, line.users, line.place.as_str()), (1 << 62 | 0x28, 1, "blocking"));
        assert_eq!(parse_requester("0x28 1 blocking"), None);
    }
}
