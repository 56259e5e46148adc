// SPDX-License-Identifier: GPL-2.0
//! Result words that no sound hypervisor gives, lists in portions, and calls that overtake one another.

use super::*;
use crate::hypercall::control_word::ResultWord;
use crate::hypercall::schedule::Registers;
use crate::ids::Iova;
use crate::partition::Progress;

const LIST_OF_3: u64 = 0x3_0000_00d1;
const ELEMENTS: [u64; 7] = [SELF, 0, 1 << 32 | 1, 1, 0x1000, 0x2000, 0x3000];

fn pages(guest: &mut Guest) -> Vec<u64> {
    let page = |event| match event {
        Event::FlushDevicePages(_, Iova(iova), _) => Some(iova),
        _ => None,
    };
    guest.events().into_iter().filter_map(page).collect()
}

impl Guest {
    /// Puts the hypercall page into force.
    fn enable_page(&mut self) {
        for (msr, value) in [(0x4000_0000, 1), (0x4000_0001, 0x9001)] {
            self.partition.msr_write(&mut self.platform, VpIndex(0), msr, value);
        }
    }

    fn put_input(&mut self, at: u64, words: &[u64]) {
        for (index, word) in words.iter().enumerate() {
            self.platform.put_u64(at + 8 * index as u64, *word);
        }
    }

    fn vmmcall(&mut self, vp: u32, control: u64, input: u64) -> Progress {
        let registers = Registers { control, rdx: input, r8: OUTPUT };
        self.partition.vmmcall(&mut self.platform, VpIndex(vp), registers)
    }
}

#[test]
fn any_word_can_be_answered() {
    let mut guest = Guest::new(
        "inject=d1:0:1:1:result=0 inject=d1:0:2:1:result=ffffffffffffffff inject=d1:0:3:1:result=fff00000000 \
         inject=d0:0:1:1:result=80000000ffff0000",
    );
    guest.domain_in_use(1, PAGING);
    guest.events();
    for word in [0, u64::MAX, 0xfff << 32] {
        assert_eq!(guest.raw_call(LIST_OF_3, &ELEMENTS), word);
    }
    assert_eq!(guest.raw_call(0xd0, &[SELF, 0, domain(1), 0]), 0x8000_0000_ffff_0000);
    assert_eq!(guest.events(), []);
    assert_eq!(guest.counter(Counter::Injected, 0), 4);
    assert_eq!(guest.raw_call(LIST_OF_3, &ELEMENTS), 3 << 32);
}

#[test]
fn a_word_can_follow_a_part_of_the_work() {
    let mut guest = Guest::new("inject=d1:0:1:2:reps=2:result=70001");
    guest.domain_in_use(1, PAGING);
    assert_eq!(guest.raw_call(LIST_OF_3, &ELEMENTS), 0x7_0001);
    assert_eq!(pages(&mut guest), [0x1000, 0x2000]);
    // What is wrong with the list stays wrong.
    assert_eq!(guest.raw_call(LIST_OF_3, &[SELF, 0, domain(1), 1, 0x1001]), 5);
}

#[test]
fn success_without_progress() {
    let mut guest = Guest::new("inject=d1:0:1:all:reps=0");
    guest.domain_in_use(1, PAGING);
    assert_eq!(guest.raw_call(LIST_OF_3, &ELEMENTS), 0);
    assert_eq!(guest.raw_call(LIST_OF_3 | 1 << 48, &ELEMENTS), 1 << 32);
    assert_eq!(pages(&mut guest), []);
}

#[test]
fn reserved_bits_of_a_call_that_is_carried_out() {
    let mut guest = Guest::new("inject=d1:0:1:1:bits=f000f000ffff0000 inject=b1:0:1:1:bits=8000000000000000");
    assert_eq!(guest.raw_call(0xb1, &[SELF, 0, domain(1), 1]), 1 << 63);
    assert_eq!(guest.configure(1, PAGING), Status(0));
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.raw_call(LIST_OF_3, &ELEMENTS), 0xf000_f003_ffff_0000);
    assert_eq!(pages(&mut guest), [0x1000, 0x2000, 0x3000]);
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
}

#[test]
fn a_list_in_slices_is_told() {
    let mut guest = Guest::new("inject=d1:0:1:all:slice=2");
    guest.domain_in_use(1, PAGING);
    assert_eq!(guest.raw_call(LIST_OF_3, &ELEMENTS), 2 << 32);
    assert_eq!(pages(&mut guest), [0x1000, 0x2000]);
    assert_eq!(guest.raw_call(LIST_OF_3 | 2 << 48, &ELEMENTS), 3 << 32);
    assert_eq!(pages(&mut guest), [0x3000]);
    assert_eq!(guest.counter(Counter::Calls, 0xd1), 2);
}

#[test]
fn a_list_is_resumed_by_the_same_instruction() {
    let mut guest = Guest::new("inject=d1:0:1:all:resume=2");
    guest.enable_page();
    guest.domain_in_use(1, PAGING);
    guest.put_input(INPUT, &ELEMENTS);
    assert_eq!(guest.vmmcall(0, LIST_OF_3, INPUT), Progress::Again { control: LIST_OF_3 | 2 << 48 });
    assert_eq!(pages(&mut guest), [0x1000, 0x2000]);
    // Another processor comes in between.
    guest.put_input(INPUT + 0x100, &[SELF, 0, domain(1), 0]);
    assert_eq!(guest.vmmcall(1, 0xd0, INPUT + 0x100), Progress::Done(ResultWord(0)));
    assert_eq!(guest.vmmcall(0, LIST_OF_3 | 2 << 48, INPUT), Progress::Done(ResultWord(3 << 32)));
    assert_eq!(pages(&mut guest), [0x3000]);
    // It was one call, and one rule applied.
    assert_eq!(guest.counter(Counter::Calls, 0xd1), 1);
    assert_eq!(guest.counter(Counter::Injected, 0), 1);
    assert_eq!(guest.counter(Counter::Overtakes, 0), 1);
    assert_eq!(guest.flush_list(1, &[0x1000, 0x2000, 0x3000]), (Status(0), 3));
}

/// Two processors' calls, and what they come to, by seed.
fn interleaved(seed: u64) -> (Vec<(u32, u64)>, u64) {
    let mut guest = Guest::new(&format!("interleave={seed}"));
    guest.enable_page();
    guest.domain_in_use(1, PAGING);
    let mut order = Vec::new();
    let mut states = [(0u64, LIST_OF_3); 3];
    guest.put_input(INPUT, &ELEMENTS);
    while states.iter().any(|state| state.0 < 20) {
        for (vp, state) in (0..).zip(&mut states) {
            if state.0 == 20 {
                continue;
            }
            match guest.vmmcall(vp, state.1, INPUT) {
                Progress::Again { control } => state.1 = control,
                Progress::Done(word) => {
                    assert_eq!(word, ResultWord(3 << 32));
                    order.push((vp, state.0));
                    *state = (state.0 + 1, LIST_OF_3);
                }
                other @ (Progress::InvalidOpcode | Progress::PoweredOff) => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(pages(&mut guest).len(), 3 * 20 * 3, "each element once");
    assert_eq!(guest.counter(Counter::Calls, 0xd1), 60);
    (order, guest.counter(Counter::Overtakes, 0))
}

#[test]
fn calls_overtake_one_another_by_seed() {
    let orders: Vec<_> = (1..4).map(interleaved).collect();
    for (seed, (order, overtakes)) in (1..).zip(&orders) {
        assert_eq!(interleaved(seed), (order.clone(), *overtakes));
        assert!(*overtakes > 10, "seed {seed}: {overtakes}");
    }
    assert!(orders[0] != orders[1] && orders[1] != orders[2]);
}
