// SPDX-License-Identifier: GPL-2.0
//! Remarks by which the guest program announces DMA faults that a check provokes:
//!
//! ```text
//! fault expected dev=0x1ee76050 iova=0x2040009000 access=write
//! fault expected dev=0x1ee76050 iova=0x4000000000-0x403fffffff count=1-64
//! ```
//!
//! Without `count=` it is one fault, without `access=` it is a read or a write.

use std::fmt;
use std::ops::RangeInclusive;

use hvcore::ids::{Iova, LogicalDeviceId};
use strum::{Display, EnumString};

/// What an announcement starts with.
const ANNOUNCEMENT: &str = "fault expected ";

/// What the device tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Access {
    /// Read memory.
    Read,
    /// Write memory.
    Write,
}

/// Faults that are part of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provoked {
    /// Who does the DMA.
    pub device: LogicalDeviceId,
    /// Where to.
    pub addresses: RangeInclusive<Iova>,
    /// Read or write; either when `None`.
    pub access: Option<Access>,
    /// How many. The IOMMU merges faults of one device that nobody has read yet.
    pub count: RangeInclusive<usize>,
}

impl Provoked {
    /// One fault.
    pub fn one(device: LogicalDeviceId, iova: Iova, access: Access) -> Provoked {
        Provoked { device, addresses: iova..=iova, access: Some(access), count: 1..=1 }
    }

    /// So many faults, whatever the device tries.
    pub fn some(device: LogicalDeviceId, addresses: RangeInclusive<Iova>, count: RangeInclusive<usize>) -> Provoked {
        Provoked { device, addresses, access: None, count }
    }

    /// Reads a remark.
    ///
    /// `None`: it is no announcement. An announcement that cannot be read is the error, with its text.
    pub fn read(remark: &str) -> Option<Result<Provoked, String>> {
        let words = remark.strip_prefix(ANNOUNCEMENT)?;
        Some(parse(words).ok_or_else(|| format!("the guest program announced what cannot be read: {remark}")))
    }
}

/// The remark.
impl fmt::Display for Provoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Provoked { device, addresses, access, count } = self;
        write!(f, "{ANNOUNCEMENT}dev={:#x} iova={:#x}", device.0, addresses.start().0)?;
        if addresses.end() != addresses.start() {
            write!(f, "-{:#x}", addresses.end().0)?;
        }
        if let Some(access) = access {
            write!(f, " access={access}")?;
        }
        if *count != (1..=1) {
            write!(f, " count={}-{}", count.start(), count.end())?;
        }
        Ok(())
    }
}

/// A hexadecimal number with `0x`.
pub fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

/// `a-b` or `a`, both ends read by `number`.
fn parse_range<T: Copy>(text: &str, number: impl Fn(&str) -> Option<T>) -> Option<RangeInclusive<T>> {
    match text.split_once('-') {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(text).map(|value| value..=value),
    }
}

fn parse(words: &str) -> Option<Provoked> {
    let (mut device, mut addresses, mut access, mut count) = (None, None, None, 1..=1);
    for word in words.split_whitespace() {
        match word.split_once('=')? {
            ("dev", id) => device = Some(LogicalDeviceId(hex(id)?)),
            ("iova", range) => addresses = Some(parse_range(range, |text| hex(text).map(Iova))?),
            ("access", word) => access = Some(word.parse().ok()?),
            ("count", range) => count = parse_range(range, |digits| digits.parse().ok())?,
            _ => return None,
        }
    }
    Some(Provoked { device: device?, addresses: addresses?, access, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: LogicalDeviceId = LogicalDeviceId(0x1ee7_6050);

    #[test]
    fn what_is_announced_is_understood() {
        let iova = Iova(0x20_4000_9000);
        let one = (Provoked::one(DEVICE, iova, Access::Write), "dev=0x1ee76050 iova=0x2040009000 access=write");
        let many = (
            Provoked::some(DEVICE, Iova(0)..=Iova(u64::MAX), 1..=64),
            "dev=0x1ee76050 iova=0x0-0xffffffffffffffff count=1-64",
        );
        for (announced, text) in [one, many] {
            let remark = format!("fault expected {text}");
            assert_eq!(announced.to_string(), remark);
            assert_eq!(Provoked::read(&remark), Some(Ok(announced)));
        }
        let either = Provoked::some(DEVICE, iova..=iova, 1..=1);
        assert_eq!(Provoked::read("fault expected dev=0x1ee76050 iova=0x2040009000"), Some(Ok(either)));
    }

    #[test]
    fn announcements_that_make_no_sense_are_errors() {
        assert_eq!(Provoked::read("waited 4.0 s for a disk"), None);
        for bad in ["", "dev=0x1", "iova=0x1", "dev=1 iova=0x1", "dev=0x1 iova=0x1 access=both", "dev=0x1 iova=0x1 x=1"]
        {
            assert!(Provoked::read(&format!("{ANNOUNCEMENT}{bad}")).unwrap().is_err(), "{bad:?}");
        }
    }
}
