// SPDX-License-Identifier: GPL-2.0
//! Widths, capability rules and translations over their whole ranges.

use crate::aperture::{Aperture, Levels, MAX_WIDTH_4_LEVEL, MAX_WIDTH_5_LEVEL, MIN_WIDTH};
use crate::capabilities::{AtsSupport, HostReport, Unusable, BASE_PAGE, CAP_ATS, CAP_PRESENT, CAP_S1, CAP_S1_5LVL};
use crate::translation::Translation;
use proptest::prelude::*;

/// Panics unless generic_pt can make the aperture's table, and the table spans the aperture.
///
/// `pt_top_memsize_lg2()` takes the bits that one entry of the top level spans from the width, and shifts by the rest;
/// `pt_init_common()` refuses a width beyond what all 512 entries span.
fn check_table(aperture: Aperture) {
    let top_level = match aperture.levels {
        Levels::Four => 3,
        Levels::Five => 4,
    };
    let entry = 12 + 9 * top_level;
    let entries_lg2 = aperture.table_width().checked_sub(entry).expect("less than one entry of the top level");
    assert!(entries_lg2 <= 9, "{aperture:?} takes more than one page of top level");
    assert!(aperture.width <= aperture.table_width());
    // No wider than the aperture where that is possible.
    assert!(aperture.width == aperture.table_width() || entries_lg2 == 0);
}

#[test]
fn levels_are_counted() {
    assert_eq!([Levels::Four, Levels::Five].map(Levels::count), [4, 5]);
}

#[test]
fn every_width_is_refused_or_fits_its_table() {
    for width in 0..=u8::MAX {
        for deepest in [Levels::Four, Levels::Five] {
            match Aperture::choose(width, deepest) {
                Err(_) => assert!(width < MIN_WIDTH, "{width} bits refused"),
                Ok(aperture) => {
                    assert!(width >= MIN_WIDTH);
                    assert!(aperture.width <= width, "wider than the host's {width} bits");
                    let limit = match aperture.levels {
                        Levels::Four => MAX_WIDTH_4_LEVEL,
                        Levels::Five => {
                            assert_eq!(deepest, Levels::Five);
                            assert!(width > 48, "5 levels for {width} bits");
                            MAX_WIDTH_5_LEVEL
                        }
                    };
                    assert_eq!(aperture.width, width.min(limit));
                    assert_eq!(u128::from(aperture.last()), (1u128 << aperture.width) - 1);
                    check_table(aperture);
                    let four = aperture.with_four_levels();
                    assert_eq!(four.levels, Levels::Four);
                    assert_eq!(four.width, aperture.width.min(MAX_WIDTH_4_LEVEL));
                    check_table(four);
                }
            }
        }
    }
}

#[test]
fn known_widths() {
    let width = |host, deepest| Aperture::choose(host, deepest).map(|aperture| (aperture.width, aperture.levels)).ok();
    assert_eq!(width(0, Levels::Five), None);
    for deepest in [Levels::Four, Levels::Five] {
        assert_eq!(width(39, deepest), Some((39, Levels::Four)));
        assert_eq!(width(47, deepest), Some((47, Levels::Four)));
        assert_eq!(width(48, deepest), Some((47, Levels::Four)));
    }
    for host in [57, 64, 255] {
        assert_eq!(width(host, Levels::Five), Some((56, Levels::Five)));
        assert_eq!(width(host, Levels::Four), Some((47, Levels::Four)));
    }
}

#[test]
fn an_iommu_is_served_only_when_it_has_all_that_is_needed() {
    let judge = |flags, page_sizes, max_iova_width| {
        HostReport { flags, max_iova_width, page_sizes }.judge().map(|c| c.aperture.width)
    };
    let all = CAP_PRESENT | CAP_S1;
    assert_eq!(judge(all, BASE_PAGE, 48), Ok(47));
    assert_eq!(judge(all | CAP_S1_5LVL, BASE_PAGE, 57), Ok(56));
    assert_eq!(judge(!CAP_PRESENT, !0, 48), Err(Unusable::Absent));
    assert_eq!(judge(!CAP_S1, !0, 48), Err(Unusable::NoStage1));
    assert_eq!(judge(!0, !BASE_PAGE, 48), Err(Unusable::NoBasePage));
    assert_eq!(judge(!0, !0, 31), Err(Unusable::TooNarrow));
}

/// After hibernation the guest goes on with its tables, addresses and pages.
#[test]
fn an_iommu_replaces_another_one_when_it_lacks_nothing_of_it() {
    let iommu = |flags, max_iova_width, page_sizes| {
        HostReport { flags: flags | CAP_PRESENT | CAP_S1, max_iova_width, page_sizes }.judge().unwrap()
    };
    let former = iommu(0, 40, 0x20_1000);
    assert!(former.replaces(&former));
    assert!(iommu(0, 41, 0x4020_1000).replaces(&former) && !iommu(0, 39, 0x20_1000).replaces(&former));
    assert!(!iommu(0, 40, 0x1000).replaces(&former) && !iommu(0, 40, 0x4000_1000).replaces(&former));
    let ats = iommu(CAP_ATS, 40, 0x20_1000);
    assert!(ats.replaces(&former) && ats.replaces(&ats) && !former.replaces(&ats));
    let five = iommu(CAP_S1_5LVL, 57, 0x20_1000);
    assert!(five.replaces(&former) && !iommu(0, 57, 0x20_1000).replaces(&five));
}

#[test]
fn page_sizes_are_passed_on_as_they_are() {
    let report = HostReport { flags: CAP_PRESENT | CAP_S1, max_iova_width: 48, page_sizes: 0x4020_1000 };
    assert_eq!(report.judge().map(|c| c.page_sizes), Ok(0x4020_1000));
}

#[test]
fn translations() {
    assert_eq!(Translation::Identity.flags_and_root(), (0b000, 0));
    assert_eq!(Translation::Blocking.flags_and_root(), (0b011, 0));
    assert_eq!(Translation::Table { root: 0x5000, levels: Levels::Four }.flags_and_root(), (0b001, 0x5000));
    assert_eq!(Translation::Table { root: 0x5000, levels: Levels::Five }.flags_and_root(), (0b101, 0x5000));
}

/// Flags, page sizes and widths: anything at all, and more often what is near to a host that can be served.
fn reports() -> impl Strategy<Value = HostReport> {
    let words = |plausible: u64| prop_oneof![any::<u64>(), any::<u64>().prop_map(move |word| word | plausible)];
    (words(CAP_PRESENT | CAP_S1), any::<u8>(), words(BASE_PAGE))
        .prop_map(|(flags, max_iova_width, page_sizes)| HostReport { flags, max_iova_width, page_sizes })
}

proptest! {
    #[test]
    fn whatever_a_host_reports_is_refused_or_served(report in reports()) {
        let lacks = |flag| report.flags & flag == 0;
        match report.judge() {
            Err(Unusable::Absent) => prop_assert!(lacks(CAP_PRESENT)),
            Err(Unusable::NoStage1) => prop_assert!(!lacks(CAP_PRESENT) && lacks(CAP_S1)),
            Err(Unusable::NoBasePage) => {
                prop_assert!(!lacks(CAP_PRESENT) && !lacks(CAP_S1) && report.page_sizes & BASE_PAGE == 0);
            }
            Err(Unusable::TooNarrow) => {
                prop_assert!(!lacks(CAP_PRESENT) && !lacks(CAP_S1) && report.page_sizes & BASE_PAGE != 0);
                prop_assert!(report.max_iova_width < MIN_WIDTH);
            }
            Ok(served) => {
                prop_assert!(!lacks(CAP_PRESENT) && !lacks(CAP_S1));
                prop_assert!(report.max_iova_width >= MIN_WIDTH);
                prop_assert_eq!(served.page_sizes, report.page_sizes);
                prop_assert!(served.page_sizes & BASE_PAGE != 0);
                prop_assert_eq!(served.ats == AtsSupport::Offered, !lacks(CAP_ATS));
                prop_assert!(served.aperture.width <= report.max_iova_width);
                prop_assert!(served.aperture.levels == Levels::Four || !lacks(CAP_S1_5LVL));
                check_table(served.aperture);
                check_table(served.aperture.with_four_levels());
            }
        }
    }
}
