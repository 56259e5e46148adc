// SPDX-License-Identifier: GPL-2.0

//! The hypercalls with one input and at most one output, with the blocks of each.
//!
//! The C header has the layouts, and explains their fields. This file uses them under their C names
//! and only ties them to their calls. The driver of the root partition's IOMMU uses some of the
//! calls, too.
//!
//! The macro makes the promise that a call and its blocks belong together. It is private, so every
//! use is in this file, beside the header's names.
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

        // SAFETY: The C header says that these are the call's blocks. They are packed and made of
        // integers, so they have no padding, and any bytes are valid values.
        unsafe impl Call for $call {
            const CODE: u16 = bindings::$code as u16;
            const NAME: &'static str = stringify!($code);
            type Input = $input;
            type Output = $output;
        }
    };
}

simple_call!(
    /// Asks what the IOMMU can do.
    GetIommuCapabilities,
    HVCALL_GET_IOMMU_CAPABILITIES,
    hv_input_get_iommu_capabilities,
    hv_output_get_iommu_capabilities
);
simple_call!(
    /// Asks whether the guest may attach a device.
    GetLogicalDeviceProperty,
    HVCALL_GET_LOGICAL_DEVICE_PROPERTY,
    hv_input_get_logical_device_property,
    hv_output_get_logical_device_property
);
simple_call!(
    /// Creates a domain with a number that the partition chooses.
    CreateDeviceDomain,
    HVCALL_CREATE_DEVICE_DOMAIN,
    hv_input_create_device_domain,
    ()
);
simple_call!(
    /// Configures, once, what a domain does with DMA.
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
    /// Takes a device out of its domain. Its DMA is blocked from then on.
    DetachDeviceDomain,
    HVCALL_DETACH_DEVICE_DOMAIN,
    hv_input_detach_device_domain,
    ()
);
simple_call!(
    /// Deletes a domain.
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
