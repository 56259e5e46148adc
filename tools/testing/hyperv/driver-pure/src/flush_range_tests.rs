// SPDX-License-Identifier: GPL-2.0
//! Flush covers: never less than asked, never much more, always well formed.

use crate::flush_range::{block, bounds, Cover, MAX_DESCRIPTORS};
use proptest::prelude::*;

/// First page, number of pages.
fn blocks(cover: &Cover) -> Vec<(u64, u64)> {
    cover.as_slice().iter().map(|descriptor| (descriptor >> 12, 1 << (descriptor & 0x3f))).collect()
}

/// Panics unless the cover of `first..=last` keeps all of its promises.
fn check(first: u64, last: u64) {
    let cover = Cover::new(first, last);
    let blocks = blocks(&cover);
    assert!(!blocks.is_empty() && blocks.len() <= MAX_DESCRIPTORS, "{first:#x}..={last:#x}: {blocks:x?}");

    let mut next = blocks[0].0;
    for (descriptor, (page, pages)) in cover.as_slice().iter().zip(&blocks) {
        assert_eq!(descriptor & 0xfc0, 0, "reserved bits of {descriptor:#x}");
        assert!(descriptor & 0x3f <= 52);
        assert_eq!(page % pages, 0, "{descriptor:#x} is misaligned");
        assert_eq!(*page, next, "a gap or an overlap in {blocks:x?}");
        next = page + pages;
    }

    let last_byte = next.checked_mul(4096).map_or(u64::MAX, |end| end - 1);
    assert_eq!(bounds(cover.as_slice()), (blocks[0].0 << 12, last_byte), "{blocks:x?}");

    let (first_page, last_page) = (first >> 12, last >> 12);
    assert!(blocks[0].0 <= first_page, "{first:#x}..={last:#x} starts before {blocks:x?}");
    assert!(next > last_page, "{first:#x}..={last:#x} ends behind {blocks:x?}");

    match block(first, last) {
        Some(descriptor) => assert_eq!(cover.as_slice(), [descriptor], "{first:#x}..={last:#x}"),
        // One descriptor may still do, when the range was widened.
        None => assert!(
            first % 4096 != 0 || blocks.len() > 1 || next - blocks[0].0 > last_page - first_page + 1,
            "{first:#x}..={last:#x}"
        ),
    }

    let asked = last_page - first_page + 1;
    let flushed = next - blocks[0].0;
    assert!(flushed - asked <= asked / 16, "{flushed} pages flushed for {asked}");
    if asked < 64 {
        assert_eq!(flushed, asked);
    }
    if asked.is_power_of_two() && first_page % asked == 0 {
        assert_eq!(blocks.len(), 1, "one descriptor would do for {first:#x}..={last:#x}");
    }
}

/// Panics unless the cover of `first..=last` by few blocks keeps its promises.
fn check_few(first: u64, last: u64) {
    let cover = Cover::of_few(first, last);
    let blocks = blocks(&cover);
    assert!(matches!(blocks.len(), 1 | 2), "{first:#x}..={last:#x}: {blocks:x?}");
    let mut next = blocks[0].0;
    for (descriptor, (page, pages)) in cover.as_slice().iter().zip(&blocks) {
        assert!(descriptor & 0xfff <= 52, "{descriptor:#x}");
        assert_eq!(page % pages, 0, "{descriptor:#x} is misaligned");
        assert_eq!(*page, next, "a gap or an overlap in {blocks:x?}");
        next = page + pages;
    }
    let (first_page, last_page) = (first >> 12, last >> 12);
    assert!(blocks[0].0 <= first_page && last_page < next, "{first:#x}..={last:#x} is not in {blocks:x?}");
    let (asked, flushed) = (last_page - first_page + 1, next - blocks[0].0);
    assert!(flushed < 2 * asked, "{flushed} pages flushed for {asked}");
    if let Some(descriptor) = block(first, last) {
        assert_eq!(cover.as_slice(), [descriptor], "{first:#x}..={last:#x}");
    }
}

/// Addresses next to every power of two, and next to the ends.
fn corners() -> Vec<u64> {
    let mut corners = vec![0, 1, u64::MAX - 1, u64::MAX];
    for bit in 0..64 {
        let power = 1u64 << bit;
        for distance in [0, 1, 0xfff, 0x1000, 0x1001] {
            corners.push(power.wrapping_sub(distance));
            corners.push(power.wrapping_add(distance));
        }
    }
    corners.sort_unstable();
    corners.dedup();
    corners
}

#[test]
fn all_pairs_of_corners() {
    let corners = corners();
    let mut pairs = 0;
    for first in &corners {
        for last in corners.iter().filter(|last| *last >= first) {
            check(*first, *last);
            check_few(*first, *last);
            pairs += 1;
        }
    }
    assert!(pairs > 100_000, "only {pairs} pairs");
}

#[test]
fn two_blocks_meet_at_the_roundest_page() {
    let few = |first: u64, last: u64| blocks(&Cover::of_few(first << 12, (last << 12) + 0xfff));
    assert_eq!(few(65, 69), [(64, 4), (68, 2)]);
    assert_eq!(few(65, 66), [(65, 1), (66, 1)]);
    assert_eq!(few(64, 96), [(64, 32), (96, 1)]);
    assert_eq!(few(1, 6), [(0, 8)], "two blocks that are one");
    assert_eq!(few(7, 8), [(7, 1), (8, 1)]);
    assert_eq!(few(6, 9), [(6, 2), (8, 2)]);
    assert_eq!(Cover::of_few(0, u64::MAX).as_slice(), [52]);
    assert_eq!(Cover::of_few(0x1000, 0xfff).as_slice(), [52], "no range: everything");
}

#[test]
fn the_ranges_that_one_descriptor_covers_badly() {
    // Two pages across a 4 GiB border, and across the middle of 47 bits.
    assert_eq!(Cover::new(0x7fff_f000, 0x8000_0fff).as_slice(), [0x7fff_f000, 0x8000_0000]);
    assert_eq!(Cover::new(0x3fff_ffff_f000, 0x4000_0000_0fff).as_slice().len(), 2);
    // 3, 5, 33 and 513 pages at 0.
    for (pages, flushed) in [(3, 3), (5, 5), (33, 33), (513, 528)] {
        let total: u64 = blocks(&Cover::new(0, pages * 4096 - 1)).iter().map(|block| block.1).sum();
        assert_eq!(total, flushed, "{pages} pages");
    }
}

#[test]
fn no_range_means_everything() {
    assert_eq!(Cover::new(0x2000, 0x1fff).as_slice(), [52]);
    assert_eq!(block(0x2000, 0x1fff), None);
    assert_eq!(block(u64::MAX, 0), None);
    assert_eq!(block(0, u64::MAX), Some(52));
    assert_eq!(Cover::new(u64::MAX, 0).as_slice(), [52]);
    assert_eq!(Cover::new(0, u64::MAX).as_slice(), [52]);
}

proptest! {
    #[test]
    fn any_range(a: u64, b: u64) {
        check(a.min(b), a.max(b));
        check_few(a.min(b), a.max(b));
    }

    #[test]
    fn short_ranges_anywhere(first: u64, bytes in 0u64..0x400_0000) {
        check(first, first.saturating_add(bytes));
        check_few(first, first.saturating_add(bytes));
    }

    #[test]
    fn short_ranges_at_borders(bit in 13u32..63, before in 1u64..5000, after in 0u64..5000) {
        let border = 1u64 << bit;
        let (first, last) = (border.saturating_sub(before << 12), border + (after << 12) + 0xfff);
        check(first, last);
        check_few(first, last);
    }
}
