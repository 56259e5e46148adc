// SPDX-License-Identifier: GPL-2.0

//! Drivers of virtio devices.
//!
//! - [`driver`]: what a driver implements, and how it is registered;
//! - [`device`]: a device, with its features and its queues;
//! - [`config`]: a device's configuration space;
//! - [`queue`]: a queue, with a lock;
//! - [`buffer`]: the memory that goes into a queue and comes back.
//!
//! A driver may share a [`queue::Queue`] with anybody, for any time. The queue is open from
//! [`device::Device::find_queues`] until the driver is unbound from the device. Before and after
//! that it refuses buffers. So no driver has to prove that nobody uses a queue for too long.
//!
//! # Lifetimes, locks, unloading
//!
//! - A bound device is lent for the length of a callback, or for as long as the driver's data
//!   lives. A counted reference gives access neither to queues nor to the configuration space.
//! - The driver core holds the device's lock while it calls [`driver::Driver::probe`] and
//!   [`driver::Driver::unbind`].
//! - A queue's lock is held with interrupts off. It protects the C queue, and the driver's state
//!   for the queue. [`queue::State::notified`] is called in the interrupt, without that lock.
//! - A buffer that was added belongs to the queue, with its context. It comes back from
//!   [`queue::Locked::take`]; or it is dropped when the device was reset, and no longer uses it.
//! - Unbinding has an order: the driver's `unbind`; each queue is closed, for which its lock is
//!   taken, so that nobody is at work on the C queue afterwards; the device is reset, after which
//!   neither its DMA nor a callback comes; the buffers are dropped, the C queues deleted; the
//!   driver's data is dropped. A probe that fails ends in the same order.
//! - A module's driver is unregistered before the module is unloaded, which unbinds the driver from
//!   all devices. A queue that the module shares with nobody outside is gone then, too.
//! - The system does not sleep while a driver is bound: nobody would open the queues again.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

pub mod buffer;
pub mod config;
pub mod device;
pub mod driver;
pub mod queue;

pub use device::Device;
