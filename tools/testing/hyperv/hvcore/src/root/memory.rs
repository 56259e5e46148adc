// SPDX-License-Identifier: GPL-2.0
//! Memory that the root partition has given to the hypervisor.

use alloc::collections::BTreeSet;

use super::PAGE_BYTES;
use crate::ids::Gpa;
use crate::platform::{PageOwner, Platform};
use crate::request::list::PageNumber;
use crate::request::refusal::Refusal;
use crate::status::Status;

/// The pages, used or not.
#[derive(Debug, Default)]
pub struct Pool {
    free: BTreeSet<Gpa>,
    used: BTreeSet<Gpa>,
}

impl Pool {
    /// Nothing.
    pub fn new() -> Pool {
        Pool::default()
    }

    /// The partition gives the page with this number.
    ///
    /// # Errors
    /// [`Status::NO_RESOURCES`] when the hypervisor cannot keep track of it. A violation: no memory of the partition's, or
    /// given already.
    pub fn deposit(&mut self, platform: &mut impl Platform, page: PageNumber) -> Result<(), Refusal> {
        let address = page.address().filter(|&address| platform.is_guest_ram(address, PAGE_BYTES));
        let address = address.ok_or(Refusal::parameter("a page that is no memory of the partition's"))?;
        if self.contains(address) {
            return Err(Refusal::parameter("a page that has been deposited"));
        }
        platform.set_owner(address, PageOwner::Hypervisor).map_err(|_| Status::NO_RESOURCES)?;
        self.free.insert(address);
        Ok(())
    }

    /// Gives a page that is not in use back to the partition; `None` when there is none.
    pub fn withdraw(&mut self, platform: &mut impl Platform) -> Option<Gpa> {
        const ZEROES: [u8; PAGE_BYTES as usize] = [0; PAGE_BYTES as usize];
        let page = self.free.pop_first()?;
        // What the hypervisor kept there is nobody's business; the page is RAM, and nothing is split to give it back.
        let _ = platform.write(page, &ZEROES);
        let _ = platform.set_owner(page, PageOwner::Partition);
        Some(page)
    }

    /// Uses a page.
    ///
    /// # Errors
    /// [`Status::INSUFFICIENT_MEMORY`]: the partition must deposit more.
    pub fn take(&mut self) -> Result<Gpa, Refusal> {
        let page = self.free.pop_first().ok_or(Refusal::from(Status::INSUFFICIENT_MEMORY))?;
        self.used.insert(page);
        Ok(page)
    }

    /// Uses a page no longer; one that is not in use stays as it is.
    pub fn release(&mut self, page: Gpa) {
        if self.used.remove(&page) {
            self.free.insert(page);
        }
    }

    /// Whether the page has been given.
    pub fn contains(&self, page: Gpa) -> bool {
        self.free.contains(&page) || self.used.contains(&page)
    }

    /// Whether one of these bytes has been given.
    pub fn overlaps(&self, gpa: Gpa, bytes: u64) -> bool {
        let first = Gpa(gpa.0 & !(PAGE_BYTES - 1));
        let end = Gpa(gpa.0.saturating_add(bytes));
        self.free.range(first..end).next().is_some() || self.used.range(first..end).next().is_some()
    }

    /// Pages that nothing uses.
    pub fn free(&self) -> u64 {
        self.free.len() as u64
    }

    /// All pages.
    pub fn total(&self) -> u64 {
        (self.free.len() + self.used.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MockPlatform, RAM_BYTES};
    use alloc::vec::Vec;

    #[test]
    fn pages_come_and_go() {
        let mut platform = MockPlatform::new(Vec::new());
        let mut pool = Pool::new();
        assert_eq!(pool.take(), Err(Status(0x0b).into()));
        for page in [7, 5, 6] {
            assert_eq!(pool.deposit(&mut platform, PageNumber(page)), Ok(()));
        }
        assert!(platform.owners.values().all(|owner| *owner == PageOwner::Hypervisor) && platform.owners.len() == 3);
        assert!(pool.deposit(&mut platform, PageNumber(5)).unwrap_err().violation.is_some());
        for (gpa, bytes, expected) in
            [(0x4fff, 1, false), (0x4fff, 2, true), (0x7fff, 1, true), (0x8000, 9, false), (0, 0x9000, true)]
        {
            assert_eq!(pool.overlaps(Gpa(gpa), bytes), expected, "{gpa:#x} {bytes}");
        }
        let page = pool.take().unwrap();
        assert_eq!((page, pool.free(), pool.total()), (Gpa(0x5000), 2, 3));
        assert!(pool.contains(page) && pool.deposit(&mut platform, PageNumber(5)).is_err());
        pool.release(page);
        pool.release(page);
        assert_eq!(pool.free(), 3);
        platform.put_u64(0x6000, 0x1234);
        assert_eq!(core::iter::from_fn(|| pool.withdraw(&mut platform)).count(), 3);
        assert_eq!((pool.total(), platform.owners.len(), platform.get_u64(0x6000)), (0, 0, 0));
        platform.watch_limit = 1;
        assert_eq!(pool.deposit(&mut platform, PageNumber(5)), Ok(()));
        assert_eq!(pool.deposit(&mut platform, PageNumber(6)), Err(Status::NO_RESOURCES.into()));
        assert_eq!(pool.total(), 1);
    }

    #[test]
    fn only_memory_can_be_given() {
        let mut platform = MockPlatform::new(Vec::new());
        let mut pool = Pool::new();
        for page in [RAM_BYTES as u64 >> 12, u64::MAX, 1 << 52, 1 << 63] {
            assert_eq!(pool.deposit(&mut platform, PageNumber(page)).unwrap_err().status, Status(5), "{page:#x}");
        }
        assert_eq!(pool.deposit(&mut platform, PageNumber((RAM_BYTES as u64 >> 12) - 1)), Ok(()));
    }
}
