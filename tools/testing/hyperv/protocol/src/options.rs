// SPDX-License-Identifier: GPL-2.0
//! What the runner asks of a boot: `hvtest.*` words on the kernel's command line.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use anyhow::{bail, Context, Error, Result};
use hvcore::hostile::random::Seed;
use hvcore::ids::DomainId;
use strum::EnumString;

/// What each word begins with.
const PREFIX: &str = "hvtest.";

/// What the kernel calls the type of a device's default domain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum DomainMode {
    /// Translated, each unmap flushed at once.
    #[default]
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

/// How the next kernel is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Loader {
    /// By `kexec_file_load(2)`: the running kernel prepares everything.
    #[default]
    File,
    /// By `kexec_load(2)`: the distribution's kexec does.
    Segments,
}

/// How a crash comes about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString)]
#[strum(serialize_all = "lowercase")]
pub enum Cause {
    /// By the kernel's own key for it.
    #[default]
    Sysrq,
    /// By an NMI from outside, which the kernel is told to panic upon (`unknown_nmi_panic`).
    Nmi,
    /// By the kernel's own key, while the NVMe controller is being removed because the host withdraws it.
    Removal,
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

/// The words of a command line, by what stands before `=`.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Words<'a> {
    /// Of words that come twice the last one counts.
    fn new(command_line: &'a str) -> Words<'a> {
        let own = command_line.split_whitespace().filter_map(|word| word.strip_prefix(PREFIX));
        Words(own.map(|word| word.split_once('=').unwrap_or((word, ""))).collect())
    }

    /// A word that may be left out.
    fn take<T: FromStr<Err: Display>>(&mut self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.0.remove(key) else { return Ok(None) };
        text.parse().map(Some).map_err(|error: T::Err| Error::msg(format!("{PREFIX}{key}={text}: {error}")))
    }

    /// A word that stands for its type's default where it is left out.
    fn take_or_default<T: FromStr<Err: Display> + Default>(&mut self, key: &str) -> Result<T> {
        self.take(key).map(Option::unwrap_or_default)
    }

    /// The elements of a comma-separated list; none where the word is left out, or for the empty string.
    fn take_list(&mut self, key: &str) -> Vec<String> {
        self.0.remove(key).map_or_else(Vec::new, split_list)
    }

    /// No word is left that nobody asked for.
    fn end(self) -> Result<()> {
        match self.0.first_key_value() {
            None => Ok(()),
            Some((key, text)) => bail!("{PREFIX}{key}={text}: no such word"),
        }
    }
}

impl Options {
    /// Reads the words from a kernel command line.
    ///
    /// # Errors
    /// A word that is none, or has a value that makes no sense.
    pub fn parse(command_line: &str) -> Result<Options> {
        let mut words = Words::new(command_line);
        let domain = |id: String| -> Result<DomainId> {
            Ok(DomainId(id.parse().with_context(|| format!("{PREFIX}domains: {id}"))?))
        };
        let seed = |text: String| -> Result<Seed> {
            text.parse().ok().with_context(|| format!("{PREFIX}seed={text}: no hexadecimal number above 0"))
        };
        let options = Options {
            scenario: words.take("scenario")?.unwrap_or_else(|| "shell".to_owned()),
            mode: words.take_or_default("mode")?,
            aperture_bits: words.take("aperture")?,
            force_dac: command_line.split_whitespace().any(|word| word == "iommu.forcedac=1"),
            levels: words.take("levels")?.unwrap_or(4),
            devices: words.take_or_default("devices")?,
            virtio: words.take("virtio")?,
            next: words.take_list("next"),
            tell: words.take_list("tell"),
            kernel: words.take("kernel")?.unwrap_or(1),
            domains: words.take_list("domains").into_iter().map(domain).collect::<Result<_>>()?,
            crash_cpu: words.take("crash-cpu")?,
            crash_by: words.take_or_default("crash-by")?,
            load_by: words.take_or_default("load-by")?,
            rounds: words.take("rounds")?.unwrap_or(3),
            seed: words.take::<String>("seed")?.map(seed).transpose()?,
            modules: words.take_list("modules"),
            measure: words.take_list("measure"),
            range_flush: words.take("range-flush")?,
            whole_flush: words.take("whole-flush")?,
        };
        words.end()?;
        Ok(options)
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
        assert!(Options::parse("hvtest.aperture=4294967296").is_err());
        assert!(Options::parse("hvtest.round=3").is_err() && Options::parse("hvtest.rounds").is_err());
        assert_eq!(Options::parse("quiet").unwrap().scenario, "shell");
    }
}
