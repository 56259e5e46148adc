// SPDX-License-Identifier: GPL-2.0

//! The hypercalls of device domains, with the input and output of each. The simple calls, which a
//! guest has, too, are in [`simple_calls`](super::simple_calls); those that map are here.
//!
//! The C headers have the layouts, and explain their fields. This file uses them under their C
//! names and only ties them to their calls.
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

/// Maps pages, which follow one another in the domain, onto a list of memory pages.
pub(super) struct MapDeviceGpaPages;

// SAFETY: The C header says that these are the call's header and elements. The header is packed and
// made of integers, and the elements are page numbers. So neither has padding. The call lets
// devices reach the pages of the list. The type is private to this driver, in which only
// `calls::map` names it; `Domain::map` calls that with the pages that the core has asked for.
unsafe impl ListCall for MapDeviceGpaPages {
    const CODE: u16 = bindings::HVCALL_MAP_DEVICE_GPA_PAGES as u16;
    const NAME: &'static str = "HVCALL_MAP_DEVICE_GPA_PAGES";
    type Header = hv_input_map_device_gpa_pages;
    type Element = u64;
}

/// Unmaps pages that follow one another in the domain.
pub(super) struct UnmapDeviceGpaPages;

// SAFETY: The C header says that this is the call's input. It is packed and made of integers, so it
// has no padding. The call keeps devices from reaching pages, and does nothing else.
unsafe impl CountedCall for UnmapDeviceGpaPages {
    const CODE: u16 = bindings::HVCALL_UNMAP_DEVICE_GPA_PAGES as u16;
    const NAME: &'static str = "HVCALL_UNMAP_DEVICE_GPA_PAGES";
    type Header = hv_input_unmap_device_gpa_pages;
}
