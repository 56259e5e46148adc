// SPDX-License-Identifier: GPL-2.0

//! Hyper-V guest support.
//!
//! Typed, safe access to the hypervisor, for drivers of para-virtualized devices:
//!
//! - [`hypercall`]: memory-based hypercalls, generic over their input and output types;
//! - [`fixed_call`], [`rep_call`]: calls that are prepared in advance because they are made very
//!   often, with a fixed input or a short list;
//! - [`list_call`]: calls with a list that may fill a page;
//! - [`memory`]: pages for the hypervisor;
//! - [`per_cpu`]: memory with a part for each CPU, and counters in such memory;
//! - [`status`]: the hypervisor's status codes, with their names and errnos;
//! - [`partition`]: the kind of partition that the kernel runs in;
//! - [`logical_device`]: the hypervisor's name for a PCI function behind `pci-hyperv`;
//! - [`pci_device`], [`pci_requester`]: the hypervisor's name for a requester id of the machine's
//!   own PCI.
//!
//! C header: [`include/asm-generic/mshyperv.h`](srctree/include/asm-generic/mshyperv.h)

pub mod fixed_call;
pub mod hypercall;
pub mod list_call;
#[cfg(CONFIG_PCI)]
pub mod logical_device;
pub mod memory;
pub mod partition;
#[cfg(CONFIG_PCI)]
pub mod pci_device;
#[cfg(CONFIG_PCI)]
pub mod pci_requester;
pub mod per_cpu;
pub mod rep_call;
pub mod status;
