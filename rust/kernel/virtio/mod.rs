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
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

pub mod buffer;
pub mod config;
pub mod device;
pub mod driver;
pub mod queue;

pub use device::Device;
