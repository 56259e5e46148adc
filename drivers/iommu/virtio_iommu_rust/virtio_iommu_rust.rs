// SPDX-License-Identifier: GPL-2.0

//! Driver of virtio-iommu, the IOMMU that virtual machine monitors offer as a virtio device.
//!
//! The device keeps the mappings. The driver tells it of each by a request in a queue, and keeps a
//! copy of its own: to say where an address leads, and to tell the device again, which forgets a
//! domain that no endpoint is in. Data flows one way through the modules:
//!
//! - [`protocol`]: the layouts of requests and events;
//! - [`refusals`]: what the device has refused of a domain;
//! - [`requests`]: the queue of requests, [`events`]: that of faults;
//! - [`mappings`]: a domain's copy;
//! - [`endpoint`]: a device behind the IOMMU;
//! - [`iommu`]: an IOMMU, and moving endpoints from domain to domain;
//! - [`domain`], [`statics`]: the domains;
//! - [`ops`]: what the IOMMU core calls;
//! - [`probe`]: what the virtio bus calls.
//!
//! The device numbers what it serves: an *endpoint* is such a number. A PCI device has one for each
//! requester id by which its DMA may come.

#![deny(unsafe_code)]

mod domain;
mod endpoint;
mod events;
mod iommu;
#[cfg(CONFIG_VIRTIO_IOMMU_RUST_KUNIT_TEST)]
mod kunit;
mod mappings;
mod ops;
mod probe;
mod protocol;
mod refusals;
mod requests;
mod statics;

#[allow(unsafe_code)]
// SAFETY: All of this rests on the device's word: that it has done what it answers with "OK".
// - An attach succeeds when the device has answered each ATTACH with success (`requests::attach`),
//   by which it takes the endpoint out of the domain that the endpoint was in. When an attach fails
//   after a request was sent, `Iommu::change` blocks the endpoint, so that the new domain is not
//   used, and `Iommu::put` tries the one that the endpoint was in. `release_device` puts the
//   endpoint into the blocking domain.
// - There are no PASIDs.
// - The blocking domain has a number of its own, for which no MAP is ever sent
//   (`Iommu::settle_numbers` takes it out of those that other domains get); its endpoints reach
//   nothing but what the device itself answers, the doorbells of interrupts.
// - There are no tables. The driver tells the device of the memory that it is told to map, for a
//   domain that is alive; `Domain` is released when no endpoint is in it, and the device keeps no
//   mappings then.
// - `flush_all` and `flush` wait until the device has answered all requests that were made before.
//   When it has refused an UNMAP, or cannot be asked, `Shared::close` blocks the domain's endpoints
//   before the flush returns, and keeps others out.
// - `Shared::map` and `Shared::unmap` send a request for each change, under the domain's lock, if
//   an endpoint is in the domain. `Iommu::put` sends all mappings when the first one enters, and
//   holds the lock of the domain that an endpoint leaves until the device has taken it out.
unsafe impl kernel::iommu::driver::SoundDriver for ops::VirtioIommu {}

kernel::module_virtio_driver! {
    type: probe::VirtioDriver,
    name: "virtio_iommu_rust",
    authors: ["Hyper-V pvIOMMU project"],
    description: "Virtio IOMMU driver in Rust",
    license: "GPL v2",
}
