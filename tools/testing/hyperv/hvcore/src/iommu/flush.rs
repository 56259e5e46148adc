// SPDX-License-Identifier: GPL-2.0
//! Flushes: each becomes exactly the invalidation that was asked for, so that one too small shows up in the hardware.

use super::domains::Domains;
use super::layout::{self, FlushRange};
use crate::cachelog::{CacheLog, IovaRange};
use crate::counters::Counters;
use crate::hypercall::control_word::Outcome;
use crate::hypercall::dispatch::{RepList, Request};
use crate::ids::{DomainId, Iova};
use crate::platform::{CacheTag, DeviceTlb, Platform};
use crate::status::Status;

/// Whether flushes do what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalidation {
    /// They do.
    Performed,
    /// They leave the devices' own TLBs as they are.
    DeviceTlbsDropped,
    /// They answer success and invalidate nothing: a test that still passes then tests nothing.
    Dropped,
}

/// Carries out one flush call.
pub struct Flusher<'a> {
    domains: &'a Domains,
    cache_log: &'a mut CacheLog,
    invalidation: Invalidation,
}

impl<'a> Flusher<'a> {
    /// A flush of one of `domains`. `cache_log` learns what the guest asked for, whether it is done or not.
    pub fn new(domains: &'a Domains, cache_log: &'a mut CacheLog, invalidation: Invalidation) -> Self {
        Flusher { domains, cache_log, invalidation }
    }

    /// FLUSH_DEVICE_DOMAIN, or FLUSH_DEVICE_DOMAIN_LIST when the call has a list.
    ///
    /// Fails as the layout of the header says, for an unknown or unconfigured domain, and at the first bad element;
    /// the elements before it are flushed then, and the outcome tells how many.
    pub fn call(mut self, platform: &mut impl Platform, counters: &mut Counters, request: &Request<'_>) -> Outcome {
        match request.list {
            None => layout::flush(request.input).and_then(|id| self.whole(platform, counters, id)).into(),
            Some(list) => match self.target(layout::flush_list(request.input)) {
                Ok((id, tag)) => self.list(platform, counters, id, tag, list),
                Err(status) => Outcome { status, reps_completed: list.indices().start },
            },
        }
    }

    fn target(&self, header: Result<DomainId, Status>) -> Result<(DomainId, CacheTag), Status> {
        let id = header?;
        Ok((id, self.domains.tag(id)?))
    }

    fn whole(&mut self, platform: &mut impl Platform, counters: &mut Counters, id: DomainId) -> Result<(), Status> {
        let tag = self.domains.tag(id)?;
        if self.invalidation != Invalidation::Dropped {
            platform.flush_domain(tag);
        }
        self.cache_log.flushed_all(platform, id, self.domains.attached(id).count());
        self.device_tlbs(platform, counters, id, Iova(0), FlushRange::EVERYTHING);
        Ok(())
    }

    fn list(
        &mut self,
        platform: &mut impl Platform,
        counters: &mut Counters,
        id: DomainId,
        tag: CacheTag,
        list: RepList,
    ) -> Outcome {
        for index in list.indices() {
            let range = match list.element(platform, index).and_then(FlushRange::decode) {
                Ok(range) => range,
                Err(status) => return Outcome { status, reps_completed: index },
            };
            Counters::add(&mut counters.flush_descriptors, 1);
            Counters::add(&mut counters.flush_pages, range.pages());
            if self.invalidation != Invalidation::Dropped {
                platform.flush_pages(tag, range.iova(), range.page_shift());
            }
            self.cache_log.flushed(platform, id, IovaRange::block(range.iova(), range.page_shift()));
            self.device_tlbs(platform, counters, id, range.iova(), range.page_shift());
        }
        Outcome { status: Status::SUCCESS, reps_completed: list.indices().end }
    }

    /// The guest has no call of its own for the devices' TLBs: both kinds of flush imply them, for the same range.
    fn device_tlbs(
        &self,
        platform: &mut impl Platform,
        counters: &mut Counters,
        id: DomainId,
        iova: Iova,
        page_shift: u8,
    ) {
        if self.invalidation != Invalidation::Performed {
            return;
        }
        for device in self.domains.attached(id) {
            if platform.device_tlb(device) == DeviceTlb::Enabled {
                platform.flush_device_tlb(device, iova, page_shift);
                Counters::add(&mut counters.device_tlb_flushes, 1);
                Counters::add(&mut counters.device_tlb_pages, 1 << page_shift);
            }
        }
    }
}
