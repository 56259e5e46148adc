// SPDX-License-Identifier: GPL-2.0

//! Drivers of virtio devices.
//!
//! - [`driver`]: what a driver implements, and its registration;
//! - [`device`]: a device: its features, its queues;
//! - [`config`]: its configuration space;
//! - [`queue`]: a queue, with a lock;
//! - [`buffer`]: what goes into a queue and comes back.
//!
//! A driver shares a [`queue::Queue`] with whomever it likes, for as long as it likes. The queue is
//! open between [`device::Device::find_queues`] and the driver's removal from the device. Before
//! and afterwards it refuses buffers. So nobody has to prove that a queue is not used too long.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h)

pub mod buffer;
pub mod config;
pub mod device;
pub mod driver;
pub mod queue;

pub use device::Device;
