// SPDX-License-Identifier: GPL-2.0

//! The queue of events. Events are faults, and are printed.

use super::protocol::{
    Fault,
    EVENT_BYTES, //
};
use kernel::{
    device::Device,
    prelude::*,
    ratelimit::RateLimit,
    sync::{
        aref::ARef,
        Arc, //
    },
    virtio::{
        buffer::Buffer,
        queue::{
            Locked,
            Queue,
            State, //
        },
    },
};

/// What the driver keeps for the queue.
pub(crate) struct Events {
    dev: ARef<Device>,
    limit: Pin<KBox<RateLimit>>,
}

/// The part of an event's buffer that the device reads: nothing.
const NO_REQUEST: [u8; 0] = [];

impl Events {
    /// The event queue of the IOMMU `dev`, to be opened.
    pub(crate) fn new(dev: &Device) -> Result<Arc<Queue<Events>>> {
        let events = Events {
            dev: dev.into(),
            limit: KBox::pin_init(RateLimit::new(), GFP_KERNEL)?,
        };
        Queue::new(c"event", events)
    }

    /// Gives the device as many buffers as the queue has room for. Called once, after the queue was
    /// opened.
    ///
    /// Context: may sleep.
    pub(crate) fn fill(queue: &Queue<Events>) -> Result {
        // A statement of its own: the loop takes the lock again.
        let room = queue.lock().room();
        for _ in 0..room {
            let mut buffer = Buffer::new(EVENT_BYTES, (), GFP_KERNEL)?;
            buffer.prepare(&NO_REQUEST, EVENT_BYTES)?;
            queue.lock().add(buffer).map_err(|refused| refused.error)?;
        }
        queue.lock().kick();
        Ok(())
    }

    fn print(&self, written: &[u8]) {
        let Some(fault) = Fault::parse(written) else {
            return;
        };
        if !self.limit.allows(c"virtio_iommu_rust") {
            return;
        }
        let (endpoint, access, reason) = (fault.endpoint().0, fault.access(), fault.reason());
        match fault.address() {
            Some(address) => dev_err!(
                self.dev,
                "fault: endpoint {endpoint:#x}, {access} at {:#x}: {reason}\n",
                address.as_u64()
            ),
            None => dev_err!(
                self.dev,
                "fault: endpoint {endpoint:#x}, {access}: {reason}\n"
            ),
        }
    }

    fn serve(queue: &mut Locked<'_, Events>) {
        let mut is_any = false;
        while let Some(answer) = queue.take() {
            queue.state().print(answer.written());
            // A refused buffer is dropped: the device is broken then.
            is_any |= queue.add(answer.buffer).is_ok();
        }
        if is_any {
            queue.kick();
        }
    }
}

#[vtable]
impl State for Events {
    type Context = ();

    fn notified(queue: &Queue<Events>) {
        Events::serve(&mut queue.lock());
    }
}
