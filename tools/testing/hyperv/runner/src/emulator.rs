// SPDX-License-Identifier: GPL-2.0
//! The emulator that is installed: whether there is one, and whether minihv can run in it.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};

/// The two numbers of a version that tell what an emulator can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    major: u32,
    minor: u32,
}

/// The oldest whose VT-d walks first-stage tables for devices as minihv needs it; scripts/toolchain.sh has the same.
const MINIMUM: Series = Series { major: 10, minor: 0 };
/// The newest that was tested.
const TESTED: Series = Series { major: 10, minor: 0 };

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Series {
    fn of(version: &str) -> Option<Series> {
        let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Some(Series { major, minor }),
            _ => None,
        }
    }
}

/// The number alone: what a distribution adds to it differs where the emulator does not.
fn parse(text: &str) -> Result<String> {
    match text.split_whitespace().skip_while(|word| *word != "version").nth(1) {
        Some(version) => Ok(version.to_owned()),
        None => bail!("QEMU does not tell its version: {text:?}"),
    }
}

/// The version of an emulator.
///
/// # Errors
/// When there is no such program, or it is no QEMU.
pub fn version(qemu: &Path) -> Result<String> {
    let output = match Command::new(qemu).arg("--version").output() {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "QEMU is missing: there is no program {}; install QEMU {MINIMUM} or later for x86-64, or name it by --qemu",
            qemu.display()
        ),
        output => output.with_context(|| format!("starting {}", qemu.display()))?,
    };
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// What is to be said of a version that minihv can run in: something when it was not tested.
fn judge(version: &str) -> Result<Option<String>> {
    let Some(series) = Series::of(version) else { bail!("QEMU has an unknown version: {version:?}") };
    if series < MINIMUM {
        bail!("QEMU {version} is too old: {MINIMUM} is the first that has the IOMMU that minihv needs; tested is {TESTED}.x");
    }
    let text = || format!("QEMU {version} is newer than what was tested ({TESTED}.x); its VT-d may behave differently");
    Ok((series > TESTED).then(text))
}

/// Looks whether minihv can run in an emulator, before anything is started in it. Says so when its version was not tested.
///
/// # Errors
/// When there is no such program, it is no QEMU, or it is too old.
pub fn examine(qemu: &Path) -> Result<()> {
    if let Some(remark) = judge(&version(qemu)?)? {
        eprintln!("hvrun: {remark}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_had_without_what_a_distribution_adds() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright (c)";
        assert_eq!(parse(text).unwrap(), "10.0.2");
        assert!(parse("true (GNU coreutils) 9.7").is_err());
    }

    #[test]
    fn what_is_too_old_is_refused() {
        for version in ["9.2.4", "7.2.22", "2.11"] {
            let error = judge(version).unwrap_err().to_string();
            assert!(error.contains(version) && error.contains("too old"), "{error}");
        }
        assert!(judge("x").is_err());
    }

    #[test]
    fn what_was_not_tested_is_said() {
        for version in ["10.0.0", "10.0.8"] {
            assert_eq!(judge(version).unwrap(), None, "{version}");
        }
        for version in ["10.1.0", "11.0.50", "10.10.0"] {
            assert!(judge(version).unwrap().unwrap().contains(version));
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = version(Path::new("/nowhere/qemu")).unwrap_err().to_string();
        assert!(error.contains("QEMU is missing") && error.contains("/nowhere/qemu"), "{error}");
    }
}
