// SPDX-License-Identifier: GPL-2.0
//! Scalable-mode context tables: one page each, indexed by device and function.

use super::PhysAddr;
use crate::ids::Rid;

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 32;

const PRESENT: u64 = 1 << 0;
const DEVICE_TLB_ENABLE: u64 = 1 << 2;

/// What the IOMMU answers to translation requests (ATS) of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TranslationRequests {
    /// Answered with an error.
    Refused,
    /// Answered from the device's tables (DTE).
    Answered,
}

/// Whose table a device's requests go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableOwner {
    /// The guest's.
    Guest,
    /// The hypervisor's, or none.
    Hypervisor,
}

/// Which context table of the bus holds a requester's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Devices 0..=15.
    Lower,
    /// Devices 16..=31.
    Upper,
}

/// An entry of a context table: four 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry;

impl Entry {
    /// The device does not get through.
    pub const ABSENT: [u64; 4] = [0; 4];

    /// Requests without PASID use PASID 0 of the directory at `directory` (4-KiB aligned, 128 entries).
    ///
    /// `requests` is what the device's requests for translations come to while there is a table of the guest to answer
    /// from. Without one they are refused: what the device kept of an answer must not get through.
    pub fn with_pasid_directory(directory: PhysAddr, requests: TranslationRequests, owner: TableOwner) -> [u64; 4] {
        let dte = match (owner, requests) {
            (TableOwner::Hypervisor, _) | (TableOwner::Guest, TranslationRequests::Refused) => 0,
            (TableOwner::Guest, TranslationRequests::Answered) => DEVICE_TLB_ENABLE,
        };
        [directory.frame() | dte | PRESENT, 0, 0, 0]
    }
}

/// Where a requester's entry lies: the table and the index in it, 0..=127.
pub const fn index(rid: Rid) -> (Half, usize) {
    let half = if rid.0 & 0x80 == 0 { Half::Lower } else { Half::Upper };
    (half, (rid.0 & 0x7f) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let directory = PhysAddr(0xabc_d000);
        let entry = |requests, owner| Entry::with_pasid_directory(directory, requests, owner);
        assert_eq!(entry(TranslationRequests::Refused, TableOwner::Guest), [0xabc_d001, 0, 0, 0]);
        assert_eq!(entry(TranslationRequests::Answered, TableOwner::Guest), [0xabc_d005, 0, 0, 0]);
        // A device that is blocked or bypassed gets no translations.
        assert_eq!(entry(TranslationRequests::Refused, TableOwner::Hypervisor), [0xabc_d001, 0, 0, 0]);
        assert_eq!(entry(TranslationRequests::Answered, TableOwner::Hypervisor), [0xabc_d001, 0, 0, 0]);
        assert_eq!(index(Rid(0x0018)), (Half::Lower, 0x18));
        assert_eq!(index(Rid(0x00f8)), (Half::Upper, 0x78));
    }
}
