// SPDX-License-Identifier: GPL-2.0
//! Lines of the driver and of the registry of logical device ids: each must be named by the case, or be accounted for by
//! the guest program.

use std::collections::BTreeMap;

use hvprotocol::report;
use regex::Regex;

use crate::expect::{counts, Expectation, Times};

/// Lines shown in complaints.
const SHOWN: usize = 5;

/// Whether the driver, the registry, or the IOMMU core on the driver's behalf said this line (without time stamp).
pub fn is_ours(message: &str) -> bool {
    const OURS: [&str; 3] = ["hv_pviommu:", "hv_root_iommu:", "hv_pci_dev_id:"];
    OURS.iter().any(|name| message.starts_with(name)) || message.contains(" IOMMU: ")
}

/// Lines that the guest program accounted for, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accounted(BTreeMap<String, usize>);

impl Accounted {
    /// Takes a remark of the guest program's report (without `# `), if it accounts for a line.
    pub fn take(&mut self, remark: &str) {
        if let Some(report::Accounted(line)) = report::Accounted::read(remark) {
            *self.0.entry(line.to_owned()).or_default() += 1;
        }
    }

    /// Strikes a line off; false when it is not accounted for.
    fn strike(&mut self, message: &str) -> bool {
        match self.0.get_mut(message) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// Lines that were accounted for and not struck off, of those that `wanted` accepts.
    fn left(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.0.iter().filter(|(line, _)| wanted(line)).map(|(_, left)| left).sum()
    }
}

/// What is wrong, one sentence each: lines that nothing names, and lines that the guest program saw and nobody else did.
///
/// # Errors
/// When a pattern is no regular expression.
pub fn judge(
    expectations: &[Expectation],
    accounted: &Accounted,
    messages: &[&str],
) -> Result<Vec<String>, regex::Error> {
    let named = expectations.iter().filter(|e| e.times != Times::Never);
    let named: Vec<Regex> = named.map(|e| Regex::new(&e.pattern)).collect::<Result<_, _>>()?;
    let mut accounted = accounted.clone();
    let ours = messages.iter().filter(|m| counts(m) && is_ours(m));
    let unnamed: Vec<&&str> =
        ours.filter(|m| !accounted.strike(m) && !named.iter().any(|pattern| pattern.is_match(m))).collect();
    let mut complaints: Vec<String> =
        unnamed.iter().take(SHOWN).map(|m| format!("a line that the case does not name: {m}")).collect();
    if unnamed.len() > SHOWN {
        complaints.push(format!("and {} more such lines", unnamed.len() - SHOWN));
    }
    match accounted.left(is_ours) {
        0 => {}
        left => complaints.push(format!("{left} lines that the guest program saw are not on the console")),
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expect::{device_refused, driver_up};

    const BOOT: &str = "hv_pviommu: aperture 0x0-0x7fffffffffff (47 bits), page sizes 4K 2M 1G, 4-level tables";
    const LINE: &str = "vfio-pci 1ee7:00:00.0: IOMMU: not in the blocking domain, detached instead";

    fn count(expectations: &[Expectation], remarks: &[&str], messages: &[&str]) -> usize {
        let mut accounted = Accounted::default();
        remarks.iter().for_each(|remark| accounted.take(remark));
        judge(expectations, &accounted, messages).unwrap().len()
    }

    #[test]
    fn whose_lines_are_judged() {
        for ours in [BOOT, LINE, "hv_pci_dev_id: PCI domain 7 has a logical device id already"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["DMAR: IOMMU enabled", "pci 1ee7:00:00.0: Adding to iommu group 0", "iommu: Default domain type"]
        {
            assert!(!is_ours(other), "{other}");
        }
    }

    #[test]
    fn a_line_that_nothing_names_is_noticed() {
        assert_eq!(count(&[driver_up()], &[], &[BOOT, "pci 1ee7:00:00.0: something else"]), 0);
        assert_eq!(count(&[], &[], &[BOOT]), 1);
        assert_eq!(count(&[driver_up()], &[], &[BOOT, LINE]), 1);
        assert_eq!(count(&[driver_up(), device_refused()], &[], &[LINE]), 1);
        assert_eq!(count(&[], &[], &[LINE; 9]), SHOWN + 1);
        // Named as one that must not be there.
        assert_eq!(count(&[driver_up().times(Times::Never)], &[], &[BOOT]), 1);
        // What the guest program quotes does not count.
        assert_eq!(count(&[], &[], &["hvtest: # seen: hv_pviommu: x"]), 0);
    }

    #[test]
    fn each_line_is_accounted_for_once() {
        let remark = report::Accounted(LINE).to_string();
        assert_eq!(count(&[], &[&remark], &[LINE]), 0);
        assert_eq!(count(&[], &[&remark], &[LINE, LINE]), 1);
        assert_eq!(count(&[], &[&remark, &remark], &[LINE, LINE]), 0);
        assert_eq!(count(&[], &[&remark], &[]), 1, "the guest program saw what the console did not");
        let warning = report::Accounted("WARNING: drivers/iommu/iommu.c:157 at f+0x0").to_string();
        assert_eq!(count(&[], &[&warning], &[]), 0, "warnings are judged elsewhere");
    }
}
