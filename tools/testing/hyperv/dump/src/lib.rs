// SPDX-License-Identifier: GPL-2.0
//! What the driver of the root partition's IOMMU knew, from a dump of a crashed kernel and nothing else.
//!
//! The driver leaves a guide in its memory, which begins with 16 bytes that are found by searching the dump. The guide tells
//! where everything else is (Documentation/virt/hyperv/host-iommu.rst), so that neither symbols nor debugging information of
//! that kernel are needed. A dump may be damaged, and the kernel may have crashed in the middle of a change: nothing here
//! trusts an address or a count.
//!
//! - [`source`]: a dump as bytes;
//! - [`memory`]: the crashed kernel's memory in it, by address;
//! - [`tree`]: the kernel's red-black trees;
//! - [`guide`]: the guide;
//! - `image`: dumps for tests;
//! - [`state`]: what the driver knew; [`show`]: the same as text.
#![forbid(unsafe_code)]

pub mod guide;
pub mod memory;
pub mod show;
pub mod source;
pub mod state;
pub mod tree;

#[cfg(any(test, feature = "testing"))]
pub mod image;
#[cfg(test)]
mod tests;
