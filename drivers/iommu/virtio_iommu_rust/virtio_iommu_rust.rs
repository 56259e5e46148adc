// SPDX-License-Identifier: GPL-2.0

//! Driver of virtio-iommu, the IOMMU that virtual machine monitors offer as a virtio device.
//!
//! The device keeps the mappings, and the driver sends it a request for each change. The driver
//! also keeps a copy of its own. It needs the copy to look addresses up. It also needs it to tell
//! the device again, because the device forgets a domain without endpoints.
//!
//! # The modules
//!
//! A module uses modules above it in this list, and none below. `no_ring.rs` of the guest program's
//! tests reads every file, and fails where that does not hold.
//!
//! - [`driver`]: the driver as a type;
//! - [`protocol`]: the layouts of requests and events;
//! - [`ids`]: the numbers by which the IOMMU knows a device;
//! - [`devices`]: the devices behind an IOMMU, and which endpoints they have;
//! - [`refusals`]: the requests about a domain that the device has refused;
//! - [`requests`]: the queue of requests;
//! - [`events`]: the queue of faults;
//! - [`mappings`]: the copy of a domain's mappings;
//! - [`iommu`]: an IOMMU, what it says about itself, and which domains get which numbers;
//! - [`domain`]: a domain with mappings, and the endpoints in it;
//! - [`endpoint`]: a device behind the IOMMU, and the domain that it is in;
//! - [`attach`]: puts devices into domains;
//! - [`paging`], [`statics`]: the domains, as the IOMMU core knows them;
//! - [`ops`]: what the IOMMU core calls;
//! - [`probe`]: what the virtio bus calls;
//! - `kunit`: KUnit tests.
//!
//! # The words
//!
//! An *endpoint* is a number by which the IOMMU knows a source of DMA. A PCI device has an endpoint
//! for each requester id that its DMA may carry. Devices behind one PCI bridge can share an
//! endpoint.

#![deny(unsafe_code)]

mod attach;
mod devices;
mod domain;
mod driver;
mod endpoint;
mod events;
mod ids;
mod iommu;
#[cfg(CONFIG_VIRTIO_IOMMU_RUST_KUNIT_TEST)]
mod kunit;
mod mappings;
mod ops;
mod paging;
mod probe;
mod protocol;
mod refusals;
mod requests;
mod statics;

#[allow(unsafe_code)]
// SAFETY: All of this assumes that the device has done what it answers with "OK".
// - An attach succeeds when the device has answered each ATTACH with success (`Requests::attach`).
//   The device then takes the endpoint out of its former domain. If an attach fails after a request
//   was sent, `attach::change` blocks each of the endpoints, so that they do not use the new
//   domain; `attach::put` then tries to put them back. No ATTACH is sent for an endpoint that is in
//   the new domain already, because of another device (`Goal::present`).
// - `attach::release` blocks the endpoints of a released device that no other device has. A shared
//   endpoint is blocked when the last of its devices is released.
// - If the device refuses to block an endpoint, nothing can keep it from the former or the new
//   domain. After `Shared::strand` nothing else is mapped there, and what is unmapped gets out of
//   the endpoint's reach.
// - There are no PASIDs: the driver offers none.
// - The blocking domain has a number of its own (`Iommu::settle_numbers`), and no MAP is ever sent
//   for it. Its endpoints reach only what the device itself answers, the doorbells of interrupts.
// - There are no tables. The driver tells the device only of memory that it is asked to map, for a
//   domain that is alive. When a domain is released, `Shared::evict` blocks the endpoints that are
//   still in it, and the device keeps no mappings of a domain without endpoints. If an endpoint may
//   be in it nevertheless, the device was told of every unmap, and no other domain gets the number
//   (`Shared::strand`).
// - `flush_all` and `flush` wait until the device has answered all requests that were sent before.
//   If it has refused an UNMAP, or does not answer, `Shared::close` blocks the domain's endpoints
//   before the flush returns, and lets no other in.
// - `Shared::map` and `Shared::unmap` send a request for each change, under the domain's lock, if
//   an endpoint is in the domain. `Shared::enter` sends all mappings when the first one enters.
//   `Shared::leave` holds the lock of the domain that an endpoint leaves until the device has taken
//   the endpoint out.
unsafe impl kernel::iommu::driver::SoundDriver for driver::VirtioIommu {}

kernel::module_virtio_driver! {
    type: probe::VirtioDriver,
    name: "virtio_iommu_rust",
    authors: ["Hyper-V pvIOMMU project"],
    description: "Virtio IOMMU driver in Rust",
    license: "GPL v2",
}
