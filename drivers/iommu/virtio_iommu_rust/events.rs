// SPDX-License-Identifier: GPL-2.0

//! The queue of events: faults, which are printed.

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

/// What is kept for the queue.
pub(crate) struct Events {
    dev: ARef<Device>,
    limit: Pin<KBox<RateLimit>>,
}

/// The device writes all of an event's buffer.
const NO_REQUEST: [u8; 0] = [];

impl Events {
    /// A queue to be opened, of the IOMMU `dev`.
    pub(crate) fn new(dev: &Device) -> Result<Arc<Queue<Events>>> {
        let events = Events {
            dev: dev.into(),
            limit: KBox::pin_init(RateLimit::new(), GFP_KERNEL)?,
        };
        Queue::new(c"event", events)
    }

    /// Gives the device as many buffers as there is room for; once, after the queue was opened.
    ///
    /// Context: may sleep.
    pub(crate) fn fill(queue: &Queue<Events>) -> Result {
        // The lock is let go of before the loop.
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
            // A buffer that is refused is lost, with the device.
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
