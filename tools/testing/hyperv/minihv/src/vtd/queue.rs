// SPDX-License-Identifier: GPL-2.0
//! The invalidation queue. Every submission is complete on return.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};

use hvcore::vtd::invalidation::Descriptor;
use hvcore::vtd::queue::Ring;
use hvcore::vtd::registers as reg;
use hvcore::vtd::PhysAddr;

use super::registers::Registers;
use crate::console::{fatal, log};
use crate::paging::TablePage;
use crate::time;

const DESCRIPTOR_WORDS: usize = 4;
const WORD_BYTES: usize = 8;
const WAIT_MILLISECONDS: u64 = 1000;
const DONE: u32 = 1;

/// One page of 256-bit descriptors.
pub struct InvalidationQueue {
    page: &'static mut TablePage,
    ring: Ring,
    /// The IOMMU writes [`DONE`] here.
    status: &'static AtomicU32,
}

impl InvalidationQueue {
    /// Sets up the queue and switches it on.
    pub fn start(registers: &mut Registers) -> InvalidationQueue {
        let queue = InvalidationQueue {
            page: Box::leak(TablePage::new()),
            ring: Ring::new(0),
            status: Box::leak(Box::new(AtomicU32::new(0))),
        };
        registers.write64(reg::IQT, 0);
        registers.write64(reg::IQA, queue.page.address() | queue.ring.address_flags());
        registers.command(reg::GCMD_QIE);
        queue
    }

    /// Carries out all `descriptors`, in order.
    pub fn submit(&mut self, registers: &mut Registers, descriptors: impl IntoIterator<Item = [u64; 4]>) {
        let mut descriptors = descriptors.into_iter().peekable();
        while descriptors.peek().is_some() {
            // The queue is empty here.
            for descriptor in descriptors.by_ref().take(self.ring.batch()) {
                self.push(descriptor);
            }
            self.complete(registers);
        }
    }

    fn push(&mut self, descriptor: [u64; DESCRIPTOR_WORDS]) {
        let first = self.ring.push() / WORD_BYTES;
        for (i, word) in descriptor.into_iter().enumerate() {
            self.page.store(first + i, word);
        }
    }

    fn complete(&mut self, registers: &mut Registers) {
        self.status.store(0, Ordering::SeqCst);
        self.push(Descriptor::wait(PhysAddr(self.status.as_ptr() as u64), DONE));
        registers.write64(reg::IQT, self.ring.tail_register());
        let done = time::wait_until(WAIT_MILLISECONDS, || self.status.load(Ordering::SeqCst) == DONE);
        let status = registers.read32(reg::FSTS);
        if !done {
            fatal!(
                "the IOMMU does not finish an invalidation: FSTS {status:#x}, head {:#x}, tail {:#x}",
                registers.read64(reg::IQH),
                registers.read64(reg::IQT)
            )
        }
        let device_errors = status & (reg::FSTS_ICE | reg::FSTS_ITE);
        if device_errors != 0 {
            log!("vtd", "a device did not complete a device-TLB invalidation: FSTS {status:#x}");
            registers.write32(reg::FSTS, device_errors);
        }
    }
}
