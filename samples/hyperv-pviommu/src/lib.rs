// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! What a user-space driver of a PCI device needs, and no more: memory for the device, an I/O
//! address space to show it in, and the device's registers.
//!
//! The order of things is always the same:
//!
//! 1. [`Space::new`] opens `/dev/iommu` and makes an I/O address space, in which nothing is mapped.
//! 2. [`Device::open`] opens the device's VFIO character device, which takes its DMA away from
//!    everybody else, and attaches it to the space.
//! 3. [`Memory::allocate`] and [`Space::map`] let the device at some memory, at the addresses (IOVAs)
//!    that the program chose.
//! 4. [`Device::map_bar0`] gives the registers, by which the program tells the device these addresses.
//! 5. [`Space::unmap`] takes the memory away again: when it returns, the device cannot reach it.

mod device;
mod failure;
mod memory;
mod registers;
mod space;

pub use device::Device;
pub use failure::Failure;
pub use memory::{Memory, PageSize};
pub use registers::Registers;
pub use space::{Iova, Space};
