// SPDX-License-Identifier: GPL-2.0

//! Domains with mappings, as the IOMMU knows them.

use super::{
    iommu::{
        Iommu,
        TakenNumber, //
    },
    mappings::{
        self,
        Mappings,
        NewMapping, //
    },
    members::{
        Attempt,
        Members,
        Presence, //
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

/// Where an endpoint is that the IOMMU was told to move.
#[derive(Clone, Copy)]
pub(super) enum Whereabouts {
    /// Where it was to go.
    Arrived,
    /// In the blocking domain, because of this error.
    Blocked(Error),
    /// Not known: after this error the IOMMU has not blocked it either. It may be where it was, or
    /// where it was to go.
    Unknown(Error),
}

impl Whereabouts {
    /// Where an endpoint is after `result`. If that is an error, blocks the endpoint.
    ///
    /// Context: any.
    pub(super) fn after(result: Result, iommu: &Iommu, id: EndpointId) -> Whereabouts {
        match result {
            Ok(()) => Whereabouts::Arrived,
            Err(error) if iommu.block(id).is_ok() => Whereabouts::Blocked(error),
            Err(error) => Whereabouts::Unknown(error),
        }
    }

    /// Whether the endpoint has left its former place for certain.
    pub(super) fn is_certain(self) -> bool {
        !matches!(self, Whereabouts::Unknown(_))
    }
}

/// The part of a domain that changes.
struct State {
    mappings: Mappings,
    members: Members,
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
                    members: Members::new(),
                }),
            }),
            GFP_KERNEL,
        )
    }

    pub(super) fn number(&self) -> DomainId {
        self.number.id()
    }

    /// Makes room for one more endpoint. The caller has locked the record of all endpoints. The
    /// room is there until the caller unlocks it, or lets an endpoint in.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the domain cannot be used now. [`ENOMEM`].
    pub(super) fn make_room(&self) -> Result {
        let wanted = {
            let state = self.state.lock();
            if !state.members.is_open() {
                return Err(EIO);
            }
            match state.members.wanted_room() {
                Some(wanted) => wanted,
                None => return Ok(()),
            }
        };
        // Allocated while the domain is not locked. No endpoint enters meanwhile.
        let mut room = KVec::with_capacity(wanted, GFP_KERNEL)?;
        let mut state = self.state.lock();
        let moved = state.members.move_to(&mut room);
        // The former memory is freed after the domain is unlocked.
        drop(state);
        moved
    }

    /// Lets `attach` take an endpoint out of the domain, with the domain locked, so that nothing is
    /// mapped or unmapped meanwhile. Until the device has taken the endpoint out, it reaches what
    /// is mapped. After that, the device may have forgotten the domain.
    ///
    /// If nobody knows then where the endpoint is, the domain cannot be used until
    /// [`Self::leave`] or [`Self::expel`] takes the endpoint out.
    pub(super) fn leave(
        &self,
        id: EndpointId,
        attach: impl FnOnce() -> Whereabouts,
    ) -> Whereabouts {
        let mut state = self.state.lock();
        // If this fails, the device is broken, and `attach` will fail, too.
        let _ = self.iommu.requests.sync();
        let whereabouts = attach();
        if whereabouts.is_certain() {
            state.members.remove(id);
        } else {
            state.members.doubt(id);
        }
        whereabouts
    }

    /// Notes that an endpoint that may have been in the domain is elsewhere for certain.
    ///
    /// If the endpoint was there and was the last one, the device has forgotten the domain already.
    /// What was unmapped since was sent as [`Change::UnmapIfKnown`].
    pub(super) fn expel(&self, id: EndpointId) {
        self.state.lock().members.remove(id);
    }

    /// Notes an endpoint that the device was told to put into the domain, and says where it is. If
    /// the device did not know the domain before, tells it what is mapped. [`Self::make_room`] must
    /// have made room.
    ///
    /// If the domain cannot be used, or the device does not take the mappings, blocks the endpoint.
    /// If nobody knows where the endpoint is, the domain cannot be used until [`Self::leave`] or
    /// [`Self::expel`] takes the endpoint out.
    pub(super) fn enter(&self, id: EndpointId, whereabouts: Whereabouts) -> Whereabouts {
        let mut state = self.state.lock();
        let whereabouts = match whereabouts {
            Whereabouts::Arrived => Whereabouts::after(self.admit(&mut state, id), &self.iommu, id),
            elsewhere => elsewhere,
        };
        if !whereabouts.is_certain() {
            // `make_room` has made room for it.
            let _ = state.members.note(id, Presence::Possible);
        }
        whereabouts
    }

    fn admit(&self, state: &mut State, id: EndpointId) -> Result {
        if !state.members.is_open() {
            return Err(EIO);
        }
        if state.members.is_empty() {
            self.send_all(&state.mappings)?;
        }
        state.members.note(id, Presence::Certain)
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
        if !state.members.is_open() {
            return Err(EIO);
        }
        if !state.members.is_empty() {
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
        if let Some(change) = state.members.unmapping() {
            let unmap = Unmap::new(self.number(), first, last);
            let added = self.iommu.requests.add(&unmap, change, &self.refusals);
            if added.is_err() {
                // This makes the next flush close the domain.
                self.refusals.note(change, &[]);
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
    /// domain, and tries again at each flush until the domain is empty.
    ///
    /// Context: any.
    #[inline]
    pub(super) fn settle(&self) {
        let synced = self.iommu.requests.sync();
        if synced.is_err() || self.refusals.has_unmap() {
            self.close();
        }
    }

    /// Blocks all endpoints, and lets no other in.
    #[cold]
    fn close(&self) {
        let closed = self
            .state
            .lock()
            .members
            .close(|id, attempt| match attempt {
                Attempt::First => self.iommu.block(id),
                // There was a message for the endpoint.
                Attempt::Later => self.iommu.try_block(id),
            });
        let Some(closed) = closed else {
            return;
        };
        if closed.attempt == Attempt::Later && closed.blocked == 0 {
            // As before: there was a message.
            return;
        }
        let number = self.number().0;
        dev_err!(
            self.iommu.dev(),
            "domain {number}: the device did not unmap; {} endpoints are blocked\n",
            closed.blocked
        );
        if closed.left > 0 {
            dev_emerg!(
                self.iommu.dev(),
                "domain {number}: {} endpoints could not be blocked\n",
                closed.left
            );
        }
    }
}
