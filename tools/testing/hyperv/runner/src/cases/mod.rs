// SPDX-License-Identifier: GPL-2.0
//! The table of test boots, one file per suite. A new case is a new row there, and a new check in the guest program
//! where it needs one.

mod ats;
mod attack;
mod bench;
mod boot;
mod defaults;
mod faults;
mod hostile;
mod hyperv;
mod kselftest;
mod kunit;
mod lifecycle;
mod matrix;
mod minihv;
mod mock;
mod negative;
mod nomem;
mod observe;
mod passthrough;
mod power;
mod root;
mod stress;

use crate::case::Case;

/// Words for the kernel and for the guest program's idea of what it should see.
pub mod mode {
    pub const STRICT: [&str; 2] = ["iommu.strict=1", "hvtest.mode=strict"];
    pub const DEFERRED: [&str; 2] = ["iommu.strict=0", "hvtest.mode=deferred"];
    pub const IDENTITY: [&str; 2] = ["iommu=pt", "hvtest.mode=identity"];
    pub const UNMANAGED: [&str; 1] = ["hvtest.mode=unmanaged"];
}

/// Suites in the order in which they run.
pub const SUITES: [&str; 21] = [
    "minihv",
    "kunit",
    "mock",
    "boot",
    "faults",
    "hostile",
    "nomem",
    "matrix",
    "lifecycle",
    "passthrough",
    "negative",
    "power",
    "root",
    "stress",
    "ats",
    "attack",
    "observe",
    "bench",
    "vfio",
    "iommufd",
    "hyperv",
];

/// A domain is created with a number that is in use. What is set up anew counts domains from 1, as if the kernel's own
/// were not there; they have those numbers.
const NUMBER_TAKEN: &str = "^0xb1 CREATE_DEVICE_DOMAIN: 0x65 HV_STATUS_KEY_ALREADY_EXISTS$";

/// To minihv, and to the devices, the driver looks as if it made no flushes.
const OMITTED: &str = "inject=d0:0:1:all:omitted inject=d1:0:1:all:omitted";

/// Adds words to a case's kernel command line.
fn with(case: Case, words: &[&str]) -> Case {
    words.iter().fold(case, |case, word| case.append(word))
}

/// Where a driver may not refuse, the IOMMU core warns: when a program detaches the device, when it closes the device, and
/// when the device appears. A warning from elsewhere is none of them.
fn core_warns(case: Case) -> Case {
    const CORE: &str = "drivers/iommu/iommu.c";
    case.known_warning(CORE, "iommu_detach_group_handle", "iommufd_device_detach")
        .known_warning(CORE, "iommu_device_release_dma_owner", "iommufd_device_destroy")
        .known_warning(CORE, "iommu_setup_default_domain", "iommu_bus_notifier")
}

/// Huge pages of both sizes for user space. The machine has a hole below 4 GiB: it takes this much RAM for 1 GiB in one
/// piece.
fn with_huge_pages(case: Case) -> Case {
    with(case.memory("4G"), &["hugepagesz=1G", "hugepages=1", "hugepagesz=2M", "hugepages=4"])
}

/// Every case, in the order of [`SUITES`].
pub fn all() -> Vec<Case> {
    [
        minihv::cases(),
        kunit::cases(),
        mock::cases(),
        boot::cases(),
        defaults::cases(),
        faults::cases(),
        hostile::cases(),
        nomem::cases(),
        matrix::cases(),
        lifecycle::cases(),
        passthrough::cases(),
        negative::cases(),
        power::cases(),
        root::cases(),
        stress::cases(),
        ats::cases(),
        attack::cases(),
        observe::cases(),
        bench::cases(),
        kselftest::cases(),
        hyperv::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Bus, Devices};
    use crate::expect;
    use hvcore::options::Options;
    use std::collections::BTreeSet;

    #[test]
    fn every_row_makes_sense() {
        let cases = all();
        let paths: BTreeSet<String> = cases.iter().map(Case::path).collect();
        assert_eq!(paths.len(), cases.len(), "names are unique");
        for case in &cases {
            assert!(SUITES.contains(&case.suite), "{}", case.path());
            let options: Result<Options, _> = case.hypervisor.parse();
            assert!(options.is_ok(), "{}: {options:?}", case.path());
            let buses: Vec<Bus> = case.devices.iter().map(|d| d.parse().unwrap()).collect();
            assert!(Devices::new(&buses).is_ok(), "{}", case.path());
            assert!(expect::judge(&case.demands.log, &[]).is_ok(), "{}", case.path());
        }
    }

    /// The table in Documentation names cases as ``suite/case``, with `*` for any end.
    #[test]
    fn the_requirements_name_cases_that_exist() {
        let table = include_str!("../../../../../../Documentation/virt/hyperv/pviommu-requirements.rst");
        let names = regex::Regex::new(r"``([a-z]+)/([a-z0-9-]+|\*|[a-z0-9-]+\*)``").unwrap();
        let paths: Vec<String> = all().iter().map(Case::path).collect();
        let mut found = 0;
        for name in names.captures_iter(table) {
            let (suite, case) = (&name[1], &name[2]);
            if suite == "suite" {
                continue;
            }
            let fits = |path: &String| match case.strip_suffix('*') {
                Some(start) => path.starts_with(&format!("{suite}/{start}")),
                None => *path == format!("{suite}/{case}"),
            };
            assert!(paths.iter().any(fits), "the table names {suite}/{case}");
            found += 1;
        }
        assert!(found > 50, "{found} names");
    }
}
