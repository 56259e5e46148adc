// SPDX-License-Identifier: GPL-2.0
//! Figures for more memory than a guest of the benchmark has, from those that were measured.

use anyhow::Result;

use super::figure::{Figure, Figures};

/// What is measured, and what follows from it: a user's mapping of 16 GiB, of ordinary and of huge pages.
const MEASURED: [(&str, &str, &str); 4] = [
    ("iommufd/256m/", "iommufd/1g/", "iommufd/16g-extrapolated/"),
    ("iommufd/256m-4k/", "iommufd/1g-4k/", "iommufd/16g-4k-extrapolated/"),
    ("vfio/256m/", "vfio/1g/", "vfio/16g-extrapolated/"),
    ("vfio/256m-4k/", "vfio/1g-4k/", "vfio/16g-4k-extrapolated/"),
];
/// Steps from 256 MiB to 1 GiB, and from there to 16 GiB, of the same size.
const STEPS: (f64, f64) = (3.0, 60.0);

/// Adds them, where both measured ones are there: on a straight line through the two.
///
/// # Errors
/// When there is one of that name.
pub fn add(figures: &mut Figures) -> Result<()> {
    for (small, large, huge) in MEASURED {
        let found: Vec<(String, Figure)> = figures
            .iter()
            .filter_map(|(name, first)| {
                let leaf = name.strip_prefix(small)?;
                let second = figures.get(&format!("{large}{leaf}"))?;
                let value = second.value + (second.value - first.value) * STEPS.1 / STEPS.0;
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
}
