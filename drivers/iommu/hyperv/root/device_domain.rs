// SPDX-License-Identifier: GPL-2.0

//! The hypercalls of device domains: which input and output each call takes.
//!
//! The layouts are those of the C headers, under their names there; this file only ties them to
//! their calls. What the fields mean is written there, too.
//!
//! C headers: [`include/hyperv/hv_root_iommu.h`](srctree/include/hyperv/hv_root_iommu.h),
//! [`include/hyperv/hv_pviommu.h`](srctree/include/hyperv/hv_pviommu.h)

#![allow(unsafe_code)]

use kernel::{
    bindings,
    hyperv::{
        hypercall::Call,
        list_call::{
            CountedCall,
            ListCall, //
        },
    },
};

pub(super) use kernel::bindings::{
    hv_input_attach_device_domain,
    hv_input_create_device_domain,
    hv_input_delete_device_domain,
    hv_input_detach_device_domain,
    hv_input_device_domain,
    hv_input_get_iommu_capabilities,
    hv_input_map_device_gpa_pages,
    hv_input_unmap_device_gpa_pages,
    hv_output_get_iommu_capabilities,
    HV_DEVICE_DOMAIN_ID_DEFAULT,
    HV_DEVICE_DOMAIN_ID_NULL,
    HV_MAP_DEVICE_GPA_LARGE_PAGE,
    HV_MAP_DEVICE_GPA_READABLE,
    HV_MAP_DEVICE_GPA_WRITABLE,
    HV_PVIOMMU_PARTITION_SELF, //
};

/// Declares a simple call: marker type, constant of the header, input, output.
macro_rules! simple_call {
    ($(#[$doc:meta])* $call:ident, $code:ident, $input:ident, $output:ty) => {
        $(#[$doc])*
        pub(super) struct $call;

        // SAFETY: By the header these are the call's blocks. They are packed and made of integers.
        unsafe impl Call for $call {
            const CODE: u16 = bindings::$code as u16;
            const NAME: &'static str = stringify!($code);
            type Input = $input;
            type Output = $output;
        }
    };
}

simple_call!(
    /// What can the IOMMU do?
    GetIommuCapabilities,
    HVCALL_GET_IOMMU_CAPABILITIES,
    hv_input_get_iommu_capabilities,
    hv_output_get_iommu_capabilities
);
simple_call!(
    /// Makes a domain of a number that the partition chooses.
    CreateDeviceDomain,
    HVCALL_CREATE_DEVICE_DOMAIN,
    hv_input_create_device_domain,
    ()
);
simple_call!(
    /// Puts a device into a domain, in place of the one it is in.
    AttachDeviceDomain,
    HVCALL_ATTACH_DEVICE_DOMAIN,
    hv_input_attach_device_domain,
    ()
);
simple_call!(
    /// Takes a device out of its domain; its DMA is blocked.
    DetachDeviceDomain,
    HVCALL_DETACH_DEVICE_DOMAIN,
    hv_input_detach_device_domain,
    ()
);
simple_call!(
    /// Forgets a domain.
    DeleteDeviceDomain,
    HVCALL_DELETE_DEVICE_DOMAIN,
    hv_input_delete_device_domain,
    ()
);

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
