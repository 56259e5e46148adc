// SPDX-License-Identifier: GPL-2.0

//! The endpoints that are or may be in a domain, and whether the domain can be used.

use super::{
    protocol::EndpointId,
    refusals::Change, //
};
use core::mem;
use kernel::prelude::*;

/// Whether a domain can be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// It can.
    Open,
    /// An endpoint may be in the domain, though the IOMMU core takes it for blocked. Nothing is
    /// mapped, and no endpoint may enter, until all such endpoints are elsewhere for certain. Other
    /// endpoints stay in the domain.
    Stranded,
    /// The device has failed to unmap. Nothing is mapped any more, and no endpoint may enter. The
    /// endpoints that the device could block are blocked. The others are still in the list.
    Closed,
}

/// Whether an endpoint is in a domain.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It is.
    Certain,
    /// It may be.
    Possible,
}

/// An endpoint of a domain.
pub(crate) struct Member {
    id: EndpointId,
    presence: Presence,
}

/// Which attempt to empty a closed domain it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    First,
    /// An endpoint could not be blocked before.
    Later,
}

/// What [`Members::close`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) attempt: Attempt,
    /// How many endpoints this attempt has blocked.
    pub(crate) blocked: usize,
    /// How many endpoints may still be in the domain.
    pub(crate) left: usize,
}

/// The endpoints of a domain.
pub(crate) struct Members {
    /// The endpoints that are or may be in the domain, each of them once. While there are none, the
    /// device does not know the domain.
    list: KVec<Member>,
    condition: Condition,
}

impl Members {
    /// No endpoints, in a domain that can be used.
    pub(crate) fn new() -> Members {
        Members {
            list: KVec::new(),
            condition: Condition::Open,
        }
    }

    /// Whether the domain can be used now.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.condition == Condition::Open
    }

    /// Whether no endpoint is or may be in the domain.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How the device must be told to unmap; [`None`] if it does not know the domain.
    #[inline]
    pub(crate) fn unmapping(&self) -> Option<Change> {
        if self.list.is_empty() {
            return None;
        }
        let mut members = self.list.iter();
        Some(
            if members.any(|member| member.presence == Presence::Certain) {
                Change::Unmap
            } else {
                Change::UnmapIfKnown
            },
        )
    }

    /// How much room [`Self::move_to`] must be given for one more endpoint; [`None`] if there is
    /// room already.
    pub(crate) fn wanted_room(&self) -> Option<usize> {
        let count = self.list.len();
        (count >= self.list.capacity()).then(|| count.saturating_mul(2).saturating_add(1))
    }

    /// Moves the list to `room`, which must not be smaller. Leaves the former memory in `room`,
    /// which the caller frees after the domain is unlocked.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]: `room` is too small. No endpoint is lost.
    pub(crate) fn move_to(&mut self, room: &mut KVec<Member>) -> Result {
        if room.capacity() < self.list.len() {
            return Err(ENOMEM);
        }
        for member in self.list.drain_all() {
            // There is room, as checked above.
            let _ = room.push_within_capacity(member);
        }
        mem::swap(&mut self.list, room);
        Ok(())
    }

    /// Notes that an endpoint is or may be in the domain.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]: there is no room, see [`Self::wanted_room`].
    pub(crate) fn note(&mut self, id: EndpointId, presence: Presence) -> Result {
        let member = Member { id, presence };
        match self.list.iter_mut().find(|member| member.id == id) {
            Some(noted) => *noted = member,
            None => self.list.push_within_capacity(member).map_err(|_| ENOMEM)?,
        }
        self.assess();
        Ok(())
    }

    /// Notes that an endpoint is elsewhere.
    pub(crate) fn remove(&mut self, id: EndpointId) {
        self.list.retain(|member| member.id != id);
        self.assess();
    }

    /// Notes that an endpoint may have left the domain, unless it was not there anyway.
    pub(crate) fn doubt(&mut self, id: EndpointId) {
        if let Some(member) = self.list.iter_mut().find(|member| member.id == id) {
            member.presence = Presence::Possible;
        }
        self.assess();
    }

    /// Blocks all endpoints, and lets no other in. [`None`] if that has emptied the domain before.
    /// An endpoint that `block` could not block stays, and the next caller tries again: each caller
    /// uses memory for something else that the endpoint may reach.
    pub(crate) fn close(
        &mut self,
        block: impl Fn(EndpointId, Attempt) -> Result,
    ) -> Option<Closed> {
        let attempt = match self.condition {
            Condition::Open | Condition::Stranded => Attempt::First,
            Condition::Closed if self.list.is_empty() => return None,
            Condition::Closed => Attempt::Later,
        };
        self.condition = Condition::Closed;
        let before = self.list.len();
        self.list
            .retain(|member| block(member.id, attempt).is_err());
        let left = self.list.len();
        Some(Closed {
            attempt,
            blocked: before.saturating_sub(left),
            left,
        })
    }

    /// Decides whether the domain can be used. A closed one stays closed.
    fn assess(&mut self) {
        let mut members = self.list.iter();
        if self.condition != Condition::Closed {
            self.condition = if members.any(|member| member.presence == Presence::Possible) {
                Condition::Stranded
            } else {
                Condition::Open
            };
        }
    }
}
