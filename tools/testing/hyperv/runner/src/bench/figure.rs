// SPDX-License-Identifier: GPL-2.0
//! What a guest measures: named figures, and the console lines that carry them.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{bail, ensure, Context, Error, Result};
pub use hvprotocol::figure::Unit;
use hvprotocol::figure::PREFIX;
use serde::{Deserialize, Serialize};

/// A unit as files name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Word(Unit);

impl From<Word> for String {
    fn from(word: Word) -> String {
        word.0.to_string()
    }
}

impl TryFrom<String> for Word {
    type Error = strum::ParseError;

    fn try_from(word: String) -> Result<Word, strum::ParseError> {
        word.parse().map(Word)
    }
}

/// One number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// How many.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole numbers are most of them, and easier to read without decimal places.
        match self.value.fract() == 0.0 {
            true => write!(out, "{:.0}", self.value),
            false => write!(out, "{:.3}", self.value),
        }
    }
}

/// Figures by the name of what they measure, as `dma/16p/1t/unmap`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ByUnit", into = "ByUnit")]
pub struct Figures(BTreeMap<String, Figure>);

/// The same as it is written to files: a line for each figure, and the unit said once.
type ByUnit = BTreeMap<Word, BTreeMap<String, f64>>;

impl Figures {
    /// Adds a figure.
    ///
    /// # Errors
    /// When there is one of that name, or it is no number.
    pub fn insert(&mut self, name: &str, figure: Figure) -> Result<()> {
        ensure!(figure.value.is_finite() && figure.value >= 0.0, "{name}: {} is no number of things", figure.value);
        if self.0.insert(name.to_owned(), figure).is_some() {
            bail!("{name} was measured twice");
        }
        Ok(())
    }

    /// Reads the console lines of a guest, without their time stamps.
    ///
    /// # Errors
    /// When one is no figure, although it starts like one, or two have one name.
    pub fn read<'a>(messages: impl Iterator<Item = &'a str>) -> Result<Figures> {
        let mut figures = Figures::default();
        for line in messages.filter_map(|message| message.strip_prefix(PREFIX)) {
            let (name, figure) = parse(line).with_context(|| format!("the line {line:?}"))?;
            figures.insert(name, figure)?;
        }
        Ok(figures)
    }

    /// The value of that name.
    pub fn value(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|figure| figure.value)
    }

    /// The figure of that name.
    pub fn get(&self, name: &str) -> Option<Figure> {
        self.0.get(name).copied()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Figure)> {
        self.0.iter().map(|(name, figure)| (name.as_str(), *figure))
    }

    /// Number of figures.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Reads `NAME VALUE UNIT`.
fn parse(line: &str) -> Result<(&str, Figure)> {
    let words: Vec<&str> = line.split(' ').collect();
    let [name, value, unit] = words[..] else { bail!("not NAME VALUE UNIT") };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/+-_.".contains(c);
    ensure!(!name.is_empty() && name.chars().all(allowed), "{name:?} is no name");
    // f64's own parser also takes "inf", "1e9" and "+1".
    ensure!(value.chars().all(|c| c.is_ascii_digit() || c == '.'), "{value:?} is no decimal number");
    let value = value.parse().with_context(|| format!("{value:?} is no decimal number"))?;
    let unit = unit.parse().with_context(|| format!("{unit:?}"))?;
    Ok((name, Figure { value, unit }))
}

impl From<Figures> for ByUnit {
    fn from(figures: Figures) -> ByUnit {
        let mut units = ByUnit::new();
        for (name, Figure { value, unit }) in figures.0 {
            units.entry(Word(unit)).or_default().insert(name, value);
        }
        units
    }
}

impl TryFrom<ByUnit> for Figures {
    type Error = Error;

    fn try_from(units: ByUnit) -> Result<Figures> {
        let mut figures = Figures::default();
        for (Word(unit), values) in units {
            for (name, value) in values {
                figures.insert(&name, Figure { value, unit })?;
            }
        }
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Figures> {
        Figures::read(text.lines())
    }

    #[test]
    fn figures_are_found_among_other_lines() {
        let text = "hvtest: ok 1 devices\nbench: dma/16p/1t/unmap 1355.125 instructions\n\
            bench: unaligned/0+3p/calls 1.000 calls\nreboot: Power down\nworkbench: x 1 calls";
        let figures = read(text).unwrap();
        assert_eq!(figures.len(), 2);
        assert_eq!(figures.get("dma/16p/1t/unmap"), Some(Figure { value: 1355.125, unit: Unit::Instructions }));
        assert_eq!(figures.value("unaligned/0+3p/calls"), Some(1.0));
        assert_eq!(figures.value("dma"), None);
    }

    #[test]
    fn malformed_lines_are_errors() {
        for bad in [
            "",
            "dma/1p/map",
            "dma/1p/map 5",
            "dma/1p/map 5 seconds",
            "dma/1p/map 5  calls",
            "dma/1p/map 5 calls more",
            "dma/1p/map x calls",
            "dma/1p/map -5 calls",
            "dma/1p/map +5 calls",
            "dma/1p/map 1e3 calls",
            "dma/1p/map inf calls",
            "dma/1p/map . calls",
            "dma/1p/map 1.2.3 calls",
            "dma/1p/map 5 Calls",
            " 5 calls",
            "DMA 5 calls",
            "dma\t 5 calls",
        ] {
            assert!(read(&format!("bench: {bad}")).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_measured_once() {
        assert!(read("bench: a 1 calls\nbench: a 1 calls").is_err());
        assert!(read("bench: a 1 calls\nbench: b 1 calls").is_ok());
    }

    #[test]
    fn files_hold_what_was_measured() {
        let figures = read("bench: a/b 1.5 calls\nbench: c 1000000 bytes\nbench: d 0 calls").unwrap();
        let text = serde_json::to_string(&figures).unwrap();
        assert_eq!(text, r#"{"calls":{"a/b":1.5,"d":0.0},"bytes":{"c":1000000.0}}"#);
        assert_eq!(serde_json::from_str::<Figures>(&text).unwrap(), figures);
        for bad in [r#"{"calls":{"a":-1}}"#, r#"{"seconds":{"a":1}}"#, r#"{"calls":{"a":1},"bytes":{"a":1}}"#] {
            assert!(serde_json::from_str::<Figures>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn whole_numbers_have_no_decimal_places() {
        let text = |value| Figure { value, unit: Unit::Calls }.to_string();
        assert_eq!([text(1355.0), text(0.0), text(0.004), text(2.5)], ["1355", "0", "0.004", "2.500"]);
    }
}
