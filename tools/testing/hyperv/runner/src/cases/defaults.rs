// SPDX-License-Identifier: GPL-2.0
//! The types of default domains that are built into kernels, and what overrides them: the command line, and sysfs.

use super::common::{with, with_huge_pages};
use crate::case::{Case, Variant};
use crate::expect::{self, Expectation, Times};

/// What the kernel says of the type, and of how it flushes; [`None`] where that does not matter.
struct Said {
    domains: &'static str,
    flushing: Option<&'static str>,
}

const STRICT: Said = Said { domains: "Translated", flushing: Some("strict") };
const LAZY: Said = Said { domains: "Translated", flushing: Some("lazy") };
const IDENTITY: Said = Said { domains: "Passthrough", flushing: None };

/// Which parameter was given is said, too.
fn by(words: &[&str], parameter: &str) -> &'static str {
    match words.iter().any(|word| word.starts_with(parameter)) {
        true => r" \(set via kernel command line\)",
        false => "",
    }
}

impl Said {
    fn expectations(&self, words: &[&str]) -> [Expectation; 2] {
        let domains = format!("^iommu: Default domain type: {}{}$", self.domains, by(words, "iommu.passthrough="));
        let policy = "^iommu: DMA domain TLB invalidation policy: ";
        let (flushing, times) = match self.flushing {
            Some(mode) => (format!("{policy}{mode} mode{}$", by(words, "iommu.strict=")), Times::Once),
            None => (policy.to_owned(), Times::Never),
        };
        let meaning = |text: &str| text.to_owned();
        [
            Expectation { meaning: meaning("the core's line about types"), pattern: domains, times: Times::Once },
            Expectation { meaning: meaning("the core's line about flushing"), pattern: flushing, times },
        ]
    }
}

/// A boot with these words for the kernel: the types of groups are `mode`'s, can be changed by sysfs, and come back.
fn default(name: &'static str, variant: Variant, words: &[&str], mode: &str, said: &Said) -> Case {
    let case = with(Case::new("boot", name, "default-type"), words)
        .variant(variant)
        .devices(&["edu"])
        .append(mode)
        .expect(expect::driver_up());
    said.expectations(words).into_iter().fold(case, Case::expect)
}

/// User space's protection, by a container that iommufd stands behind.
fn container_of_iommufd() -> Case {
    with_huge_pages(Case::new("passthrough", "container-of-iommufd", "container-of-iommufd"))
        .variant(Variant::Compat)
        .devices(&["edu", "nvme"])
        .append(MODE_IDENTITY)
        .expect(expect::driver_up())
}

const MODE_STRICT: &str = "hvtest.mode=strict";
const MODE_DEFERRED: &str = "hvtest.mode=deferred";
const MODE_IDENTITY: &str = "hvtest.mode=identity";

/// The cases.
pub fn cases() -> Vec<Case> {
    use Variant::{Compat, Debug, Strict};
    vec![
        default("default-lazy", Debug, &[], MODE_DEFERRED, &LAZY),
        default("default-lazy-strict", Debug, &["iommu.strict=1"], MODE_STRICT, &STRICT),
        default("default-lazy-passthrough", Debug, &["iommu.passthrough=1"], MODE_IDENTITY, &IDENTITY),
        default("default-strict", Strict, &[], MODE_STRICT, &STRICT),
        default("default-strict-lazy", Strict, &["iommu.strict=0"], MODE_DEFERRED, &LAZY),
        default("default-strict-passthrough", Strict, &["iommu.passthrough=1"], MODE_IDENTITY, &IDENTITY),
        default("default-passthrough", Compat, &[], MODE_IDENTITY, &IDENTITY),
        // How domains are flushed that there are none of changes nothing.
        default("default-passthrough-strict", Compat, &["iommu.strict=1"], MODE_IDENTITY, &IDENTITY),
        default("default-passthrough-off", Compat, &["iommu.passthrough=0"], MODE_DEFERRED, &LAZY),
        default(
            "default-passthrough-off-strict",
            Compat,
            &["iommu.passthrough=0", "iommu.strict=1"],
            MODE_STRICT,
            &STRICT,
        ),
        container_of_iommufd(),
    ]
    .into_iter()
    .map(Case::thorough)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_says_what_was_given() {
        let lines = |domains: &str, flushing: &str| [domains.to_owned(), flushing.to_owned()];
        let complaints = |said: &Said, words: &[&str], lines: [String; 2]| {
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            expect::judge(&said.expectations(words), &lines).map(|found| found.len()).ok()
        };
        let translated = "iommu: Default domain type: Translated";
        let lazy = "iommu: DMA domain TLB invalidation policy: lazy mode";
        let given = " (set via kernel command line)";
        assert_eq!(complaints(&LAZY, &[], lines(translated, lazy)), Some(0));
        assert_eq!(complaints(&LAZY, &["iommu.strict=0"], lines(translated, lazy)), Some(1));
        assert_eq!(complaints(&LAZY, &["iommu.strict=0"], lines(translated, &format!("{lazy}{given}"))), Some(0));
        assert_eq!(complaints(&STRICT, &[], lines(translated, lazy)), Some(1));
        assert_eq!(complaints(&IDENTITY, &[], lines("iommu: Default domain type: Passthrough", "")), Some(0));
        assert_eq!(complaints(&IDENTITY, &[], lines(translated, lazy)), Some(2));
    }
}
