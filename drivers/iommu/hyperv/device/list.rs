// SPDX-License-Identifier: GPL-2.0

//! The devices behind the IOMMU.

use super::{
    endpoint::Endpoint,
    let_go::LetGo,
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
    /// How many searches of the list are under way.
    searches: Atomic<usize>,
    #[pin]
    let_go: LetGo,
}

impl Devices {
    /// No device so far.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            endpoints <- new_spinlock_irq!(List::new()),
            serials: Serials::new(),
            searches: Atomic::new(0),
            let_go <- LetGo::new(),
        })
    }

    /// Devices that were released while the host still had them.
    pub(crate) fn let_go(&self) -> &LetGo {
        &self.let_go
    }

    /// Calls `f` for each device, until `f` fails.
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

    /// Makes way for a new device of this id. If the host has taken away a device that has the id,
    /// no call names that device from now on.
    ///
    /// Context: may sleep; the core serialises this with all that enters devices.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: a device that is still there, or was not seen to be gone, has the id.
    #[inline(never)]
    pub(crate) fn claim(&self, id: LogicalDeviceId) -> Result {
        self.let_go.remove(id);
        let endpoints = self.endpoints.lock();
        let mut others = endpoints.iter().filter(|endpoint| endpoint.id() == id);
        if others.any(|other| !other.make_way()) {
            return Err(EBUSY);
        }
        Ok(())
    }

    /// The serial number of a new device, which puts it behind all others.
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

    /// Calls `f` for each device, until `f` fails. Waits for no lock: nothing else runs.
    ///
    /// # Errors
    ///
    /// [`EBUSY`]: a task was stopped while it changed the list.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn each_at_rest<E>(
        &self,
        mut f: impl FnMut(&Endpoint) -> Result<(), E>,
    ) -> Result<Result<(), E>> {
        let endpoints = self.endpoints.try_lock().ok_or(EBUSY)?;
        let mut endpoints = endpoints.iter();
        Ok(endpoints.try_for_each(|endpoint| f(&endpoint)))
    }

    /// Enters a device at the end of the list.
    pub(crate) fn add(&self, endpoint: ListArc<Endpoint>) {
        self.endpoints.lock().push_back(endpoint);
    }

    /// Blocks a device, if it is not blocked yet, and takes it out of the list.
    ///
    /// Context: may sleep; the core serialises this for one device.
    pub(crate) fn release(&self, endpoint: &Endpoint, domains: &Domains) {
        protocol::release(self, endpoint, || {
            // There was a message if that failed.
            let _ = endpoint.block(domains);
        });
        endpoint.release();
    }
}

/// A search that visits one device after the other.
struct Search<'a> {
    devices: &'a Devices,
    /// The device that `next` has returned last.
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
    // Kept out of line: one copy instead of one in each caller.
    #[inline(never)]
    fn next(&mut self) -> Option<&Endpoint> {
        let mut after = Serial::BEFORE_ALL;
        if let Some(endpoint) = self.endpoint.take() {
            after = endpoint.serial();
            if endpoint.is_unsettled() {
                // The work may be queued already. It waits for the device's lock, perhaps for long.
                let _ = workqueue::system_long().enqueue(endpoint);
            }
        }
        self.endpoint = self.devices.next_endpoint(after);
        self.endpoint.as_deref()
    }
}

impl Drop for Search<'_> {
    fn drop(&mut self) {
        // `remove` waits until no search is left, and then drops the last reference: so ours goes
        // first.
        self.endpoint = None;
        self.devices.searches.fetch_sub(1, Release);
    }
}

impl protocol::Devices for Devices {
    type Device = Endpoint;

    /// Holds the list's lock while it looks for the next device, not while it calls `f`.
    fn each(&self, mut f: impl FnMut(&Endpoint)) {
        let mut search = Search::new(self);
        while let Some(endpoint) = search.next() {
            f(endpoint);
        }
    }

    #[inline]
    fn remove(&self, endpoint: &Endpoint) {
        // Before that, so that a shutdown finds the device in one of the two lists.
        if let Some(left) = endpoint.left() {
            self.let_go.add(endpoint.id(), left);
        }
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
        // A search may hold a reference. The last reference must be dropped here, as freeing may
        // sleep.
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
