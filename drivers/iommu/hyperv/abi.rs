// SPDX-License-Identifier: GPL-2.0

//! The hypercalls: each call's code, name, input and output.
//!
//! The layouts are generated from `include/hyperv/hv_pviommu.h`; this file only ties them to their
//! calls.

use core::mem::offset_of;
use kernel::hyperv::{
    hypercall::Call,
    rep_call::RepCall, //
};

/// What bindgen makes of the header.
#[allow(
    clippy::all,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    unreachable_pub,
    unsafe_code
)]
mod generated {
    use kernel::ffi;

    include!(concat!(
        env!("OBJTREE"),
        "/drivers/iommu/hyperv/hyperv_bindings_generated.rs"
    ));
}
pub(crate) use generated::*;

/// Declares a simple call: marker type, constant of the header, input, output.
macro_rules! simple_call {
    ($(#[$doc:meta])* $call:ident, $code:ident, $input:ident, $output:ty) => {
        $(#[$doc])*
        pub(crate) struct $call;

        impl Call for $call {
            const CODE: u16 = $code as u16;
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

impl RepCall for FlushDeviceDomainList {
    const CODE: u16 = HVCALL_FLUSH_DEVICE_DOMAIN_LIST as u16;
    const NAME: &'static str = "HVCALL_FLUSH_DEVICE_DOMAIN_LIST";
    type Header = hv_input_flush_device_domain_list;
    type Key = u32;
    const KEY_OFFSET: usize = offset_of!(hv_input_flush_device_domain_list, device_domain)
        + offset_of!(hv_input_device_domain, id);
    type Element = u64;
}
