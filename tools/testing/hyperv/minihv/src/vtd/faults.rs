// SPDX-License-Identifier: GPL-2.0
//! Fault records. While a record is taken, the IOMMU merges or drops further faults, so records are read and cleared
//! at every opportunity.

use alloc::collections::VecDeque;

use hvcore::platform::DmaFault;
use hvcore::vtd::fault::{Record, CLEAR};
use hvcore::vtd::registers::{self as reg, Capabilities};

use super::registers::Registers;
use crate::console::log;

const RECORD_BYTES: usize = 16;
/// Further faults are dropped.
const MAX_PENDING: usize = 1024;

/// Faults read from the hardware and not yet taken.
pub struct FaultLog {
    first_record: usize,
    records: usize,
    pending: VecDeque<DmaFault>,
}

impl FaultLog {
    /// Knows where the records are; nothing is read yet.
    pub fn new(capabilities: Capabilities) -> FaultLog {
        FaultLog {
            first_record: capabilities.fault_offset(),
            records: capabilities.fault_count(),
            pending: VecDeque::new(),
        }
    }

    /// Moves the hardware's records here.
    pub fn collect(&mut self, registers: &mut Registers) {
        let status = registers.read32(reg::FSTS);
        if status & (reg::FSTS_PPF | reg::FSTS_PFO) == 0 {
            return;
        }
        if status & reg::FSTS_PFO != 0 {
            log!("vtd", "DMA faults were lost: the IOMMU had no room for their records");
        }
        for record in 0..self.records {
            let at = self.first_record + record * RECORD_BYTES;
            let (low, high) = (registers.read64(at), registers.read64(at + 8));
            let Some(fault) = Record::decode(low, high) else { continue };
            registers.write64(at + 8, CLEAR);
            match fault {
                Record::Dma(fault) if self.pending.len() < MAX_PENDING => self.pending.push_back(fault),
                Record::Dma(fault) => log!("vtd", "too many faults pending, dropped {fault:x?}"),
                Record::Interrupt { rid, index, reason } => {
                    log!("vtd", "interrupt refused: source {:#06x}, index {index}, reason {reason:#x}", rid.0);
                }
            }
        }
        registers.write32(reg::FSTS, reg::FSTS_PFO);
    }

    /// The oldest one.
    pub fn take(&mut self) -> Option<DmaFault> {
        self.pending.pop_front()
    }
}
