// SPDX-License-Identifier: GPL-2.0

//! Flushing a domain: the driver's only hypercalls on the path of every unmap.
//!
//! Inputs are prepared in advance. That of a whole flush is prepared with its domain (`state.rs`),
//! those of list flushes, one for each CPU, with the IOMMU (`list_flush.rs`). A flush takes no
//! lock, and writes nothing that another CPU writes, too.

use super::{
    flush_range::{
        self,
        Cover,
        Descriptor, //
    },
    state::Domain, //
};
use crate::{
    device::protocol::GivenUp,
    host::{
        layouts::{
            FlushDeviceDomain,
            FlushDeviceDomainList, //
        },
        message::{
            say,
            Level,
            Word, //
        },
        trace::{
            self,
            Flushed, //
        }, //
    },
};
use kernel::{
    hyperv::{
        fixed_call,
        hypercall::Call,
        rep_call::{
            self,
            RepCall, //
        },
        status::HypercallError,
    },
    iommu::gather::{
        FlushOutcome,
        Gather, //
    },
    sync::atomic::ordering::{
        Acquire,
        Relaxed, //
    },
};

impl Domain {
    /// Drops all that is cached of the domain. If that fails, this blocks the domain's devices.
    ///
    /// Context: any but NMI.
    #[inline(always)]
    pub(super) fn flush_whole(&self) -> FlushOutcome {
        self.listed.counters().count_whole();
        let outcome = self.whole.make();
        if outcome.is_success() && !trace::flushes_are_traced() {
            return FlushOutcome::Flushed;
        }
        self.conclude_whole(outcome)
    }

    /// Drops what is cached of a range, or more. If that fails, this blocks the domain's devices.
    ///
    /// Context: any but NMI.
    #[inline(always)]
    pub(super) fn flush_range(&self, gather: &Gather) -> FlushOutcome {
        let lists = self.instance.list_flush();
        match block(gather) {
            Some(block) if lists.is_known() => {
                self.listed.counters().count_list(1);
                let outcome = lists.inputs().start(self.id.as_u32(), &[block]);
                if outcome.is_success_for(1) && !trace::flushes_are_traced() {
                    return FlushOutcome::Flushed;
                }
                self.conclude_block(gather, outcome)
            }
            _ => self.flush_cover(gather),
        }
    }

    /// As [`Self::flush_range`], for a range that is no block, or a host that does not know lists.
    #[inline(never)]
    fn flush_cover(&self, gather: &Gather) -> FlushOutcome {
        let lists = self.instance.list_flush();
        if !lists.is_known() {
            return self.flush_whole();
        }
        let (first, last) = (gather.first().as_u64(), gather.last().as_u64());
        let cover = if self.has_device_tlbs.load(Relaxed) {
            Cover::of_few(first, last)
        } else {
            Cover::new(first, last)
        };
        let blocks = cover.as_slice();
        self.listed.counters().count_list(blocks.len());
        let outcome = lists.inputs().start(self.id.as_u32(), blocks);
        self.conclude_list(blocks, outcome)
    }

    #[cold]
    fn conclude_block(&self, gather: &Gather, outcome: rep_call::Outcome) -> FlushOutcome {
        self.conclude_list(block(gather).as_slice(), outcome)
    }

    #[inline(never)]
    fn conclude_list(&self, blocks: &[Descriptor], outcome: rep_call::Outcome) -> FlushOutcome {
        let id = self.id.as_u32();
        let lists = self.instance.list_flush();
        let result = lists.inputs().finish(id, blocks, outcome);
        if let Err(failure) = result {
            trace::hypercall_failed(FlushDeviceDomainList::CODE, failure);
        }
        if trace::flushes_are_traced() {
            let (first, last) = flush_range::bounds(blocks);
            let flushed = Flushed::List {
                first,
                last,
                descriptors: blocks.len() as u32,
            };
            trace::flush(id, result, flushed);
        }
        match result {
            Ok(()) => FlushOutcome::Flushed,
            Err(failure) => {
                self.listed.counters().count_failure();
                if self.emptied.load(Acquire) {
                    // No device is in the domain, and none may enter: stale entries do no harm.
                    return FlushOutcome::Stale;
                }
                // Once the IOMMU is closed, the hypervisor may have forgotten the domain: then the
                // failure says nothing about lists.
                if !self.instance.domains().is_closed() {
                    lists.note(failure);
                }
                self.flush_whole()
            }
        }
    }

    #[cold]
    fn conclude_whole(&self, outcome: fixed_call::Outcome<FlushDeviceDomain>) -> FlushOutcome {
        let result = outcome.check();
        if let Err(failure) = result {
            trace::hypercall_failed(FlushDeviceDomain::CODE, failure);
        }
        trace::flush(self.id.as_u32(), result, Flushed::Whole);
        match result {
            Ok(()) => FlushOutcome::Flushed,
            Err(failure) => {
                self.listed.counters().count_failure();
                self.give_up(failure);
                FlushOutcome::Stale
            }
        }
    }

    /// Blocks the domain's devices, as neither kind of flush works.
    fn give_up(&self, failure: HypercallError) {
        let (given_up, tally) = self
            .instance
            .give_up(self.id, self.listed.stale(), &self.emptied);
        // Once the IOMMU is closed, the devices are blocked, and the hypervisor may have forgotten
        // the domain: then the failure is not worth a message.
        if given_up == GivenUp::Now && !self.instance.domains().is_closed() {
            let words = [
                Word::Domain(self.id),
                Word::Failure(failure),
                Word::Number(tally.blocked as u64),
                Word::Number(tally.lost as u64),
            ];
            let text = "domain % cannot be flushed: %; % devices blocked, % not";
            say(Level::Err, None, text, &words);
        }
    }
}

/// The one block that is exactly the gathered range, if there is one.
#[inline(always)]
fn block(gather: &Gather) -> Option<Descriptor> {
    flush_range::block(gather.first().as_u64(), gather.last().as_u64())
}
