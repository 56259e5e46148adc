// SPDX-License-Identifier: GPL-2.0
//! How large the driver's own objects are.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

use super::figure::{Figure, Figures, Unit};

/// Name of the objects among the configurations.
pub const OBJECTS: &str = "objects";
/// Directories of a kernel's build with objects of this project, and what the names of those start with.
const PLACES: [(&str, &str); 2] = [("drivers/iommu/hyperv", "hv_pviommu"), ("drivers/hv", "hv_pci_dev_id")];
/// The objects that have targets.
pub const DRIVER_TEXT: &str = "hv_pviommu.o/text";
pub const TRACE_TEXT: &str = "hv_pviommu_trace.o/text";

/// Measures the objects of a kernel's build by `size`: text is what is executed or only read.
///
/// # Errors
/// When there are none, or the program does not tell.
pub fn measure(build: &Path, size: &Path) -> Result<Figures> {
    let mut figures = Figures::default();
    for (directory, prefix) in PLACES {
        let entries = std::fs::read_dir(build.join(directory)).with_context(|| directory.to_owned())?;
        for entry in entries {
            let entry = entry?;
            let file = entry.file_name().into_string().unwrap_or_default();
            if file.starts_with(prefix) && file.ends_with(".o") {
                for (part, value) in sizes(&entry.path(), size)? {
                    figures.insert(&format!("{file}/{part}"), Figure { value, unit: Unit::Bytes })?;
                }
            }
        }
    }
    ensure!(figures.get(DRIVER_TEXT).is_some(), "no {DRIVER_TEXT} in {}", build.display());
    Ok(figures)
}

fn sizes(object: &Path, size: &Path) -> Result<[(&'static str, f64); 3]> {
    let output = Command::new(size).arg("--format=berkeley").arg(object).output();
    let output = output.with_context(|| format!("starting {}", size.display()))?;
    parse(&String::from_utf8_lossy(&output.stdout)).with_context(|| format!("the size of {}", object.display()))
}

/// Reads the table that Berkeley's format is.
fn parse(text: &str) -> Result<[(&'static str, f64); 3]> {
    let mut lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let (Some(head), Some(values)) = (lines.next(), lines.next()) else { bail!("{text:?} is no table") };
    let column = |name: &'static str| -> Result<(&'static str, f64)> {
        let at = head.iter().position(|word| *word == name).with_context(|| format!("no column {name}"))?;
        let value: u32 = values.get(at).context("a short line")?.parse().with_context(|| name.to_owned())?;
        Ok((name, f64::from(value)))
    };
    Ok([column("text")?, column("data")?, column("bss")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let text =
            "   text\t   data\t    bss\t    dec\t    hex\tfilename\n   6000\t     16\t      8\t   6024\t   1788\tx.o\n";
        assert_eq!(parse(text).unwrap(), [("text", 6000.0), ("data", 16.0), ("bss", 8.0)]);
        for bad in ["", "text data bss\n", "text data\n1 2\n", "text data bss\n1 2 x\n", "text data bss\n1 2\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_build_without_the_driver_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        for (place, _) in PLACES {
            std::fs::create_dir_all(directory.path().join(place)).unwrap();
        }
        assert!(measure(directory.path(), Path::new("size")).is_err());
    }
}
