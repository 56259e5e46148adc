// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the para-virtualized IOMMU.
//!
//! A tracepoint that is off costs one static branch; its arguments are not computed. Without
//! `CONFIG_TRACEPOINTS` these functions do nothing. Context, for all: any.
//!
//! C header: [`include/trace/events/hv_pviommu.h`](srctree/include/trace/events/hv_pviommu.h)

// Without tracepoints nobody uses the arguments.
#![cfg_attr(not(CONFIG_TRACEPOINTS), allow(unused_variables, dead_code))]
#![allow(unsafe_code)]

use kernel::{
    bindings,
    device,
    hyperv::{
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    prelude::*, //
};

/// Runs a block only when a tracepoint is on.
macro_rules! if_on {
    ($tracepoint:ident, $block:block) => {
        #[cfg(CONFIG_TRACEPOINTS)]
        {
            // SAFETY: The key is that of a tracepoint, a static that C code defines.
            let on = unsafe {
                kernel::jump_label::static_branch_unlikely!(
                    kernel::bindings::$tracepoint,
                    kernel::bindings::tracepoint,
                    key
                )
            };
            if on $block
        }
    };
}

/// How a device was kept from doing DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Block {
    /// It was attached to the blocking domain.
    Attached,
    /// It was detached from all domains.
    Detached,
    /// It was gone.
    Gone,
    /// It could not be kept from it.
    Failed,
}

impl Block {
    fn to_raw(self) -> u32 {
        match self {
            Block::Attached => bindings::HV_PVIOMMU_TRACE_BLOCK_ATTACHED,
            Block::Detached => bindings::HV_PVIOMMU_TRACE_BLOCK_DETACHED,
            Block::Gone => bindings::HV_PVIOMMU_TRACE_BLOCK_GONE,
            Block::Failed => bindings::HV_PVIOMMU_TRACE_BLOCK_FAILED,
        }
    }
}

/// What a flush dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// All of the domain.
    Whole,
    /// The blocks of a list.
    List {
        /// The first byte of the first block.
        first: u64,
        /// The last byte of the last block.
        last: u64,
        /// How many blocks there are, not 0.
        descriptors: u32,
    },
}

impl Flushed {
    /// First byte, last byte and number of descriptors, as the tracepoint takes them.
    fn to_raw(self) -> (u64, u64, u32) {
        match self {
            Flushed::Whole => (0, u64::MAX, 0),
            Flushed::List {
                first,
                last,
                descriptors,
            } => (first, last, descriptors),
        }
    }
}

/// The number that stands for a failure in a trace.
fn status(failure: HypercallError) -> u32 {
    match failure {
        HypercallError::Status(status) => status.code().into(),
        HypercallError::Unavailable => bindings::HV_PVIOMMU_TRACE_STATUS_NO_PAGE,
        HypercallError::NoProgress => bindings::HV_PVIOMMU_TRACE_STATUS_NO_PROGRESS,
    }
}

/// The device as C code takes it. [`device::Device`] is a transparent wrapper of `struct device`.
fn as_raw(dev: &device::Device) -> *const bindings::device {
    core::ptr::from_ref(dev).cast()
}

/// Traces that a device was put into a domain.
#[inline(always)]
pub(crate) fn attach(dev: &device::Device, id: LogicalDeviceId, domain: u32) {
    if_on!(__tracepoint_hv_pviommu_attach, {
        // SAFETY: The device is valid as long as it is borrowed; the tracepoint only reads its
        // name.
        unsafe { bindings::rust_do_trace_hv_pviommu_attach(as_raw(dev), id.as_u64(), domain) }
    });
}

/// Traces that a device was to be kept from doing DMA.
#[inline(always)]
pub(crate) fn block(dev: &device::Device, id: LogicalDeviceId, how: impl FnOnce() -> Block) {
    if_on!(__tracepoint_hv_pviommu_block, {
        let how = how().to_raw();
        // SAFETY: The device is valid as long as it is borrowed; the tracepoint only reads its
        // name.
        unsafe { bindings::rust_do_trace_hv_pviommu_block(as_raw(dev), id.as_u64(), how) }
    });
}

/// Whether the tracepoint of flushes is on.
#[inline(always)]
pub(crate) fn flushes_are_traced() -> bool {
    #[cfg(CONFIG_TRACEPOINTS)]
    // SAFETY: The key is that of a tracepoint, a static that C code defines.
    return unsafe {
        kernel::jump_label::static_branch_unlikely!(
            bindings::__tracepoint_hv_pviommu_flush,
            bindings::tracepoint,
            key
        )
    };
    #[cfg(not(CONFIG_TRACEPOINTS))]
    false
}

/// Traces that the hypervisor was asked to flush a domain, with this result.
#[cold]
pub(crate) fn flush(domain: u32, result: Result<(), HypercallError>, flushed: Flushed) {
    if_on!(__tracepoint_hv_pviommu_flush, {
        let (first, last, descriptors) = flushed.to_raw();
        let status = result.map_or_else(status, |()| 0);
        // SAFETY: The tracepoint takes any numbers.
        unsafe {
            bindings::rust_do_trace_hv_pviommu_flush(domain, first, last, descriptors, status)
        }
    });
}

/// Traces that a hypercall failed.
#[cold]
pub(crate) fn hypercall_failed(code: u16, failure: HypercallError) {
    if_on!(__tracepoint_hv_pviommu_hypercall_failed, {
        let status = status(failure);
        // SAFETY: The tracepoint takes any numbers.
        unsafe { bindings::rust_do_trace_hv_pviommu_hypercall_failed(code, status) }
    });
}
