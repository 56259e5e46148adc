// SPDX-License-Identifier: GPL-2.0

//! The hypercalls of the para-virtualized IOMMU: which input and output each call takes.
//!
//! The layouts are those of the C header, under their names there; this file only ties them to
//! their calls. What the fields mean is written there, too.
//!
//! C header: [`include/hyperv/hv_pviommu.h`](srctree/include/hyperv/hv_pviommu.h)

#![allow(unsafe_code)]

use super::blocks::DOMAIN_NUMBER_OFFSET;
use core::mem::offset_of;
use kernel::{
    bindings,
    hyperv::{
        hypercall::Call,
        rep_call::RepCall, //
    },
};

pub(crate) use kernel::bindings::{
    hv_input_attach_device_domain,
    hv_input_configure_device_domain,
    hv_input_create_device_domain,
    hv_input_delete_device_domain,
    hv_input_detach_device_domain,
    hv_input_device_domain,
    hv_input_flush_device_domain,
    hv_input_flush_device_domain_list,
    hv_input_get_iommu_capabilities,
    hv_input_get_logical_device_property,
    hv_output_get_iommu_capabilities,
    hv_output_get_logical_device_property,
    HV_DEVICE_DOMAIN_ID_NULL,
    HV_DEVICE_IOMMU_ENABLED,
    HV_LOGICAL_DEVICE_PROPERTY_PVIOMMU,
    HV_PVIOMMU_PARTITION_SELF, //
};
// What the tests compare with the numbers of the files that are built without the kernel, too.
#[cfg(CONFIG_HYPERV_PVIOMMU_KUNIT_TEST)]
pub(crate) use kernel::bindings::{
    HV_DEVICE_DOMAIN_5_LEVEL,
    HV_DEVICE_DOMAIN_BLOCKED,
    HV_DEVICE_DOMAIN_TRANSLATION_ENABLED,
    HV_DEVICE_DOMAIN_TYPE_S1,
    HV_IOMMU_CAP_ATS,
    HV_IOMMU_CAP_PRESENT,
    HV_IOMMU_CAP_S1,
    HV_IOMMU_CAP_S1_5LVL, //
};

/// Declares a simple call: marker type, constant of the header, input, output.
macro_rules! simple_call {
    ($(#[$doc:meta])* $call:ident, $code:ident, $input:ident, $output:ty) => {
        $(#[$doc])*
        pub(crate) struct $call;

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
    /// What can the host's IOMMU do?
    GetIommuCapabilities,
    HVCALL_GET_IOMMU_CAPABILITIES,
    hv_input_get_iommu_capabilities,
    hv_output_get_iommu_capabilities
);
simple_call!(
    /// May the guest attach this device?
    GetLogicalDeviceProperty,
    HVCALL_GET_LOGICAL_DEVICE_PROPERTY,
    hv_input_get_logical_device_property,
    hv_output_get_logical_device_property
);
simple_call!(
    /// Makes a domain of a number that the guest chooses.
    CreateDeviceDomain,
    HVCALL_CREATE_DEVICE_DOMAIN,
    hv_input_create_device_domain,
    ()
);
simple_call!(
    /// Says, once, what a domain translates to.
    ConfigureDeviceDomain,
    HVCALL_CONFIGURE_DEVICE_DOMAIN,
    hv_input_configure_device_domain,
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
simple_call!(
    /// Drops all that is cached of a domain.
    FlushDeviceDomain,
    HVCALL_FLUSH_DEVICE_DOMAIN,
    hv_input_flush_device_domain,
    ()
);

/// Drops what is cached of blocks of pages of a domain.
pub(crate) struct FlushDeviceDomainList;

// SAFETY: By the header these are the call's header and elements; the former is packed and made of
// integers, and the domain's number is a `u32` in it.
unsafe impl RepCall for FlushDeviceDomainList {
    const CODE: u16 = bindings::HVCALL_FLUSH_DEVICE_DOMAIN_LIST as u16;
    const NAME: &'static str = "HVCALL_FLUSH_DEVICE_DOMAIN_LIST";
    type Header = hv_input_flush_device_domain_list;
    type Key = u32;
    const KEY_OFFSET: usize =
        offset_of!(hv_input_flush_device_domain_list, device_domain) + DOMAIN_NUMBER_OFFSET;
    type Element = u64;
}
