// SPDX-License-Identifier: GPL-2.0
//! The driver's files in debugfs (Documentation/ABI/testing/debugfs-hv-pviommu).

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context as _, Result};
use hvcore::ids::{DomainId, Gpa, Iova, LogicalDeviceId};

const ROOT: &str = "/sys/kernel/debug/iommu/hv-pviommu";

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

/// Writes to `select`.
///
/// # Errors
/// The kernel's answer.
pub fn select_text(text: &str) -> std::io::Result<()> {
    fs::OpenOptions::new().write(true).open(file("select"))?.write_all(text.as_bytes())
}

/// Selects what `table` shows: these addresses of a domain, both ends included.
///
/// # Errors
/// When the kernel refuses.
pub fn select(domain: DomainId, first: Iova, last: Iova) -> Result<()> {
    select_text(&format!("{} {:#x} {:#x}\n", domain.0, first.0, last.0)).context("select")
}

/// What an I/O page of the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it is.
    pub physical: Gpa,
    /// Bytes.
    pub size: u64,
    /// "r" or "rw".
    pub access: &'static str,
}

/// A dump of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The lines that start with `#`.
    pub remarks: Vec<String>,
    /// What is mapped.
    pub pages: BTreeMap<u64, Page>,
    /// Lines about what could not be read or made no sense.
    pub doubts: Vec<String>,
}

/// Adds the pages of a line to a dump.
fn parse_run(line: &str, dump: &mut Dump) -> Option<()> {
    let words: Vec<&str> = line.split(' ').collect();
    let (first, last) = words.first()?.split_once('-')?;
    let (first, last) = (hex(first)?, hex(last)?);
    if matches!(words[..], [_, "unreadable", "table", _] | [_, "nonsense", "entry", _]) {
        hex(words[3])?;
        dump.doubts.push(line.to_owned());
        return Some(());
    }
    let [_, physical, size, access] = words[..] else { return None };
    let physical = hex(physical)?;
    let size = match size {
        "4K" => 1 << 12,
        "2M" => 1 << 21,
        "1G" => 1 << 30,
        _ => return None,
    };
    let access = ["r", "rw"].into_iter().find(|known| *known == access)?;
    let length = last.checked_sub(first)?.checked_add(1)?;
    if length % size != 0 || dump.pages.last_key_value().is_some_and(|(page, _)| *page >= first) {
        return None;
    }
    for offset in (0..length).step_by(usize::try_from(size).ok()?) {
        dump.pages.insert(first + offset, Page { physical: Gpa(physical + offset), size, access });
    }
    Some(())
}

fn parse_table(text: &str) -> Result<Dump> {
    let mut dump = Dump::default();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(remark) => dump.remarks.push(remark.to_owned()),
            None => parse_run(line, &mut dump).with_context(|| format!("no line as documented: {line:?}"))?,
        }
    }
    match dump.remarks.first() {
        Some(first) if first.contains("stale") => Ok(dump),
        other => bail!("the first line does not say that the dump may be stale: {other:?}"),
    }
}

/// What `table` shows.
///
/// # Errors
/// When it cannot be read, is not as documented, or not in ascending order.
pub fn table() -> Result<Dump> {
    parse_table(&read("table")?)
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

    #[test]
    fn lines_of_a_table() {
        let text = "# possibly stale\n0x1000-0x2fff 0x5000 4K rw\n0x200000-0x3fffff 0x40000000 2M r\n\
                    0x400000-0x5fffff unreadable table 0x1000\n# cut, the rest starts at 0x600000\n";
        let dump = parse_table(text).unwrap();
        assert_eq!(dump.remarks.len(), 2);
        assert_eq!(dump.doubts.len(), 1);
        assert_eq!(dump.pages.keys().copied().collect::<Vec<_>>(), [0x1000, 0x2000, 0x20_0000]);
        assert_eq!(dump.pages[&0x2000], Page { physical: Gpa(0x6000), size: 0x1000, access: "rw" });
        assert!(parse_table("0x1000-0x1fff 0x5000 4K rw\n").is_err(), "not labelled");
        let after = |line: &str| parse_table(&format!("# stale\n0x2000-0x2fff 0x0 4K r\n{line}\n"));
        for line in [
            "0x1000-0x1fff 0x5000 4K rw",
            "0x3000-0x37ff 0x5000 4K rw",
            "0x3000-0x3fff 0x5000 4K x",
            "0x3000-0x3fff 0x5000 8K rw",
            "words",
        ] {
            assert!(after(line).is_err(), "{line}");
        }
        assert!(after("0x3000-0x3fff 0x5000 4K rw").is_ok());
    }
}
