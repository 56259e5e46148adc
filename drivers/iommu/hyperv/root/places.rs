// SPDX-License-Identifier: GPL-2.0

//! Which requester is in which domain, as far as the hypervisor said.
//!
//! A requester is what the hypervisor tells devices apart by. A device has one, or several; several
//! devices behind one bridge have the same. A place changes when the hypervisor has said so, and
//! not before. What a failed call may have done all the same is kept as a doubt, until a call says
//! more.
//!
//! Devices that have a requester in common are in one group, and the IOMMU core moves them one
//! after the other to the same domain. The first one moves the requester, and the others find it
//! there. When one of them goes, the requester stays for the others; the last one has it blocked.
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// Where DMA of a requester goes.
///
/// Readers of crash dumps go by these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Place<D> {
    /// Where it was found: identity, or where a kernel that has crashed had it.
    Initial = 0,
    /// Through a domain. Identity is one, and that which blocks is another.
    In(D) = 1,
    /// Nowhere: it is in no domain.
    Detached = 2,
    /// The hypervisor does not know it any more.
    Gone = 3,
}

/// Where a requester may be, besides its place.
///
/// Readers of crash dumps go by these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Doubt<D> {
    /// Nowhere else.
    None = 0,
    /// In this domain.
    In(D) = 1,
    /// In any: several calls in a row did not say what they did.
    Anywhere = 2,
}

impl<D: Copy + PartialEq> Doubt<D> {
    /// A call about another domain did not say what it did, either.
    fn add(&mut self, domain: D) {
        *self = match *self {
            Doubt::None => Doubt::In(domain),
            Doubt::In(other) if other == domain => Doubt::In(domain),
            _ => Doubt::Anywhere,
        };
    }
}

/// What the hypervisor said of an attach or a detach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<F> {
    /// It was done, or was so already.
    Done,
    /// There is no such requester.
    Gone(F),
    /// Nothing was done.
    Refused(F),
    /// It may have been done, or be done yet.
    Unclear(F),
}

/// The calls.
pub(crate) trait Switch {
    /// Names a requester.
    type Id: Copy + PartialEq;
    /// Names a domain.
    type Domain: Copy + PartialEq;
    /// Why a call did not do what was asked.
    type Failure: Copy;

    /// The domain that lets nothing through.
    const BLOCKING: Self::Domain;
    /// The domain that translates nothing, in which requesters are found.
    const IDENTITY: Self::Domain;

    /// Puts a requester into a domain, out of any other.
    fn attach(&self, id: Self::Id, domain: Self::Domain) -> Answer<Self::Failure>;

    /// Takes a requester out of its domain; it is blocked.
    fn detach(&self, id: Self::Id) -> Answer<Self::Failure>;
}

/// Who has the device of a requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A driver of the kernel's, which stops the device when the kernel is left; or nobody.
    Kernel,
    /// Somebody else, as a program is: the device goes on until the last processor stops.
    Other,
}

/// What becomes of a requester when the next kernel takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handover {
    /// It is where it was found.
    Stays,
    /// It goes back to identity.
    ToIdentity,
    /// It is blocked. In identity, a program could have the device read and write all memory, this
    /// kernel's and the next one's.
    Blocked,
}

/// A requester.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Requester<I, D> {
    /// Its name.
    pub(crate) id: I,
    /// Where it is.
    pub(crate) place: Place<D>,
    /// Where it may be instead.
    pub(crate) doubt: Doubt<D>,
    /// Where it was before the attach that is under way.
    before: Place<D>,
    /// Whether it is at its place.
    certainty: Certainty,
    /// Who has its devices.
    holder: Holder,
    /// Devices that have it.
    pub(crate) users: u32,
}

/// Whether a requester is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    /// The last call that could have moved it said what it did.
    Known,
    /// That call did not; or a device has the requester that was not there when it was made.
    Open,
}

impl<I: Copy + PartialEq, D: Copy + PartialEq> Requester<I, D> {
    /// One that nobody has used yet.
    pub(crate) fn new(id: I) -> Self {
        Requester {
            id,
            place: Place::Initial,
            doubt: Doubt::None,
            before: Place::Initial,
            certainty: Certainty::Open,
            holder: Holder::Kernel,
            users: 1,
        }
    }

    /// One more device has it.
    pub(crate) fn enter(&mut self) {
        if self.users == 0 {
            // It may be another device than the one that was blocked.
            self.certainty = Certainty::Open;
        }
        self.users = self.users.saturating_add(1);
    }

    /// What becomes of it when the next kernel takes over.
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

    /// The hypervisor has said where it is.
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

    /// Asks to put it into a domain, and notes what came of it.
    fn attach<S: Switch<Id = I, Domain = D>>(
        &mut self,
        switch: &S,
        domain: D,
    ) -> Answer<S::Failure> {
        let answer = switch.attach(self.id, domain);
        match answer {
            Answer::Done => self.settle(Place::In(domain)),
            // It takes two calls to say so. If the first was wrong, the second one blocks the
            // device.
            Answer::Gone(failure) => match self.detach(switch) {
                Answer::Gone(_) | Answer::Done => {}
                Answer::Refused(_) | Answer::Unclear(_) => {
                    self.certainty = Certainty::Open;
                    return Answer::Refused(failure);
                }
            },
            Answer::Refused(_) => {}
            Answer::Unclear(_) => {
                self.certainty = Certainty::Open;
                // In the domain that blocks it does no harm.
                if domain != S::BLOCKING {
                    self.doubt.add(domain);
                }
            }
        }
        answer
    }

    /// Asks to take it out of its domain, and notes what came of it.
    fn detach<S: Switch<Id = I, Domain = D>>(&mut self, switch: &S) -> Answer<S::Failure> {
        let answer = switch.detach(self.id);
        match answer {
            Answer::Done => self.settle(Place::Detached),
            Answer::Gone(_) => self.settle(Place::Gone),
            Answer::Refused(_) => {}
            Answer::Unclear(_) => self.certainty = Certainty::Open,
        }
        answer
    }

    /// Blocks it, by the domain that blocks or by a detach.
    ///
    /// # Errors
    ///
    /// Neither works: it is where it was, or where it may be besides.
    fn block<S: Switch<Id = I, Domain = D>>(&mut self, switch: &S) -> Result<(), S::Failure> {
        if self.is_in(S::BLOCKING) {
            return Ok(());
        }
        let failure = match self.attach(switch, S::BLOCKING) {
            Answer::Done | Answer::Gone(_) => return Ok(()),
            Answer::Refused(failure) | Answer::Unclear(failure) => failure,
        };
        match self.detach(switch) {
            Answer::Done | Answer::Gone(_) => Ok(()),
            Answer::Refused(_) | Answer::Unclear(_) => Err(failure),
        }
    }

    /// Puts it back to where it was. Where that cannot be had, it is blocked; where that fails,
    /// too, it stays where it is, and its place says so.
    fn put_back<S: Switch<Id = I, Domain = D>>(&mut self, switch: &S) {
        if let Place::In(domain) = self.before {
            if self.is_in(domain) {
                return;
            }
            if matches!(self.attach(switch, domain), Answer::Done | Answer::Gone(_)) {
                return;
            }
        }
        // There is nothing else to be done about a failure.
        let _ = self.block(switch);
    }
}

fn find<I: Copy + PartialEq, D: Copy>(
    all: &mut [Requester<I, D>],
    id: I,
) -> Option<&mut Requester<I, D>> {
    all.iter_mut().find(|requester| requester.id == id)
}

/// Puts a device with these requesters into a domain: all of them, or none. One that is there
/// already, with another device, is left alone. `holder` has the device then.
///
/// # Errors
///
/// Of what was done, all is undone: each requester is where it was, or blocked, or, when that
/// cannot be had either, where its place and its doubt say.
pub(crate) fn put<S: Switch>(
    switch: &S,
    all: &mut [Requester<S::Id, S::Domain>],
    ids: &[S::Id],
    domain: S::Domain,
    holder: Holder,
) -> Result<(), S::Failure> {
    for (index, id) in ids.iter().enumerate() {
        let Some(requester) = find(all, *id) else {
            continue;
        };
        requester.before = requester.place;
        if requester.is_in(domain) {
            continue;
        }
        let failure = match requester.attach(switch, domain) {
            Answer::Done => continue,
            Answer::Gone(failure) | Answer::Refused(failure) => failure,
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
    Ok(())
}

/// Blocks a device with these requesters: each of them, whatever comes of the others. `holder` has
/// the device, whether or not that works.
///
/// # Errors
///
/// The last failure; those that could not be blocked are where their places and doubts say.
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

/// A device with these requesters goes. Those that no other device has are blocked. The others stay
/// in the domain of the devices that have them.
///
/// # Errors
///
/// The last failure; those that could not be blocked are where their places and doubts say.
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

/// How many requesters a domain let go of, or did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    /// They are blocked.
    pub(crate) blocked: u32,
    /// They may still be in the domain.
    pub(crate) left: u32,
}

/// Blocks everything that is in a domain, or may be.
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

/// How many requesters the next kernel finds elsewhere than in identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// They are blocked, for who has them.
    pub(crate) held: u32,
    /// They should be in identity, or blocked, and are not.
    pub(crate) astray: u32,
}

/// Looks at what came of the handover.
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
