// SPDX-License-Identifier: GPL-2.0

//! Hyper-V guest support.
//!
//! Typed, safe access to the hypervisor for drivers of para-virtualized devices:
//!
//! - [`hypercall`]: memory-based hypercalls, generic over their input and output types;
//! - [`fixed_call`], [`rep_call`]: those that are prepared beforehand, because they are made often,
//!   and those that work on a list;
//! - [`status`]: the hypervisor's status codes, their names and their errnos;
//! - [`partition`]: what kind of partition the kernel runs in;
//! - [`logical_device`]: the hypervisor's name for a PCI function behind `pci-hyperv`.
//!
//! C header: [`include/asm-generic/mshyperv.h`](srctree/include/asm-generic/mshyperv.h)

pub mod fixed_call;
pub mod hypercall;
#[cfg(CONFIG_HYPERV_PCI_DEV_ID)]
pub mod logical_device;
pub mod partition;
pub mod rep_call;
pub mod status;
