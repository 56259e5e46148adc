// SPDX-License-Identifier: GPL-2.0
//! Allocations that fail on demand: the kernel's fault injection, for this thread and for one part of the kernel.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{ensure, Context as _, Result};

use crate::pci::write_sysfs;
use crate::report::remark;

const SYMBOLS: &str = "/proc/kallsyms";
/// How many allocations of this thread are to succeed until one fails, and that one; 0 when it did.
const COUNTDOWN: &str = "/proc/thread-self/fail-nth";
/// What fails allocations of objects, and of pages.
const OBJECTS: &str = "/sys/kernel/debug/failslab";
const PAGES: &str = "/sys/kernel/debug/fail_page_alloc";
/// What fails steps of iommufd, where the kernel has that; it counts like the others, and would fail those steps.
const STEPS: &str = "/sys/kernel/debug/fail_iommufd";
/// How far up the call trace a part of the kernel is looked for: as far as the kernel goes.
const DEPTH: &str = "32";

/// A part of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The driver, and what it calls: the abstractions, the IOMMU core's helpers, debugfs.
    Driver,
    /// The registry of logical device ids.
    Registry,
    /// The driver of the root partition's IOMMU, and what it calls.
    Root,
    /// The code that builds the driver's tables; the IOMMU core calls it, not the driver.
    Tables,
}

impl Part {
    /// Whether a function is one of it. Rust's names carry that of the crate for which they were generated, after its
    /// length.
    fn has(self, symbol: &str) -> bool {
        match self {
            Part::Driver => symbol.contains("10hv_pviommu"),
            Part::Root => symbol.contains("13hv_root_iommu"),
            Part::Registry => {
                symbol.contains("13hv_pci_dev_id")
                    || matches!(symbol, "hv_pci_register_dev_id" | "hv_pci_unregister_dev_id" | "hv_pci_lookup_dev_id")
            }
            Part::Tables => symbol.starts_with("pt_iommu_x86_64_") || symbol.starts_with("x86_64_"),
        }
    }

    /// For reports.
    pub fn name(self) -> &'static str {
        match self {
            Part::Driver => "the driver",
            Part::Root => "the root partition's driver",
            Part::Registry => "the registry",
            Part::Tables => "the tables",
        }
    }
}

/// How many functions from elsewhere may lie between two of a part: what C is called inline stands there.
const GAP: usize = 16;

/// Where the functions of a part are. They come from one object, so that they lie together. `symbols` are lines of
/// [`SYMBOLS`].
fn text_of(part: Part, symbols: &str) -> Option<Range<u64>> {
    let mut text: Vec<(u64, &str)> = symbols
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
            // A fourth word names a module.
            let is_text = matches!(kind, "t" | "T") && words.next().is_none();
            is_text.then_some((u64::from_str_radix(address, 16).ok()?, name))
        })
        .collect();
    text.sort_unstable();
    // What runs at boot only lies elsewhere.
    let end = text.iter().find(|(_, name)| *name == "_etext")?.0;
    text.retain(|(address, _)| *address <= end);
    let own: Vec<usize> = (0..text.len()).filter(|&index| part.has(text[index].1)).collect();
    // A few that are hardly ever called lie elsewhere, too; most are together.
    let most = own.chunk_by(|here, next| next - here <= GAP).max_by_key(|cluster| cluster.len())?;
    Some(text[*most.first()?].0..text.get(most.last()? + 1)?.0)
}

/// Whether the allocation that was to fail was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shot {
    /// It was, and failed.
    Hit,
    /// There are not that many.
    Missed,
}

/// Fault injection, set up for a part of the kernel.
pub struct Injection(());

fn set(kind: &str, file: &str, value: &str) -> Result<()> {
    write_sysfs(&Path::new(kind).join(file), value)
}

/// Allocations are counted only if a part of the kernel asks for them.
fn confine(kind: &str, part: Part) -> Result<()> {
    let symbols = fs::read_to_string(SYMBOLS).context(SYMBOLS)?;
    let text = text_of(part, &symbols).with_context(|| format!("{SYMBOLS} has no functions of {}", part.name()))?;
    set(kind, "verbose", "0")?;
    set(kind, "stacktrace-depth", DEPTH)?;
    set(kind, "require-start", &format!("{:#x}", text.start))?;
    set(kind, "require-end", &format!("{:#x}", text.end))
}

/// As long as this exists, a part of the kernel gets no pages when it cannot wait for them.
pub struct NoPagesAtOnce(());

impl NoPagesAtOnce {
    /// Begins with it.
    ///
    /// # Errors
    /// When the kernel has no fault injection, or has not that part.
    pub fn new(part: Part) -> Result<NoPagesAtOnce> {
        confine(PAGES, part)?;
        set(PAGES, "ignore-gfp-wait", "Y")?;
        set(PAGES, "min-order", "0")?;
        set(PAGES, "times", "1000000")?;
        let begun = NoPagesAtOnce(());
        set(PAGES, "probability", "100")?;
        Ok(begun)
    }
}

impl Drop for NoPagesAtOnce {
    fn drop(&mut self) {
        if let Err(error) = set(PAGES, "probability", "0") {
            remark(&format!("pages go on failing: {error:#}"));
        }
    }
}

impl Injection {
    /// Sets it up.
    ///
    /// # Errors
    /// When the kernel has no fault injection, or has not that part.
    pub fn new(part: Part) -> Result<Injection> {
        for kind in [OBJECTS, PAGES, STEPS].into_iter().filter(|kind| Path::new(kind).exists()) {
            confine(kind, part)?;
        }
        // Those that may wait for memory, too.
        set(OBJECTS, "ignore-gfp-wait", "N")?;
        set(PAGES, "ignore-gfp-wait", "N")?;
        set(PAGES, "ignore-gfp-highmem", "N")?;
        set(PAGES, "min-order", "0")?;
        Ok(Injection(()))
    }

    /// Calls `work`, of whose allocations in that part of the kernel the `nth` one fails, from 1 on.
    ///
    /// # Errors
    /// When the kernel does not take the number.
    pub fn during<R>(&self, nth: u32, work: impl FnOnce() -> R) -> Result<(R, Shot)> {
        ensure!(nth > 0, "allocations are counted from 1 on");
        fs::write(COUNTDOWN, nth.to_string()).context(COUNTDOWN)?;
        let result = work();
        let left = fs::read_to_string(COUNTDOWN).context(COUNTDOWN)?;
        fs::write(COUNTDOWN, "0").context(COUNTDOWN)?;
        let left: u32 = left.trim().parse().with_context(|| format!("{COUNTDOWN}: {left:?}"))?;
        Ok((result, if left == 0 { Shot::Hit } else { Shot::Missed }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "\
ffffffff81001000 t pt_iommu_x86_64_init
ffffffff81001100 t table_alloc_top
ffffffff81001200 t x86_64_map_range
ffffffff81001300 t __map_range
ffffffff81002000 t _RNvCs1_10hv_pviommu4make
ffffffff81002100 t _RINvNtCs2_6kernel5alloc3newECs1_10hv_pviommu
ffffffff81002400 T hv_pci_register_dev_id
ffffffff81002500 t _RNvCs1_13hv_pci_dev_id8registry
ffffffff81003000 T other
ffffffff81004000 T _etext
ffffffff82002000 t _RNvCs1_10hv_pviommu4init
ffffffff82004000 d _RNvCs1_10hv_pviommu4DATA
ffffffffc0000000 t pt_iommu_x86_64_map_pages\t[module]
";

    #[test]
    fn the_parts_are_found() {
        // What is hardly ever called lies far from the rest.
        let far = |index| format!("{:x} t far_{index}\n", 0xffff_ffff_8100_0100_u64 + index);
        let mut symbols = "ffffffff81000000 t _RNvCs1_10hv_pviommu4cold\n".to_owned();
        symbols.extend((0..=GAP as u64).map(far));
        symbols.push_str(SYMBOLS);
        assert_eq!(text_of(Part::Driver, &symbols), Some(0xffff_ffff_8100_2000..0xffff_ffff_8100_2400));
        assert_eq!(text_of(Part::Registry, &symbols), Some(0xffff_ffff_8100_2400..0xffff_ffff_8100_3000));
        assert_eq!(text_of(Part::Tables, &symbols), Some(0xffff_ffff_8100_1000..0xffff_ffff_8100_1300));
        assert_eq!(text_of(Part::Driver, "ffffffff81000000 T _stext\nffffffff81004000 T _etext\n"), None);
    }
}
