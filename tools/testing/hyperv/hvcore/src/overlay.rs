// SPDX-License-Identifier: GPL-2.0
//! The pages that the hypervisor puts into the root partition's address space: an ordinary guest chooses their places
//! itself. The registers name the page from the beginning, and the partition can only switch it on and off.

use crate::ids::{Gpa, VpIndex};
use crate::memory_map::PhysRange;

const PAGE_BYTES: u64 = 4096;
/// Of the partition: the hypercall page and the reference TSC page.
const SHARED_PAGES: u64 = 2;
/// Of each virtual processor.
const VP_PAGES: u64 = 4;

/// Who chooses where a page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The partition.
    Anywhere,
    /// The hypervisor has chosen it.
    Fixed,
}

/// Where the pages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlays {
    first: Gpa,
}

/// The pages of a virtual processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VpOverlays {
    /// The VP assist page.
    pub assist: Gpa,
    /// Message slots.
    pub messages: Gpa,
    /// Event flags.
    pub event_flags: Gpa,
    /// Event rings.
    pub event_rings: Gpa,
}

impl Overlays {
    /// The pages from `first` on, which is aligned to a page.
    pub const fn new(first: Gpa) -> Overlays {
        Overlays { first }
    }

    /// Bytes that the pages of so many virtual processors take.
    pub const fn bytes(processors: u64) -> u64 {
        (SHARED_PAGES + VP_PAGES * processors) * PAGE_BYTES
    }

    /// All pages of a partition with so many processors.
    pub const fn range(self, processors: u64) -> PhysRange {
        PhysRange { start: self.first.0, end: self.first.0 + Overlays::bytes(processors) }
    }

    const fn page(self, number: u64) -> Gpa {
        Gpa(self.first.0 + number * PAGE_BYTES)
    }

    /// The hypercall page.
    pub const fn hypercall(self) -> Gpa {
        self.page(0)
    }

    /// The reference TSC page.
    pub const fn reference_tsc(self) -> Gpa {
        self.page(1)
    }

    /// The pages of a processor.
    pub const fn of(self, vp: VpIndex) -> VpOverlays {
        let first = SHARED_PAGES + vp.0 as u64 * VP_PAGES;
        VpOverlays {
            assist: self.page(first),
            messages: self.page(first + 1),
            event_flags: self.page(first + 2),
            event_rings: self.page(first + 3),
        }
    }
}

/// A register that names such a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixed {
    page: Gpa,
    enabled: bool,
}

/// The partition wrote something else than the page's place and the enable bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved;

impl Fixed {
    const ENABLE: u64 = 1;

    /// The page is not in force.
    pub const fn new(page: Gpa) -> Fixed {
        Fixed { page, enabled: false }
    }

    /// What the register reads as.
    pub const fn value(self) -> u64 {
        self.page.0 | if self.enabled { Fixed::ENABLE } else { 0 }
    }

    /// The partition writes the register.
    ///
    /// # Errors
    /// [`Moved`]; nothing changes then.
    pub fn set(&mut self, value: u64) -> Result<(), Moved> {
        if value & !Fixed::ENABLE != self.page.0 {
            return Err(Moved);
        }
        self.enabled = value & Fixed::ENABLE != 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_page_is_there_once() {
        let overlays = Overlays::new(Gpa(0xc0_0000));
        let mut pages = BTreeSet::from([overlays.hypercall(), overlays.reference_tsc()]);
        for vp in (0..3).map(VpIndex) {
            let VpOverlays { assist, messages, event_flags, event_rings } = overlays.of(vp);
            pages.extend([assist, messages, event_flags, event_rings]);
        }
        let PhysRange { start, end } = overlays.range(3);
        assert_eq!(pages, (start..end).step_by(4096).map(Gpa).collect());
        assert_eq!((pages.len(), start), (14, 0xc0_0000));
    }

    #[test]
    fn a_page_stays_where_it_is() {
        let mut register = Fixed::new(Gpa(0x5000));
        assert_eq!(register.value(), 0x5000);
        assert_eq!(register.set(0x5001), Ok(()));
        assert_eq!(register.value(), 0x5001);
        for moved in [0x6001, 0x5003, 0, 1] {
            assert_eq!(register.set(moved), Err(Moved), "{moved:#x}");
            assert_eq!(register.value(), 0x5001);
        }
        assert_eq!(register.set(0x5000), Ok(()));
        assert_eq!(register.value(), 0x5000);
    }
}
