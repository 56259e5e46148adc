// SPDX-License-Identifier: GPL-2.0
//! One number with its name: a line `bench: NAME VALUE UNIT` on the console.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, Context, Error, Result};
pub use hvprotocol::figure::Unit;

/// A figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Its name, `dma/4p/1t/map`.
    pub name: String,
    /// Its value, in thousandths.
    pub thousandths: u64,
    /// What is counted.
    pub unit: Unit,
}

impl Figure {
    /// A whole number.
    pub fn whole(name: impl Into<String>, value: u64, unit: Unit) -> Figure {
        Figure { name: name.into(), thousandths: value * 1000, unit }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figure { name, thousandths, unit } = self;
        write!(f, "{name} {}.{:03} {unit}", thousandths / 1000, thousandths % 1000)
    }
}

impl FromStr for Figure {
    type Err = Error;

    /// Reads a line of the module: three decimal places, always.
    fn from_str(line: &str) -> Result<Figure> {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, value, unit] = words[..] else { bail!("{line:?} is no figure") };
        let thousandths = value.split_once('.').filter(|(_, places)| places.len() == 3);
        let (whole, places) = thousandths.with_context(|| format!("{line:?} has no value"))?;
        let number = |digits: &str| digits.parse::<u64>().with_context(|| format!("{line:?} has no value"));
        Ok(Figure {
            name: name.to_owned(),
            thousandths: number(whole)? * 1000 + number(places)?,
            unit: unit.parse().with_context(|| format!("{line:?} has no unit"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_module() {
        let figure: Figure = "dma/4p/1t/map 1242.102 instructions".parse().unwrap();
        assert_eq!(
            (figure.name.as_str(), figure.thousandths, figure.unit),
            ("dma/4p/1t/map", 1_242_102, Unit::Instructions)
        );
        assert_eq!(figure.to_string(), "dma/4p/1t/map 1242.102 instructions");
        assert_eq!(Figure::whole("a", 5, Unit::Bytes).to_string(), "a 5.000 bytes");
        for bad in ["", "a 1.000", "a 1 calls", "a 1.00 calls", "a x.000 calls", "a 1.000 turns", "a 1.000 calls b"] {
            assert!(bad.parse::<Figure>().is_err(), "{bad:?}");
        }
    }
}
