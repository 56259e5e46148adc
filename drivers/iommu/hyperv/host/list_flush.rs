// SPDX-License-Identifier: GPL-2.0

//! What the list flushes of all domains share: prepared inputs, one for each CPU.

use super::{
    calls,
    layouts::FlushDeviceDomainList,
    message::{
        say,
        Level,
        Word, //
    },
    readings, //
};
use kernel::{
    hyperv::{
        rep_call::{
            RepCall,
            RepInputs, //
        },
        status::HypercallError,
    },
    pr_warn_once,
    prelude::*,
    sync::atomic::{
        ordering::Relaxed,
        AtomicFlag, //
    },
};

/// What the list flushes of all domains share.
pub(crate) struct ListFlush {
    inputs: RepInputs<FlushDeviceDomainList>,
    /// The host does not know the call.
    unknown: AtomicFlag,
}

impl ListFlush {
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub(crate) fn new() -> Result<ListFlush> {
        Ok(ListFlush {
            inputs: RepInputs::new(&calls::flush_list_header())?,
            unknown: AtomicFlag::new(false),
        })
    }

    /// Whether the host is still believed to know list flushes. If not, whole domains are flushed.
    ///
    /// Context: any.
    #[inline(always)]
    pub(crate) fn is_known(&self) -> bool {
        !self.unknown.load(Relaxed)
    }

    /// The prepared inputs.
    #[inline(always)]
    pub(crate) fn inputs(&self) -> &RepInputs<FlushDeviceDomainList> {
        &self.inputs
    }

    /// Notes that a list flush has failed. There is a message the first time, and one when the host
    /// turns out not to know the call.
    ///
    /// Context: any.
    #[cold]
    pub(crate) fn note(&self, failure: HypercallError) {
        let name = FlushDeviceDomainList::NAME;
        if !readings::is_unknown_call(failure) {
            pr_warn_once!("{name}: {failure}; the whole domain is flushed instead\n");
        } else if !self.unknown.xchg(true, Relaxed) {
            let text = "% is not known to the host, whole domains are flushed from now on";
            say(Level::Info, None, text, &[Word::Text(&name)]);
        }
    }
}
