// SPDX-License-Identifier: GPL-2.0

//! Reserved regions: IOVAs that must not be handed out.
//!
//! C header: [`include/linux/iommu.h`](srctree/include/linux/iommu.h)

use super::{
    domain::Prot,
    driver::Driver,
    probed::Probed,
    Iova, //
};
use crate::{
    bindings,
    device::Device,
    prelude::*, //
};

/// What a region is reserved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReservedKind {
    /// Memory that the device uses all the time: to be mapped one to one.
    Direct,
    /// The same, but the device can do without it when user space wants it.
    DirectRelaxable,
    /// Addresses that the IOMMU does not translate, or that something else answers.
    Reserved,
    /// Message-signalled interrupts, not translated.
    Msi,
    /// Where software maps the doorbell of message-signalled interrupts, which are translated.
    SoftwareMsi,
}

/// The list of a device's reserved regions, being collected.
pub struct ReservedRegions {
    head: *mut bindings::list_head,
}

impl ReservedRegions {
    /// # Safety
    ///
    /// `head` must be a valid list of `struct iommu_resv_region`, exclusively accessible as long as
    /// the object lives.
    pub(super) unsafe fn from_raw(head: *mut bindings::list_head) -> ReservedRegions {
        ReservedRegions { head }
    }

    /// Adds what firmware says of the device besides its IOMMU: memory that the device uses all the
    /// time, where its interrupts go.
    ///
    /// Context: may sleep.
    pub fn add_described<D: Driver>(&mut self, device: &Probed<'_, D>) {
        add_described(self.head, device.dev());
    }

    /// Adds the `length` bytes from `start` on; `prot` is what the device may do there when they
    /// are mapped.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn add(&mut self, start: Iova, length: usize, prot: Prot, kind: ReservedKind) -> Result {
        let kind = match kind {
            ReservedKind::Direct => bindings::iommu_resv_type_IOMMU_RESV_DIRECT,
            ReservedKind::DirectRelaxable => bindings::iommu_resv_type_IOMMU_RESV_DIRECT_RELAXABLE,
            ReservedKind::Reserved => bindings::iommu_resv_type_IOMMU_RESV_RESERVED,
            ReservedKind::Msi => bindings::iommu_resv_type_IOMMU_RESV_MSI,
            ReservedKind::SoftwareMsi => bindings::iommu_resv_type_IOMMU_RESV_SW_MSI,
        };
        // SAFETY: The function only allocates.
        let region = unsafe {
            bindings::iommu_alloc_resv_region(
                start.as_u64(),
                length,
                prot.as_raw(),
                kind,
                bindings::GFP_KERNEL,
            )
        };
        if region.is_null() {
            return Err(ENOMEM);
        }
        // SAFETY: `region` is new and in no list; the list is valid by the type's construction. The
        // core frees the regions.
        unsafe { bindings::list_add_tail(&raw mut (*region).list, self.head) };
        Ok(())
    }
}

// Once, not in each driver's crate.
#[inline(never)]
fn add_described(head: *mut bindings::list_head, dev: &Device) {
    let dev = dev.as_raw();
    // SAFETY: The device was probed and not released: its `iommu` is there, and its fwspec, if it
    // has one, does not change. The list is valid by the construction of `ReservedRegions`.
    unsafe {
        if !(*(*dev).iommu).fwspec.is_null() {
            bindings::iommu_get_described_regions(dev, head);
        }
    }
}
