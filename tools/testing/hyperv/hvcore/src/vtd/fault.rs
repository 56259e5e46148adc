// SPDX-License-Identifier: GPL-2.0
//! Fault records.

use crate::ids::{Iova, Rid};
use crate::platform::DmaFault;

/// Written to a record's high word, clears it (F is write-1-to-clear).
pub const CLEAR: u64 = 1 << 63;

/// A fault recording register's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A device's memory access or translation request was refused.
    Dma(DmaFault),
    /// A device's interrupt was refused.
    Interrupt {
        /// Who sent it.
        rid: Rid,
        /// Index into the interrupt-remapping table.
        index: u16,
        /// VT-d fault reason, 0x20..=0x2f.
        reason: u8,
    },
}

impl Record {
    /// Reads a record; `lo` and `hi` are bits 63:0 and 127:64. `None` when it holds no fault.
    pub fn decode(lo: u64, hi: u64) -> Option<Record> {
        if hi & CLEAR == 0 {
            return None;
        }
        let rid = Rid(hi as u16);
        let reason = (hi >> 32) as u8;
        Some(match reason {
            0x20..=0x2f => Record::Interrupt { rid, index: (lo >> 48) as u16, reason },
            _ => Record::Dma(DmaFault { rid, iova: Iova(lo & !0xfff), reason, is_read: hi >> 62 & 1 == 1 }),
        })
    }

    /// The DMA fault, if it is one.
    pub fn dma(self) -> Option<DmaFault> {
        match self {
            Record::Dma(fault) => Some(fault),
            Record::Interrupt { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        assert_eq!(Record::decode(0x1234_5000, 0x7fff_ffff_ffff_ffff), None);
        let read = Record::decode(0x1234_5fff, 0xc000_0071_0000_0018).and_then(Record::dma);
        assert_eq!(read, Some(DmaFault { rid: Rid(0x18), iova: Iova(0x1234_5000), reason: 0x71, is_read: true }));
        let write = Record::decode(!0xfff, 0x8000_0059_0000_00f8).and_then(Record::dma);
        assert_eq!(write, Some(DmaFault { rid: Rid(0xf8), iova: Iova(!0xfff), reason: 0x59, is_read: false }));
        let interrupt = Record::decode(0x0007_0000_0000_0000, 0x8000_0022_0000_0018);
        assert_eq!(interrupt, Some(Record::Interrupt { rid: Rid(0x18), index: 7, reason: 0x22 }));
        assert_eq!(interrupt.and_then(Record::dma), None);
    }
}
