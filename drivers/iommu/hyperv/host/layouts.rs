// SPDX-License-Identifier: GPL-2.0

//! The hypercalls of the para-virtualized IOMMU: which input and output each call takes. The simple
//! calls stand in [`simple_calls`](super::simple_calls), the one with a list here.
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
    hyperv::rep_call::RepCall, //
};

pub(crate) use super::simple_calls::*;
pub(crate) use kernel::bindings::{
    hv_input_flush_device_domain_list,
    HV_DEVICE_IOMMU_ENABLED,
    HV_LOGICAL_DEVICE_PROPERTY_PVIOMMU, //
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
