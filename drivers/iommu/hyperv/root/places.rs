// SPDX-License-Identifier: GPL-2.0

//! The domain of each requester, as far as the hypervisor said.
//!
//! The hypervisor tells devices apart by requester ids. A device has one or several; devices behind
//! one bridge may share one. The recorded place of a requester changes only when the hypervisor has
//! said that it moved. A failed call may have moved it nevertheless. That is recorded as a doubt,
//! until a later call removes it.
//!
//! Devices that share a requester are in one group, and the IOMMU core moves them one after the
//! other to the same domain. The first move takes the requester there, and the others find it
//! there. When a device is released, the requester stays for the other devices; the last device has
//! it blocked.
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// Where DMA of a requester goes.
///
/// Readers of crash dumps depend on these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Place<D> {
    /// Where the kernel found it: in identity, or where a crashed kernel had it.
    Initial = 0,
    /// In a domain, which may be the identity or the blocking domain.
    In(D) = 1,
    /// In no domain, so its DMA is blocked.
    Detached = 2,
    /// The hypervisor no longer knows it.
    Gone = 3,
}

/// Where a requester may be instead of its place.
///
/// Readers of crash dumps depend on these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Doubt<D> {
    /// Nowhere else.
    None = 0,
    /// In this domain.
    In(D) = 1,
    /// In any domain: several calls in a row did not say what they did.
    Anywhere = 2,
}

impl<D: Copy + PartialEq> Doubt<D> {
    /// Notes that a call, which should put the requester into `domain`, did not say what it did.
    fn add(&mut self, domain: D) {
        *self = match *self {
            Doubt::None => Doubt::In(domain),
            Doubt::In(other) if other == domain => Doubt::In(domain),
            _ => Doubt::Anywhere,
        };
    }
}

/// What the hypervisor answered to an attach or a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<F> {
    /// It was done.
    Done,
    /// Of an attach: the requester is in a domain already, perhaps in this one. Nothing was done.
    Already(F),
    /// There is no such requester.
    Gone(F),
    /// Nothing was done.
    Refused(F),
    /// It may have been done, or may still be done.
    Unclear(F),
}

/// The hypercalls that move requesters.
pub(crate) trait Switch {
    /// Names a requester.
    type Id: Copy + PartialEq;
    /// Names a domain.
    type Domain: Copy + PartialEq;
    /// Why a call has failed.
    type Failure: Copy;

    /// The domain that lets nothing through.
    const BLOCKING: Self::Domain;
    /// The domain that translates nothing, in which requesters are found.
    const IDENTITY: Self::Domain;

    /// Puts a requester into a domain, in place of the one it is in.
    fn attach(&self, id: Self::Id, domain: Self::Domain) -> Answer<Self::Failure>;

    /// Takes a requester out of its domain. Its DMA is blocked from then on.
    fn detach(&self, id: Self::Id) -> Answer<Self::Failure>;
}

/// Who uses the device of a requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A driver of the kernel, which stops the device at shutdown; or nobody.
    Kernel,
    /// Somebody else, such as a program: the device may do DMA until the last processor stops.
    Other,
}

/// What happens to a requester when the next kernel takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handover {
    /// It stays where it was found.
    Stays,
    /// It goes back to identity.
    ToIdentity,
    /// It is blocked. In identity, a program could make the device read and write all memory, this
    /// kernel's and the next one's.
    Blocked,
}

/// A requester: a source of DMA, as the hypervisor knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Requester<I, D> {
    /// Its id.
    pub(crate) id: I,
    /// Where it is.
    pub(crate) place: Place<D>,
    /// Where it may be instead.
    pub(crate) doubt: Doubt<D>,
    /// Where it was before the attach that is being made.
    before: Place<D>,
    /// Whether it is at its place.
    certainty: Certainty,
    /// Who uses its devices.
    holder: Holder,
    /// How many devices have it.
    pub(crate) users: u32,
}

/// Whether a requester is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// Nothing has moved it so far, and no call has tried to that could still be carried out.
    Found,
    /// The last call that could have moved it said what it did.
    Known,
    /// That call did not say; or another device may have the requester than when the call was made.
    Open,
}

impl<I: Copy + PartialEq, D: Copy + PartialEq> Requester<I, D> {
    /// A requester of one device, which the driver has not moved yet.
    pub(crate) fn new(id: I) -> Self {
        Requester {
            id,
            place: Place::Initial,
            doubt: Doubt::None,
            before: Place::Initial,
            certainty: Certainty::Found,
            holder: Holder::Kernel,
            users: 1,
        }
    }

    /// Notes that one more device has the requester.
    pub(crate) fn enter(&mut self) {
        if self.users == 0 {
            // It may be another device than the one that was blocked.
            self.certainty = Certainty::Open;
        }
        self.users = self.users.saturating_add(1);
    }

    /// What happens to it when the next kernel takes over.
    pub(crate) fn handover(&self) -> Handover {
        match (self.holder, self.place, self.doubt) {
            (Holder::Other, _, _) => Handover::Blocked,
            (Holder::Kernel, Place::Initial, Doubt::None) => Handover::Stays,
            (Holder::Kernel, _, _) => Handover::ToIdentity,
        }
    }

    /// Whether it is in a domain for certain, so that no call has to put it there.
    fn is_in(&self, domain: D) -> bool {
        self.certainty == Certainty::Known && self.place == Place::In(domain)
    }

    /// Whether it is in no domain for certain.
    fn is_detached(&self) -> bool {
        self.certainty == Certainty::Known && self.place == Place::Detached
    }

    /// Notes where it is, as the hypervisor has said.
    fn settle(&mut self, place: Place<D>) {
        self.place = place;
        self.doubt = Doubt::None;
        self.certainty = Certainty::Known;
    }

    /// Whether it is in a domain, or may be.
    pub(crate) fn touches(&self, domain: D) -> bool {
        let may_be_in = match self.doubt {
            Doubt::None => false,
            Doubt::In(other) => other == domain,
            Doubt::Anywhere => true,
        };
        may_be_in || self.place == Place::In(domain)
    }

    /// Puts it into a domain, and notes the result.
    fn attach<S: Switch<Id = I, Domain = D>>(
        &mut self,
        switch: &S,
        domain: D,
    ) -> Answer<S::Failure> {
        let mut answer = switch.attach(self.id, domain);
        if let Answer::Already(failure) = answer {
            answer = self.attach_elsewhere(switch, domain, failure);
        }
        match answer {
            Answer::Done => self.settle(Place::In(domain)),
            // That it is gone takes two calls that say so. If the first was wrong, the detach
            // blocks the device.
            Answer::Gone(failure) => match self.detach(switch) {
                Answer::Gone(_) | Answer::Done => {}
                Answer::Already(_) | Answer::Refused(_) | Answer::Unclear(_) => {
                    self.certainty = Certainty::Open;
                    return Answer::Refused(failure);
                }
            },
            Answer::Already(_) | Answer::Refused(_) => {}
            Answer::Unclear(_) => {
                self.certainty = Certainty::Open;
                // A device that may be in the blocking domain does no harm there.
                if domain != S::BLOCKING {
                    self.doubt.add(domain);
                }
            }
        }
        answer
    }

    /// Attaches it although the hypervisor says that it is in a domain already. That is believed of
    /// identity, where requesters are found that nobody has tried to move. From any other place it
    /// is taken out, and attached again.
    fn attach_elsewhere<S: Switch<Id = I, Domain = D>>(
        &mut self,
        switch: &S,
        domain: D,
        failure: S::Failure,
    ) -> Answer<S::Failure> {
        if self.certainty == Certainty::Found && domain == S::IDENTITY {
            return Answer::Done;
        }
        if self.is_detached() {
            return Answer::Refused(failure);
        }
        match switch.detach(self.id) {
            Answer::Done => {
                self.settle(Place::Detached);
                switch.attach(self.id, domain)
            }
            Answer::Gone(_) => Answer::Gone(failure),
            Answer::Already(_) | Answer::Refused(_) => Answer::Refused(failure),
            Answer::Unclear(_) => Answer::Unclear(failure),
        }
    }

    /// Takes it out of its domain, and notes the result.
    fn detach<S: Switch<Id = I, Domain = D>>(&mut self, switch: &S) -> Answer<S::Failure> {
        let answer = switch.detach(self.id);
        match answer {
            Answer::Done => self.settle(Place::Detached),
            Answer::Gone(_) => self.settle(Place::Gone),
            Answer::Already(_) | Answer::Refused(_) => {}
            Answer::Unclear(_) => self.certainty = Certainty::Open,
        }
        answer
    }

    /// Blocks it, by the blocking domain or by a detach.
    ///
    /// # Errors
    ///
    /// Neither works. It is where its place and its doubt say.
    fn block<S: Switch<Id = I, Domain = D>>(&mut self, switch: &S) -> Result<(), S::Failure> {
        if self.is_in(S::BLOCKING) {
            return Ok(());
        }
        let failure = match self.attach(switch, S::BLOCKING) {
            Answer::Done | Answer::Gone(_) => return Ok(()),
            Answer::Already(failure) | Answer::Refused(failure) | Answer::Unclear(failure) => {
                failure
            }
        };
        if self.is_detached() {
            return Ok(());
        }
        match self.detach(switch) {
            Answer::Done | Answer::Gone(_) => Ok(()),
            Answer::Already(_) | Answer::Refused(_) | Answer::Unclear(_) => Err(failure),
        }
    }

    /// Puts it back where it was. If that fails, blocks it. If that fails, too, it stays where it
    /// is, and its place says so.
    fn put_back<S: Switch<Id = I, Domain = D>>(&mut self, switch: &S) {
        if let Place::In(domain) = self.before {
            if self.is_in(domain) {
                return;
            }
            if matches!(self.attach(switch, domain), Answer::Done | Answer::Gone(_)) {
                return;
            }
        }
        // If this fails, nothing else can be done.
        let _ = self.block(switch);
    }
}

fn find<I: Copy + PartialEq, D: Copy>(
    all: &mut [Requester<I, D>],
    id: I,
) -> Option<&mut Requester<I, D>> {
    all.iter_mut().find(|requester| requester.id == id)
}

/// Whether the hypervisor knows a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It knows at least one requester of the device.
    There,
    /// It knows none.
    Gone,
}

/// Puts a device with these requesters into a domain: all of them, or none. A requester that is in
/// the domain already, because of another device, is left alone. So is one that the hypervisor does
/// not know, as it does no DMA: a device can have an id that only some machines use. `holder` uses
/// the device afterwards.
///
/// # Errors
///
/// Everything that was done is undone. Each requester is where it was, or is blocked. If neither is
/// possible, it is where its place and its doubt say.
pub(crate) fn put<S: Switch>(
    switch: &S,
    all: &mut [Requester<S::Id, S::Domain>],
    ids: &[S::Id],
    domain: S::Domain,
    holder: Holder,
) -> Result<Presence, S::Failure> {
    let mut presence = Presence::Gone;
    for (index, id) in ids.iter().enumerate() {
        let Some(requester) = find(all, *id) else {
            continue;
        };
        requester.before = requester.place;
        if requester.is_in(domain) {
            presence = Presence::There;
            continue;
        }
        let failure = match requester.attach(switch, domain) {
            Answer::Done => {
                presence = Presence::There;
                continue;
            }
            Answer::Gone(_) if requester.place == Place::Gone => continue,
            // The second call knew it, and has blocked it.
            Answer::Gone(failure) => failure,
            Answer::Already(failure) | Answer::Refused(failure) => {
                if requester.place != requester.before {
                    requester.put_back(switch);
                }
                failure
            }
            Answer::Unclear(failure) => {
                requester.put_back(switch);
                failure
            }
        };
        for other in ids.iter().take(index) {
            if let Some(requester) = find(all, *other) {
                requester.put_back(switch);
            }
        }
        return Err(failure);
    }
    for id in ids {
        if let Some(requester) = find(all, *id) {
            requester.holder = holder;
        }
    }
    Ok(presence)
}

/// Blocks all requesters of a device, even if one of them fails. `holder` uses the device in any
/// case.
///
/// # Errors
///
/// The last failure. Requesters that could not be blocked are where their places and doubts say.
pub(crate) fn block<S: Switch>(
    switch: &S,
    all: &mut [Requester<S::Id, S::Domain>],
    ids: &[S::Id],
    holder: Holder,
) -> Result<(), S::Failure> {
    let mut result = Ok(());
    for id in ids {
        if let Some(requester) = find(all, *id) {
            requester.holder = holder;
            if let Err(failure) = requester.block(switch) {
                result = Err(failure);
            }
        }
    }
    result
}

/// Releases a device with these requesters. Those that no other device has are blocked. The others
/// stay in the domain of the devices that have them.
///
/// # Errors
///
/// The last failure. Requesters that could not be blocked are where their places and doubts say.
pub(crate) fn release<S: Switch>(
    switch: &S,
    all: &mut [Requester<S::Id, S::Domain>],
    ids: &[S::Id],
) -> Result<(), S::Failure> {
    let mut result = Ok(());
    for id in ids {
        let Some(requester) = find(all, *id) else {
            continue;
        };
        requester.users = requester.users.saturating_sub(1);
        if requester.users > 0 {
            continue;
        }
        requester.holder = Holder::Kernel;
        if let Err(failure) = requester.block(switch) {
            result = Err(failure);
        }
    }
    result
}

/// How many requesters were blocked when their domain was closed, and how many were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    /// Requesters that are blocked.
    pub(crate) blocked: u32,
    /// Requesters that may still be in the domain.
    pub(crate) left: u32,
}

/// Blocks all requesters that are in a domain, or may be.
pub(crate) fn close<S: Switch>(
    switch: &S,
    all: &mut [Requester<S::Id, S::Domain>],
    domain: S::Domain,
) -> Closed {
    let mut closed = Closed::default();
    for requester in all.iter_mut().filter(|r| r.touches(domain)) {
        match requester.block(switch) {
            Ok(()) => closed.blocked += 1,
            Err(_) => closed.left += 1,
        }
    }
    closed
}

/// How many requesters the next kernel does not find in identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Requesters that are blocked because a program uses their devices.
    pub(crate) held: u32,
    /// Requesters that should be in identity or blocked, but are not.
    pub(crate) astray: u32,
}

/// Counts the results of the handover.
pub(crate) fn survey<S: Switch>(all: &[Requester<S::Id, S::Domain>]) -> Survey {
    let mut survey = Survey::default();
    for requester in all {
        let is_blocked =
            requester.place == Place::In(S::BLOCKING) || requester.place == Place::Detached;
        match (requester.handover(), requester.place) {
            (Handover::Stays, _) | (_, Place::Gone) => {}
            (Handover::Blocked, _) if is_blocked => survey.held += 1,
            (Handover::ToIdentity, Place::In(domain)) if domain == S::IDENTITY => {}
            (Handover::ToIdentity | Handover::Blocked, _) => survey.astray += 1,
        }
    }
    survey
}

/// How many requesters are in a domain, or may be.
pub(crate) fn count_in<I: Copy + PartialEq, D: Copy + PartialEq>(
    all: &[Requester<I, D>],
    domain: D,
) -> usize {
    all.iter().filter(|r| r.touches(domain)).count()
}

/// Whether a device with these requesters is in a domain, or may be.
pub(crate) fn is_device_in<I: Copy + PartialEq, D: Copy + PartialEq>(
    all: &[Requester<I, D>],
    ids: &[I],
    domain: D,
) -> bool {
    let mut own = all.iter().filter(|r| ids.contains(&r.id));
    own.any(|r| r.touches(domain))
}
