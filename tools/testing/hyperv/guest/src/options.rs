// SPDX-License-Identifier: GPL-2.0
//! What the runner asks of this boot: `hvtest.*` words on the kernel's command line.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hvcore::hostile::random::Seed;
use hvcore::ids::DomainId;

use crate::kexec::{Cause, Loader};

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
    /// `hvtest.virtio=`: how many of them are virtio functions; unknown without one.
    pub virtio: Option<usize>,
    /// `hvtest.next=a,b`: scenarios of the kernels that this one leaves for, one after the other.
    pub next: Vec<String>,
    /// `hvtest.tell=word,word`: words that the next kernel is told besides.
    pub tell: Vec<String>,
    /// `hvtest.kernel=`: number of this kernel in this boot of the machine; the first one is 1.
    pub kernel: u64,
    /// `hvtest.domains=1,2`: the domains that the kernel before this one left.
    pub domains: Vec<DomainId>,
    /// `hvtest.crash-cpu=`: the processor that a crash happens on; any without one.
    pub crash_cpu: Option<u64>,
    /// `hvtest.crash-by=sysrq|nmi|removal`: how it comes about.
    pub crash_by: Cause,
    /// `hvtest.load-by=file|segments`: the system call that loads the next kernel.
    pub load_by: Loader,
    /// `hvtest.rounds=`: how often something that is repeated is done.
    pub rounds: u64,
    /// `hvtest.seed=`: where sequences that are made up start, in hexadecimal.
    pub seed: Option<Seed>,
    /// `hvtest.modules=a,b`: modules to load before the checks.
    pub modules: Vec<String>,
    /// `hvtest.measure=a,b`: what the benchmark measures; everything without one.
    pub measure: Vec<String>,
    /// `hvtest.range-flush=`: instructions that the driver may take for a flush of a range.
    pub range_flush: Option<u64>,
    /// `hvtest.whole-flush=`: instructions that the driver may take for a flush of a whole domain.
    pub whole_flush: Option<u64>,
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
        let list = |key: &str| words.get(key).map_or_else(Vec::new, |list| split_list(list));
        let domain = |id: String| -> Result<DomainId> {
            Ok(DomainId(id.parse().with_context(|| format!("hvtest.domains: {id}"))?))
        };
        let mode = match words.get("mode").copied() {
            None | Some("strict") => DomainMode::Strict,
            Some("deferred") => DomainMode::Deferred,
            Some("identity") => DomainMode::Identity,
            Some("unmanaged") => DomainMode::Unmanaged,
            Some(other) => anyhow::bail!("hvtest.mode={other}: not known"),
        };
        let crash_by = match words.get("crash-by").copied() {
            None | Some("sysrq") => Cause::Sysrq,
            Some("nmi") => Cause::Nmi,
            Some("removal") => Cause::Removal,
            Some(other) => anyhow::bail!("hvtest.crash-by={other}: not known"),
        };
        let load_by = match words.get("load-by").copied() {
            None | Some("file") => Loader::File,
            Some("segments") => Loader::Segments,
            Some(other) => anyhow::bail!("hvtest.load-by={other}: not known"),
        };
        Ok(Options {
            scenario: words.get("scenario").copied().unwrap_or("shell").to_owned(),
            mode,
            aperture_bits: number("aperture")?.map(u32::try_from).transpose()?,
            force_dac: command_line.split_whitespace().any(|word| word == "iommu.forcedac=1"),
            levels: number("levels")?.unwrap_or(4),
            devices: usize::try_from(number("devices")?.unwrap_or(0))?,
            virtio: number("virtio")?.map(usize::try_from).transpose()?,
            next: list("next"),
            tell: list("tell"),
            kernel: number("kernel")?.unwrap_or(1),
            domains: list("domains").into_iter().map(domain).collect::<Result<_>>()?,
            crash_cpu: number("crash-cpu")?,
            crash_by,
            load_by,
            rounds: number("rounds")?.unwrap_or(3),
            seed: words.get("seed").map(|text| seed(text)).transpose()?,
            modules: list("modules"),
            measure: list("measure"),
            range_flush: number("range-flush")?,
            whole_flush: number("whole-flush")?,
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

fn seed(text: &str) -> Result<Seed> {
    match text.parse() {
        Ok(seed) => Ok(seed),
        Err(_) => anyhow::bail!("hvtest.seed={text}: no hexadecimal number above 0"),
    }
}

/// The elements of a comma-separated list; none for the empty string.
fn split_list(list: &str) -> Vec<String> {
    list.split(',').filter(|element| !element.is_empty()).map(str::to_owned).collect()
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
        assert_eq!((o.next, o.kernel, o.domains, o.rounds, o.crash_cpu), (vec![], 1, vec![], 3, None));
        assert_eq!((o.levels, o.devices, o.modules), (4, 0, vec!["pci-hyperv".to_owned()]));
        assert_eq!((o.virtio, Options::parse("hvtest.virtio=2").unwrap().virtio), (None, Some(2)));
    }

    #[test]
    fn what_the_kernel_before_tells() {
        let o = Options::parse(
            "hvtest.kernel=2 hvtest.domains=1,7 hvtest.next=a,b hvtest.rounds=9 hvtest.tell=x=1,y hvtest.crash-cpu=3",
        )
        .unwrap();
        assert_eq!(o.seed, None);
        assert_eq!(Options::parse("hvtest.seed=0x1f").unwrap().seed.map(|seed| seed.0.get()), Some(31));
        assert_eq!((o.kernel, o.domains, o.rounds), (2, vec![DomainId(1), DomainId(7)], 9));
        assert_eq!((o.crash_cpu, o.crash_by), (Some(3), Cause::Sysrq));
        assert_eq!(Options::parse("hvtest.load-by=segments").unwrap().load_by, Loader::Segments);
        assert_eq!(Options::parse("hvtest.crash-by=removal").unwrap().crash_by, Cause::Removal);
        assert_eq!((o.next, o.tell), (split_list("a,b"), split_list("x=1,y")));
        assert!(Options::parse("hvtest.domains=").unwrap().domains.is_empty());
        assert!(Options::parse("hvtest.domains=x").is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(Options::parse("hvtest.mode=maybe").is_err());
        assert!(Options::parse("hvtest.aperture=wide").is_err());
        assert!(Options::parse("hvtest.crash-by=magic").is_err());
        assert!(Options::parse("hvtest.load-by=hand").is_err());
        assert!(Options::parse("hvtest.seed=0").is_err());
        assert_eq!(Options::parse("quiet").unwrap().scenario, "shell");
    }
}
