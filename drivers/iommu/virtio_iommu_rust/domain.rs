// SPDX-License-Identifier: GPL-2.0

//! Domains with mappings, as the IOMMU knows them.

use super::{
    ids::EndpointIds,
    iommu::{
        Iommu,
        Moving,
        TakenNumber, //
    },
    mappings::{
        self,
        Mappings,
        NewMapping, //
    },
    protocol::{
        DomainId,
        EndpointId,
        Map,
        Unmap, //
    },
    refusals::{
        Change,
        Refusals, //
    }, //
};
use core::iter;
use kernel::{
    alloc::Flags,
    io::PhysAddr,
    iommu::{
        domain::{
            Mapping,
            Unmapping, //
        },
        Iova, //
    },
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};

/// Where endpoints are that the IOMMU was told to put into a domain.
#[derive(Clone, Copy)]
pub(super) enum Whereabouts {
    /// In that domain.
    Arrived,
    /// In the blocking domain, because of this error.
    Blocked(Error),
    /// Not known: after this error the IOMMU has not blocked all of them either. Each may be in its
    /// former domain or in the new one, for ever.
    Unknown(Error),
}

impl Whereabouts {
    /// Where endpoints are after `result`. If it is an error, blocks them.
    ///
    /// Context: any.
    pub(super) fn after(result: Result, iommu: &Iommu, ids: &EndpointIds) -> Whereabouts {
        match result {
            Ok(()) => Whereabouts::Arrived,
            Err(error) if iommu.block(ids.iter()).is_ok() => Whereabouts::Blocked(error),
            Err(error) => Whereabouts::Unknown(error),
        }
    }
}

/// Whether a domain can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// It can.
    Open,
    /// The device has failed to take endpoints out of the domain. Nothing is mapped any more, and
    /// no endpoint may enter. Other endpoints stay in the domain.
    Stranded,
    /// The device has failed to unmap. Nothing is mapped any more, and no endpoint may enter. All
    /// endpoints that the device could block are blocked.
    Closed,
}

/// The part of a domain that changes.
struct State {
    mappings: Mappings,
    /// The endpoints in the domain, each of them once, whether one device has it or several. While
    /// there are none, the device does not know the domain.
    endpoints: KVec<EndpointId>,
    condition: Condition,
}

impl State {
    /// Notes that a device's endpoints are in the domain.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]: there is no room, see [`Shared::make_room`]. Some of them may be noted.
    fn note(&mut self, ids: &EndpointIds) -> Result {
        for id in ids.iter() {
            if !self.endpoints.contains(&id) {
                self.endpoints
                    .push_within_capacity(id)
                    .map_err(|_| ENOMEM)?;
            }
        }
        Ok(())
    }
}

/// A domain with mappings, which the IOMMU core and the endpoints in the domain share.
#[pin_data]
pub(crate) struct Shared {
    iommu: Arc<Iommu>,
    number: TakenNumber,
    refusals: Arc<Refusals>,
    #[pin]
    state: SpinLockIrq<State>,
}

/// The first and the last byte of some pages; [`None`] if there are none, or they do not fit.
#[inline]
fn range(first: Iova, page_bytes: usize, pages: usize) -> Option<(Iova, Iova)> {
    let bytes = page_bytes.checked_mul(pages)? as u64;
    let last = first.as_u64().checked_add(bytes.checked_sub(1)?)?;
    Some((first, Iova::new(last)))
}

impl Shared {
    /// Makes a domain without endpoints and mappings.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENOSPC`]: the device has no more domains.
    pub(super) fn new(iommu: &Arc<Iommu>) -> Result<Arc<Shared>> {
        let refusals = Refusals::new()?;
        let number = TakenNumber::take(iommu)?;
        Arc::pin_init(
            pin_init!(Shared {
                iommu: iommu.clone(),
                number,
                refusals,
                state <- new_spinlock_irq!(State {
                    mappings: Mappings::new(),
                    endpoints: KVec::new(),
                    condition: Condition::Open,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Whether this is a domain of `iommu`.
    pub(super) fn is_of(&self, iommu: &Arc<Iommu>) -> bool {
        Arc::ptr_eq(&self.iommu, iommu)
    }

    pub(super) fn number(&self) -> DomainId {
        self.number.id()
    }

    /// Makes room for the endpoints of a device. The room is there until the move is over. Returns
    /// those of the endpoints that are in the domain already, because another device has them, too.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the domain cannot be used any more. [`ENOMEM`].
    pub(super) fn make_room(&self, _: &Moving<'_>, ids: &EndpointIds) -> Result<KVec<EndpointId>> {
        let mut present = KVec::new();
        let mut state = self.state.lock();
        if state.condition != Condition::Open {
            return Err(EIO);
        }
        state.endpoints.reserve(ids.iter().count(), GFP_ATOMIC)?;
        for id in ids.iter().filter(|id| state.endpoints.contains(id)) {
            present.push(id, GFP_ATOMIC)?;
        }
        Ok(present)
    }

    /// Lets `attach` take endpoints out of the domain, with the domain locked, so that nothing is
    /// mapped or unmapped meanwhile. `leaves` says which endpoints these are. Until the device has
    /// taken them out, they reach what is mapped. After that, the device may have forgotten the
    /// domain.
    ///
    /// Endpoints that `attach` could not take out may be in the domain for ever, see
    /// [`Self::strand`].
    pub(super) fn leave(
        self: &Arc<Self>,
        _: &Moving<'_>,
        leaves: impl Fn(EndpointId) -> bool,
        attach: impl FnOnce() -> Whereabouts,
    ) -> Whereabouts {
        let mut state = self.state.lock();
        // If this fails, the device is broken, and `attach` will fail, too.
        let _ = self.iommu.requests.sync();
        let whereabouts = attach();
        match whereabouts {
            Whereabouts::Arrived | Whereabouts::Blocked(_) => {
                state.endpoints.retain(|id| !leaves(*id));
            }
            Whereabouts::Unknown(_) => self.strand(&mut state),
        }
        whereabouts
    }

    /// Notes endpoints that the device was told to put into the domain, and says where they are.
    /// If the device did not know the domain before, tells it what is mapped. [`Self::make_room`]
    /// must have made room for them.
    ///
    /// Endpoints of which nobody knows where they are may be in the domain for ever, see
    /// [`Self::strand`].
    ///
    /// # Errors
    ///
    /// That of `whereabouts`, or the device has not taken the mappings. The endpoints are blocked
    /// then, or the domain cannot be used any more.
    pub(super) fn enter(
        self: &Arc<Self>,
        _: &Moving<'_>,
        ids: &EndpointIds,
        whereabouts: Whereabouts,
    ) -> Result {
        let mut state = self.state.lock();
        let whereabouts = match whereabouts {
            Whereabouts::Arrived => {
                Whereabouts::after(self.admit(&mut state, ids), &self.iommu, ids)
            }
            elsewhere => elsewhere,
        };
        match whereabouts {
            Whereabouts::Arrived => Ok(()),
            Whereabouts::Blocked(error) => {
                // Another device may have had some of them here.
                state.endpoints.retain(|id| !ids.contains(*id));
                Err(error)
            }
            Whereabouts::Unknown(error) => {
                // `make_room` has made room for them.
                let _ = state.note(ids);
                self.strand(&mut state);
                Err(error)
            }
        }
    }

    /// Notes that some of the endpoints may be in the domain for ever, though the IOMMU core takes
    /// them for blocked. Nothing is mapped any more. The device is still told of unmaps, and no
    /// other domain gets the number.
    #[cold]
    fn strand(self: &Arc<Self>, state: &mut State) {
        if state.condition == Condition::Open {
            state.condition = Condition::Stranded;
        }
        // The number must never be given back, which dropping the last reference would do.
        core::mem::forget(self.clone());
    }

    fn admit(&self, state: &mut State, ids: &EndpointIds) -> Result {
        if state.condition != Condition::Open {
            return Err(EIO);
        }
        if state.endpoints.is_empty() {
            self.send_all(&state.mappings)?;
        }
        state.note(ids)
    }

    /// Tells the device of all mappings, and waits until it has taken them.
    fn send_all(&self, mappings: &Mappings) -> Result {
        for (last, mapping) in mappings.iter() {
            let map = Map::new(
                self.number(),
                mapping.first,
                last,
                mapping.phys,
                mapping.flags,
            );
            self.iommu.requests.add(&map, Change::Map, &self.refusals)?;
        }
        self.iommu.requests.sync()?;
        if self.refusals.take_map(Iova::new(0), Iova::new(u64::MAX)) {
            return Err(EIO);
        }
        Ok(())
    }

    /// Maps some pages. If an endpoint is in the domain, the device is told, but is not waited for.
    /// Returns how many bytes are mapped.
    ///
    /// Context: any if `flags` do not let it sleep.
    ///
    /// # Errors
    ///
    /// Nothing is mapped then. [`EINVAL`]: the pages do not fit, or the device has no such
    /// mappings. [`EIO`]: the domain cannot be used any more. [`ENOMEM`], or the request was not
    /// sent.
    #[inline]
    pub(super) fn map(&self, mapping: &Mapping, flags: Flags) -> Result<usize> {
        let (first, last) = range(mapping.iova, mapping.page_bytes, mapping.pages).ok_or(EINVAL)?;
        let map_flags = self.iommu.map_flags(mapping.prot)?;
        let new = mappings::Mapping {
            first,
            phys: mapping.phys,
            flags: map_flags,
        };
        // Allocated before the lock is taken, and dropped after it, if the mapping is not made.
        let new = NewMapping::new(last, new, flags)?;
        let mut state = self.state.lock();
        if state.condition != Condition::Open {
            return Err(EIO);
        }
        if !state.endpoints.is_empty() {
            let map = Map::new(self.number(), first, last, mapping.phys, map_flags);
            self.iommu.requests.add(&map, Change::Map, &self.refusals)?;
        }
        state.mappings.insert(new);
        // `range` has checked that this does not overflow.
        Ok(mapping.page_bytes.wrapping_mul(mapping.pages))
    }

    /// Waits until the device has taken all mappings that it was told of.
    ///
    /// Context: any.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the device has refused a mapping in the range, or does not answer. [`EINVAL`]: the
    /// range does not fit.
    #[inline]
    pub(super) fn sync_map(&self, first: Iova, bytes: usize) -> Result {
        self.iommu.requests.sync()?;
        let (first, last) = range(first, bytes, 1).ok_or(EINVAL)?;
        if self.refusals.take_map(first, last) {
            return Err(EIO);
        }
        Ok(())
    }

    /// Unmaps some pages. If an endpoint is in the domain, the device is told, but is not waited
    /// for. Returns how many bytes are no longer mapped, [`None`] if the first of the pages is not
    /// the start of a mapping.
    ///
    /// Context: any.
    #[inline]
    pub(super) fn unmap(&self, unmapping: &Unmapping<'_>) -> Option<usize> {
        let (first, last) = range(unmapping.iova, unmapping.page_bytes, unmapping.pages)?;
        let mut state = self.state.lock();
        let last = state.mappings.remove(first, last)?;
        if !state.endpoints.is_empty() {
            let unmap = Unmap::new(self.number(), first, last);
            let added = self
                .iommu
                .requests
                .add(&unmap, Change::Unmap, &self.refusals);
            if added.is_err() {
                // This makes the next flush close the domain.
                self.refusals.note(Change::Unmap, &[]);
            }
        }
        usize::try_from(last.as_u64().checked_sub(first.as_u64())?)
            .ok()?
            .checked_add(1)
    }

    /// The physical address that a byte is mapped to; [`None`] if it is not mapped.
    ///
    /// Context: any.
    #[inline]
    pub(super) fn find(&self, iova: Iova) -> Option<PhysAddr> {
        self.state.lock().mappings.find(iova)
    }

    /// Waits until no endpoint reaches what was unmapped. If the device fails to unmap, closes the
    /// domain.
    ///
    /// Context: any.
    #[inline]
    pub(super) fn settle(&self) {
        let synced = self.iommu.requests.sync();
        if synced.is_err() || self.refusals.has_unmap() {
            self.close();
        }
    }

    /// Blocks endpoints that no device has taken out of the domain. This happens when a device is
    /// released while another one with the same endpoint was not put into the domain yet. If the
    /// IOMMU does not block them, no other domain gets the number.
    ///
    /// Called before the domain is freed.
    ///
    /// Context: any.
    pub(super) fn evict(self: &Arc<Self>) {
        let mut state = self.state.lock();
        // A stranded domain keeps its number. Its endpoints may be in another domain by now.
        if state.condition == Condition::Stranded {
            return;
        }
        state
            .endpoints
            .retain(|id| self.iommu.block(iter::once(*id)).is_err());
        if !state.endpoints.is_empty() {
            self.strand(&mut state);
        }
    }

    /// Blocks all endpoints, and lets no other in.
    #[cold]
    fn close(&self) {
        let mut state = self.state.lock();
        if state.condition == Condition::Closed {
            return;
        }
        state.condition = Condition::Closed;
        let number = self.number().0;
        dev_err!(
            self.iommu.dev(),
            "domain {number}: the device did not unmap; {} endpoints are blocked\n",
            state.endpoints.len()
        );
        // Only endpoints that could not be blocked may still be in the domain.
        state
            .endpoints
            .retain(|id| self.iommu.block(iter::once(*id)).is_err());
    }
}
