// SPDX-License-Identifier: GPL-2.0
//! What the root partition's IOMMU reports, and what its devices are called.

use crate::root::capabilities::{last_of, HostReport, Unusable, BASE_PAGE, CAP_PRESENT, CAP_S2, MIN_WIDTH};
use crate::root::pci_requester::{encode, Alias, BusAddress, BusRange, Path, Step};

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

/// What a path makes of ids that functions on these buses give.
fn aliases<const N: usize>(ids: [(u16, u8, u16); N]) -> [Step; N] {
    let mut path = Path::new();
    ids.map(|(segment, number, requester)| path.take(BusAddress { segment, number }, requester))
}

#[test]
fn bridges_replace_ids_and_functions_add_them() {
    let beside = Step { alias: Alias::Beside, segment: 1 };
    let instead = Step { alias: Alias::Instead, segment: 1 };
    // A function on bus 5 with another function's id beside its own.
    assert_eq!(aliases([(1, 5, 0x0508), (1, 5, 0x0510)]), [beside, beside]);
    // The bridge to bus 5, which sits on bus 0, sends all as 5:00.0; a bridge above that as itself.
    assert_eq!(aliases([(1, 5, 0x0508), (1, 0, 0x0500), (1, 0, 0x0008)]), [beside, instead, instead]);
    // A bridge that sends all as itself.
    assert_eq!(aliases([(1, 5, 0x0508), (1, 2, 0x0208)]), [beside, instead]);
    assert_eq!(aliases([(1, 5, 0x0508), (1, 5, 0x0608)]), [beside, instead]);
}

/// A function behind VMD is in a segment that the kernel made up; its ids are those of VMD's endpoint.
#[test]
fn the_segment_is_that_of_who_gives_the_id() {
    assert_eq!(aliases([(0, 0, 0x0070)]), [Step { alias: Alias::Beside, segment: 0 }]);
    let (own, bridge) = (Step { alias: Alias::Beside, segment: 5 }, Step { alias: Alias::Instead, segment: 1 });
    assert_eq!(aliases([(5, 3, 0x0308), (1, 0, 0x0010)]), [own, bridge]);
    // The same bus number in another segment is another bus.
    assert_eq!(aliases([(5, 3, 0x0308), (1, 3, 0x0310)]), [own, bridge]);
}
