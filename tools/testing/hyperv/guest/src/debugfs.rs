// SPDX-License-Identifier: GPL-2.0
//! The driver's files in debugfs (Documentation/ABI/testing/debugfs-hv_pviommu).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use hvcore::ids::{DomainId, Gpa, LogicalDeviceId};

const ROOT: &str = "/sys/kernel/debug/iommu/hv_pviommu";

fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn read(name: &str) -> Result<String> {
    let path = file(name);
    fs::read_to_string(&path).with_context(|| path.display().to_string())
}

/// A hexadecimal number with its prefix.
fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// What was asked of the hypervisor for a domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Flushes of a list.
    pub lists: u64,
    /// Blocks in those lists.
    pub descriptors: u64,
    /// Flushes of the whole domain.
    pub wholes: u64,
    /// How many failed.
    pub failures: u64,
}

/// What only paging domains have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paging {
    /// The top table.
    pub root: Gpa,
    /// Depth of the table.
    pub levels: u64,
    /// What was done.
    pub counters: Counters,
}

/// A line of `domains`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainLine {
    /// The domain; [`None`] on lines for devices that are in none.
    pub id: Option<DomainId>,
    /// "blocking", "identity", "paging", "retired", "untouched", "detached" or "gone".
    pub kind: String,
    /// For "paging" and "retired".
    pub paging: Option<Paging>,
    /// The devices that are there.
    pub devices: BTreeMap<String, LogicalDeviceId>,
}

fn parse_domain(line: &str) -> Option<DomainLine> {
    let words: Vec<&str> = line.split(' ').collect();
    let [id, kind, root, levels, lists, descriptors, wholes, failures, devices] = words[..] else { return None };
    let id = match id {
        "-" => None,
        number => Some(DomainId(number.parse().ok()?)),
    };
    let paging = if [root, levels, lists, descriptors, wholes, failures].iter().all(|word| *word == "-") {
        None
    } else {
        Some(Paging {
            root: Gpa(hex(root)?),
            levels: levels.parse().ok()?,
            counters: Counters {
                lists: lists.parse().ok()?,
                descriptors: descriptors.parse().ok()?,
                wholes: wholes.parse().ok()?,
                failures: failures.parse().ok()?,
            },
        })
    };
    let device = |word: &str| {
        let (name, id) = word.split_once('=')?;
        Some((name.to_owned(), LogicalDeviceId(hex(id)?)))
    };
    let devices = match devices {
        "-" => BTreeMap::new(),
        list => list.split(',').map(device).collect::<Option<_>>()?,
    };
    Some(DomainLine { id, kind: kind.to_owned(), paging, devices })
}

fn parse_domains(text: &str) -> Result<Vec<DomainLine>> {
    let mut lines = text.lines();
    if lines.next() != Some("id type root levels lists descriptors wholes failures devices") {
        bail!("no heading as documented: {text:?}");
    }
    lines.map(|line| parse_domain(line).with_context(|| format!("no line as documented: {line:?}"))).collect()
}

/// What `domains` says.
///
/// # Errors
/// When it cannot be read, or is not as documented.
pub fn domains() -> Result<Vec<DomainLine>> {
    parse_domains(&read("domains")?)
}

/// What `domains` says of one domain; [`None`] when it has no line.
///
/// # Errors
/// As [`domains`].
pub fn domain(id: DomainId) -> Result<Option<DomainLine>> {
    Ok(domains()?.into_iter().find(|line| line.id == Some(id)))
}

/// What `capabilities` says, by key.
///
/// # Errors
/// When it cannot be read, or is not as documented.
pub fn capabilities() -> Result<BTreeMap<String, String>> {
    let text = read("capabilities")?;
    let pair = |line: &str| {
        let (key, value) = line.split_once(": ")?;
        Some((key.to_owned(), value.to_owned()))
    };
    text.lines().map(|line| pair(line).with_context(|| format!("no line as documented: {line:?}"))).collect()
}

/// What `probe` says: the driver looks for its IOMMU once more, and sets up one that nobody uses.
///
/// # Errors
/// When it cannot be read.
pub fn probe() -> Result<String> {
    read("probe")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAINS: &str = "\
id type root levels lists descriptors wholes failures devices
1 blocking - - - - - - -
3 paging 0x12345000 4 7 9 1 0 1ee7:00:00.0=0x1ee76050,1ee8:00:00.1=0x1ee86051
- gone - - - - - - 1ee9:00:00.0=0x1ee96050
";

    #[test]
    fn lines_of_domains() {
        let lines = parse_domains(DOMAINS).unwrap();
        assert_eq!(lines[0].id, Some(DomainId(1)));
        assert_eq!((lines[0].kind.as_str(), lines[0].paging, lines[0].devices.len()), ("blocking", None, 0));
        let counters = Counters { lists: 7, descriptors: 9, wholes: 1, failures: 0 };
        assert_eq!(lines[1].paging, Some(Paging { root: Gpa(0x1234_5000), levels: 4, counters }));
        assert_eq!(lines[1].devices["1ee8:00:00.1"], LogicalDeviceId(0x1ee8_6051));
        assert_eq!((lines[2].id, lines[2].devices.len()), (None, 1));
        assert!(parse_domains("id\n").is_err());
        assert!(parse_domains(&DOMAINS.replace(" 7 9", " 7")).is_err());
    }
}
