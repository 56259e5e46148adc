// SPDX-License-Identifier: GPL-2.0
//! Pages of statistics, which the root partition's debugfs shows. The hypervisor chooses the page, out of what the
//! partition has deposited.

use alloc::collections::BTreeMap;

use super::memory::Pool;
use crate::ids::Gpa;
use crate::platform::{PageOwner, Platform};
use crate::request::refusal::Refusal;
use crate::request::root::Object;
use crate::status::Status;

/// Counters of the hypervisor, by their index in its page.
mod counter {
    pub const LOGICAL_PROCESSORS: usize = 1;
    pub const PARTITIONS: usize = 2;
    pub const TOTAL_PAGES: usize = 3;
    pub const VIRTUAL_PROCESSORS: usize = 4;
}

/// What is counted in the hypervisor's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Logical processors that run.
    pub logical_processors: u64,
    /// Virtual processors that exist.
    pub virtual_processors: u64,
    /// Pages that were deposited.
    pub pages: u64,
}

/// The pages that are shown.
#[derive(Debug, Default)]
pub struct Statistics {
    pages: BTreeMap<Object, Gpa>,
}

impl Statistics {
    /// None.
    pub fn new() -> Statistics {
        Statistics::default()
    }

    /// Shows the page of an object; one that is shown stays where it is.
    ///
    /// # Errors
    /// [`Status::INSUFFICIENT_MEMORY`].
    pub fn map(
        &mut self,
        platform: &mut impl Platform,
        pool: &mut Pool,
        object: Object,
        census: Census,
    ) -> Result<Gpa, Refusal> {
        let page = match self.pages.get(&object) {
            Some(page) => *page,
            None => {
                let page = pool.take()?;
                // The page is the hypervisor's already, so that nothing has to be split.
                let _ = platform.set_owner(page, PageOwner::Shown);
                page
            }
        };
        self.pages.insert(object, page);
        platform.write(page, &[0; 4096]).map_err(|_| Status::INVALID_PARAMETER)?;
        if object == Object::Hypervisor {
            for (index, value) in [
                (counter::LOGICAL_PROCESSORS, census.logical_processors),
                (counter::PARTITIONS, 1),
                (counter::TOTAL_PAGES, census.pages),
                (counter::VIRTUAL_PROCESSORS, census.virtual_processors),
            ] {
                let at = Gpa(page.0 + 8 * index as u64);
                platform.write(at, &value.to_le_bytes()).map_err(|_| Status::INVALID_PARAMETER)?;
            }
        }
        Ok(page)
    }

    /// Shows the page no longer.
    ///
    /// # Errors
    /// A violation: it was not shown.
    pub fn unmap(&mut self, platform: &mut impl Platform, pool: &mut Pool, object: Object) -> Result<(), Refusal> {
        let page = self.pages.remove(&object).ok_or(Refusal::parameter("statistics that are not mapped"))?;
        hide(platform, pool, page);
        Ok(())
    }

    /// Shows no page any longer.
    pub fn unmap_all(&mut self, platform: &mut impl Platform, pool: &mut Pool) {
        for page in core::mem::take(&mut self.pages).into_values() {
            hide(platform, pool, page);
        }
    }
}

fn hide(platform: &mut impl Platform, pool: &mut Pool, page: Gpa) {
    // As above.
    let _ = platform.set_owner(page, PageOwner::Hypervisor);
    pool.release(page);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::VpIndex;
    use crate::request::list::PageNumber;
    use crate::testing::MockPlatform;
    use alloc::vec::Vec;

    const CENSUS: Census = Census { logical_processors: 4, virtual_processors: 3, pages: 2 };

    #[test]
    fn a_page_is_taken_from_the_pool_and_given_back() {
        let mut platform = MockPlatform::new(Vec::new());
        platform.put_u64(0x5800, 7);
        let (mut pool, mut statistics) = (Pool::new(), Statistics::new());
        let hypervisor = Object::Hypervisor;
        assert_eq!(statistics.map(&mut platform, &mut pool, hypervisor, CENSUS), Err(Status(0x0b).into()));
        pool.deposit(&mut platform, PageNumber(5)).unwrap();
        for _ in 0..2 {
            assert_eq!(statistics.map(&mut platform, &mut pool, hypervisor, CENSUS), Ok(Gpa(0x5000)));
        }
        assert_eq!(platform.owners[&Gpa(0x5000)], PageOwner::Shown);
        assert_eq!(statistics.map(&mut platform, &mut pool, Object::Vp(VpIndex(0)), CENSUS), Err(Status(0x0b).into()));
        let words: Vec<u64> = (0..5).map(|index| platform.get_u64(0x5000 + 8 * index)).collect();
        assert_eq!((words, platform.get_u64(0x5800)), (vec![0, 4, 1, 2, 3], 0));
        assert_eq!(statistics.unmap(&mut platform, &mut pool, hypervisor), Ok(()));
        assert_eq!(platform.owners[&Gpa(0x5000)], PageOwner::Hypervisor);
        assert!(statistics.unmap(&mut platform, &mut pool, hypervisor).unwrap_err().violation.is_some());
        assert_eq!(pool.free(), 1);
        statistics.map(&mut platform, &mut pool, Object::Vp(VpIndex(1)), CENSUS).unwrap();
        statistics.unmap_all(&mut platform, &mut pool);
        assert_eq!(pool.free(), 1);
    }
}
