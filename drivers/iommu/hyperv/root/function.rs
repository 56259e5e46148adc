// SPDX-License-Identifier: GPL-2.0

//! The PCI functions behind the IOMMU.

use kernel::{
    device,
    hyperv::pci_device::PciDeviceId,
    list::{
        impl_list_arc_safe,
        impl_list_item,
        List,
        ListArc,
        ListLinks, //
    },
    pci::{
        bus_master,
        present::{
            Present,
            PresentDevice, //
        }, //
    },
    prelude::*,
    sync::{
        new_spinlock_irq,
        SpinLockIrq, //
    },
};

/// A PCI function that was probed.
#[pin_data]
pub(crate) struct Function {
    pdev: PresentDevice,
    /// The ids with which its DMA reaches the IOMMU, at least one.
    ids: KVec<PciDeviceId>,
    #[pin]
    links: ListLinks,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Function { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Function { using ListLinks { self.links }; }
}

impl Function {
    /// Finds out a function's ids.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// As [`PciDeviceId::all_of`].
    pub(crate) fn new(pdev: &PresentDevice) -> Result<ListArc<Function>> {
        let ids = PciDeviceId::all_of(pdev)?;
        ListArc::pin_init(
            try_pin_init!(Function {
                pdev: pdev.clone(),
                ids,
                links <- ListLinks::new(),
            }),
            GFP_KERNEL,
        )
    }

    pub(crate) fn pdev(&self) -> &PresentDevice {
        &self.pdev
    }

    /// The ids with which its DMA reaches the IOMMU, at least one.
    pub(crate) fn ids(&self) -> &[PciDeviceId] {
        &self.ids
    }

    /// The device, for messages.
    pub(crate) fn dev(&self) -> &device::Device {
        self.pdev.function().as_ref()
    }
}

/// Every function that was probed and not released.
#[pin_data]
pub(crate) struct Functions {
    #[pin]
    list: SpinLockIrq<List<Function>>,
}

impl Functions {
    /// No function so far.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            list <- new_spinlock_irq!(List::new()),
        })
    }

    /// Enters a function.
    ///
    /// Context: any but NMI.
    pub(crate) fn add(&self, function: ListArc<Function>) {
        self.list.lock().push_back(function);
    }

    /// Takes a function out. Nobody finds it after this.
    ///
    /// Context: may sleep.
    pub(crate) fn remove(&self, function: &Function) {
        let mut removed = None;
        {
            let mut list = self.list.lock();
            let mut cursor = list.cursor_front();
            while let Some(next) = cursor.peek_next() {
                if core::ptr::eq(&*next.arc(), function) {
                    removed = Some(next.remove());
                    break;
                }
                cursor.move_next();
            }
        }
        // The reference is dropped after the lock is released.
        drop(removed);
    }

    /// Keeps each function from mastering the bus for whose ids `f` says so, until the function's
    /// driver allows it again.
    ///
    /// Context: any but NMI.
    #[cold]
    pub(crate) fn stop_at_once(&self, f: impl Fn(&[PciDeviceId]) -> bool) {
        for function in self.list.lock().iter() {
            if f(&function.ids) {
                bus_master::stop_at_once(&function.pdev);
            }
        }
    }
}
