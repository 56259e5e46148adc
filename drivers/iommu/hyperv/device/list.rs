// SPDX-License-Identifier: GPL-2.0

//! The devices behind the IOMMU.

use super::{
    endpoint::Endpoint,
    protocol::{
        self,
        Flag, //
    },
    serial::{
        Serial,
        Serials, //
    }, //
};
use crate::known::domains::Domains;
use kernel::{
    hyperv::logical_device::LogicalDeviceId,
    list::{
        List,
        ListArc, //
    },
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Full,
                Relaxed,
                Release, //
            },
            Atomic,
            AtomicFlag, //
        },
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    },
    time::{
        delay::fsleep,
        Delta, //
    },
    workqueue, //
};

/// Every device that was probed and not released.
#[pin_data]
pub(crate) struct Devices {
    /// In the order of their serial numbers.
    #[pin]
    endpoints: SpinLockIrq<List<Endpoint>>,
    serials: Serials,
    /// Searches of the list that are under way.
    searches: Atomic<usize>,
}

impl Devices {
    /// No device so far.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            endpoints <- new_spinlock_irq!(List::new()),
            serials: Serials::new(),
            searches: Atomic::new(0),
        })
    }

    /// Calls `f` for each device, until it fails.
    ///
    /// Context: any; `f` must not sleep.
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    pub(crate) fn each_endpoint<E>(
        &self,
        mut f: impl FnMut(&Endpoint) -> Result<(), E>,
    ) -> Result<(), E> {
        for endpoint in self.endpoints.lock().iter() {
            f(&endpoint)?;
        }
        Ok(())
    }

    /// Makes way for a new device of this id. One that the host has taken away is told that its id
    /// is another device's now.
    ///
    /// Context: may sleep; serialised by the core with all that enters devices.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: a device that is there, or is not released yet, has the id.
    #[inline(never)]
    pub(crate) fn claim(&self, id: LogicalDeviceId) -> Result {
        let endpoints = self.endpoints.lock();
        let mut others = endpoints.iter().filter(|endpoint| endpoint.id() == id);
        if others.any(|other| !other.make_way()) {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// The place of a new device in the list, behind all others.
    pub(crate) fn next_serial(&self) -> Serial {
        self.serials.next()
    }

    /// The first device of the list behind `after`.
    fn next_endpoint(&self, after: Serial) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.lock();
        let mut later = endpoints
            .iter()
            .filter(|endpoint| endpoint.serial() > after);
        later.next().map(Arc::from)
    }

    /// Enters a device.
    pub(crate) fn add(&self, endpoint: ListArc<Endpoint>) {
        self.endpoints.lock().push_back(endpoint);
    }

    /// Takes a device out, blocked.
    ///
    /// Context: may sleep; serialised for one device by the core.
    pub(crate) fn release(&self, endpoint: &Endpoint, domains: &Domains) {
        protocol::release(self, endpoint, || {
            // There was a message when that failed.
            let _ = endpoint.block(domains);
        });
        endpoint.release();
    }
}

/// A search that visits one device after the other.
struct Search<'a> {
    devices: &'a Devices,
    /// The device that is visited.
    endpoint: Option<Arc<Endpoint>>,
}

impl<'a> Search<'a> {
    fn new(devices: &'a Devices) -> Search<'a> {
        devices.searches.fetch_add(1, Relaxed);
        Search {
            devices,
            endpoint: None,
        }
    }

    /// The next device.
    // Once, not in each caller.
    #[inline(never)]
    fn next(&mut self) -> Option<&Endpoint> {
        let mut after = Serial::BEFORE_ALL;
        if let Some(endpoint) = self.endpoint.take() {
            after = endpoint.serial();
            if endpoint.is_unsettled() {
                // It may be under way already. Somebody may hold the device's lock for long.
                let _ = workqueue::system_long().enqueue(endpoint);
            }
        }
        self.endpoint = self.devices.next_endpoint(after);
        self.endpoint.as_deref()
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        // The last reference must not go after this.
        self.endpoint = None;
        self.devices.searches.fetch_sub(1, Release);
    }
}

impl protocol::Devices for Devices {
    type Device = Endpoint;

    /// The list's lock is held while one device is looked for, not while calls are made about it.
    fn each(&self, mut f: impl FnMut(&Endpoint)) {
        let mut search = Search::new(self);
        while let Some(endpoint) = search.next() {
            f(endpoint);
        }
    }

    #[inline]
    fn remove(&self, endpoint: &Endpoint) {
        let mut removed = None;
        {
            let mut endpoints = self.endpoints.lock();
            let mut cursor = endpoints.cursor_front();
            while let Some(next) = cursor.peek_next() {
                if core::ptr::eq(&*next.arc(), endpoint) {
                    removed = Some(next.remove());
                    break;
                }
                cursor.move_next();
            }
        }
        // A search may hold a reference. The last one must go here: what it frees may sleep.
        while self.searches.load(Acquire) != 0 {
            fsleep(Delta::from_millis(1));
        }
        drop(removed);
    }
}

impl Flag for AtomicFlag {
    fn is_raised(&self) -> bool {
        self.load(Relaxed)
    }

    fn raise(&self) -> bool {
        !self.xchg(true, Full)
    }

    fn is_raised_and_done(&self) -> bool {
        self.load(Acquire)
    }
}
