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
//! # Lifetimes, locks, unloading
//!
//! Nothing here is called by the kernel: there is no callback, and nothing is registered. So no
//! lock of the kernel's core is held on behalf of these modules, and none is taken. A caller may
//! hold spinlocks, except where a function says that it may sleep.
//!
//! - A hypercall's input is in memory that nobody else writes until the call returns. That is the
//!   CPU's input page, which is used with interrupts off ([`hypercall`], [`list_call`]); a part of
//!   per-CPU memory, which is used with interrupts off, too ([`rep_call`]); or memory that nobody
//!   writes at all ([`fixed_call`]). An NMI could come between, so no call is made in one.
//! - The hypervisor reads the input and writes the output during the call only. So the memory of a
//!   prepared call may be freed as soon as nobody borrows it.
//! - A deposited page is never freed: [`memory`] forgets it. Pages that the hypervisor gives back
//!   are for a kernel that ends.
//! - A bound function keeps its bus, and so the name that its bus has ([`logical_device`]).
//! - Calls are refused when there is no hypercall page, as in a kernel that sleeps, crashes or is
//!   replaced: [`HypercallError::Unavailable`](status::HypercallError::Unavailable).
//! - A module that is unloaded drops what it has prepared, and nothing else is left of it. The code
//!   of these modules is in the kernel itself.
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
