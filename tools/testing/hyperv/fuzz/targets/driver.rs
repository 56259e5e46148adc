// SPDX-License-Identifier: GPL-2.0
//! The driver's modules that need no kernel: what they make of a host's answers.

use crate::aperture::Levels;
use crate::capabilities::{HostReport, Unusable, BASE_PAGE, CAP_PRESENT, CAP_S1, CAP_S1_5LVL};
use crate::flush_range::{block, bounds, Cover, MAX_DESCRIPTORS};
use crate::source::Source;

/// Whatever a host says, what is served has an aperture that its tables span and that the host announced.
pub fn capabilities(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let report = HostReport { flags: source.u64(), page_sizes: source.u64(), max_iova_width: source.u8() };
    let judged = report.judge();
    if report.flags & CAP_PRESENT == 0 {
        assert_eq!(judged, Err(Unusable::Absent));
    }
    let Ok(capabilities) = judged else { return };
    assert!(report.flags & CAP_S1 != 0 && capabilities.page_sizes & BASE_PAGE != 0);
    assert_eq!(capabilities.page_sizes & !report.page_sizes, 0);
    let five = report.flags & CAP_S1_5LVL != 0;
    for aperture in [capabilities.aperture, capabilities.aperture.with_four_levels()] {
        let most = match aperture.levels {
            Levels::Four => 47,
            Levels::Five => 56,
        };
        assert!((12..=most).contains(&aperture.width) && aperture.width <= report.max_iova_width, "{aperture:?}");
        assert!(five || aperture.levels == Levels::Four);
        assert_eq!(aperture.last(), (1 << aperture.width) - 1);
    }
}

/// A cover has no gap, is not larger than need be, and holds the range.
pub fn flush_range(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let first = source.u64();
    let last = match source.below(3) {
        0 => source.u64(),
        1 => first.saturating_add(source.u32().into()),
        _ => first.saturating_add(u64::from(source.u8()) << (source.u8() % 48)),
    };
    let cover = Cover::new(first, last);
    let blocks = cover.as_slice();
    assert!((1..=MAX_DESCRIPTORS).contains(&blocks.len()));
    if let Some(one) = block(first, last) {
        assert_eq!(blocks, [one], "{first:#x}-{last:#x}");
    }
    let mut next = None;
    for descriptor in blocks {
        let (page, shift) = (descriptor >> 12, descriptor & 0xfff);
        assert!(shift <= 52);
        assert_eq!(page % (1 << shift), 0);
        assert!(next.is_none_or(|next| next == page), "a gap: {blocks:x?}");
        next = page.checked_add(1 << shift);
    }
    let (from, to) = bounds(blocks);
    assert!(first > last || from <= first && to >= last, "{first:#x}-{last:#x}: {from:#x}-{to:#x}");
}
