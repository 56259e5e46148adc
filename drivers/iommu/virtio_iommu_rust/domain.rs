// SPDX-License-Identifier: GPL-2.0

//! Domains with mappings.

use super::{
    endpoint::{
        EndpointIds,
        Left,
        Place, //
    },
    iommu::{
        Iommu,
        TakenNumber, //
    },
    mappings::{
        self,
        Mappings,
        NewMapping, //
    },
    ops::VirtioIommu,
    protocol::{
        DomainId,
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
        self,
        domain::{
            Config,
            Mapped,
            Mapping,
            NewDomain,
            PagingDomain,
            SelfMapped,
            Unmapping, //
        },
        gather::Gather,
        probed::AttachTarget,
        Iova,
    },
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};

/// What changes of a domain.
struct State {
    mappings: Mappings,
    /// Those that are in the domain. While there are none, the device does not know of the domain.
    endpoints: KVec<Arc<EndpointIds>>,
    /// The device may have mapped what should not be: all endpoints are blocked, and none is let
    /// in.
    is_closed: bool,
}

/// A domain with mappings.
#[pin_data]
pub(crate) struct Shared {
    iommu: Arc<Iommu>,
    number: TakenNumber,
    refusals: Arc<Refusals>,
    #[pin]
    state: SpinLockIrq<State>,
}

/// First and last byte of some pages.
#[inline]
fn range(first: Iova, page_bytes: usize, pages: usize) -> Option<(Iova, Iova)> {
    let bytes = page_bytes.checked_mul(pages)? as u64;
    let last = first.as_u64().checked_add(bytes.checked_sub(1)?)?;
    Some((first, Iova::new(last)))
}

impl Shared {
    pub(super) fn number(&self) -> DomainId {
        self.number.id()
    }

    /// Makes room for one endpoint more.
    ///
    /// # Errors
    ///
    /// [`EIO`]: the domain is closed. [`ENOMEM`].
    pub(super) fn make_room(&self) -> Result {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(EIO);
        }
        Ok(state.endpoints.reserve(1, GFP_ATOMIC)?)
    }

    /// Has `attach` take endpoints out of the domain. Nothing is mapped or unmapped meanwhile:
    /// until the device has taken them out they reach what is mapped, and afterwards the device
    /// knows the domain no more, perhaps.
    ///
    /// Endpoints that could not be taken out may be in the domain for ever. The device goes on
    /// being told of unmaps, nothing is mapped any more, and the domain's number is given to no
    /// other one.
    pub(super) fn leave(
        self: &Arc<Self>,
        ids: &Arc<EndpointIds>,
        attach: impl FnOnce() -> (Result, Left),
    ) -> Result {
        let mut state = self.state.lock();
        // A device that is broken says so again at once.
        let _ = self.iommu.requests.sync();
        let (result, left) = attach();
        match left {
            Left::Certainly => state.endpoints.retain(|other| !Arc::ptr_eq(other, ids)),
            Left::PerhapsNot => {
                state.is_closed = true;
                // Whoever drops the last reference gives the number back.
                core::mem::forget(self.clone());
            }
        }
        result
    }

    /// Notes endpoints that the device has put into the domain, and tells it what is mapped if it
    /// did not know the domain before.
    ///
    /// # Errors
    ///
    /// The endpoints are blocked, or the device is broken.
    pub(super) fn enter(&self, ids: &Arc<EndpointIds>) -> Result {
        let mut state = self.state.lock();
        let result = self.admit(&mut state, ids);
        if result.is_err() {
            let _ = self.iommu.block(ids);
        }
        result
    }

    fn admit(&self, state: &mut State, ids: &Arc<EndpointIds>) -> Result {
        if state.is_closed {
            return Err(EIO);
        }
        if state.endpoints.is_empty() {
            self.send_all(&state.mappings)?;
        }
        // There is room for one.
        state
            .endpoints
            .push_within_capacity(ids.clone())
            .map_err(|_| ENOMEM)
    }

    /// Tells the device of all mappings.
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

    #[inline]
    fn map(&self, mapping: &Mapping, flags: Flags) -> Result<usize> {
        let (first, last) = range(mapping.iova, mapping.page_bytes, mapping.pages).ok_or(EINVAL)?;
        let map_flags = self.iommu.map_flags(mapping.prot)?;
        let new = mappings::Mapping {
            first,
            phys: mapping.phys,
            flags: map_flags,
        };
        // Dropped after the lock, if need be.
        let new = NewMapping::new(last, new, flags)?;
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(EIO);
        }
        if !state.endpoints.is_empty() {
            let map = Map::new(self.number(), first, last, mapping.phys, map_flags);
            self.iommu.requests.add(&map, Change::Map, &self.refusals)?;
        }
        state.mappings.insert(new);
        // `range` has seen that this does not overflow.
        Ok(mapping.page_bytes.wrapping_mul(mapping.pages))
    }

    #[inline]
    fn unmap(&self, unmapping: &Unmapping<'_>) -> Option<usize> {
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
                // The flush closes the domain.
                self.refusals.note(Change::Unmap, &[]);
            }
        }
        usize::try_from(last.as_u64().checked_sub(first.as_u64())?)
            .ok()?
            .checked_add(1)
    }

    /// Waits until all that was unmapped is out of reach.
    #[inline]
    fn settle(&self) {
        let synced = self.iommu.requests.sync();
        if synced.is_err() || self.refusals.has_unmap() {
            self.close();
        }
    }

    /// Blocks all endpoints, and lets none in any more.
    #[cold]
    fn close(&self) {
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        state.is_closed = true;
        let number = self.number().0;
        dev_err!(
            self.iommu.dev(),
            "domain {number}: the device did not unmap; {} devices are blocked\n",
            state.endpoints.len()
        );
        // Of those that are not in the domain any more the device need not be told.
        state.endpoints.retain(|ids| self.iommu.block(ids).is_err());
    }
}

/// The IOMMU core's part of a domain with mappings.
pub(crate) struct Domain(Arc<Shared>);

impl Domain {
    /// Allocates a domain.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENOSPC`]: the device has no more.
    pub(crate) fn allocate(iommu: &Arc<Iommu>) -> Result<NewDomain<VirtioIommu>> {
        let config = Config {
            aperture: iommu.report.aperture.clone(),
            page_sizes: iommu.report.page_sizes as usize,
        };
        let refusals = Refusals::new()?;
        let number = TakenNumber::take(iommu)?;
        let shared = Arc::pin_init(
            pin_init!(Shared {
                iommu: iommu.clone(),
                number,
                refusals,
                state <- new_spinlock_irq!(State {
                    mappings: Mappings::new(),
                    endpoints: KVec::new(),
                    is_closed: false,
                }),
            }),
            GFP_KERNEL,
        )?;
        SelfMapped::allocate(config, Domain(shared))
    }
}

#[vtable]
impl iommu::domain::Domain for Domain {
    type Driver = VirtioIommu;

    fn attach(&self, target: &AttachTarget<'_, VirtioIommu>) -> Result {
        if !Arc::ptr_eq(&self.0.iommu, target.instance()) {
            return Err(EINVAL);
        }
        target
            .instance()
            .put(target.endpoint(), Place::Mapped(self.0.clone()))
    }

    fn flush_all(&self) {
        self.0.settle();
    }
}

#[vtable]
impl PagingDomain for Domain {
    fn map(&self, mapping: &Mapping, flags: Flags) -> Mapped {
        match self.0.map(mapping, flags) {
            Ok(bytes) => Mapped {
                bytes,
                result: Ok(()),
            },
            Err(error) => Mapped {
                bytes: 0,
                result: Err(error),
            },
        }
    }

    fn sync_map(&self, first: Iova, bytes: usize) -> Result {
        self.0.iommu.requests.sync()?;
        let (first, last) = range(first, bytes, 1).ok_or(EINVAL)?;
        if self.0.refusals.take_map(first, last) {
            return Err(EIO);
        }
        Ok(())
    }

    fn unmap(&self, unmapping: &Unmapping<'_>, _gather: &mut Gather) -> usize {
        self.0.unmap(unmapping).unwrap_or(0)
    }

    fn flush(&self, _gather: &Gather) {
        self.0.settle();
    }

    fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        self.0.state.lock().mappings.find(iova)
    }

    fn release(&self) {
        // No endpoint is in it: the device has forgotten it. Its number can be another's then.
        self.0.settle();
    }
}
