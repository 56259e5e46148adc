// SPDX-License-Identifier: GPL-2.0

//! The requester ids of a function's DMA, as the function and the bridges above it produce them.
//! IOMMU drivers tell devices apart by these ids.
//!
//! C header: [`include/linux/pci.h`](srctree/include/linux/pci.h)

use super::{
    present::Present,
    Device, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*, //
};

/// A function or bridge that gives an id.
#[repr(transparent)]
pub struct Reporter(Device);

// SAFETY: `visit` alone makes these, of a function that is on its bus, or of a bridge above such a
// function, for the length of a call.
unsafe impl Present for Reporter {
    fn function(&self) -> &Device {
        &self.0
    }
}

/// The closure that is called for each id.
struct Visitor<F>(F);

/// Calls `f` for each requester id with which DMA of the function may reach the IOMMU. The first id
/// is the function's own; the ids that bridges give follow, on the way up. `f` gets the function or
/// bridge that gives the id, and the id. For a function behind VMD, the first id is that of VMD's
/// endpoint. Stops when `f` fails.
///
/// Context: as `f` needs.
///
/// # Errors
///
/// The error of `f`.
///
/// # Examples
///
/// ```
/// use kernel::pci::{
///     dma_alias,
///     present::Present, //
/// };
///
/// /// All requester ids of a function, each once.
/// fn requesters(dev: &impl Present) -> Result<KVec<u16>> {
///     let mut ids = KVec::new();
///     dma_alias::for_each(dev, |_, id| {
///         if !ids.contains(&id) {
///             ids.push(id, GFP_KERNEL)?;
///         }
///         Ok(())
///     })?;
///     Ok(ids)
/// }
/// ```
pub fn for_each<F: FnMut(&Reporter, u16) -> Result>(pdev: &impl Present, f: F) -> Result {
    let mut visitor = Visitor(f);
    // SAFETY: The function is on its bus, and so are the bridges above it. The callback expects the
    // visitor's type, and the visitor outlives the call.
    to_result(unsafe {
        bindings::pci_for_each_dma_alias(
            pdev.function().as_raw(),
            Some(visit::<F>),
            (&raw mut visitor).cast::<c_void>(),
        )
    })
}

/// # Safety
///
/// `pdev` must be on its bus, and `visitor` must be a [`Visitor<F>`] that nobody else uses.
unsafe extern "C" fn visit<F: FnMut(&Reporter, u16) -> Result>(
    pdev: *mut bindings::pci_dev,
    alias: u16,
    visitor: *mut c_void,
) -> c_int {
    // SAFETY: The caller promises both. A `Reporter` is a transparent wrapper.
    let (pdev, visitor) = unsafe {
        (
            &*pdev.cast_const().cast::<Reporter>(),
            &mut *visitor.cast::<Visitor<F>>(),
        )
    };
    from_result(|| (visitor.0)(pdev, alias).map(|()| 0))
}

/// The number of the function's PCI domain. For a function behind VMD the kernel has made the
/// number up, above 0xffff. It says nothing about requester ids then, as these are those of VMD's
/// endpoint.
///
/// Context: any.
pub fn segment(pdev: &impl Present) -> i32 {
    // SAFETY: The function is on its bus, and so is the data of the bus's host bridge there.
    unsafe { bindings::pci_domain_nr((*pdev.function().as_raw()).bus) }
}

/// The secondary and the subordinate bus of a bridge whose secondary bus runs in PCI-X mode.
/// [`None`] for any other bridge or function.
///
/// Context: any.
pub fn pcix_buses(bridge: &impl Present) -> Option<(u8, u8)> {
    // Bits 8:6 of the secondary status register are 0 in conventional PCI mode (PCI Express to
    // PCI/PCI-X Bridge Specification, 5.2.2.1.3).
    const FREQUENCY: u16 = bindings::PCI_X_SSTATUS_FREQ as u16;
    let raw = bridge.function().as_raw();
    // SAFETY: The bridge is on its bus. The calls only read its configuration space.
    unsafe {
        // Bits 6:0 say which layout the header has.
        if (*raw).hdr_type & 0x7f != bindings::PCI_HEADER_TYPE_BRIDGE as u8 {
            return None;
        }
        let capability = bindings::pci_find_capability(raw, bindings::PCI_CAP_ID_PCIX as c_int);
        if capability == 0 {
            return None;
        }
        let (mut status, mut secondary, mut subordinate) = (0, 0, 0);
        bindings::pci_read_config_word(
            raw,
            c_int::from(capability) + bindings::PCI_X_BRIDGE_SSTATUS as c_int,
            &mut status,
        );
        if status & FREQUENCY == 0 {
            return None;
        }
        bindings::pci_read_config_byte(raw, bindings::PCI_SECONDARY_BUS as c_int, &mut secondary);
        bindings::pci_read_config_byte(
            raw,
            bindings::PCI_SUBORDINATE_BUS as c_int,
            &mut subordinate,
        );
        Some((secondary, subordinate))
    }
}
