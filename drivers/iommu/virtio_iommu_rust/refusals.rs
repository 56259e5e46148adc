// SPDX-License-Identifier: GPL-2.0

//! What the device has refused of a domain.
//!
//! Requests to map and to unmap are answered later, to whoever waits next. That one notes here what
//! was refused; the domain finds it when it waits for its own.

use super::protocol::Map;
use kernel::{
    iommu::Iova,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            AtomicFlag, //
        },
        Arc,
        SpinLockIrq, //
    },
};

/// What kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A MAP.
    Map,
    /// An UNMAP.
    Unmap,
}

/// The ranges of refused mappings.
struct Ranges {
    list: KVec<(Iova, Iova)>,
    /// There was no memory to note one: every mapping counts as refused.
    is_incomplete: bool,
}

/// What the device has refused of a domain.
#[pin_data]
pub(crate) struct Refusals {
    any_map: AtomicFlag,
    any_unmap: AtomicFlag,
    #[pin]
    maps: SpinLockIrq<Ranges>,
}

impl Refusals {
    pub(crate) fn new() -> Result<Arc<Refusals>> {
        Arc::pin_init(
            pin_init!(Refusals {
                any_map: AtomicFlag::new(false),
                any_unmap: AtomicFlag::new(false),
                maps <- new_spinlock_irq!(Ranges {
                    list: KVec::new(),
                    is_incomplete: false,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Notes that the device has refused a request.
    ///
    /// Context: any; the queue is locked, by which the note is seen by whoever locks it next.
    #[cold]
    pub(crate) fn note(&self, change: Change, request: &[u8]) {
        match change {
            Change::Unmap => self.any_unmap.store(true, Relaxed),
            Change::Map => {
                let mut maps = self.maps.lock();
                let noted = Map::range_of(request)
                    .is_some_and(|range| maps.list.push(range, GFP_ATOMIC).is_ok());
                maps.is_incomplete |= !noted;
                self.any_map.store(true, Relaxed);
            }
        }
    }

    /// Whether the device may still have something mapped that was to be unmapped.
    #[inline]
    pub(crate) fn has_unmap(&self) -> bool {
        self.any_unmap.load(Relaxed)
    }

    /// Whether a mapping in the range was refused. It is forgotten then.
    ///
    /// Context: any.
    #[inline]
    pub(crate) fn take_map(&self, first: Iova, last: Iova) -> bool {
        self.any_map.load(Relaxed) && self.take_noted_map(first, last)
    }

    #[cold]
    fn take_noted_map(&self, first: Iova, last: Iova) -> bool {
        let mut maps = self.maps.lock();
        let before = maps.list.len();
        maps.list.retain(|noted| noted.1 < first || noted.0 > last);
        maps.is_incomplete || maps.list.len() < before
    }
}
