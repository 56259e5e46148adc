// SPDX-License-Identifier: GPL-2.0
//! What the root partition's IOMMU reports, and what its devices are called.

use crate::root::capabilities::{last_of, HostReport, Unusable, BASE_PAGE, CAP_PRESENT, CAP_S2, MIN_WIDTH};
use crate::root::pci_requester::{encode, read_alias, Alias, BusRange};

const REPORT: HostReport = HostReport { flags: CAP_PRESENT | CAP_S2, width: 48, page_sizes: 0x4020_1000 };

#[test]
fn the_aperture_is_an_address_not_a_width() {
    assert_eq!(REPORT.judge().unwrap().last, 0xffff_ffff_ffff);
    for width in 0..=u8::MAX {
        let judged = HostReport { width, ..REPORT }.judge();
        match width {
            0..MIN_WIDTH => assert_eq!(judged, Err(Unusable::TooNarrow)),
            MIN_WIDTH..64 => assert_eq!(judged.unwrap().last.count_ones(), width.into()),
            64.. => assert_eq!(judged.unwrap().last, u64::MAX),
        }
    }
    assert_eq!(last_of(32), 0xffff_ffff);
}

#[test]
fn pages_that_the_hypervisor_takes() {
    let sizes = |page_sizes| HostReport { page_sizes, ..REPORT }.judge().map(|used| used.page_sizes);
    assert_eq!(sizes(0x4020_1000), Ok(0x4020_1000));
    assert_eq!(sizes(BASE_PAGE), Ok(BASE_PAGE));
    // Pages of 1 GiB are so many of 2 MiB.
    assert_eq!(sizes(0x0020_1000), Ok(0x4020_1000));
    assert_eq!(sizes(0x4000_1000), Ok(BASE_PAGE));
    assert_eq!(sizes(0x4020_0000), Err(Unusable::NoBasePage));
}

#[test]
fn what_is_no_iommu() {
    let judged = |flags| HostReport { flags, ..REPORT }.judge().unwrap_err();
    assert_eq!(judged(0), Unusable::Absent);
    assert_eq!(judged(CAP_S2), Unusable::Absent);
    assert_eq!(judged(CAP_PRESENT | 1 << 2), Unusable::NoStage2);
}

/// By the bits that the interface's own union of device ids has.
#[test]
fn ids_of_requesters() {
    assert_eq!(encode(0, 0x0028, None), 1 << 62 | 0x28);
    assert_eq!(encode(0xabcd, 0xffff, None), 1 << 62 | 0xabcd_ffff);
    let buses = BusRange { secondary: 0x12, subordinate: 0x34 };
    assert_eq!(encode(1, 0x1200, Some(buses)), 1 << 62 | 1 << 50 | 0x1234 << 32 | 1 << 16 | 0x1200);
}

#[test]
fn bridges_replace_ids_and_functions_add_them() {
    // A function on bus 5 with another function's id beside its own.
    assert_eq!(read_alias(5, 5, 0x0510), Alias::Beside);
    // The bridge to bus 5, which sits on bus 0, sends all as 5:00.0.
    assert_eq!(read_alias(5, 0, 0x0500), Alias::Instead);
    // A bridge that sends all as itself.
    assert_eq!(read_alias(5, 2, 0x0208), Alias::Instead);
    assert_eq!(read_alias(5, 5, 0x0608), Alias::Instead);
}
