// SPDX-License-Identifier: GPL-2.0
//! What the kernel tells a program of a device, by VFIO: an event for each vector of its message-signalled interrupts, and
//! one when it is to be let go of.

use std::os::fd::AsRawFd;

use anyhow::{ensure, Context as _, Result};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use vfio_bindings::bindings::vfio::{
    vfio_irq_info, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE,
};

use crate::vfio::{argsz, request, vfio, Device};

/// Most vectors that an MSI capability has.
const MAX: usize = 32;

/// What the events are about: the interrupt index, an anonymous enum that is not among the bindings' constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Source {
    /// Message-signalled interrupts; enabling their events switches MSI on.
    Msi = 1,
    /// The device is to be let go of.
    Removal = 4,
}

/// `struct vfio_irq_set` with a descriptor for each vector behind it.
#[repr(C)]
struct Request {
    argsz: u32,
    flags: u32,
    index: u32,
    start: u32,
    count: u32,
    events: [i32; MAX],
}

impl Request {
    fn new(source: Source, flags: u32, count: usize) -> Request {
        Request {
            argsz: argsz::<Request>(),
            flags: flags | VFIO_IRQ_SET_ACTION_TRIGGER,
            index: source as u32,
            start: 0,
            count: count as u32,
            events: [-1; MAX],
        }
    }

    fn make(&self, device: &Device) -> nix::Result<()> {
        // SAFETY: the structure is as long as argsz says, and the kernel takes its own references to the events.
        unsafe { vfio(device.file(), request::DEVICE_SET_IRQS, std::ptr::from_ref(self) as usize) }.map(|_| ())
    }
}

/// Events that are enabled.
pub struct Events {
    source: Source,
    events: Vec<EventFd>,
}

impl Events {
    /// How many events the device has.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn available(device: &Device, source: Source) -> Result<usize> {
        let mut info = vfio_irq_info { argsz: argsz::<vfio_irq_info>(), index: source as u32, ..Default::default() };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(device.file(), request::DEVICE_GET_IRQ_INFO, &raw mut info as usize) }.context("IRQ info")?;
        Ok(info.count as usize)
    }

    /// Enables the first `count` events.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn enable(device: &Device, source: Source, count: usize) -> Result<Events> {
        ensure!((1..=MAX).contains(&count), "{count} events");
        let event = || EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
        let events = (0..count).map(|_| event()).collect::<nix::Result<Vec<_>>>().context("eventfd")?;
        let mut request = Request::new(source, VFIO_IRQ_SET_DATA_EVENTFD, count);
        for (place, event) in request.events.iter_mut().zip(&events) {
            *place = event.as_raw_fd();
        }
        request.make(device).with_context(|| format!("enabling {count} events of {source:?}"))?;
        Ok(Events { source, events })
    }

    /// Disables them all.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn disable(self, device: &Device) -> Result<()> {
        let request = Request::new(self.source, VFIO_IRQ_SET_DATA_NONE, 0);
        request.make(device).with_context(|| format!("disabling the events of {:?}", self.source))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.events.len()
    }

    /// Whether the first one has come since the last call.
    ///
    /// # Errors
    /// When the event cannot be read.
    pub fn has_fired(&self) -> Result<bool> {
        Ok(self.take(0)? > 0)
    }

    /// How often one has come since the last call.
    ///
    /// # Errors
    /// When its event cannot be read.
    pub fn take(&self, number: usize) -> Result<u64> {
        let event = self.events.get(number).with_context(|| format!("there is no event {number}"))?;
        match event.read() {
            Ok(count) => Ok(count),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error).context("reading the event"),
        }
    }
}
