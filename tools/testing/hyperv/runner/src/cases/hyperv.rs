// SPDX-License-Identifier: GPL-2.0
//! What a user runs in a real virtual machine, run here: the kernel tree's tests of this IOMMU, and the report.

use super::common::with;
use crate::case::{Case, Variant};
use crate::expect;
use crate::initramfs::Pack;
use crate::mode;

/// What some device here lacks, or QEMU's NVMe controller does otherwise.
mod missing {
    pub const REPORTS_SUCCESS: &str = "QEMU's controller reports success for data that it could not read";
    pub const NO_NVME: &str = "is no NVMe controller$";
    pub const NOT_PERMITTED: &str = "^interrupts are not isolated: see allow_unsafe_interrupts of ";
}

fn guest(name: &'static str, scenario: &'static str) -> Case {
    Case::new("hyperv", name, scenario).pack(Pack::Kselftest)
}

/// All tests, on NVMe and edu. More than half of the results are skips, and each is right: QEMU's controller does not tell
/// what it could not read, by neither interface; the five tests of NVMe by each interface find no controller in edu; and
/// where devices without isolated interrupts are not permitted, each of the twelve tests of a program must say so, and
/// their program. Their numbers are demanded: a test that begins to skip is noticed.
fn selftest(name: &'static str) -> Case {
    guest(name, "selftest")
        .devices(&["nvme", "edu"])
        .expect(expect::driver_up())
        .must_skip(2, r"selftest-nvme\..*\.nvme_reports_data_outside", missing::REPORTS_SUCCESS)
        .must_skip(10, r"selftest-other-device\..*\.nvme_.*", missing::NO_NVME)
        .must_skip(12, r"selftest-not-permitted\..*", missing::NOT_PERMITTED)
}

/// The driver drops flushes while the tests run: what was unmapped must be seen to be reached, by both interfaces.
fn drops_flushes() -> Case {
    const WRITTEN: (&str, &str) = ("nvme_write_outside_changes_nothing", "^.*STALE TRANSLATION: the device wrote");
    const READ: (&str, &str) = ("nvme_read_outside_leaks_nothing", "^.*STALE TRANSLATION: the device read");
    let name = |interface: &str, test: &str| format!("selftest-dropped-flushes.user.{interface}.{test}");
    let case = with(guest("selftest-drops-flushes", "selftest-dropped-flushes").devices(&["nvme"]), &mode::STRICT)
        .expect(expect::driver_up())
        .violation("^cache: ")
        .may_skip(&name("[a-z0-9]+", "nvme_reports_data_outside"), missing::REPORTS_SUCCESS);
    ["type1", "iommufd"].into_iter().fold(case, |case, interface| {
        case.control(&name(interface, WRITTEN.0), WRITTEN.1).control(&name(interface, READ.0), READ.1)
    })
}

/// All that the kernel tree's tests are tried on.
fn selftests() -> Vec<Case> {
    let off = guest("selftest-driver-off", "selftest-without-driver").devices(&["nvme", "edu"]);
    vec![
        with(selftest("selftest-strict"), &mode::STRICT),
        with(selftest("selftest-deferred"), &mode::DEFERRED).thorough(),
        with(off, &mode::UNMANAGED).append("hv_pviommu=off").expect(expect::driver_silent()),
        drops_flushes(),
    ]
}

/// The report in a guest without the IOMMU.
fn without(name: &'static str) -> Case {
    with(guest(name, name), &mode::UNMANAGED)
}

/// The report, in guests of all kinds.
fn reports() -> Vec<Case> {
    let not_behind = guest("report-not-behind", "report-not-behind").devices(&["edu", "nvme", "edu"]);
    let not_behind = with(not_behind, &mode::STRICT)
        .hypervisor("unmanaged=0")
        .append("vfio.enable_unsafe_noiommu_mode=1")
        .expect(expect::driver_up());
    let blocked = with(guest("report-blocked", "report-blocked"), &mode::STRICT)
        .expect(expect::driver_up())
        .expect(expect::taken_away(1))
        .expect(expect::device_refused());
    vec![
        with(guest("report", "report"), &mode::STRICT).expect(expect::driver_up()),
        with(guest("report-identity", "report-identity"), &mode::IDENTITY)
            .append("hv_pviommu=nohibernate")
            .expect(expect::driver_up())
            .thorough(),
        expect::noiommu(1, 0).into_iter().fold(not_behind, Case::expect),
        blocked.thorough(),
        without("report-off").append("hv_pviommu=off").expect(expect::driver_silent()),
        without("report-not-offered").hypervisor("pviommu=absent").expect(expect::driver_silent()).thorough(),
        without("report-failed")
            .hypervisor("s1=off")
            .expect(expect::no_stage1())
            .expect(expect::driver_down())
            .thorough(),
        without("report-without-driver").variant(Variant::PviommuOff).expect(expect::driver_silent()),
    ]
}

/// The cases.
pub fn cases() -> Vec<Case> {
    [selftests(), reports()].concat()
}
