// SPDX-License-Identifier: GPL-2.0
//! A function's message-signalled interrupts in the hands of a program, by VFIO: an event for each vector.

use std::os::fd::AsRawFd;

use anyhow::{ensure, Context as _, Result};
use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use vfio_bindings::bindings::vfio::{
    vfio_irq_info, VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_DATA_EVENTFD, VFIO_IRQ_SET_DATA_NONE,
    VFIO_PCI_MSI_IRQ_INDEX,
};

use crate::vfio::{argsz, request, vfio, Device};

/// Most vectors that an MSI capability has.
const MAX: usize = 32;

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
    fn new(flags: u32, count: usize) -> Request {
        Request {
            argsz: argsz::<Request>(),
            flags: flags | VFIO_IRQ_SET_ACTION_TRIGGER,
            index: VFIO_PCI_MSI_IRQ_INDEX,
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

/// Vectors that are enabled, each with its event.
pub struct Vectors(Vec<EventFd>);

impl Vectors {
    /// How many vectors the device has.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn available(device: &Device) -> Result<usize> {
        let mut info =
            vfio_irq_info { argsz: argsz::<vfio_irq_info>(), index: VFIO_PCI_MSI_IRQ_INDEX, ..Default::default() };
        // SAFETY: the structure is writable and argsz tells its size.
        unsafe { vfio(device.file(), request::DEVICE_GET_IRQ_INFO, &raw mut info as usize) }.context("IRQ info")?;
        Ok(info.count as usize)
    }

    /// Enables `count` vectors.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn enable(device: &Device, count: usize) -> Result<Vectors> {
        ensure!((1..=MAX).contains(&count), "{count} vectors");
        let event = || EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC);
        let events = (0..count).map(|_| event()).collect::<nix::Result<Vec<_>>>().context("eventfd")?;
        let mut request = Request::new(VFIO_IRQ_SET_DATA_EVENTFD, count);
        for (place, event) in request.events.iter_mut().zip(&events) {
            *place = event.as_raw_fd();
        }
        request.make(device).with_context(|| format!("enabling {count} vectors"))?;
        Ok(Vectors(events))
    }

    /// Disables them all.
    ///
    /// # Errors
    /// The kernel's errno.
    pub fn disable(self, device: &Device) -> Result<()> {
        Request::new(VFIO_IRQ_SET_DATA_NONE, 0).make(device).context("disabling the vectors")
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How often a vector has come since the last call.
    ///
    /// # Errors
    /// When its event cannot be read.
    pub fn take(&self, vector: usize) -> Result<u64> {
        let event = self.0.get(vector).with_context(|| format!("there is no vector {vector}"))?;
        match event.read() {
            Ok(count) => Ok(count),
            Err(Errno::EAGAIN) => Ok(0),
            Err(error) => Err(error).context("reading the event"),
        }
    }
}
