// SPDX-License-Identifier: GPL-2.0
//! The table of test boots, one file per suite. A new case is a new row there, and a new check in the guest program
//! where it needs one.

mod ats;
mod attack;
mod bench;
mod boot;
mod common;
mod defaults;
mod faults;
mod hostile;
mod hyperv;
mod kselftest;
mod kunit;
mod let_go;
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
mod virtio_iommu;

use crate::case::Case;

/// Suites in the order in which they run.
pub const SUITES: [&str; 22] = [
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
    "virtio-iommu",
    "bench",
    "vfio",
    "iommufd",
    "hyperv",
];

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
        let_go::cases(),
        root::cases(),
        stress::cases(),
        ats::cases(),
        attack::cases(),
        observe::cases(),
        virtio_iommu::cases(),
        bench::cases(),
        kselftest::cases(),
        hyperv::cases(),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demands::{Reporter, HYPERVISOR_CHECKS};
    use crate::device::{Bus, Devices};
    use crate::expect;
    use hvcore::options::Options;
    use hvguest::check::Scenario;
    use hvprotocol::options::Options as Words;
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

    /// The scenarios of a case's kernels, one after the other.
    fn scenarios(case: &Case) -> Vec<String> {
        let words = Words::parse(&case.command_line()).unwrap();
        Words::parse(&words.tell.join(" ")).unwrap();
        let later = case.power_cycles.iter().filter_map(|cycle| cycle.scenario).map(str::to_owned);
        [words.scenario].into_iter().chain(words.next).chain(later).collect()
    }

    /// What a case names must be there on the guest's side.
    #[test]
    fn the_guest_program_has_what_cases_name() {
        for case in all().iter().filter(|case| case.demands.reporter == Reporter::Guest) {
            let path = case.path();
            let scenarios: Vec<&Scenario> = scenarios(case)
                .iter()
                .map(|name| hvguest::scenario::find(name).unwrap_or_else(|error| panic!("{path}: {error}")))
                .collect();
            assert_eq!(scenarios.len(), 1 + case.demands.more_reports, "{path}: reports");
            let checks: Vec<&str> = scenarios.iter().flat_map(|s| s.checks).map(|check| check.name).collect();
            for failing in &case.demands.failing {
                let is_there = checks.iter().any(|check| {
                    failing.check.strip_prefix(check).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
                });
                assert!(is_there, "{path}: no check {:?} in {checks:?}", failing.check);
            }
        }
    }

    #[test]
    fn the_guest_program_has_what_other_machines_lack() {
        for name in HYPERVISOR_CHECKS {
            let is_there = hvguest::scenario::all().iter().any(|s| s.checks.iter().any(|check| check.name == name));
            assert!(is_there, "no scenario has the check {name}");
        }
    }

    /// The table of requirements names cases as ``suite/case``, with `*` for any end.
    #[test]
    fn the_requirements_name_cases_that_exist() {
        let table = concat!(
            include_str!("../../../doc/requirements.rst"),
            include_str!("../../../../../../Documentation/virt/hyperv/host-iommu.rst")
        );
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

    /// The project's Kconfig offers every suite, and scripts/choices.sh reads the answer.
    #[test]
    fn the_menu_has_every_suite() {
        let menu = include_str!("../../../../../../Kconfig");
        let script = include_str!("../../../../../../scripts/choices.sh");
        let names = |list: &str| -> BTreeSet<&str> {
            let (_, rest) = script.split_once(&format!("{list}=(")).unwrap();
            rest.split_once(')').unwrap().0.split_whitespace().collect()
        };
        assert_eq!(names("HV_SUITES_OF_GUESTS"), SUITES.into_iter().collect());
        let suites: BTreeSet<&str> = SUITES.into_iter().chain(names("HV_SUITES_WITHOUT_GUEST")).collect();
        let option = |name: &str| format!("SUITE_{}", name.to_uppercase().replace('-', "_"));
        let offered: BTreeSet<String> = menu
            .lines()
            .filter_map(|line| line.strip_prefix("config "))
            .filter(|name| name.starts_with("SUITE_"))
            .map(str::to_owned)
            .collect();
        assert_eq!(offered, suites.iter().map(|name| option(name)).collect());
    }
}
