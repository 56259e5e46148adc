// SPDX-License-Identifier: GPL-2.0
//! Flushes: each becomes exactly the invalidation that was asked for, so that one too small shows up in the hardware.

use super::domains::Domains;
use super::invalidation::Invalidation;
use crate::cachelog::{CacheLog, IovaRange};
use crate::counters::Counters;
use crate::hypercall::control_word::Outcome;
use crate::hypercall::list::Span;
use crate::ids::DomainId;
use crate::platform::{DeviceTlb, Platform};
use crate::request::iommu::FlushRange;
use crate::request::list::List;
use crate::request::refusal::Ended;
use crate::status::Status;

/// Whether flushes do what they say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushes {
    /// They do.
    Performed,
    /// They leave the devices' own TLBs as they are.
    DeviceTlbsDropped,
    /// They answer success and invalidate nothing: a test that still passes then tests nothing.
    Dropped,
}

/// Carries out one flush.
pub struct Flusher<'a> {
    domains: &'a Domains,
    cache_log: &'a mut CacheLog,
    counters: &'a mut Counters,
    flushes: Flushes,
}

impl<'a> Flusher<'a> {
    /// A flush of one of `domains`. `cache_log` learns what the guest asked for, whether it is done or not.
    pub fn new(
        domains: &'a Domains,
        cache_log: &'a mut CacheLog,
        counters: &'a mut Counters,
        flushes: Flushes,
    ) -> Self {
        Flusher { domains, cache_log, counters, flushes }
    }

    /// Flushes all of a domain.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] for an unknown or unconfigured domain.
    pub fn whole(mut self, platform: &mut impl Platform, id: DomainId) -> Result<(), Status> {
        self.domains.check_configured(id)?;
        for device in self.domains.attached(id) {
            self.perform(platform, Invalidation::Device(device));
        }
        self.cache_log.flushed_all(platform, id, self.domains.attached(id).count());
        self.device_tlbs(platform, id, FlushRange::ALL);
        Ok(())
    }

    /// Flushes ranges of a domain. It fails for an unknown or unconfigured domain, and at the first bad element; the
    /// elements before it are flushed then.
    pub fn list(mut self, platform: &mut impl Platform, id: DomainId, ranges: List<FlushRange>, span: Span) -> Ended {
        if let Err(status) = self.domains.check_configured(id) {
            return Ended::at(span.start(), status.into());
        }
        for index in span.indices() {
            match ranges.get(platform, index) {
                Ok(range) => self.range(platform, id, range),
                Err(refusal) => return Ended::at(index, refusal),
            }
        }
        Ended { outcome: Outcome { status: Status::SUCCESS, reps_completed: span.end() }, violation: None }
    }

    fn range(&mut self, platform: &mut impl Platform, id: DomainId, range: FlushRange) {
        Counters::add(&mut self.counters.flush_descriptors, 1);
        Counters::add(&mut self.counters.flush_pages, range.pages());
        for device in self.domains.attached(id) {
            self.perform(platform, Invalidation::Range(device, range));
        }
        self.cache_log.flushed(platform, id, IovaRange::block(range.iova(), range.page_shift()));
        self.device_tlbs(platform, id, range);
    }

    fn perform(&self, platform: &mut impl Platform, invalidation: Invalidation) {
        if self.flushes != Flushes::Dropped {
            invalidation.perform(platform);
        }
    }

    /// The guest has no call of its own for the devices' TLBs: both kinds of flush imply them, for the same range.
    fn device_tlbs(&mut self, platform: &mut impl Platform, id: DomainId, range: FlushRange) {
        if self.flushes != Flushes::Performed {
            return;
        }
        for device in self.domains.attached(id) {
            if platform.device_tlb(device) == DeviceTlb::Enabled {
                Invalidation::DeviceTlb(device, range).perform(platform);
                Counters::add(&mut self.counters.device_tlb_flushes, 1);
                Counters::add(&mut self.counters.device_tlb_pages, range.pages());
            }
        }
    }
}
