// SPDX-License-Identifier: GPL-2.0
//! Which NUMA node memory belongs to, by `/proc/zoneinfo`.

use std::fs;
use std::ops::Range;

use anyhow::{Context, Result};
use hvcore::ids::{Gpa, NumaNode};

const ZONEINFO: &str = "/proc/zoneinfo";
const PAGE_SHIFT: u32 = 12;

/// The memory of one zone of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Zone {
    node: NumaNode,
    memory: Range<Gpa>,
}

/// The zones that have memory. `spanned` stands before `start_pfn` in each.
fn zones(zoneinfo: &str) -> Vec<Zone> {
    let (mut node, mut spanned, mut found) = (None, None, Vec::new());
    for line in zoneinfo.lines() {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("Node"), Some(number)) => {
                node = number.trim_end_matches(',').parse().ok().map(NumaNode);
                spanned = None;
            }
            (Some("spanned"), Some(pages)) => spanned = pages.parse::<u64>().ok(),
            (Some("start_pfn:"), Some(first)) => {
                let (Some(node), Some(pages), Ok(first)) = (node, spanned.take(), first.parse::<u64>()) else {
                    continue;
                };
                if pages > 0 {
                    found.push(Zone { node, memory: Gpa(first << PAGE_SHIFT)..Gpa((first + pages) << PAGE_SHIFT) });
                }
            }
            _ => {}
        }
    }
    found
}

/// The node that an address belongs to; `None` for no memory.
///
/// # Errors
/// When the kernel does not tell.
pub fn node_of(address: Gpa) -> Result<Option<NumaNode>> {
    let zoneinfo = fs::read_to_string(ZONEINFO).context(ZONEINFO)?;
    Ok(zones(&zoneinfo).into_iter().find(|zone| zone.memory.contains(&address)).map(|zone| zone.node))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
Node 0, zone      DMA
  per-node stats
      nr_inactive_anon 12
  pages free     3840
        spanned  4095
        present  3998
  start_pfn:           1
Node 0, zone    DMA32
        spanned  61440
  start_pfn:           4096
Node 0, zone   Normal
        spanned  0
  start_pfn:           0
Node 1, zone    DMA32
        spanned  65536
  start_pfn:           65536
";

    #[test]
    fn zones_without_memory_are_left_out() {
        let zone = |node, range: Range<u64>| Zone { node: NumaNode(node), memory: Gpa(range.start)..Gpa(range.end) };
        assert_eq!(
            zones(TWO),
            [zone(0, 0x1000..0x100_0000), zone(0, 0x100_0000..0x1000_0000), zone(1, 0x1000_0000..0x2000_0000)]
        );
        assert!(zones("").is_empty());
    }
}
