// SPDX-License-Identifier: GPL-2.0

//! Counts what the core asks of an IOMMU.

use core::ops::Deref;
use kernel::{
    debugfs::Writer,
    fmt,
    iommu::Iova,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    },
};

/// A counter.
pub(crate) struct Counter(Atomic<usize>);

impl Counter {
    const fn new() -> Counter {
        Counter(Atomic::new(0))
    }

    /// Adds 1.
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// Subtracts 1.
    pub(crate) fn discount(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// What is counted for an IOMMU.
pub(crate) struct Counters {
    /// Devices that were probed and not released.
    pub(crate) devices: Counter,
    /// Devices whose probing was finished.
    pub(crate) finalized: Counter,
    /// Paging domains that were allocated and not freed.
    pub(crate) domains: Counter,
    pub(crate) attaches: Counter,
    /// PASIDs that are in a paging domain.
    pub(crate) pasids: Counter,
    /// Flushes of a range.
    pub(crate) flushes: Counter,
    /// Flushes of a whole domain.
    pub(crate) whole_flushes: Counter,
    first: Atomic<u64>,
    last: Atomic<u64>,
}

impl Counters {
    pub(crate) const fn new() -> Counters {
        Counters {
            devices: Counter::new(),
            finalized: Counter::new(),
            domains: Counter::new(),
            attaches: Counter::new(),
            pasids: Counter::new(),
            flushes: Counter::new(),
            whole_flushes: Counter::new(),
            first: Atomic::new(0),
            last: Atomic::new(0),
        }
    }

    /// Counts a flush of a range.
    pub(crate) fn flushed(&self, first: Iova, last: Iova) {
        self.flushes.count();
        self.first.store(first.as_u64(), Relaxed);
        self.last.store(last.as_u64(), Relaxed);
    }
}

/// Counts a paging domain as long as it exists.
pub(crate) struct CountedDomain(Arc<Counters>);

impl CountedDomain {
    /// Counts a new domain.
    pub(crate) fn new(counters: &Arc<Counters>) -> CountedDomain {
        counters.domains.count();
        CountedDomain(counters.clone())
    }
}

impl Deref for CountedDomain {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}

impl Drop for CountedDomain {
    fn drop(&mut self) {
        self.domains.discount();
    }
}

/// The counters, as a file shows them.
pub(crate) struct Shown(pub(crate) Arc<Counters>);

impl Writer for Shown {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f)
    }
}

impl Counters {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "devices: {}", self.devices.get())?;
        writeln!(f, "finalized: {}", self.finalized.get())?;
        writeln!(f, "domains: {}", self.domains.get())?;
        writeln!(f, "attaches: {}", self.attaches.get())?;
        writeln!(f, "pasids: {}", self.pasids.get())?;
        writeln!(f, "flushes: {}", self.flushes.get())?;
        writeln!(f, "whole flushes: {}", self.whole_flushes.get())?;
        let (first, last) = (self.first.load(Relaxed), self.last.load(Relaxed));
        writeln!(f, "last flush: {first:#x}-{last:#x}")
    }
}
