// SPDX-License-Identifier: GPL-2.0
//! Allocation of domain ids.

use alloc::boxed::Box;
use alloc::vec;

use crate::vtd::did::Did;

/// The id of the identity domain, where every requester starts.
pub const IDENTITY: Did = Did(1);
/// The id of requesters that are blocked.
pub const BLOCKED: Did = Did(2);
/// First id of the partition's own domains.
const FIRST: u16 = 3;

/// Which ids are in use. An id that was given back is the last to be used again.
pub struct DomainDids {
    used: Box<[u64]>,
    next: u16,
    free: u32,
}

impl DomainDids {
    /// Ids that can be in use at once.
    pub const CAPACITY: u32 = u16::MAX as u32 - FIRST as u32 + 1;

    /// All free.
    pub fn new() -> Self {
        DomainDids { used: vec![0; (1 << 16) / 64].into_boxed_slice(), next: FIRST, free: Self::CAPACITY }
    }

    /// Takes a free id; `None` when there is none.
    pub fn allocate(&mut self) -> Option<Did> {
        if self.free == 0 {
            return None;
        }
        let candidates = (self.next..=u16::MAX).chain(FIRST..self.next);
        let did = candidates.map(Did).find(|&did| !self.is_used(did))?;
        self.set(did, |word, bit| word | bit);
        self.free -= 1;
        self.next = did.0.checked_add(1).unwrap_or(FIRST);
        Some(did)
    }

    /// Gives an id back; one that is free stays so.
    pub fn release(&mut self, did: Did) {
        if self.is_used(did) {
            self.set(did, |word, bit| word & !bit);
            self.free += 1;
        }
    }

    /// Ids that are not in use.
    pub fn free(&self) -> u32 {
        self.free
    }

    fn is_used(&self, did: Did) -> bool {
        self.used.get(usize::from(did.0 / 64)).is_some_and(|word| word >> (did.0 % 64) & 1 == 1)
    }

    fn set(&mut self, did: Did, change: impl FnOnce(u64, u64) -> u64) {
        if let Some(word) = self.used.get_mut(usize::from(did.0 / 64)) {
            *word = change(*word, 1 << (did.0 % 64));
        }
    }
}

impl Default for DomainDids {
    fn default() -> Self {
        DomainDids::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_id_once_and_then_none() {
        let mut dids = DomainDids::new();
        let all: BTreeSet<_> = core::iter::from_fn(|| dids.allocate()).collect();
        assert_eq!(all.len(), DomainDids::CAPACITY as usize);
        assert_eq!((all.first(), all.last()), (Some(&Did(3)), Some(&Did(0xffff))));
        dids.release(Did(0x1234));
        assert_eq!(dids.allocate(), Some(Did(0x1234)));
        assert_eq!(dids.allocate(), None);
    }

    #[test]
    fn a_released_id_is_not_reused_at_once() {
        let mut dids = DomainDids::new();
        let first = dids.allocate().unwrap();
        dids.release(first);
        assert_ne!(dids.allocate(), Some(first));
    }

    #[test]
    fn releasing_twice_frees_once() {
        let mut dids = DomainDids::new();
        let did = dids.allocate().unwrap();
        dids.release(did);
        dids.release(did);
        dids.release(Did(0));
        assert_eq!(core::iter::from_fn(|| dids.allocate()).count(), DomainDids::CAPACITY as usize);
    }
}
