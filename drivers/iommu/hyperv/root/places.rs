// SPDX-License-Identifier: GPL-2.0

//! Which requester is in which domain, as far as the hypervisor said.
//!
//! A requester is what the hypervisor tells devices apart by. A device has one, or several; several
//! devices behind one bridge have the same. A place changes when the hypervisor has said so, and
//! not before. What a failed call may have done all the same is kept as a doubt, until a call says
//! more.
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// Where DMA of a requester goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<D> {
    /// Where it was found: identity, or where a kernel that has crashed had it.
    Initial,
    /// Through a domain. Identity is one, and that which blocks is another.
    In(D),
    /// Nowhere: it is in no domain.
    Detached,
    /// The hypervisor does not know it any more.
    Gone,
}

/// Where a requester may be, besides its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt<D> {
    /// Nowhere else.
    None,
    /// In this domain.
    In(D),
    /// In any: several calls in a row did not say what they did.
    Anywhere,
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

    /// Puts a requester into a domain, out of any other.
    fn attach(&self, id: Self::Id, domain: Self::Domain) -> Answer<Self::Failure>;

    /// Takes a requester out of its domain; it is blocked.
    fn detach(&self, id: Self::Id) -> Answer<Self::Failure>;
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
    /// Devices that have it.
    pub(crate) users: u32,
}

impl<I: Copy + PartialEq, D: Copy + PartialEq> Requester<I, D> {
    /// One that nobody has used yet.
    pub(crate) fn new(id: I) -> Self {
        Requester {
            id,
            place: Place::Initial,
            doubt: Doubt::None,
            before: Place::Initial,
            users: 1,
        }
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
            Answer::Done => {
                self.place = Place::In(domain);
                self.doubt = Doubt::None;
            }
            // It takes two calls to say so. If the first was wrong, the second one blocks the
            // device.
            Answer::Gone(failure) => match switch.detach(self.id) {
                Answer::Gone(_) => {
                    self.place = Place::Gone;
                    self.doubt = Doubt::None;
                }
                Answer::Done => {
                    self.place = Place::Detached;
                    self.doubt = Doubt::None;
                }
                Answer::Refused(_) | Answer::Unclear(_) => return Answer::Refused(failure),
            },
            Answer::Refused(_) => {}
            // In the domain that blocks it does no harm.
            Answer::Unclear(_) if domain == S::BLOCKING => {}
            Answer::Unclear(_) => self.doubt.add(domain),
        }
        answer
    }

    /// Blocks it, by the domain that blocks or by a detach.
    ///
    /// # Errors
    ///
    /// Neither works: it is where it was, or where it may be besides.
    fn block<S: Switch<Id = I, Domain = D>>(&mut self, switch: &S) -> Result<(), S::Failure> {
        let failure = match self.attach(switch, S::BLOCKING) {
            Answer::Done | Answer::Gone(_) => return Ok(()),
            Answer::Refused(failure) | Answer::Unclear(failure) => failure,
        };
        match switch.detach(self.id) {
            Answer::Done => {
                self.place = Place::Detached;
                self.doubt = Doubt::None;
                Ok(())
            }
            Answer::Gone(_) => {
                self.place = Place::Gone;
                self.doubt = Doubt::None;
                Ok(())
            }
            Answer::Refused(_) | Answer::Unclear(_) => Err(failure),
        }
    }

    /// Puts it back to where it was. Where that cannot be had, it is blocked; where that fails,
    /// too, it stays where it is, and its place says so.
    fn put_back<S: Switch<Id = I, Domain = D>>(&mut self, switch: &S) {
        if let Place::In(domain) = self.before {
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

/// Puts a device with these requesters into a domain: all of them, or none.
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
) -> Result<(), S::Failure> {
    for (index, id) in ids.iter().enumerate() {
        let Some(requester) = find(all, *id) else {
            continue;
        };
        requester.before = requester.place;
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
    Ok(())
}

/// Blocks a device with these requesters: each of them, whatever comes of the others.
///
/// # Errors
///
/// The last failure; those that could not be blocked are where their places and doubts say.
pub(crate) fn block<S: Switch>(
    switch: &S,
    all: &mut [Requester<S::Id, S::Domain>],
    ids: &[S::Id],
) -> Result<(), S::Failure> {
    let mut result = Ok(());
    for id in ids {
        if let Some(requester) = find(all, *id) {
            if let Err(failure) = requester.block(switch) {
                result = Err(failure);
            }
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

/// How many requesters are in a domain, or may be.
pub(crate) fn count_in<I: Copy + PartialEq, D: Copy + PartialEq>(
    all: &[Requester<I, D>],
    domain: D,
) -> usize {
    all.iter().filter(|r| r.touches(domain)).count()
}
