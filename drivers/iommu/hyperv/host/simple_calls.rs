// SPDX-License-Identifier: GPL-2.0

//! The hypercalls with one input and, perhaps, one output: which blocks each call takes.
//!
//! The layouts are those of the C header, under their names there; this file only ties them to
//! their calls. What the fields mean is written there, too. The driver of the root partition's
//! IOMMU uses this file as well, and some of the calls.
//!
//! The promise that a call and its blocks belong together is made once, by the macro, which nobody
//! else can use: each use of it stands in this file, beside the header's names.
//!
//! C header: [`include/hyperv/hv_pviommu.h`](srctree/include/hyperv/hv_pviommu.h)

#![allow(unsafe_code)]

use kernel::{
    bindings,
    hyperv::hypercall::Call, //
};

pub(crate) use kernel::bindings::{
    hv_input_attach_device_domain,
    hv_input_configure_device_domain,
    hv_input_create_device_domain,
    hv_input_delete_device_domain,
    hv_input_detach_device_domain,
    hv_input_device_domain,
    hv_input_flush_device_domain,
    hv_input_get_iommu_capabilities,
    hv_input_get_logical_device_property,
    hv_output_get_iommu_capabilities,
    hv_output_get_logical_device_property,
    HV_DEVICE_DOMAIN_ID_NULL,
    HV_PVIOMMU_PARTITION_SELF, //
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
    /// What can the IOMMU do?
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
    /// Makes a domain of a number that the partition chooses.
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
