// SPDX-License-Identifier: GPL-2.0
//! Requesters against a hypervisor that refuses, forgets and is late: the record never says less than what may be.

use crate::root::places::{
    self, close, count_in, is_device_in, release, survey, Answer, Doubt, Handover, Holder, Place, Presence, Requester,
    Survey, Switch,
};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};

const BLOCKING: u32 = u32::MAX;
const IDENTITY: u32 = 0;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Fine,
    Refused,
    Gone,
    /// It fails, and was carried out.
    LateDone,
    /// It fails, and was not carried out.
    LateUndone,
    /// It fails: the requester is in a domain already, says the machine.
    Already,
}

#[derive(Default)]
struct Machine {
    /// Where requesters are really; detached ones are nowhere.
    places: RefCell<HashMap<u32, Option<u32>>>,
    fates: RefCell<VecDeque<Fate>>,
    calls: Cell<u32>,
}

impl Machine {
    fn with(fates: &[Fate]) -> Machine {
        Machine { fates: RefCell::new(fates.iter().copied().collect()), ..Machine::default() }
    }

    fn place(&self, id: u32) -> Option<u32> {
        self.places.borrow().get(&id).copied().unwrap_or(Some(IDENTITY))
    }

    fn carry_out(&self, id: u32, to: Option<u32>) -> Answer<Fate> {
        self.calls.set(self.calls.get() + 1);
        let fate = self.fates.borrow_mut().pop_front().unwrap_or(Fate::Fine);
        if matches!(fate, Fate::Fine | Fate::LateDone) {
            self.places.borrow_mut().insert(id, to);
        }
        match fate {
            Fate::Fine => Answer::Done,
            Fate::Refused => Answer::Refused(fate),
            Fate::Gone => {
                self.places.borrow_mut().insert(id, None);
                Answer::Gone(fate)
            }
            Fate::LateDone | Fate::LateUndone => Answer::Unclear(fate),
            Fate::Already => Answer::Already(fate),
        }
    }
}

impl Switch for Machine {
    type Id = u32;
    type Domain = u32;
    type Failure = Fate;

    const BLOCKING: u32 = BLOCKING;
    const IDENTITY: u32 = IDENTITY;

    fn attach(&self, id: u32, domain: u32) -> Answer<Fate> {
        self.carry_out(id, Some(domain))
    }

    fn detach(&self, id: u32) -> Answer<Fate> {
        self.carry_out(id, None)
    }
}

type All = [Requester<u32, u32>];

/// A device of the kernel's is put into a domain.
fn put(machine: &Machine, all: &mut All, ids: &[u32], domain: u32) -> Result<Presence, Fate> {
    places::put(machine, all, ids, domain, Holder::Kernel)
}

/// A device of the kernel's is blocked.
fn block(machine: &Machine, all: &mut All, ids: &[u32]) -> Result<(), Fate> {
    places::block(machine, all, ids, Holder::Kernel)
}

fn requesters(ids: &[u32]) -> Vec<Requester<u32, u32>> {
    ids.iter().map(|id| Requester::new(*id)).collect()
}

/// Whether the record allows for where the requester really is.
fn allows(requester: &Requester<u32, u32>, real: Option<u32>) -> bool {
    let by_place = match requester.place {
        Place::Initial => real == Some(IDENTITY),
        Place::In(domain) => real == Some(domain),
        Place::Detached | Place::Gone => real.is_none(),
    };
    // A detach that was late leaves a requester blocked: nobody is harmed who takes it for attached.
    by_place || real.is_none() || real == Some(BLOCKING) || real.is_some_and(|domain| requester.touches(domain))
}

/// The machine may mean another domain than the one that was asked for.
#[test]
fn a_requester_that_is_somewhere_already_is_taken_out_first() {
    let machine = Machine::with(&[Fate::Already]);
    let mut all = requesters(&[1]);
    assert_eq!(put(&machine, &mut all, &[1], 7), Ok(Presence::There));
    assert_eq!((machine.place(1), machine.calls.get()), (Some(7), 3));
    // The record does not make it true.
    machine.fates.borrow_mut().extend([Fate::LateDone, Fate::Already]);
    assert!(put(&machine, &mut all, &[1], 8).is_err());
    assert_eq!((machine.place(1), all[0].place), (Some(7), Place::In(7)));
}

#[test]
fn identity_is_where_a_new_requester_is_already() {
    let machine = Machine::with(&[Fate::Already]);
    let mut all = requesters(&[1]);
    assert_eq!(put(&machine, &mut all, &[1], IDENTITY), Ok(Presence::There));
    assert_eq!((machine.place(1), machine.calls.get()), (Some(IDENTITY), 1));
}

/// It is in no domain when the machine says so once more: nothing else moves it, and it is blocked.
#[test]
fn a_requester_that_is_always_somewhere_already_is_blocked() {
    let machine = Machine::with(&[Fate::Fine, Fate::Already, Fate::Fine, Fate::Already, Fate::Already, Fate::Already]);
    let mut all = requesters(&[1]);
    assert_eq!(put(&machine, &mut all, &[1], 7), Ok(Presence::There));
    assert_eq!(put(&machine, &mut all, &[1], 8), Err(Fate::Already));
    assert_eq!((machine.place(1), all[0].place), (None, Place::Detached));
    assert_eq!(block(&machine, &mut all, &[1]), Ok(()));
}

#[test]
fn a_refused_attach_changes_nothing() {
    let machine = Machine::with(&[Fate::Refused]);
    let mut all = requesters(&[1]);
    assert_eq!(put(&machine, &mut all, &[1], 7), Err(Fate::Refused));
    assert_eq!((all[0].place, all[0].doubt), (Place::Initial, Doubt::None));
}

#[test]
fn one_refused_id_of_several_undoes_the_others() {
    let machine = Machine::default();
    let mut all = requesters(&[1, 2, 3]);
    assert_eq!(put(&machine, &mut all, &[1, 2, 3], 6), Ok(Presence::There));
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Fine, Fate::Refused]);
    assert_eq!(put(&machine, &mut all, &[1, 2, 3], 7), Err(Fate::Refused));
    assert_eq!(all.iter().map(|r| r.place).collect::<Vec<_>>(), [Place::In(6); 3]);
    assert!([1, 2, 3].iter().all(|id| machine.place(*id) == Some(6)));
}

#[test]
fn what_cannot_be_undone_is_blocked_or_stays_known() {
    let machine = Machine::default();
    let mut all = requesters(&[1, 2]);
    assert_eq!(put(&machine, &mut all, &[1, 2], 6), Ok(Presence::There));
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Refused, Fate::Refused]);
    assert_eq!(put(&machine, &mut all, &[1, 2], 7), Err(Fate::Refused));
    assert_eq!((all[0].place, machine.place(1)), (Place::In(BLOCKING), Some(BLOCKING)));
    let machine = Machine::with(&[Fate::Fine, Fate::Refused, Fate::Refused, Fate::Refused]);
    let mut all = requesters(&[1, 2]);
    assert!(put(&machine, &mut all, &[1, 2], 7).is_err());
    assert_eq!((all[0].place, count_in(&all, 7)), (Place::In(7), 1));
}

#[test]
fn a_late_attach_is_undone() {
    for (late, real) in [(Fate::LateDone, 7), (Fate::LateUndone, 6)] {
        let machine = Machine::default();
        let mut all = requesters(&[1]);
        assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
        machine.fates.borrow_mut().extend([late]);
        assert_eq!(put(&machine, &mut all, &[1], 7), Err(late));
        assert_eq!((all[0].place, all[0].doubt, machine.place(1)), (Place::In(6), Doubt::None, Some(6)));
        machine.fates.borrow_mut().extend([late, Fate::Refused, Fate::Refused, Fate::Refused]);
        assert_eq!(put(&machine, &mut all, &[1], 7), Err(late));
        assert_eq!((all[0].place, all[0].doubt, machine.place(1)), (Place::In(6), Doubt::In(7), Some(real)));
        assert_eq!((count_in(&all, 6), count_in(&all, 7)), (1, 1));
    }
}

#[test]
fn a_device_is_detached_where_the_blocking_domain_refuses() {
    let machine = Machine::with(&[Fate::Refused, Fate::Fine]);
    let mut all = requesters(&[1]);
    assert_eq!(block(&machine, &mut all, &[1]), Ok(()));
    assert_eq!((all[0].place, all[0].doubt), (Place::Detached, Doubt::None));
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Gone, Fate::Gone]);
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
    assert_eq!(all[0].place, Place::In(6));
    assert_eq!(block(&machine, &mut all, &[1]), Ok(()), "one that is gone does no DMA");
    assert_eq!(all[0].place, Place::Gone);
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Refused, Fate::LateDone]);
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
    assert_eq!(block(&machine, &mut all, &[1]), Err(Fate::Refused));
    assert!(all[0].place == Place::In(6) && all[0].touches(6));
}

#[test]
fn it_takes_two_calls_to_say_that_a_device_is_gone() {
    let machine = Machine::default();
    let mut all = requesters(&[1]);
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
    machine.fates.borrow_mut().extend([Fate::Gone, Fate::Refused]);
    assert!(put(&machine, &mut all, &[1], 7).is_err());
    assert_eq!((all[0].place, count_in(&all, 6)), (Place::In(6), 1), "a search for the domain's devices finds it");
    machine.fates.borrow_mut().extend([Fate::Gone, Fate::Fine]);
    assert!(put(&machine, &mut all, &[1], 7).is_err());
    assert_eq!(all[0].place, Place::Detached, "the second call has blocked it");
    machine.fates.borrow_mut().extend([Fate::Gone, Fate::Gone]);
    assert_eq!(put(&machine, &mut all, &[1], 7), Ok(Presence::Gone));
    assert_eq!(all[0].place, Place::Gone);
    assert_eq!(put(&machine, &mut all, &[1], 7), Ok(Presence::There), "it may come again");
    assert_eq!(machine.place(1), Some(7));
}

#[test]
fn an_id_that_nobody_knows_does_not_keep_a_device_out() {
    let machine = Machine::default();
    for gone in [0, 1] {
        let mut all = requesters(&[1, 2]);
        let (mut fates, other) = (vec![Fate::Fine; gone], 1 - gone);
        fates.extend([Fate::Gone, Fate::Gone]);
        machine.fates.borrow_mut().extend(fates);
        assert_eq!(places::put(&machine, &mut all, &[1, 2], 6, Holder::Other), Ok(Presence::There));
        assert_eq!((all[gone].place, all[other].place), (Place::Gone, Place::In(6)));
        assert!(all.iter().all(|requester| requester.handover() == Handover::Blocked));
        // The device that is there already is found there, and is not gone with the other id.
        machine.fates.borrow_mut().extend([Fate::Gone, Fate::Gone]);
        assert_eq!(put(&machine, &mut all, &[1, 2], 6), Ok(Presence::There));
        assert!(machine.fates.borrow().is_empty());
        machine.places.borrow_mut().clear();
    }
    let mut all = requesters(&[1, 2]);
    machine.fates.borrow_mut().extend([Fate::Gone; 4]);
    assert_eq!(put(&machine, &mut all, &[1, 2], 6), Ok(Presence::Gone));
    assert!(machine.fates.borrow().is_empty());
    // One that is refused keeps it out nevertheless.
    let mut all = requesters(&[1, 2, 3]);
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Gone, Fate::Gone, Fate::Refused]);
    assert_eq!(put(&machine, &mut all, &[1, 2, 3], 6), Err(Fate::Refused));
    assert_eq!(count_in(&all, 6), 0);
}

#[test]
fn a_device_is_in_a_domain_with_any_of_its_ids() {
    let machine = Machine::default();
    let mut all = requesters(&[1, 2, 3]);
    assert_eq!(put(&machine, &mut all, &[2], 6), Ok(Presence::There));
    assert!(is_device_in(&all, &[1, 2], 6) && !is_device_in(&all, &[1, 3], 6) && !is_device_in(&all, &[1, 2], 7));
    machine.fates.borrow_mut().extend([Fate::LateDone, Fate::Refused, Fate::Refused, Fate::Refused]);
    assert_eq!(put(&machine, &mut all, &[3], 6), Err(Fate::LateDone));
    assert!(is_device_in(&all, &[3], 6), "it may be");
}

#[test]
fn a_closed_domain_keeps_nobody() {
    let machine = Machine::default();
    let mut all = requesters(&[1, 2, 3]);
    for (id, domain) in [(1, 6), (2, 7), (3, 6)] {
        assert_eq!(put(&machine, &mut all, &[id], domain), Ok(Presence::There));
    }
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Refused, Fate::Refused]);
    let closed = close(&machine, &mut all, 6);
    assert_eq!((closed.blocked, closed.left), (1, 1));
    assert_eq!([machine.place(1), machine.place(2), machine.place(3)], [Some(BLOCKING), Some(7), Some(6)]);
    assert_eq!(count_in(&all, 6), 1);
    assert_eq!(close(&machine, &mut all, 6).blocked, 1);
    assert_eq!(count_in(&all, 6), 0);
}

/// Two functions with an id of their own each, and one that both have.
const SIBLINGS: [&[u32]; 2] = [&[1, 3], &[2, 3]];

fn siblings() -> Vec<Requester<u32, u32>> {
    let mut all = requesters(&[1, 2, 3]);
    all[2].enter();
    all
}

#[test]
fn the_second_of_a_group_finds_the_id_where_it_goes() {
    let machine = Machine::default();
    let mut all = siblings();
    assert_eq!(put(&machine, &mut all, SIBLINGS[0], 6), Ok(Presence::There));
    assert_eq!(machine.calls.take(), 2);
    assert_eq!(put(&machine, &mut all, SIBLINGS[1], 6), Ok(Presence::There));
    assert_eq!(machine.calls.take(), 1, "the id that both have is there");
    assert!([1, 2, 3].iter().all(|id| machine.place(*id) == Some(6)));
    // What the second one cannot have of its own does not move what both have.
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Fine, Fate::Refused]);
    assert_eq!(put(&machine, &mut all, SIBLINGS[0], 7), Ok(Presence::There));
    machine.calls.set(0);
    assert_eq!(put(&machine, &mut all, SIBLINGS[1], 7), Err(Fate::Refused));
    assert_eq!((machine.calls.take(), machine.place(3)), (1, Some(7)));
    // Nor does it when it is the last of several.
    assert_eq!(put(&machine, &mut all, &[2], 7), Ok(Presence::There));
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Fine, Fate::Refused]);
    assert_eq!(put(&machine, &mut all, SIBLINGS[0], 8), Ok(Presence::There));
    machine.calls.set(0);
    assert_eq!(put(&machine, &mut all, &[3, 2], 8), Err(Fate::Refused));
    assert_eq!((machine.calls.take(), machine.place(3)), (1, Some(8)));
}

#[test]
fn an_id_goes_with_the_last_device_that_has_it() {
    let machine = Machine::default();
    let mut all = siblings();
    for ids in SIBLINGS {
        assert_eq!(put(&machine, &mut all, ids, 6), Ok(Presence::There));
    }
    assert_eq!(release(&machine, &mut all, SIBLINGS[0]), Ok(()));
    assert_eq!([1, 2, 3].map(|id| machine.place(id)), [Some(BLOCKING), Some(6), Some(6)]);
    assert_eq!((count_in(&all, 6), all[2].users), (2, 1));
    machine.fates.borrow_mut().extend([Fate::Refused; 4]);
    assert_eq!(release(&machine, &mut all, SIBLINGS[1]), Err(Fate::Refused), "it may do DMA, and nobody has it");
    assert_eq!((count_in(&all, 6), all[2].users), (2, 0));
}

#[test]
fn an_id_that_comes_again_is_put_there_again() {
    let machine = Machine::default();
    let mut all = requesters(&[1]);
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
    assert_eq!(release(&machine, &mut all, &[1]), Ok(()));
    // The device was replaced while nobody had the id; the new one starts like any other.
    machine.places.borrow_mut().remove(&1);
    all[0].enter();
    assert_eq!(block(&machine, &mut all, &[1]), Ok(()));
    assert_eq!(machine.place(1), Some(BLOCKING));
    machine.calls.set(0);
    assert_eq!(block(&machine, &mut all, &[1]), Ok(()));
    assert_eq!(machine.calls.take(), 0);
}

#[test]
fn a_call_that_did_not_say_what_it_did_is_not_the_last_one() {
    let machine = Machine::default();
    let mut all = requesters(&[1]);
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
    // Neither call says so, and the requester is blocked.
    machine.fates.borrow_mut().extend([Fate::LateDone, Fate::Refused]);
    assert_eq!(block(&machine, &mut all, &[1]), Err(Fate::LateDone));
    assert_eq!(machine.place(1), Some(BLOCKING));
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
    assert_eq!(machine.place(1), Some(6));
    for fates in [[Fate::Refused, Fate::LateDone, Fate::Fine], [Fate::Gone, Fate::Refused, Fate::Refused]] {
        machine.fates.borrow_mut().extend(fates);
        assert!(block(&machine, &mut all, &[1]).is_err());
        machine.fates.borrow_mut().clear();
        assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
        assert_eq!(machine.place(1), Some(6));
    }
}

#[test]
fn what_a_program_has_is_not_handed_over() {
    let machine = Machine::default();
    let mut all = requesters(&[1, 2, 3, 4]);
    assert!(all.iter().all(|requester| requester.handover() == Handover::Stays));
    // One of a driver, one that a program has mapped for, one that a program has opened.
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
    assert_eq!(places::put(&machine, &mut all, &[2], 7, Holder::Other), Ok(Presence::There));
    assert_eq!(places::block(&machine, &mut all, &[3], Holder::Other), Ok(()));
    let handovers: Vec<Handover> = all.iter().map(|requester| requester.handover()).collect();
    assert_eq!(handovers, [Handover::ToIdentity, Handover::Blocked, Handover::Blocked, Handover::Stays]);
    // A device that the program cannot be given is still the driver's.
    machine.fates.borrow_mut().extend([Fate::Refused]);
    assert!(places::put(&machine, &mut all, &[1], 7, Holder::Other).is_err());
    assert_eq!(all[0].handover(), Handover::ToIdentity);
    // The program gives one back, and the other device goes.
    assert_eq!(put(&machine, &mut all, &[3], 6), Ok(Presence::There));
    assert_eq!(release(&machine, &mut all, &[2]), Ok(()));
    assert_eq!((all[1].handover(), all[2].handover()), (Handover::ToIdentity, Handover::ToIdentity));
}

#[test]
fn a_holder_does_not_depend_on_what_the_hypervisor_does() {
    let machine = Machine::default();
    let mut all = requesters(&[1, 2]);
    assert_eq!(put(&machine, &mut all, &[1, 2], 6), Ok(Presence::There));
    // A program takes a device that cannot be kept from doing DMA; the core gives another one back in vain.
    machine.fates.borrow_mut().extend([Fate::Refused; 2]);
    assert!(places::block(&machine, &mut all, &[1], Holder::Other).is_err());
    assert_eq!(all[0].handover(), Handover::Blocked);
    assert_eq!(places::put(&machine, &mut all, &[2], 7, Holder::Other), Ok(Presence::There));
    machine.fates.borrow_mut().extend([Fate::Refused; 2]);
    assert!(block(&machine, &mut all, &[2]).is_err());
    assert_eq!(all[1].handover(), Handover::ToIdentity);
}

#[test]
fn what_a_late_call_may_have_moved_is_handed_over() {
    let machine = Machine::with(&[Fate::LateDone, Fate::Refused, Fate::Refused]);
    let mut all = requesters(&[1]);
    assert!(put(&machine, &mut all, &[1], 7).is_err());
    assert_eq!((all[0].place, all[0].doubt, machine.place(1)), (Place::Initial, Doubt::In(7), Some(7)));
    assert_eq!(all[0].handover(), Handover::ToIdentity);
    assert_eq!(survey::<Machine>(&all), Survey { held: 0, astray: 1 });
    assert_eq!(put(&machine, &mut all, &[1], IDENTITY), Ok(Presence::There));
    assert_eq!((machine.place(1), survey::<Machine>(&all)), (Some(IDENTITY), Survey::default()));
}

#[test]
fn what_is_not_where_the_next_kernel_expects_it_is_counted() {
    let machine = Machine::default();
    let mut all = requesters(&[1, 2, 3, 4]);
    assert_eq!(survey::<Machine>(&all), Survey::default());
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::There));
    assert_eq!(places::put(&machine, &mut all, &[2, 3], 7, Holder::Other), Ok(Presence::There));
    assert_eq!(survey::<Machine>(&all), Survey { held: 0, astray: 3 });
    assert_eq!(put(&machine, &mut all, &[1], IDENTITY), Ok(Presence::There));
    machine.fates.borrow_mut().extend([Fate::Fine, Fate::Refused, Fate::Fine]);
    assert_eq!(places::block(&machine, &mut all, &[2, 3], Holder::Other), Ok(()));
    assert_eq!([all[1].place, all[2].place], [Place::In(BLOCKING), Place::Detached]);
    assert_eq!(survey::<Machine>(&all), Survey { held: 2, astray: 0 });
    assert_eq!(block(&machine, &mut all, &[1]), Ok(()));
    assert_eq!(survey::<Machine>(&all), Survey { held: 2, astray: 1 });
    // What is gone is nowhere that the next kernel could mind.
    machine.fates.borrow_mut().extend([Fate::Gone, Fate::Gone]);
    assert_eq!(put(&machine, &mut all, &[1], 6), Ok(Presence::Gone));
    assert_eq!((all[0].place, survey::<Machine>(&all)), (Place::Gone, Survey { held: 2, astray: 0 }));
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Fine),
        2 => Just(Fate::Refused),
        1 => Just(Fate::Gone),
        1 => Just(Fate::LateDone),
        1 => Just(Fate::LateUndone),
        1 => Just(Fate::Already),
    ]
}

proptest! {
    /// Devices with one to three ids, some of which they share, move between domains, go and come again while calls fail in
    /// any way: where a requester really is, the record says that it is or may be, or else it is blocked.
    #[test]
    fn the_record_never_says_less_than_what_may_be(
        moves in prop::collection::vec((0u32..5, 0u32..7), 1..40),
        fates in prop::collection::vec(fate(), 0..120),
    ) {
        const DEVICES: [&[u32]; 5] = [&[1], &[2, 3], &[4, 5, 6], &[1], &[3, 6]];
        let machine = Machine::with(&fates);
        let mut all = requesters(&[1, 2, 3, 4, 5, 6]);
        for id in [1, 3, 6] {
            all[id - 1].enter();
        }
        let mut there = [true; 5];
        for (device, what) in moves {
            let ids = DEVICES[device as usize];
            match what {
                6 => {
                    let is_there = &mut there[device as usize];
                    *is_there = !*is_there;
                    if *is_there {
                        ids.iter().for_each(|id| all[*id as usize - 1].enter());
                    } else if release(&machine, &mut all, ids).is_ok() {
                        for id in ids {
                            let users = DEVICES.iter().zip(there).filter(|(ids, there)| *there && ids.contains(id)).count();
                            prop_assert_eq!(all[*id as usize - 1].users as usize, users);
                            prop_assert!(users > 0 || matches!(machine.place(*id), None | Some(BLOCKING)));
                        }
                    }
                }
                _ if !there[device as usize] => {}
                0 => {
                    if block(&machine, &mut all, ids).is_ok() {
                        prop_assert!(ids.iter().all(|id| matches!(machine.place(*id), None | Some(BLOCKING))));
                    }
                }
                1 => { close(&machine, &mut all, 6); }
                domain => {
                    let entered = put(&machine, &mut all, ids, domain + 3);
                    if let Ok(presence) = entered {
                        let is_in = |id: &u32| machine.place(*id) == Some(domain + 3);
                        let is_gone = |id: &u32| machine.place(*id).is_none() && all[*id as usize - 1].place == Place::Gone;
                        prop_assert!(ids.iter().all(|id| is_in(id) || is_gone(id)));
                        prop_assert_eq!(ids.iter().any(is_in), presence == Presence::There);
                    } else {
                        // A failed attach leaves the new domain, as far as the hypervisor lets it.
                        let left = ids.iter().filter(|id| machine.place(**id) == Some(domain + 3));
                        for id in left {
                            let known = all.iter().any(|r| r.id == *id && r.touches(domain + 3));
                            prop_assert!(known);
                        }
                    }
                }
            }
            for requester in &all {
                prop_assert!(allows(requester, machine.place(requester.id)), "{:?} {:?}", requester, machine.place(requester.id));
            }
        }
    }
}
