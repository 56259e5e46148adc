// SPDX-License-Identifier: GPL-2.0

//! The requests about a domain that the device has refused.
//!
//! The device answers requests to map and to unmap later, and whoever waits next gets the answers.
//! That one notes here what was refused, and the domain finds it when it waits for its own
//! requests.

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

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A MAP request.
    Map,
    /// An UNMAP request, for a domain with an endpoint.
    Unmap,
    /// An UNMAP request, for a domain of which nobody knows whether it has an endpoint. Without
    /// one, the device does not know the domain, and nothing is mapped in it.
    UnmapIfKnown,
}

impl Change {
    /// Whether the device has refused such a request, by its answer.
    ///
    /// The device unmaps a range without mappings with success. It answers "no entry" only if it
    /// does not know the domain. If the driver knows of an endpoint in the domain, the device has
    /// lost that endpoint, so this is no success: the endpoint must be blocked, as the machine's
    /// policy may let its DMA through.
    #[inline]
    pub(crate) fn is_refused_by(self, answer: Result) -> bool {
        match (self, answer) {
            (_, Ok(())) | (Change::UnmapIfKnown, Err(ENOENT)) => false,
            (_, Err(_)) => true,
        }
    }
}

/// The ranges of mappings that the device has refused.
struct Ranges {
    list: KVec<(Iova, Iova)>,
    /// There was no memory to note a range, so every mapping counts as refused.
    is_incomplete: bool,
}

/// The requests about a domain that the device has refused.
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
    /// Context: any. The queue must be locked: its lock orders the note before whoever locks the
    /// queue next.
    #[cold]
    pub(crate) fn note(&self, change: Change, request: &[u8]) {
        match change {
            Change::Unmap | Change::UnmapIfKnown => self.any_unmap.store(true, Relaxed),
            Change::Map => {
                let mut maps = self.maps.lock();
                let noted = Map::range_of(request)
                    .is_some_and(|range| maps.list.push(range, GFP_ATOMIC).is_ok());
                maps.is_incomplete |= !noted;
                self.any_map.store(true, Relaxed);
            }
        }
    }

    /// Whether the device may still have mappings that it was told to remove.
    #[inline]
    pub(crate) fn has_unmap(&self) -> bool {
        self.any_unmap.load(Relaxed)
    }

    /// Whether a mapping in the range was refused. Forgets such mappings.
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
