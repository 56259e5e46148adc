// SPDX-License-Identifier: GPL-2.0
//! The console lines by which a guest tells what it measured: [`PREFIX`], then `NAME VALUE UNIT`.

use strum::{Display, EnumString};

/// Prefix of a line with a figure.
pub const PREFIX: &str = "bench: ";

/// What is counted. Its text form is the word on the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, EnumString)]
#[strum(serialize_all = "lowercase")]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_words() {
        assert_eq!((Unit::Descriptors.to_string(), "bytes".parse()), ("descriptors".to_owned(), Ok(Unit::Bytes)));
        assert!("seconds".parse::<Unit>().is_err());
    }
}
