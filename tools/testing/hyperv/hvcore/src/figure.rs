// SPDX-License-Identifier: GPL-2.0
//! The console lines by which a guest tells what it measured: [`PREFIX`], then `NAME VALUE UNIT`.

use core::fmt;
use core::str::FromStr;

/// Prefix of a line with a figure.
pub const PREFIX: &str = "bench: ";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Instructions of all processors.
    Instructions,
    /// IOMMU hypercalls.
    Calls,
    /// Descriptors of list flushes.
    Descriptors,
    /// Pages of 4 KiB.
    Pages,
    /// Bytes.
    Bytes,
}

/// A word that names no unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchUnit;

impl Unit {
    const ALL: [Unit; 5] = [Unit::Instructions, Unit::Calls, Unit::Descriptors, Unit::Pages, Unit::Bytes];

    /// The word on the line.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Instructions => "instructions",
            Unit::Calls => "calls",
            Unit::Descriptors => "descriptors",
            Unit::Pages => "pages",
            Unit::Bytes => "bytes",
        }
    }
}

impl FromStr for Unit {
    type Err = NoSuchUnit;

    fn from_str(word: &str) -> Result<Unit, NoSuchUnit> {
        Unit::ALL.into_iter().find(|unit| unit.name() == word).ok_or(NoSuchUnit)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for NoSuchUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such unit")
    }
}

impl core::error::Error for NoSuchUnit {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for unit in Unit::ALL {
            assert_eq!(unit.name().parse(), Ok(unit));
        }
        assert_eq!("seconds".parse::<Unit>(), Err(NoSuchUnit));
    }
}
