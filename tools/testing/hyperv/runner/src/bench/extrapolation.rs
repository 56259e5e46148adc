// SPDX-License-Identifier: GPL-2.0
//! Figures for more memory than a guest of the benchmark has, or than it can map in a reasonable time, from those that
//! were measured.

use anyhow::Result;

use super::figure::{Figure, Figures};

/// Two sizes that are measured, and a larger one that follows from them.
struct Line {
    small: &'static str,
    large: &'static str,
    huge: &'static str,
    /// From the first size to the second, in any unit of memory.
    between: f64,
    /// From the second to the one that follows, in the same unit.
    ahead: f64,
}

/// From 256 MiB and 1 GiB to so many GiB.
const fn from_a_gib(small: &'static str, large: &'static str, huge: &'static str, gib: u32) -> Line {
    Line { small, large, huge, between: 0.75, ahead: (gib - 1) as f64 }
}

/// From 1 GiB and 8 GiB to so many GiB.
const fn from_eight_gib(small: &'static str, large: &'static str, huge: &'static str, gib: u32) -> Line {
    Line { small, large, huge, between: 7.0, ahead: (gib - 8) as f64 }
}

/// A user's mapping of 16 GiB, of ordinary and of huge pages; a guest's memory in pages of 4 KiB, mapped by the root
/// partition.
const LINES: [Line; 9] = [
    from_a_gib("iommufd/256m/", "iommufd/1g/", "iommufd/16g-extrapolated/", 16),
    from_a_gib("iommufd/256m-4k/", "iommufd/1g-4k/", "iommufd/16g-4k-extrapolated/", 16),
    from_a_gib("vfio/256m/", "vfio/1g/", "vfio/16g-extrapolated/", 16),
    from_a_gib("vfio/256m-4k/", "vfio/1g-4k/", "vfio/16g-4k-extrapolated/", 16),
    from_eight_gib("root/4k/1g/", "root/4k/8g/", "root/4k/16g-extrapolated/", 16),
    from_eight_gib("root/4k/1g/", "root/4k/8g/", "root/4k/64g-extrapolated/", 64),
    from_a_gib("root/4k-scattered/256m/", "root/4k-scattered/1g/", "root/4k-scattered/8g-extrapolated/", 8),
    from_a_gib("root/4k-scattered/256m/", "root/4k-scattered/1g/", "root/4k-scattered/16g-extrapolated/", 16),
    from_a_gib("root/4k-scattered/256m/", "root/4k-scattered/1g/", "root/4k-scattered/64g-extrapolated/", 64),
];

/// Adds them, where both measured ones are there: on a straight line through the two.
///
/// # Errors
/// When there is one of that name.
pub fn add(figures: &mut Figures) -> Result<()> {
    for Line { small, large, huge, between, ahead } in LINES {
        let found: Vec<(String, Figure)> = figures
            .iter()
            .filter_map(|(name, first)| {
                let leaf = name.strip_prefix(small)?;
                let second = figures.get(&format!("{large}{leaf}"))?;
                let value = second.value + (second.value - first.value) * ahead / between;
                Some((format!("{huge}{leaf}"), Figure { value: value.max(0.0), unit: second.unit }))
            })
            .collect();
        for (name, figure) in found {
            figures.insert(&name, figure)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_lies_on_the_line() {
        let lines = "bench: iommufd/256m/map 1000 instructions\nbench: iommufd/1g/map 3100 instructions\n\
            bench: iommufd/256m/unmap 5 instructions\nbench: iommufd/1g-4k/map 7 instructions";
        let mut figures = Figures::read(lines.lines()).unwrap();
        add(&mut figures).unwrap();
        // 300 and 700 for each 256 MiB.
        assert_eq!(figures.value("iommufd/16g-extrapolated/map"), Some(300.0 + 64.0 * 700.0));
        assert_eq!(figures.len(), 5);
    }
    #[test]
    fn each_line_goes_on_from_its_own_sizes() {
        let lines = "bench: root/4k/1g/map/calls 518 calls\nbench: root/4k/8g/map/calls 4144 calls\n\
            bench: root/4k-scattered/256m/map/calls 65536 calls\nbench: root/4k-scattered/1g/map/calls 262144 calls";
        let mut figures = Figures::read(lines.lines()).unwrap();
        add(&mut figures).unwrap();
        let calls = |range: &str| figures.value(&format!("root/{range}-extrapolated/map/calls"));
        assert_eq!([calls("4k/16g"), calls("4k/64g")], [Some(16.0 * 518.0), Some(64.0 * 518.0)]);
        let scattered = [8, 16, 64].map(|gib| calls(&format!("4k-scattered/{gib}g")));
        assert_eq!(scattered, [8.0, 16.0, 64.0].map(|gib| Some(gib * 262144.0)));
        assert_eq!(figures.len(), 9);
    }
}
