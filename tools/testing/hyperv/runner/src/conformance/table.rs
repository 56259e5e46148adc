// SPDX-License-Identifier: GPL-2.0
//! What a kernel is judged by: cases of the suites that need nothing of this project inside the kernel.

use crate::case::Case;
use crate::cases;
use crate::demands::{Demands, Unnamed};

/// For a kernel whose driver uses the IOMMU: what the case is about, and its name.
pub const WITH_DRIVER: [(&str, &str); 8] = [
    ("translated, flushes at once", "boot/dma-strict"),
    ("translated, flushes deferred", "boot/dma-fq"),
    ("identity", "boot/identity"),
    ("a host that blocks devices until they are attached", "boot/devices-start-blocked"),
    ("a device that is not behind the IOMMU", "boot/one-device-unmanaged"),
    ("VFIO and iommufd", "passthrough/both-interfaces"),
    ("two devices in one group", "passthrough/shared-group"),
    ("control: no flush has an effect", "negative/hypervisor-drops-flushes"),
];

/// For one that has none, or whose driver does not use the IOMMU: what devices reach then.
pub const WITHOUT_DRIVER: [(&str, &str); 1] = [("no driver: devices are not translated", "boot/host-without-pviommu")];

/// The case of that name, with a host that offers the IOMMU where it is about kernels that do not use one.
///
/// Returns [`None`] for a name that no case has.
pub fn case(path: &str) -> Option<Case> {
    let case = cases::all().into_iter().find(|case| case.path() == path)?;
    Some(if WITHOUT_DRIVER.iter().any(|(_, other)| *other == path) { case.hypervisor("") } else { case })
}

/// What must be true of the case with any driver: nothing is known of what it prints.
pub fn demands(case: &Case) -> Demands {
    Demands { log: Vec::new(), unnamed: Unnamed::Passes, kunit_suites: Vec::new(), ..case.judged() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::Host;

    /// Whether a case needs nothing of this project inside the kernel.
    fn is_for_any_kernel(case: &Case) -> bool {
        case.packs.is_empty() && case.host == Host::Minihv && case.demands.kunit_suites.is_empty()
    }

    #[test]
    fn the_cases_exist_and_suit_any_kernel() {
        for (_, path) in WITH_DRIVER.iter().chain(&WITHOUT_DRIVER) {
            let case = case(path).unwrap_or_else(|| panic!("no case {path}"));
            assert!(is_for_any_kernel(&case), "{path}");
            assert_eq!(demands(&case).log, []);
        }
    }
}
