// SPDX-License-Identifier: GPL-2.0

//! The hypercalls of device domains: which input and output each call takes. The simple calls,
//! which a guest has, too, stand in [`simple_calls`](super::simple_calls), those that map here.
//!
//! The layouts are those of the C headers, under their names there; this file only ties them to
//! their calls. What the fields mean is written there, too.
//!
//! C headers: [`include/hyperv/hv_root_iommu.h`](srctree/include/hyperv/hv_root_iommu.h),
//! [`include/hyperv/hv_pviommu.h`](srctree/include/hyperv/hv_pviommu.h)

#![allow(unsafe_code)]

use kernel::{
    bindings,
    hyperv::list_call::{
        CountedCall,
        ListCall, //
    },
};

pub(super) use super::simple_calls::*;
pub(super) use kernel::bindings::{
    hv_input_map_device_gpa_pages,
    hv_input_unmap_device_gpa_pages,
    HV_DEVICE_DOMAIN_ID_DEFAULT,
    HV_MAP_DEVICE_GPA_LARGE_PAGE,
    HV_MAP_DEVICE_GPA_READABLE,
    HV_MAP_DEVICE_GPA_WRITABLE, //
};

/// Maps pages at addresses that follow each other.
pub(super) struct MapDeviceGpaPages;

// SAFETY: By the header these are the call's header and elements, numbers of pages. The former is
// packed and made of integers.
unsafe impl ListCall for MapDeviceGpaPages {
    const CODE: u16 = bindings::HVCALL_MAP_DEVICE_GPA_PAGES as u16;
    const NAME: &'static str = "HVCALL_MAP_DEVICE_GPA_PAGES";
    type Header = hv_input_map_device_gpa_pages;
    type Element = u64;
}

/// Unmaps such pages.
pub(super) struct UnmapDeviceGpaPages;

// SAFETY: By the header this is the call's input; it is packed and made of integers.
unsafe impl CountedCall for UnmapDeviceGpaPages {
    const CODE: u16 = bindings::HVCALL_UNMAP_DEVICE_GPA_PAGES as u16;
    const NAME: &'static str = "HVCALL_UNMAP_DEVICE_GPA_PAGES";
    type Header = hv_input_unmap_device_gpa_pages;
}
