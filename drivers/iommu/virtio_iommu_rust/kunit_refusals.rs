// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of what the driver does when the device refuses a request.

use super::{
    homes::{
        Admission,
        Homes, //
    },
    ids::EndpointIds,
    members::{
        Attempt,
        Closed,
        Members,
        Presence, //
    },
    moves::{
        self,
        Mover, //
    },
    protocol::EndpointId,
    refusals::Change, //
};
use core::cell::Cell;
use kernel::{
    iommu::probed::Demand,
    prelude::*,
    sync::Arc, //
};

/// Places where endpoints can be: two domains, the blocking domain, and no domain.
const U: &str = "U";
const V: &str = "V";
const BLOCKED: &str = "blocked";
const NOWHERE: &str = "";

const FIRST: EndpointId = EndpointId(7);
const SECOND: EndpointId = EndpointId(8);

/// A device that refuses to move some endpoints to some places.
#[derive(Default)]
struct Refusing<'a> {
    refused: &'a [(EndpointId, &'static str)],
    said_blocked: Cell<usize>,
    said_lost: Cell<usize>,
}

impl<'a> Refusing<'a> {
    fn new(refused: &'a [(EndpointId, &'static str)]) -> Refusing<'a> {
        Refusing {
            refused,
            ..Refusing::default()
        }
    }

    fn takes(&self, id: EndpointId, to: &'static str) -> bool {
        !self.refused.contains(&(id, to))
    }
}

impl Mover<&'static str> for Refusing<'_> {
    const BLOCKING: &'static str = BLOCKED;

    fn is_domain(place: &&'static str) -> bool {
        [U, V].contains(place)
    }

    fn prepare(&self, _: &mut Homes<&'static str>, _: &EndpointIds, _: &&'static str) -> Result {
        Ok(())
    }

    fn move_one(
        &self,
        homes: &mut Homes<&'static str>,
        id: EndpointId,
        to: &&'static str,
    ) -> Result {
        if *to == NOWHERE {
            return Err(EINVAL);
        }
        if self.takes(id, to) {
            homes.note_arrived(id, *to);
            return Ok(());
        }
        // The driver tries to block an endpoint that was refused.
        if self.takes(id, BLOCKED) {
            homes.note_arrived(id, BLOCKED);
        } else {
            homes.note_lost(id, *to);
        }
        Err(EIO)
    }

    fn say_blocked(&self, _: &EndpointIds, _: Error) {
        self.said_blocked.set(self.said_blocked.get() + 1);
    }

    fn say_lost(&self, _: EndpointId) {
        self.said_lost.set(self.said_lost.get() + 1);
    }
}

/// A device of these endpoints, and a record that has them all in a place.
fn device(
    ids: &[u32],
    admission: Admission,
    place: &'static str,
) -> Result<(Arc<EndpointIds>, Homes<&'static str>)> {
    let ids = Arc::new(EndpointIds::new(ids)?, GFP_KERNEL)?;
    let mut homes = Homes::new();
    homes.add(&ids, admission)?;
    if place != NOWHERE {
        ids.iter().for_each(|id| homes.note_arrived(id, place));
    }
    Ok((ids, homes))
}

#[kunit_tests(virtio_iommu_rust_refusals)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_domain_is_emptied_at_a_later_attempt() -> Result {
        let mut members = Members::new();
        let mut room = KVec::with_capacity(2, GFP_KERNEL)?;
        members.move_to(&mut room)?;
        members.note(FIRST, Presence::Certain)?;
        members.note(SECOND, Presence::Certain)?;
        // The device refuses to block one of them.
        let closed = members.close(|id, attempt| {
            assert!(attempt == Attempt::First);
            if id == FIRST {
                Ok(())
            } else {
                Err(ENOMEM)
            }
        });
        let (blocked, left) = (1, 1);
        let attempt = Attempt::First;
        assert!(
            closed
                == Some(Closed {
                    attempt,
                    blocked,
                    left
                })
        );
        assert!(!members.is_open() && !members.is_empty());
        // It is still told of what is unmapped.
        assert!(members.unmapping() == Some(Change::Unmap));
        let attempt = Attempt::Later;
        let closed = members.close(|_, _| Err(ENOMEM));
        let (blocked, left) = (0, 1);
        assert!(
            closed
                == Some(Closed {
                    attempt,
                    blocked,
                    left
                })
        );
        // Only the endpoint that is left is blocked.
        let closed = members.close(|id, _| if id == SECOND { Ok(()) } else { Err(EIO) });
        let (blocked, left) = (1, 0);
        assert!(
            closed
                == Some(Closed {
                    attempt,
                    blocked,
                    left
                })
        );
        assert!(members.close(|_, _| Err(EIO)).is_none());
        assert!(!members.is_open() && members.is_empty());
        Ok(())
    }

    #[test]
    fn no_entry_is_no_refusal_of_an_unmap_where_nobody_may_be() -> Result {
        let mut members = Members::new();
        let mut room = KVec::with_capacity(2, GFP_KERNEL)?;
        members.move_to(&mut room)?;
        assert!(members.unmapping().is_none());
        members.note(FIRST, Presence::Certain)?;
        assert!(members.unmapping() == Some(Change::Unmap));
        members.note(SECOND, Presence::Possible)?;
        assert!(members.unmapping() == Some(Change::Unmap));
        members.doubt(FIRST);
        assert!(members.unmapping() == Some(Change::UnmapIfKnown));
        for change in [Change::Map, Change::Unmap, Change::UnmapIfKnown] {
            assert!(!change.is_refused_by(Ok(())));
            assert!(change.is_refused_by(Err(ERANGE)));
            assert!(change.is_refused_by(Err(EIO)));
            let is_refusal = change != Change::UnmapIfKnown;
            assert!(change.is_refused_by(Err(ENOENT)) == is_refusal);
        }
        Ok(())
    }

    #[test]
    fn a_device_that_is_refused_at_boot_is_blocked() -> Result {
        let refusing = Refusing::new(&[(SECOND, U)]);
        let (ids, mut homes) = device(&[7, 8], Admission::Admitted, NOWHERE)?;
        let which = (&ids, Admission::Admitted);
        assert!(moves::put(&refusing, &mut homes, which, &U, Demand::Mandatory) == Ok(()));
        assert!(homes.is_at(FIRST, &BLOCKED) && homes.is_at(SECOND, &BLOCKED));
        assert_eq!(refusing.said_blocked.get(), 1);
        assert_eq!(refusing.said_lost.get(), 0);
        Ok(())
    }

    #[test]
    fn a_device_that_cannot_be_blocked_at_boot_keeps_no_other_from_translation() -> Result {
        let refusing = Refusing::new(&[(FIRST, U), (FIRST, BLOCKED)]);
        for admission in [Admission::Admitted, Admission::BlockedOnly] {
            let (ids, mut homes) = device(&[7], admission, NOWHERE)?;
            let which = (&ids, admission);
            assert!(moves::put(&refusing, &mut homes, which, &U, Demand::Mandatory) == Ok(()));
            assert!(homes.known(FIRST).is_none());
            // Nothing says that it is blocked.
            assert_eq!(refusing.said_blocked.get(), 0);
        }
        Ok(())
    }

    #[test]
    fn a_device_that_may_be_in_its_former_domain_was_not_moved() -> Result {
        let refusing = Refusing::new(&[(SECOND, U), (SECOND, BLOCKED)]);
        let (ids, mut homes) = device(&[7, 8], Admission::Admitted, V)?;
        let which = (&ids, Admission::Admitted);
        assert!(moves::put(&refusing, &mut homes, which, &U, Demand::Mandatory) == Err(EIO));
        assert!(homes.is_at(FIRST, &BLOCKED));
        assert!(homes.may_be_at(SECOND, &V) && homes.may_be_at(SECOND, &U));
        Ok(())
    }

    #[test]
    fn a_refusal_that_the_core_can_handle_is_an_error() -> Result {
        let refusing = Refusing::new(&[(SECOND, U)]);
        let (ids, mut homes) = device(&[7, 8], Admission::Admitted, V)?;
        let which = (&ids, Admission::Admitted);
        assert!(moves::put(&refusing, &mut homes, which, &U, Demand::Optional) == Err(EIO));
        assert!(homes.is_at(FIRST, &V) && homes.is_at(SECOND, &V));
        assert_eq!(refusing.said_blocked.get(), 0);
        Ok(())
    }

    #[test]
    fn a_refused_device_leaves_endpoints_where_another_one_needs_them() -> Result {
        let refusing = Refusing::new(&[(SECOND, U)]);
        let (ids, mut homes) = device(&[7, 8], Admission::Admitted, NOWHERE)?;
        let other = Arc::new(EndpointIds::new(&[7])?, GFP_KERNEL)?;
        homes.add(&other, Admission::Admitted)?;
        let others = (&other, Admission::Admitted);
        assert!(moves::put(&refusing, &mut homes, others, &U, Demand::Mandatory) == Ok(()));
        let which = (&ids, Admission::Admitted);
        assert!(moves::put(&refusing, &mut homes, which, &U, Demand::Mandatory) == Ok(()));
        assert!(homes.is_at(FIRST, &U) && homes.is_at(SECOND, &BLOCKED));
        Ok(())
    }
}
