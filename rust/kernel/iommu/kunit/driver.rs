// SPDX-License-Identifier: GPL-2.0

//! A driver that is never registered, and notes of what its domains are asked to do.

use crate::{
    iommu::{
        domain::NewDomain,
        driver::{
            Driver,
            Grouping, //
        },
        gather::Gather,
        probed::{
            Probed,
            Probing, //
        }, //
    },
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc, //
    },
};

/// What a domain was asked to do.
pub(super) struct Log {
    pub(super) flushes: Atomic<u32>,
    /// How many flushes found a page of the table waiting to be freed.
    pub(super) holding: Atomic<u32>,
    /// Flushes fail if this is not 0.
    pub(super) failing: Atomic<u32>,
    pub(super) first: Atomic<u64>,
    pub(super) last: Atomic<u64>,
    pub(super) released: Atomic<u32>,
}

impl Log {
    pub(super) fn new() -> Result<Arc<Log>> {
        Ok(Arc::new(
            Log {
                flushes: Atomic::new(0),
                holding: Atomic::new(0),
                failing: Atomic::new(0),
                first: Atomic::new(0),
                last: Atomic::new(0),
                released: Atomic::new(0),
            },
            GFP_KERNEL,
        )?)
    }

    /// Notes a flush.
    pub(super) fn flushed(&self, gather: &Gather) {
        self.flushes.fetch_add(1, Relaxed);
        self.first.store(gather.first().as_u64(), Relaxed);
        self.last.store(gather.last().as_u64(), Relaxed);
    }

    /// The first and the last byte of the last flush.
    pub(super) fn range(&self) -> (u64, u64) {
        (self.first.load(Relaxed), self.last.load(Relaxed))
    }
}

/// A driver without devices.
pub(super) struct TestDriver;

#[vtable]
impl Driver for TestDriver {
    type Instance = ();
    type Endpoint = ();

    const GROUPING: Grouping = Grouping::PerDevice;

    fn probe_device(_instance: &(), _device: &Probing<'_>) -> Result<Arc<()>> {
        Err(ENODEV)
    }

    fn alloc_domain(_device: &Probed<'_, Self>) -> Result<NewDomain<Self>> {
        Err(ENODEV)
    }
}
