// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the list of domains.

use crate::{
    host::{
        aperture::Levels,
        domain_ids::{
            Base,
            DomainId,
            DomainIds, //
        },
        translation::Table, //
    },
    known::{
        counters::Counts,
        list::{
            DomainList,
            Record,
            Unlisted, //
        }, //
    }, //
};
use kernel::prelude::*;

#[allow(unsafe_code)]
#[kunit_tests(hv_pviommu_domain_list)]
mod tests {
    use super::*;

    fn numbers(list: &DomainList) -> Result<KVec<u32>> {
        let mut numbers = KVec::new();
        list.each(|id, _| numbers.push(id.as_u32(), GFP_KERNEL).map_err(Error::from))?;
        Ok(numbers)
    }

    /// Calls `f` for a domain, if it is in the list.
    fn with<R>(list: &DomainList, id: DomainId, f: impl Fn(&Record) -> R) -> Option<R> {
        let mut found = None;
        let _ = list.each(|other, record| {
            if other == id {
                found = Some(f(record));
            }
            Ok::<(), Error>(())
        });
        found
    }

    #[test]
    fn domains_are_listed_by_number_until_they_leave() -> Result {
        let ids = KBox::pin_init(DomainIds::new(Base::Low), GFP_KERNEL)?;
        let list = KBox::pin_init(DomainList::new(), GFP_KERNEL)?;
        let (low, high) = (ids.take()?, ids.take()?);
        let second = Unlisted::new(0x2000, Levels::Five)?.enter(&list, high);
        let first = Unlisted::new(0x1000, Levels::Four)?.enter(&list, low);
        assert!(numbers(&list)?[..] == [low.as_u32(), high.as_u32()]);
        let table = with(&list, high, |record| record.table);
        let expected = Table {
            root: 0x2000,
            levels: Levels::Five,
        };
        assert!(table == Some(expected));
        second.leave(&list, high);
        assert!(numbers(&list)?[..] == [low.as_u32()]);
        assert!(with(&list, high, |_| ()).is_none());
        first.leave(&list, low);
        assert!(numbers(&list)?.is_empty());
        Ok(())
    }

    #[test]
    fn a_number_may_be_taken_before_the_one_who_had_it_leaves() -> Result {
        let ids = KBox::pin_init(DomainIds::new(Base::Low), GFP_KERNEL)?;
        let list = KBox::pin_init(DomainList::new(), GFP_KERNEL)?;
        let id = ids.take()?;
        let old = Unlisted::new(0x1000, Levels::Four)?.enter(&list, id);
        let new = Unlisted::new(0x2000, Levels::Four)?.enter(&list, id);
        old.leave(&list, id);
        let root = with(&list, id, |record| record.table.root);
        assert_eq!(root, Some(0x2000));
        new.leave(&list, id);
        assert!(numbers(&list)?.is_empty());
        Ok(())
    }

    #[cfg(CONFIG_HIBERNATION)]
    #[test]
    fn a_retired_domain_is_not_made_again() -> Result {
        let ids = KBox::pin_init(DomainIds::new(Base::Low), GFP_KERNEL)?;
        let list = KBox::pin_init(DomainList::new(), GFP_KERNEL)?;
        let (retired, other) = (ids.take()?, ids.take()?);
        Unlisted::new(0x1000, Levels::Four)?
            .enter(&list, retired)
            .retire();
        let _kept = Unlisted::new(0x2000, Levels::Four)?.enter(&list, other);
        let (mut count, mut root) = (0, 0);
        list.at_rest()?.each(|id, table| {
            if id == other {
                root = table.root;
            }
            count += 1;
        });
        assert_eq!((count, root), (1, 0x2000));
        Ok(())
    }

    #[test]
    fn hypercalls_are_counted_and_retired_domains_stay() -> Result {
        let ids = KBox::pin_init(DomainIds::new(Base::Low), GFP_KERNEL)?;
        let list = KBox::pin_init(DomainList::new(), GFP_KERNEL)?;
        let id = ids.take()?;
        let listed = Unlisted::new(0x1000, Levels::Four)?.enter(&list, id);
        listed.counters().count_list(3);
        listed.counters().count_list(1);
        listed.counters().count_failure();
        listed.counters().count_whole();
        listed.counters().count_failure();
        assert_eq!(with(&list, id, |record| record.is_retired()), Some(false));
        listed.retire();
        let seen = with(&list, id, |record| {
            (record.counters.counts(), record.is_retired())
        });
        let expected = Counts {
            lists: 2,
            descriptors: 4,
            wholes: 1,
            failures: 2,
        };
        assert!(seen == Some((expected, true)));
        Ok(())
    }
}
