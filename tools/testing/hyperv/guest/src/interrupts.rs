// SPDX-License-Identifier: GPL-2.0
//! A function's interrupts as the kernel shows them: their numbers, their counts, and the processors that they go to.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{ensure, Context as _, Result};

use crate::pci::{write_sysfs, PciFunction};
use crate::processors::parse_list;

const COUNTS: &str = "/proc/interrupts";

/// A number in /proc/interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Irq(u32);

/// How often an interrupt has come, for each processor that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts(BTreeMap<u32, u64>);

impl Counts {
    /// On all processors that are in use.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// On one of them.
    ///
    /// # Errors
    /// When it is not in use.
    pub fn on(&self, cpu: u32) -> Result<u64> {
        self.0.get(&cpu).copied().with_context(|| format!("{COUNTS} has no processor {cpu}"))
    }
}

/// The line of one interrupt in the text of /proc/interrupts, whose first line names the processors.
fn parse_counts(text: &str, irq: Irq) -> Option<Counts> {
    let mut lines = text.lines();
    let cpus: Vec<u32> =
        lines.next()?.split_whitespace().map(|name| name.strip_prefix("CPU")?.parse().ok()).collect::<Option<_>>()?;
    let start = format!("{}:", irq.0);
    let line = lines.find_map(|line| line.trim_start().strip_prefix(&start))?;
    let counts: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).take(cpus.len()).collect();
    (counts.len() == cpus.len()).then(|| Counts(cpus.into_iter().zip(counts).collect()))
}

impl Irq {
    /// The interrupts that a function's messages raise, in the order of its vectors.
    ///
    /// # Errors
    /// When it has none.
    pub fn all_of(function: &PciFunction) -> Result<Vec<Irq>> {
        let path = function.file("msi_irqs");
        let entries = fs::read_dir(&path).with_context(|| path.display().to_string())?;
        let mut irqs = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.parse().ok());
            irqs.push(Irq(number.with_context(|| format!("{name:?} in {}", path.display()))?));
        }
        irqs.sort_unstable();
        Ok(irqs)
    }

    /// How often it has come; `None` for one that nobody handles.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn counts(self) -> Result<Option<Counts>> {
        Ok(parse_counts(&fs::read_to_string(COUNTS).context(COUNTS)?, self))
    }

    /// The same for one that somebody handles.
    ///
    /// # Errors
    /// When nobody does.
    pub fn handled(self) -> Result<Counts> {
        self.counts()?.with_context(|| format!("{COUNTS} does not list {}", self.0))
    }

    /// Asks for it to go to one processor.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn send_to(self, cpu: u32) -> Result<()> {
        write_sysfs(format!("/proc/irq/{}/smp_affinity_list", self.0).as_ref(), &cpu.to_string())
    }

    /// The processor that it goes to.
    ///
    /// # Errors
    /// When it is not exactly one.
    pub fn goes_to(self) -> Result<u32> {
        let path = format!("/proc/irq/{}/effective_affinity_list", self.0);
        let text = fs::read_to_string(&path).context(path.clone())?;
        let cpus = parse_list(&text).with_context(|| format!("{path}: {text}"))?;
        ensure!(cpus.len() == 1, "{path}: {text}");
        Ok(cpus[0])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "            CPU0       CPU2
  4:        100          2    IO-APIC   4-edge      ttyS0
 24:          0          7  Hyper-V PCIe MSI  16777216-edge      vfio-msi[0](1ee7:00:00.0)
NMI:          0          0   Non-maskable interrupts
ERR:          3
";

    #[test]
    fn counts_are_those_of_the_processors_in_use() {
        let counts = parse_counts(TEXT, Irq(24)).unwrap();
        assert_eq!((counts.total(), counts.on(0).unwrap(), counts.on(2).unwrap()), (7, 0, 7));
        assert!(counts.on(1).is_err());
        assert_eq!(parse_counts(TEXT, Irq(2)), None);
    }
}
