// SPDX-License-Identifier: GPL-2.0

//! The hypercalls of the para-virtualized IOMMU, with the input and output of each. The simple
//! calls are in [`simple_calls`](super::simple_calls); the one with a list is here.
//!
//! The C header has the layouts, and explains their fields. This file uses them under their C names
//! and only ties them to their calls.
//!
//! C header: [`include/hyperv/hv_pviommu.h`](srctree/include/hyperv/hv_pviommu.h)

#![allow(unsafe_code)]

use super::blocks::DOMAIN_NUMBER_OFFSET;
use core::mem::offset_of;
use kernel::{
    bindings,
    hyperv::rep_call::RepCall, //
};

pub(crate) use super::simple_calls::*;
pub(crate) use kernel::bindings::{
    hv_input_flush_device_domain_list,
    HV_DEVICE_IOMMU_ENABLED,
    HV_LOGICAL_DEVICE_PROPERTY_PVIOMMU, //
};
// The tests compare these with the numbers in the files that are also built outside the kernel.
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

/// Drops what is cached of some blocks of pages of a domain.
pub(crate) struct FlushDeviceDomainList;

// SAFETY: The C header says that these are the call's header and elements. The header is packed and
// made of integers, so it has no padding. `KEY_OFFSET` is that of the domain's number, a `u32`.
unsafe impl RepCall for FlushDeviceDomainList {
    const CODE: u16 = bindings::HVCALL_FLUSH_DEVICE_DOMAIN_LIST as u16;
    const NAME: &'static str = "HVCALL_FLUSH_DEVICE_DOMAIN_LIST";
    type Header = hv_input_flush_device_domain_list;
    type Key = u32;
    const KEY_OFFSET: usize =
        offset_of!(hv_input_flush_device_domain_list, device_domain) + DOMAIN_NUMBER_OFFSET;
    type Element = u64;
}
