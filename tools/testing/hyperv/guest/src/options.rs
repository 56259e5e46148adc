// SPDX-License-Identifier: GPL-2.0
//! What the runner asks of this boot: `hvtest.*` words on the kernel's command line.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// What the kernel calls the type of a device's default domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainMode {
    /// Translated, each unmap flushed at once.
    Strict,
    /// Translated, flushes deferred.
    Deferred,
    /// Bypass.
    Identity,
    /// No IOMMU at all: no groups.
    Unmanaged,
}

impl DomainMode {
    /// The word in `/sys/kernel/iommu_groups/N/type`; `None` when there are no groups.
    pub fn group_type(self) -> Option<&'static str> {
        match self {
            DomainMode::Strict => Some("DMA"),
            DomainMode::Deferred => Some("DMA-FQ"),
            DomainMode::Identity => Some("identity"),
            DomainMode::Unmanaged => None,
        }
    }
}

/// The parsed words.
#[derive(Clone, Debug)]
pub struct Options {
    /// `hvtest.scenario=`: name of the list of checks; `shell` without one.
    pub scenario: String,
    /// `hvtest.mode=strict|deferred|identity|unmanaged`.
    pub mode: DomainMode,
    /// `hvtest.aperture=`: width of the I/O address space in bits that the driver must announce.
    pub aperture_bits: Option<u32>,
    /// `iommu.forcedac=1`: the kernel hands out addresses from the top of the aperture.
    pub force_dac: bool,
    /// `hvtest.levels=`: depth of the root tables.
    pub levels: u64,
    /// `hvtest.devices=`: number of PCI functions that must show up before the checks start.
    pub devices: usize,
    /// `hvtest.modules=a,b`: modules to load before the checks.
    pub modules: Vec<String>,
}

impl Options {
    /// Reads the words from a kernel command line.
    ///
    /// # Errors
    /// A word with a value that makes no sense.
    pub fn parse(command_line: &str) -> Result<Options> {
        let words: BTreeMap<&str, &str> = command_line
            .split_whitespace()
            .filter_map(|word| word.strip_prefix("hvtest."))
            .filter_map(|word| word.split_once('='))
            .collect();
        let number = |key: &str| -> Result<Option<u64>> {
            words.get(key).map(|v| v.parse().with_context(|| format!("hvtest.{key}={v}"))).transpose()
        };
        let mode = match words.get("mode").copied() {
            None | Some("strict") => DomainMode::Strict,
            Some("deferred") => DomainMode::Deferred,
            Some("identity") => DomainMode::Identity,
            Some("unmanaged") => DomainMode::Unmanaged,
            Some(other) => anyhow::bail!("hvtest.mode={other}: not known"),
        };
        Ok(Options {
            scenario: words.get("scenario").copied().unwrap_or("shell").to_owned(),
            mode,
            aperture_bits: number("aperture")?.map(u32::try_from).transpose()?,
            force_dac: command_line.split_whitespace().any(|word| word == "iommu.forcedac=1"),
            levels: number("levels")?.unwrap_or(4),
            devices: usize::try_from(number("devices")?.unwrap_or(0))?,
            modules: words.get("modules").map_or_else(Vec::new, |list| list.split(',').map(str::to_owned).collect()),
        })
    }

    /// Reads the running kernel's command line.
    ///
    /// # Errors
    /// See [`Options::parse`]; also when `/proc` is not mounted.
    pub fn from_kernel() -> Result<Options> {
        Options::parse(&std::fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_among_others() {
        let o = Options::parse(
            "console=ttyS0 hvtest.scenario=dma hvtest.mode=deferred hvtest.aperture=39 hvtest.modules=pci-hyperv\n",
        )
        .unwrap();
        assert_eq!((o.scenario.as_str(), o.mode, o.aperture_bits), ("dma", DomainMode::Deferred, Some(39)));
        assert_eq!((o.levels, o.devices, o.modules), (4, 0, vec!["pci-hyperv".to_owned()]));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Options::parse("hvtest.mode=maybe").is_err());
        assert!(Options::parse("hvtest.aperture=wide").is_err());
        assert_eq!(Options::parse("quiet").unwrap().scenario, "shell");
    }
}
