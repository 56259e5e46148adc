// SPDX-License-Identifier: GPL-2.0
//! Allocation of cache tags.

use alloc::boxed::Box;
use alloc::vec;

use crate::platform::CacheTag;

/// The tag of devices in the host's default domain: the state before the first attach.
pub const DEFAULT: CacheTag = CacheTag(1);
/// The tag of devices that were detached or withdrawn, whose DMA is blocked.
pub const DETACHED: CacheTag = CacheTag(2);
/// First tag of the guest's domains.
const FIRST: u16 = 3;

/// Which tags are in use. A tag that was given back is the last to be used again.
pub struct Tags {
    used: Box<[u64]>,
    next: u16,
    free: u32,
}

impl Tags {
    /// Tags that can be in use at once.
    pub const CAPACITY: u32 = u16::MAX as u32 - FIRST as u32 + 1;

    /// All free.
    pub fn new() -> Self {
        Tags { used: vec![0; (1 << 16) / 64].into_boxed_slice(), next: FIRST, free: Self::CAPACITY }
    }

    /// Takes a free tag; `None` when there is none.
    pub fn allocate(&mut self) -> Option<CacheTag> {
        if self.free == 0 {
            return None;
        }
        let candidates = (self.next..=u16::MAX).chain(FIRST..self.next);
        let tag = candidates.map(CacheTag).find(|&tag| !self.is_used(tag))?;
        self.set(tag, |word, bit| word | bit);
        self.free -= 1;
        self.next = tag.0.checked_add(1).unwrap_or(FIRST);
        Some(tag)
    }

    /// Gives a tag back; one that is free stays so.
    pub fn release(&mut self, tag: CacheTag) {
        if self.is_used(tag) {
            self.set(tag, |word, bit| word & !bit);
            self.free += 1;
        }
    }

    fn is_used(&self, tag: CacheTag) -> bool {
        self.used.get(usize::from(tag.0 / 64)).is_some_and(|word| word >> (tag.0 % 64) & 1 == 1)
    }

    fn set(&mut self, tag: CacheTag, change: impl FnOnce(u64, u64) -> u64) {
        if let Some(word) = self.used.get_mut(usize::from(tag.0 / 64)) {
            *word = change(*word, 1 << (tag.0 % 64));
        }
    }
}

impl Default for Tags {
    fn default() -> Self {
        Tags::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_tag_once_and_then_none() {
        let mut tags = Tags::new();
        let all: BTreeSet<_> = core::iter::from_fn(|| tags.allocate()).collect();
        assert_eq!(all.len(), Tags::CAPACITY as usize);
        assert_eq!((all.first(), all.last()), (Some(&CacheTag(3)), Some(&CacheTag(0xffff))));
        tags.release(CacheTag(0x1234));
        assert_eq!(tags.allocate(), Some(CacheTag(0x1234)));
        assert_eq!(tags.allocate(), None);
    }

    #[test]
    fn a_released_tag_is_not_reused_at_once() {
        let mut tags = Tags::new();
        let first = tags.allocate().unwrap();
        tags.release(first);
        assert_ne!(tags.allocate(), Some(first));
    }

    #[test]
    fn releasing_twice_frees_once() {
        let mut tags = Tags::new();
        let tag = tags.allocate().unwrap();
        tags.release(tag);
        tags.release(tag);
        tags.release(CacheTag(0));
        assert_eq!(core::iter::from_fn(|| tags.allocate()).count(), Tags::CAPACITY as usize);
    }
}
