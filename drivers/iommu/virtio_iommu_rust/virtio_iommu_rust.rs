// SPDX-License-Identifier: GPL-2.0

//! Driver of virtio-iommu, the IOMMU that virtual machine monitors offer as a virtio device.
//!
//! The device keeps the mappings, and the driver sends it a request for each change. The driver
//! also keeps a copy of its own. It needs the copy to look addresses up. It also needs it to tell
//! the device again, because the device forgets a domain without endpoints.
//!
//! # When another kernel is started
//!
//! The driver does not reset the device at shutdown, because a reset takes all endpoints out of
//! their domains. The machine's policy may then let their DMA through untranslated. Most devices
//! are shut down after the IOMMU, so their DMA would still carry IOVAs, and would reach memory that
//! belongs to others. On PCI, the core switches the IOMMU's bus mastering off before the other
//! kernel runs. Other transports have no such switch. There, the device goes on until the other
//! kernel's virtio core resets it, and writes the faults that it reports until then to buffers of
//! this kernel.
//!
//! # The modules
//!
//! A module uses modules above it in this list, and none below. `no_ring.rs` of the guest program's
//! tests reads every file, and fails where that does not hold.
//!
//! - [`driver`]: the driver as a type;
//! - [`protocol`]: the layouts of requests and events;
//! - [`ids`]: the numbers by which the IOMMU knows a device;
//! - [`homes`]: the record of where each endpoint is, and which devices have it;
//! - [`refusals`]: the requests about a domain that the device has refused;
//! - [`requests`]: the queue of requests;
//! - [`events`]: the queue of faults;
//! - [`mappings`]: the copy of a domain's mappings;
//! - [`iommu`]: an IOMMU, what it says about itself, and which domains get which numbers;
//! - [`members`]: the endpoints in a domain, and whether the domain can be used;
//! - [`domain`]: a domain with mappings;
//! - [`endpoint`]: a device behind the IOMMU, and its reserved IOVAs;
//! - [`moves`]: which endpoints of a device are moved, and what is done if the IOMMU refuses one;
//! - [`attach`]: puts devices into domains, endpoint by endpoint;
//! - [`paging`], [`statics`]: the domains, as the IOMMU core knows them;
//! - [`ops`]: what the IOMMU core calls;
//! - [`probe`]: what the virtio bus calls;
//! - `kunit`, `kunit_refusals`: KUnit tests.
//!
//! # The words
//!
//! An *endpoint* is a number by which the IOMMU knows a source of DMA. A PCI device has an endpoint
//! for each requester id that its DMA may carry. Devices behind one PCI bridge can share an
//! endpoint.

#![deny(unsafe_code)]

mod attach;
mod domain;
mod driver;
mod endpoint;
mod events;
mod homes;
mod ids;
mod iommu;
#[cfg(CONFIG_VIRTIO_IOMMU_RUST_KUNIT_TEST)]
mod kunit;
#[cfg(CONFIG_VIRTIO_IOMMU_RUST_KUNIT_TEST)]
mod kunit_refusals;
mod mappings;
mod members;
mod moves;
mod ops;
mod paging;
mod probe;
mod protocol;
mod refusals;
mod requests;
mod statics;

#[allow(unsafe_code)]
// SAFETY: All of this assumes that the device has done what it answers with "OK".
// - `Homes` says where each endpoint is, whichever device has moved it. An attach succeeds when
//   the device has answered each ATTACH with success (`moves::put`). The device then takes the
//   endpoint out of the domain where `Homes` had it. If an ATTACH fails, `Whereabouts::after`
//   blocks the endpoint, so that it does not use the new domain; `moves::take_back` then puts it,
//   and those that were moved before it, back. If the core cannot handle the failure, all of them
//   are blocked instead. Such an attach succeeds only if no endpoint can be in a former domain
//   (`moves::unless_out`). No ATTACH is sent for an endpoint that is in the new domain already,
//   because of another device (`Homes::is_at`). After a failed attach it stays there. Such devices
//   are in one group.
// - `Attachments::release` blocks the endpoints of a released device that no other admitted device
//   has. A shared endpoint is blocked when the last of its admitted devices is released.
// - An endpoint that the device does not know does no DMA (`Iommu::block`). If the device refuses
//   to block another one, nothing can keep that endpoint from the former or the new domain. Nothing
//   else is mapped in either (`Condition::Stranded`), and what is unmapped gets out of the
//   endpoint's reach. This ends when the device has moved or blocked the endpoint.
// - There are no PASIDs: the driver offers none.
// - The blocking domain has a number of its own (`Iommu::settle_numbers`), and no MAP is ever sent
//   for it. Its endpoints reach only what the device itself answers, the doorbells of interrupts.
// - There are no tables. The driver tells the device only of memory that it is asked to map, for a
//   domain that is alive. When a domain is released, `Attachments::evict` blocks the endpoints that
//   are still in it, and the device keeps no mappings of a domain without endpoints. If an endpoint
//   may be in it nevertheless, the device was told of every unmap. `Homes` then keeps the `Shared`,
//   so no other domain gets the number.
// - `flush_all` and `flush` wait until the device has answered all requests that were sent before.
//   If it has refused an UNMAP, or does not answer, `Shared::close` blocks the domain's endpoints
//   before the flush returns, and lets no other in. Each flush tries that again until no endpoint
//   is left. If the device does not know a domain in which no endpoint is for certain, nothing is
//   mapped in the domain (`Change::UnmapIfKnown`).
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
