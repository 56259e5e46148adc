// SPDX-License-Identifier: GPL-2.0

//! Domains with mappings.

use super::{
    calls,
    device_domain::{
        MapDeviceGpaPages,
        UnmapDeviceGpaPages, //
    },
    domain_name::DomainName,
    driver::RootIommu,
    endpoint::{
        self,
        Endpoint, //
    },
    instance::{
        Attempt,
        Instance, //
    },
    memory::Supply,
    page_range::{
        PageRange,
        Unit,
        PAGE_SHIFT, //
    },
    readings,
    record::Record,
    transfer::{
        self,
        CallResult,
        Hypervisor,
        Stop, //
    },
};
use kernel::{
    alloc::Flags,
    fmt,
    hyperv::{
        list_call::{
            CountedCall,
            ListCall,
            Progress, //
        },
        memory::{
            DepositError,
            Wanted, //
        },
        status::HypercallError, //
    },
    io::PhysAddr,
    iommu::{
        self,
        domain::{
            Config,
            Mapped,
            Mapping,
            NewDomain,
            PagingDomain,
            Prot,
            SelfMapped,
            Unmapping, //
        },
        gather::Gather,
        probed::AttachTarget,
        Iova, //
    },
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        Arc, //
    },
};

/// A domain with mappings, as the IOMMU core holds it.
pub(crate) struct Domain {
    instance: &'static Instance,
    record: Arc<Record>,
}

/// What all calls for one range need.
struct Request<'a> {
    supply: &'a Supply,
    record: &'a Record,
    prot: Prot,
    flags: Flags,
}

impl From<Progress> for CallResult<HypercallError> {
    fn from(progress: Progress) -> Self {
        CallResult {
            done: progress.done as u64,
            result: progress.result,
        }
    }
}

impl Hypervisor for Request<'_> {
    type Failure = HypercallError;
    type Memory = Wanted;
    type DepositError = DepositError;

    const MAP_MAX: u64 = calls::MAP_MAX;
    const UNMAP_MAX: u64 = calls::UNMAP_MAX;

    fn map(&self, first: u64, frame: u64, unit: Unit, units: u64) -> CallResult<HypercallError> {
        self.record.counts().maps.fetch_add(1, Relaxed);
        calls::map(self.record.name(), first, frame, unit, units, self.prot).into()
    }

    fn unmap(&self, first: u64, pages: u64) -> CallResult<HypercallError> {
        self.record.counts().unmaps.fetch_add(1, Relaxed);
        calls::unmap(self.record.name(), first, pages).into()
    }

    fn wanted_memory(failure: HypercallError) -> Option<Wanted> {
        failure.wanted_memory()
    }

    fn deposit(&self, wanted: Wanted) -> Result<(), DepositError> {
        self.record.counts().deposits.fetch_add(1, Relaxed);
        self.supply.give(wanted, self.flags)
    }
}

/// Why a range could not be mapped or unmapped.
type Failed = Stop<HypercallError, DepositError>;

fn errno_of(stop: &Failed) -> Error {
    match *stop {
        Stop::Refused(failure) => failure.into(),
        Stop::NoMemory(error) => error.into(),
    }
}

/// Formats a failure for messages.
struct Reason<'a>(&'a Failed);

impl fmt::Display for Reason<'_> {
    // Kept out of line: one copy instead of one in each message.
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Stop::Refused(failure) => failure.fmt(f),
            Stop::NoMemory(DepositError::Memory(_)) => f.write_str("no memory for the hypervisor"),
            Stop::NoMemory(DepositError::Refused(failure)) => {
                f.write_str("deposit: ")?;
                failure.fmt(f)
            }
        }
    }
}

/// Whether the hypervisor has done exactly what it said, although the call failed.
fn is_certain(stop: &Failed) -> bool {
    match *stop {
        Stop::Refused(failure) => readings::has_no_effect(failure),
        Stop::NoMemory(_) => true,
    }
}

impl Domain {
    /// Allocates a domain. While the IOMMU is being registered, it is a stand-in if the hypervisor
    /// makes none; see [`Record::stand_in`]. The core would not use the IOMMU for any device if it
    /// got no domain for one of them.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// As [`Instance::make_domain`]; [`ENOMEM`].
    pub(crate) fn allocate(instance: &'static Instance) -> Result<NewDomain<RootIommu>> {
        let capabilities = instance.capabilities();
        let config = Config {
            aperture: Iova::new(0)..=Iova::new(capabilities.last),
            page_sizes: capabilities.page_sizes as usize,
        };
        let record = match instance.make_domain() {
            Err(_) if !instance.is_in_service() => Record::stand_in()?,
            made => made?,
        };
        let domain = Domain {
            instance,
            record: record.clone(),
        };
        SelfMapped::allocate(config, domain).inspect_err(|_| instance.give_up_domain(&record))
    }

    fn map_range(&self, mapping: &Mapping, flags: Flags) -> Result<(u64, Result<(), Failed>)> {
        if self.record.is_closed() {
            return Err(EIO);
        }
        if self.instance.is_left() {
            return Err(ENODEV);
        }
        let bytes = mapping
            .page_bytes
            .checked_mul(mapping.pages)
            .ok_or(EINVAL)?;
        let range = PageRange::of_bytes(mapping.iova.as_u64(), bytes as u64).ok_or(EINVAL)?;
        let frame = mapping.phys >> PAGE_SHIFT;
        let room = self.record.mappings().claim(range, frame, flags)?;
        let request = Request {
            supply: self.instance.supply(),
            record: &self.record,
            prot: mapping.prot,
            flags,
        };
        let unit = Unit::for_pages(mapping.page_bytes);
        let outcome = transfer::map(&request, range, frame, unit, |part, frame| {
            room.note(part, frame);
        });
        if let Err(stop) = &outcome.result {
            self.record.counts().failures.fetch_add(1, Relaxed);
            let rest = range.without_first(outcome.pages);
            if let Some(rest) = rest.filter(|_| !is_certain(stop)) {
                room.doubt(rest);
                self.close(MapDeviceGpaPages::NAME, stop);
            }
        }
        Ok((outcome.pages << PAGE_SHIFT, outcome.result))
    }

    fn unmap_range(&self, unmapping: &Unmapping<'_>) -> Option<usize> {
        let bytes = unmapping.page_bytes.checked_mul(unmapping.pages)?;
        let range = PageRange::of_bytes(unmapping.iova.as_u64(), bytes as u64)?;
        let mappings = self.record.mappings();
        if self.record.is_deleted() {
            mappings.forget(range);
            return Some(bytes);
        }
        let request = Request {
            supply: self.instance.supply(),
            record: &self.record,
            prot: Prot::NONE,
            flags: GFP_ATOMIC,
        };
        let unit = Unit::for_pages(unmapping.page_bytes);
        let outcome = transfer::unmap(&request, range, unit, |part| mappings.forget(part));
        if let Err(stop) = &outcome.result {
            let rest = range.without_first(outcome.pages);
            if self.instance.has_deleted(&self.record) {
                rest.into_iter().for_each(|rest| mappings.forget(rest));
                return Some(bytes);
            }
            self.record.counts().failures.fetch_add(1, Relaxed);
            if let Some(rest) = rest {
                mappings.doubt(rest);
            }
            self.close(UnmapDeviceGpaPages::NAME, stop);
        }
        usize::try_from(outcome.pages << PAGE_SHIFT).ok()
    }

    /// Blocks all devices of the domain, and lets no other in. The hypervisor may let devices reach
    /// pages that they should not reach, and whoever unmaps uses the memory for something else
    /// next. Where the hypervisor does not block a device, its bus mastering is switched off.
    ///
    /// Context: any.
    #[cold]
    fn close(&self, call: &str, stop: &Failed) {
        let Some((attempt, closed)) = self.instance.close(&self.record) else {
            return;
        };
        if attempt == Attempt::Later && closed.blocked == 0 {
            // As before: there was a message.
            return;
        }
        let name = self.record.name();
        pr_err!(
            "domain {name}: {call}: {}; {} requester ids are blocked\n",
            Reason(stop),
            closed.blocked
        );
        if closed.left > 0 {
            pr_emerg!(
                "domain {name}: {} requester ids not blocked, bus mastering is off\n",
                closed.left
            );
        }
    }
}

#[vtable]
impl iommu::domain::Domain for Domain {
    type Driver = RootIommu;

    fn attach(&self, target: &AttachTarget<'_, RootIommu>) -> Result {
        let may_enter = || !self.record.is_closed();
        let name: DomainName = self.record.name();
        Endpoint::attach(target, name, endpoint::holder(target), may_enter)
    }

    fn flush_all(&self) {
        // Nothing to do: before an unmap call returns, the hypervisor drops what it unmaps from all
        // caches. There is no call that flushes. See Documentation/virt/hyperv/host-iommu.rst.
    }
}

#[vtable]
impl PagingDomain for Domain {
    fn map(&self, mapping: &Mapping, flags: Flags) -> Mapped {
        match self.map_range(mapping, flags) {
            // If not all was mapped, the core unmaps what was.
            Ok((bytes, result)) => Mapped {
                bytes: bytes as usize,
                result: result.map_err(|stop| errno_of(&stop)),
            },
            Err(error) => Mapped {
                bytes: 0,
                result: Err(error),
            },
        }
    }

    fn unmap(&self, unmapping: &Unmapping<'_>, _gather: &mut Gather) -> usize {
        self.unmap_range(unmapping).unwrap_or(0)
    }

    fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        let iova = iova.as_u64();
        let frame = self.record.mappings().find(iova >> PAGE_SHIFT)?;
        let within = iova & ((1 << PAGE_SHIFT) - 1);
        Some(frame << PAGE_SHIFT | within)
    }

    fn release(&self) {
        self.instance.give_up_domain(&self.record);
    }
}
