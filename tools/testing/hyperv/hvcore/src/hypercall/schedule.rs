// SPDX-License-Identifier: GPL-2.0
//! When a call is carried out among those of other processors.
//!
//! A hypervisor that carries out each call at once, and to its end, never shows a guest that two of its calls overtake one
//! another. With a seed, calls are held back for a pseudo-random while, and lists are paused between two elements: the
//! guest's instruction is executed again then, as a hypervisor does whose time for one call is over, and what other
//! processors call meanwhile comes first. The same seed and the same order of arrivals give the same order of calls.

use alloc::collections::BTreeMap;

use crate::ids::VpIndex;

/// Most turns that a call is held back.
const TURNS_MAX: u64 = 3;
/// One call in so many is held back, one list in so many is paused.
const HELD_ONE_IN: u64 = 4;
const PAUSED_ONE_IN: u64 = 2;
/// Most elements of a paused list that are done at a time.
const ELEMENTS_MAX: u64 = 2;

/// A call as it is in the processor's registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// RCX: the control word.
    pub control: u64,
    /// RDX.
    pub rdx: u64,
    /// R8.
    pub r8: u64,
}

/// What becomes of a call that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is to be made again, unchanged.
    Held,
    /// It is carried out now.
    New,
    /// It is carried out now, from its start index on: the first part was carried out before.
    Rest(Portion),
}

/// How much of a list is done before it is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// As the schedule draws it.
    Drawn,
    /// At most so many elements, at least 1.
    AtMost(u16),
}

/// A call that its processor is to make again.
#[derive(Clone, Copy, Debug)]
struct Underway {
    registers: Registers,
    turns: u64,
    then: Arrival,
}

/// The order of calls.
#[derive(Default)]
pub struct Schedule {
    random: Option<Random>,
    underway: BTreeMap<VpIndex, Underway>,
    overtakes: u64,
}

impl Schedule {
    /// By a seed; without one every call is carried out when it arrives.
    pub fn new(seed: Option<u64>) -> Self {
        Schedule { random: seed.map(Random), underway: BTreeMap::new(), overtakes: 0 }
    }

    /// A processor makes a call.
    ///
    /// It is known again by its registers. A call that differs from the one that the processor was to make again came from
    /// an interrupt meanwhile, and takes its place: the first one is new when it comes again.
    pub fn arrive(&mut self, vp: VpIndex, registers: Registers) -> Arrival {
        if self.random.is_none() && self.underway.is_empty() {
            return Arrival::New;
        }
        let call = match self.underway.remove(&vp) {
            Some(call) if call.registers == registers => call,
            _ => Underway { registers, turns: self.draw_turns(), then: Arrival::New },
        };
        if let Some(turns) = call.turns.checked_sub(1) {
            self.underway.insert(vp, Underway { turns, ..call });
            return Arrival::Held;
        }
        if !self.underway.is_empty() {
            self.overtakes = self.overtakes.saturating_add(1);
        }
        call.then
    }

    /// The call that the processor has just made is not over: it is to be made again with these registers, for the next
    /// portion of its list.
    pub fn pause(&mut self, vp: VpIndex, registers: Registers, next: Portion) {
        let turns = self.draw_turns();
        self.underway.insert(vp, Underway { registers, turns, then: Arrival::Rest(next) });
    }

    /// How many elements of the list that is carried out now are done before a pause; `None` for all.
    pub fn elements(&mut self, portion: Portion) -> Option<u16> {
        match portion {
            Portion::AtMost(elements) => Some(elements),
            Portion::Drawn => {
                let random = self.random.as_mut()?;
                (random.below(PAUSED_ONE_IN) == 0).then(|| 1 + random.below(ELEMENTS_MAX) as u16)
            }
        }
    }

    /// Calls that were carried out while one of another processor was held back or paused.
    pub fn overtakes(&self) -> u64 {
        self.overtakes
    }

    fn draw_turns(&mut self) -> u64 {
        let Some(random) = &mut self.random else { return 0 };
        match random.below(HELD_ONE_IN) {
            0 => 1 + random.below(TURNS_MAX),
            _ => 0,
        }
    }
}

/// A linear congruential generator with Knuth's constants, of which only the upper bits are used.
struct Random(u64);

impl Random {
    /// A number from 0 to `limit - 1`; `limit` is small and not 0.
    fn below(&mut self, limit: u64) -> u64 {
        const FACTOR: u64 = 6_364_136_223_846_793_005;
        const TERM: u64 = 1_442_695_040_888_963_407;
        self.0 = self.0.wrapping_mul(FACTOR).wrapping_add(TERM);
        ((self.0 >> 32) * limit) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(number: u64) -> Registers {
        Registers { control: number, rdx: 0, r8: 0 }
    }

    /// The order in which the calls of several processors, 100 each, are carried out when they take turns.
    fn order(seed: Option<u64>, vps: u32) -> (Vec<(u32, u64)>, u64) {
        let mut schedule = Schedule::new(seed);
        let mut next = vec![0; vps as usize];
        let mut order = Vec::new();
        for turn in 0.. {
            let vp = turn % vps;
            let number = &mut next[vp as usize];
            if *number < 100 && schedule.arrive(VpIndex(vp), call(*number)) == Arrival::New {
                order.push((vp, *number));
                *number += 1;
            }
            if next.iter().all(|&number| number == 100) {
                break;
            }
        }
        (order, schedule.overtakes())
    }

    #[test]
    fn without_a_seed_calls_come_as_they_arrive() {
        let (calls, overtakes) = order(None, 3);
        let expected: Vec<_> = (0..100).flat_map(|number| (0..3).map(move |vp| (vp, number))).collect();
        assert_eq!((calls, overtakes), (expected, 0));
    }

    #[test]
    fn a_seed_permutes_them_and_loses_none() {
        for seed in 0..20 {
            let (calls, overtakes) = order(Some(seed), 3);
            assert_eq!(order(Some(seed), 3), (calls.clone(), overtakes), "seed {seed} reproduces");
            assert!(overtakes > 20, "seed {seed}: {overtakes}");
            for vp in 0..3 {
                let of_one: Vec<u64> = calls.iter().filter(|call| call.0 == vp).map(|call| call.1).collect();
                assert_eq!(of_one, (0..100).collect::<Vec<_>>(), "seed {seed}: a processor's own order stays");
            }
        }
        assert_ne!(order(Some(1), 3).0, order(Some(2), 3).0);
    }

    #[test]
    fn a_processor_alone_gets_through() {
        let (calls, overtakes) = order(Some(7), 1);
        assert_eq!((calls.len(), overtakes), (100, 0));
    }

    #[test]
    fn a_paused_call_goes_on() {
        let mut schedule = Schedule::new(None);
        assert_eq!(schedule.arrive(VpIndex(0), call(1)), Arrival::New);
        schedule.pause(VpIndex(0), call(2), Portion::AtMost(3));
        assert_eq!(schedule.arrive(VpIndex(1), call(9)), Arrival::New);
        assert_eq!(schedule.overtakes(), 1);
        assert_eq!(schedule.arrive(VpIndex(0), call(2)), Arrival::Rest(Portion::AtMost(3)));
        assert_eq!(schedule.arrive(VpIndex(0), call(2)), Arrival::New);
        assert_eq!(schedule.overtakes(), 1);
    }

    #[test]
    fn a_call_from_an_interrupt_comes_first() {
        let mut schedule = Schedule::new(None);
        schedule.pause(VpIndex(0), call(2), Portion::Drawn);
        assert_eq!(schedule.arrive(VpIndex(0), call(7)), Arrival::New);
        assert_eq!(schedule.arrive(VpIndex(0), call(2)), Arrival::New);
    }

    #[test]
    fn lists_are_paused_now_and_then() {
        let mut schedule = Schedule::new(Some(3));
        let drawn: Vec<_> = (0..1000).map(|_| schedule.elements(Portion::Drawn)).collect();
        for expected in [None, Some(1), Some(2)] {
            assert!(drawn.iter().filter(|&&elements| elements == expected).count() > 100, "{expected:?}");
        }
        assert!(drawn.iter().all(|elements| elements.is_none_or(|elements| (1..=2).contains(&elements))));
        assert!((0..100).all(|_| Schedule::new(None).elements(Portion::Drawn).is_none()));
        assert_eq!(schedule.elements(Portion::AtMost(9)), Some(9));
    }
}
