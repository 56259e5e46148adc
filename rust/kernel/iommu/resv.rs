// SPDX-License-Identifier: GPL-2.0

//! Reserved regions: IOVAs that nobody may map memory at.
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
    /// Memory that the device uses all the time. The core maps it one to one.
    Direct,
    /// Memory that the device uses, but can do without when user space takes the device.
    DirectRelaxable,
    /// Addresses that the IOMMU does not translate, or at which something else than memory answers.
    Reserved,
    /// The window of message-signalled interrupts, which the IOMMU does not translate.
    Msi,
    /// Where software maps the doorbell of message-signalled interrupts, which the IOMMU
    /// translates.
    SoftwareMsi,
}

/// The list of a device's reserved regions, while the driver adds to it.
pub struct ReservedRegions {
    head: *mut bindings::list_head,
}

impl ReservedRegions {
    /// # Safety
    ///
    /// `head` must be a valid list of `struct iommu_resv_region`. Nobody else may access it as long
    /// as the object lives.
    pub(super) unsafe fn from_raw(head: *mut bindings::list_head) -> ReservedRegions {
        ReservedRegions { head }
    }

    /// Adds the regions that firmware describes for the device: memory that the device uses all the
    /// time, and the window of its interrupts.
    ///
    /// Context: may sleep.
    pub fn add_described<D: Driver>(&mut self, device: &Probed<'_, D>) {
        add_described(self.head, device.dev());
    }

    /// Adds the `length` bytes from `start` on. `prot` is what the device may do there, if the core
    /// maps the region.
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
        // SAFETY: The function takes any values, and only allocates.
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
        // SAFETY: `region` is new and in no list. By the promise made to `from_raw`, the list is
        // valid, and nobody else accesses it.
        unsafe { bindings::list_add_tail(&raw mut (*region).list, self.head) };
        Ok(())
    }
}

// Kept out of line: one copy instead of one in each driver's crate.
#[inline(never)]
fn add_described(head: *mut bindings::list_head, dev: &Device) {
    let dev = dev.as_raw();
    // SAFETY: The device was probed and not released, so its `iommu` is there, and its fwspec, if
    // it has one, does not change. By the promise made to `from_raw`, the list is valid.
    unsafe {
        if !(*(*dev).iommu).fwspec.is_null() {
            bindings::iommu_get_described_regions(dev, head);
        }
    }
}

#[macros::kunit_tests(rust_kernel_iommu_resv)]
mod tests {
    use super::*;
    use crate::container_of;

    #[test]
    fn a_region_is_what_was_asked_for() -> Result {
        let mut head = bindings::list_head::default();
        let list = &raw mut head;
        for (kind, expected) in [
            (
                ReservedKind::Direct,
                bindings::iommu_resv_type_IOMMU_RESV_DIRECT,
            ),
            (
                ReservedKind::DirectRelaxable,
                bindings::iommu_resv_type_IOMMU_RESV_DIRECT_RELAXABLE,
            ),
            (
                ReservedKind::Reserved,
                bindings::iommu_resv_type_IOMMU_RESV_RESERVED,
            ),
            (ReservedKind::Msi, bindings::iommu_resv_type_IOMMU_RESV_MSI),
            (
                ReservedKind::SoftwareMsi,
                bindings::iommu_resv_type_IOMMU_RESV_SW_MSI,
            ),
        ] {
            // SAFETY: The list does not move, and nobody else accesses it. It is empty.
            let mut regions = unsafe {
                (*list).next = list;
                (*list).prev = list;
                ReservedRegions::from_raw(list)
            };
            regions.add(Iova::new(0x1_2345_6000), 0x7000, Prot::READ, kind)?;
            // SAFETY: The list has one region, which `kzalloc` has made, and which nobody uses when
            // the list is gone.
            let region = unsafe {
                let region = container_of!((*list).next, bindings::iommu_resv_region, list);
                KBox::<bindings::iommu_resv_region>::from_raw(region)
            };
            assert_eq!((region.start, region.length), (0x1_2345_6000, 0x7000));
            assert_eq!(region.prot, Prot::READ.as_raw());
            assert_eq!(region.type_, expected);
        }
        Ok(())
    }
}
