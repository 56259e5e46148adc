// SPDX-License-Identifier: GPL-2.0
//! Ranges of pages that the benchmark's module maps in a domain of the root partition's IOMMU, and how many hypercalls
//! the driver may make for them.

use anyhow::{ensure, Context, Result};

use crate::spare::Spare;

/// Pages of 4 KiB in one of 2 MiB.
pub const LARGE: u64 = 512;
/// Pages of either size that one call maps: what a page of input has room for behind the header of 40 bytes.
const MAPPED_BY_CALL: u64 = (4096 - 40) / 8;
/// Pages of 4 KiB that one call unmaps: the count has 12 bits.
const UNMAPPED_BY_CALL: u64 = (1 << 12) - 1;
/// The same where the kernel asks for whole large pages: a call ends between two.
const UNMAPPED_WHOLE: u64 = UNMAPPED_BY_CALL / LARGE * LARGE;

/// In what pieces the memory comes, and what pages can map it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// As much as there is, in one piece, but a page off any larger boundary.
    Small,
    /// As much as there is, in one piece.
    Large,
    /// Single pages, none behind the one before it.
    SmallScattered,
    /// Pages of 2 MiB, none behind the one before it.
    LargeScattered,
}

impl Shape {
    /// Its part of a figure's name.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Small => "4k",
            Shape::Large => "2m",
            Shape::SmallScattered => "4k-scattered",
            Shape::LargeScattered => "2m-scattered",
        }
    }

    /// Pages of 4 KiB in each page that the hypervisor maps.
    fn unit(self) -> u64 {
        match self {
            Shape::Small | Shape::SmallScattered => 1,
            Shape::Large | Shape::LargeScattered => LARGE,
        }
    }
}

/// A range: what is mapped onto what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    shape: Shape,
    /// Pages of 4 KiB, as all numbers here.
    pages: u64,
    /// So many are mapped at a time: they lie together in memory.
    piece: u64,
    /// The memory.
    memory: Spare,
}

impl Range {
    /// A range of so many pages in memory that nobody uses, which may be smaller.
    ///
    /// # Errors
    /// When there is too little memory for the shape, or `pages` is no number of pieces.
    pub fn new(shape: Shape, pages: u64, spare: Spare) -> Result<Range> {
        let aligned = spare.aligned_to(LARGE).filter(|aligned| aligned.pages >= LARGE);
        let aligned = aligned.with_context(|| format!("too little memory for pages of 2 MiB: {spare:?}"))?;
        // The largest power of two: sizes of memory are numbers of these.
        let whole = 1 << aligned.pages.ilog2();
        let (first, piece) = match shape {
            Shape::Small => (aligned.first - 1, pages.min(whole)),
            Shape::Large => (aligned.first, pages.min(whole)),
            Shape::SmallScattered => (aligned.first, 1),
            Shape::LargeScattered => (aligned.first, LARGE),
        };
        ensure!(
            piece > 0 && pages % piece == 0 && piece % shape.unit() == 0,
            "{pages} pages cannot be mapped as {shape:?}"
        );
        let frames = match shape {
            Shape::Small | Shape::Large => piece,
            Shape::SmallScattered | Shape::LargeScattered => whole,
        };
        Ok(Range { shape, pages, piece, memory: Spare { first, pages: frames } })
    }

    /// Pages of 4 KiB.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// The numbers that the module is told.
    pub fn words(&self) -> String {
        let Range { pages, piece, memory, .. } = self;
        format!("pages={pages} piece={piece} target={} frames={}", memory.first, memory.pages)
    }

    /// How many calls may map it, besides those that had to be made again for lack of memory: one for every full list of
    /// pages of either size, and one. The IOMMU core hands over each piece by itself, and a list does not go on behind the
    /// end of one: so the last list of each piece counts as full. Where all pages are one piece, this is the number of
    /// pages divided by what a list holds, rounded up, and one; where each page is a piece, one call a page, and one.
    pub fn maps_allowed(&self) -> u64 {
        let units = self.piece / self.shape.unit();
        self.pages / self.piece * units.div_ceil(MAPPED_BY_CALL) + 1
    }

    /// How many calls may unmap it, as one range: one for every full count. There is no list, and no piece: the kernel goes
    /// by the addresses in the domain alone, which are aligned.
    pub fn unmaps_allowed(&self) -> u64 {
        let by_call = if self.pages >= LARGE { UNMAPPED_WHOLE } else { UNMAPPED_BY_CALL };
        self.pages.div_ceil(by_call)
    }

    /// The name of a size, as `64p` or `8g`: in pages up to a large one.
    fn size_name(&self) -> String {
        const MIB: u64 = 1 << 8;
        const GIB: u64 = 1 << 18;
        match self.pages {
            pages @ ..=LARGE => format!("{pages}p"),
            pages if pages % GIB == 0 => format!("{}g", pages / GIB),
            pages if pages % MIB == 0 => format!("{}m", pages / MIB),
            pages => format!("{pages}p"),
        }
    }

    /// The name of what is measured of it.
    pub fn name(&self) -> String {
        format!("root/{}/{}", self.shape.name(), self.size_name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 18;
    /// 1 GiB at 5 GiB, and 2 MiB before it.
    const SPARE: Spare = Spare { first: 5 * GIB - LARGE, pages: GIB + LARGE };

    fn range(shape: Shape, pages: u64) -> Range {
        Range::new(shape, pages, SPARE).unwrap()
    }

    #[test]
    fn lists_hold_what_the_interface_says() {
        assert_eq!((MAPPED_BY_CALL, UNMAPPED_BY_CALL, UNMAPPED_WHOLE), (507, 4095, 3584));
    }

    #[test]
    fn the_module_is_told_where_the_memory_is() {
        assert_eq!(range(Shape::Small, 64).words(), "pages=64 piece=64 target=1310719 frames=64");
        assert_eq!(range(Shape::Large, GIB).words(), "pages=262144 piece=262144 target=1310720 frames=262144");
        let more = range(Shape::Large, 64 * GIB);
        assert_eq!(more.words(), "pages=16777216 piece=262144 target=1310720 frames=262144");
        assert_eq!(range(Shape::SmallScattered, 1024).words(), "pages=1024 piece=1 target=1310720 frames=262144");
        assert_eq!(range(Shape::LargeScattered, 1024).words(), "pages=1024 piece=512 target=1310720 frames=262144");
    }

    #[test]
    fn what_cannot_be_mapped_is_told() {
        assert!(Range::new(Shape::Large, 511, SPARE).is_err());
        assert!(Range::new(Shape::LargeScattered, 513, SPARE).is_err());
        assert!(Range::new(Shape::Small, GIB + 1, SPARE).is_err());
        assert!(Range::new(Shape::Small, 0, SPARE).is_err());
        assert!(Range::new(Shape::Small, 1, Spare { first: 1, pages: 600 }).is_err());
    }

    #[test]
    fn a_call_for_each_full_list_and_one() {
        let maps = |shape, pages| range(shape, pages).maps_allowed();
        assert_eq!([1, 507, 508].map(|pages| maps(Shape::Small, pages)), [2, 2, 3]);
        assert_eq!([maps(Shape::Small, GIB), maps(Shape::Small, 8 * GIB)], [519, 8 * 518 + 1]);
        assert_eq!([LARGE, GIB, 64 * GIB].map(|pages| maps(Shape::Large, pages)), [2, 3, 64 * 2 + 1]);
        assert_eq!([maps(Shape::SmallScattered, 1024), maps(Shape::LargeScattered, 1024)], [1025, 3]);
    }

    #[test]
    fn unmaps_are_allowed_by_the_range() {
        let unmaps = |shape, pages| range(shape, pages).unmaps_allowed();
        assert_eq!([1, 64, 512].map(|pages| unmaps(Shape::Small, pages)), [1, 1, 1]);
        assert_eq!([Shape::Small, Shape::Large, Shape::LargeScattered].map(|shape| unmaps(shape, GIB)), [74; 3]);
    }

    #[test]
    fn names_say_shape_and_size() {
        assert_eq!(range(Shape::Small, 64).name(), "root/4k/64p");
        assert_eq!(range(Shape::Large, LARGE).name(), "root/2m/512p");
        assert_eq!(range(Shape::LargeScattered, GIB / 4).name(), "root/2m-scattered/256m");
        assert_eq!(range(Shape::Large, 64 * GIB).name(), "root/2m/64g");
    }
}
