// SPDX-License-Identifier: GPL-2.0
//! The root partition as its kernel meets it: registers, calls, and the order of both.

use crate::hypercall::schedule::Registers;
use crate::hypercall::table::{Kind, ROOT_TABLE};
use crate::ids::{Gpa, VpIndex};
use crate::options::Options;
use crate::overlay::Overlays;
use crate::partition::{Partition, Progress};
use crate::synic::MsrOutcome;
use crate::test_interface::{Command, Counter, DomainField, Reply};
use crate::testing::MockPlatform;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;

const OVERLAYS: Overlays = Overlays::new(Gpa(0x2_0000));
const PRIVILEGES: u64 = 0x1007 << 32 | 0x1234;
const INPUT: u64 = 0x1000;
const OUTPUT: u64 = 0x3000;
const VP: VpIndex = VpIndex(0);
const GUEST_OS_ID: u32 = 0x4000_0000;
const HYPERCALL: u32 = 0x4000_0001;

struct Root {
    partition: Partition,
    platform: MockPlatform,
}

impl Root {
    fn new() -> Root {
        let options: Options = "partition=root assign=4.0,5.0".parse().unwrap();
        let mut platform = MockPlatform::new(Vec::new());
        platform.vps = 3;
        Root { partition: Partition::new_root(options, 3, OVERLAYS, PRIVILEGES).unwrap(), platform }
    }

    /// With the hypercall page in force.
    fn started() -> Root {
        let mut root = Root::new();
        root.write(GUEST_OS_ID, 0x8100 << 48);
        root.write(HYPERCALL, OVERLAYS.hypercall().0 | 1);
        root
    }

    fn write(&mut self, msr: u32, value: u64) {
        let outcome = self.partition.msr_write(&mut self.platform, VP, msr, value);
        assert_eq!(outcome, MsrOutcome::Handled, "{msr:#x} {value:#x}");
    }

    /// The result word.
    fn call(&mut self, control: u64, words: &[u64]) -> u64 {
        for (index, word) in words.iter().enumerate() {
            self.platform.put_u64(INPUT + 8 * index as u64, *word);
        }
        let registers = Registers { control, rdx: INPUT, r8: OUTPUT };
        match self.partition.vmmcall(&mut self.platform, VP, registers) {
            Progress::Done(word) => word.0,
            other => panic!("{other:?}"),
        }
    }

    fn violations(&self) -> Vec<&String> {
        let lines = self.platform.lines.iter().map(|(_, line)| line);
        lines.filter(|line| line.starts_with("violation: ")).collect()
    }
}

fn reps(code: u64, count: u64) -> u64 {
    code | count << 32
}

#[test]
fn pages_are_where_the_hypervisor_put_them() {
    let mut root = Root::new();
    let pages = OVERLAYS.of(VpIndex(2));
    for (msr, page) in [
        (0x4000_0001, OVERLAYS.hypercall()),
        (0x4000_0021, OVERLAYS.reference_tsc()),
        (0x4000_0073, pages.assist),
        (0x4000_0082, pages.event_flags),
        (0x4000_0083, pages.messages),
        (0x4000_0085, pages.event_rings),
    ] {
        assert_eq!(root.partition.msr_read(VpIndex(2), msr), Some(page.0), "{msr:#x}");
        let moved = root.partition.msr_write(&mut root.platform, VpIndex(2), msr, page.0 + 0x1001);
        assert_eq!(moved, MsrOutcome::Fault, "{msr:#x}");
        root.partition.msr_write(&mut root.platform, VpIndex(2), GUEST_OS_ID, 1);
        let enabled = root.partition.msr_write(&mut root.platform, VpIndex(2), msr, page.0 | 1);
        assert_eq!(enabled, MsrOutcome::Handled, "{msr:#x}");
        assert_eq!(root.partition.msr_read(VpIndex(2), msr), Some(page.0 | 1), "{msr:#x}");
    }
    assert_eq!(root.violations().len(), 6);
    assert_eq!(root.partition.msr_read(VpIndex(3), 0x4000_0073), None);
}

#[test]
fn a_guests_calls_are_not_offered() {
    let mut root = Root::started();
    for code in [0x5c, 0x5d, 0x7e, 0xce, 0xd0, 0x106] {
        assert_eq!(root.call(code, &[0; 8]), 2, "{code:#x}");
    }
    assert!(root.violations().is_empty());
}

/// What Linux does from the first processor to power-off.
#[test]
fn a_boot() {
    let mut root = Root::started();
    assert_eq!(root.call(0x46, &[]), 0);
    assert_eq!(root.platform.get_u64(OUTPUT), 1);
    assert_eq!(root.call(0x7b, &[47, 0]), 0);
    assert_eq!(root.platform.get_u64(OUTPUT), 0);
    assert_eq!(root.call(0x7b, &[15, 0]), 0);
    assert_eq!(root.platform.get_u64(OUTPUT), 1);
    assert_eq!(root.call(0x04, &[1]), 0x41);
    for processor in 1..3u64 {
        assert_eq!(root.call(0x76, &[processor | processor << 32, 0]), 0);
    }
    assert_eq!(root.call(0x87, &[4]), 0);
    for processor in 1..3 {
        assert_eq!(root.call(0x4e, &[u64::MAX, processor | 0xff << 56, 9, 9, processor]), 0);
        assert!(root.partition.may_start(&mut root.platform, VpIndex(processor as u32)));
    }
    assert_eq!(root.call(0x04, &[2]), 0);
    assert_eq!(root.call(reps(0x9a, 1), &[u64::MAX, 0, 2]), 1 << 32);
    assert_eq!(root.platform.get_u64(OUTPUT) as u32, 2);
    assert_eq!(root.call(0x44, &[u64::MAX, 0x1_0000]), 0);
    assert_eq!(root.platform.get_u64(OUTPUT), PRIVILEGES);
    assert_eq!(root.call(0x101, &[u64::MAX, 0x9_0007, 0]), 0);
    assert_eq!(root.call(0x6f, &[3, 5, 0, 0, 0, 0, 0, 0, 0]), 0);
    assert!(root.violations().is_empty(), "{:?}", root.violations());
    root.platform.put_u64(INPUT, 5);
    let off = Registers { control: 0x84, rdx: INPUT, r8: 0 };
    assert_eq!(root.partition.vmmcall(&mut root.platform, VP, off), Progress::PoweredOff);
}

#[test]
fn memory_is_deposited_and_withdrawn() {
    let mut root = Root::started();
    // A page is wanted, and given.
    assert_eq!(root.call(0x6c, &[1, 0, 0]), 0x0b);
    assert_eq!(root.call(reps(0x48, 3), &[1, 0x80, 0x81, 0x82]), 3 << 32);
    assert_eq!(root.call(0x6c, &[1, 0, 0]), 0);
    assert_eq!(root.platform.get_u64(OUTPUT), 0x80);
    assert_eq!(root.platform.get_u64(0x8_0008), 1);
    // The second one is taken already, the first one is done.
    assert_eq!(root.call(reps(0x48, 3), &[1, 0x83, 0x81, 0x84]), 1 << 32 | 5);
    assert_eq!(root.violations().len(), 1);
    // Five are wanted, three are free.
    assert_eq!(root.call(reps(0x49, 5), &[1, 0]), 3 << 32 | 0x1d);
    let pages: Vec<u64> = (0..3).map(|index| root.platform.get_u64(OUTPUT + 8 * index)).collect();
    assert_eq!(pages, [0x81, 0x82, 0x83]);
    assert_eq!(root.call(0x6d, &[1, 0, 0]), 0);
    assert_eq!(root.call(0x6d, &[1, 0, 0]), 5);
    assert_eq!(root.call(reps(0x48, 1), &[2, 0x90]), 0x0d);
    assert_eq!(root.violations().len(), 3);
}

#[test]
fn violations_have_names() {
    let mut root = Root::started();
    assert_eq!(root.call(0x76, &[7 | 7 << 32, 0]), 0x41);
    assert_eq!(root.call(0x84, &[5]), 8);
    assert!(!root.partition.may_start(&mut root.platform, VpIndex(1)));
    assert_eq!(
        root.violations(),
        [
            "violation: 0x76 ADD_LOGICAL_PROCESSOR: no such processor in the machine: 0x41 HV_STATUS_INVALID_LP_INDEX",
            "violation: 0x84 ENTER_SLEEP_STATE: a sleep state that was not described: 0x08 HV_STATUS_OPERATION_DENIED",
            "violation: vp 1 started, which was not created",
        ]
    );
}

#[test]
fn another_kernel_finds_the_processors_and_no_interrupts() {
    let mut root = Root::started();
    root.call(0x76, &[1 | 1 << 32, 0]);
    let mut map = [0; 11];
    (map[0], map[1], map[6], map[7], map[9], map[10]) = (1, 1 << 62 | 0x20, 1, 0x31 | 2 << 32, 1, 1);
    assert_eq!(root.call(0x7c | 2 << 17, &map), 0);
    assert_eq!(root.platform.get_u64(OUTPUT), 1);
    assert_eq!(root.platform.get_u64(OUTPUT + 8), 0xfee0_0010);
    root.write(HYPERCALL, OVERLAYS.hypercall().0);
    assert!(root.platform.requester_remap.is_empty());
    root.write(HYPERCALL, OVERLAYS.hypercall().0 | 1);
    assert_eq!(root.call(0x04, &[1]), 0);
    assert!(root.violations().is_empty(), "{:?}", root.violations());
}

/// Processor 1 runs, and has no virtual processor; 2 does not run.
#[test]
fn what_is_for_a_processor_needs_it() {
    let mut root = Root::started();
    root.call(0x76, &[1 | 1 << 32, 0]);
    root.call(reps(0x48, 1), &[1, 0x80]);
    let mut map = [0; 11];
    (map[0], map[1], map[6], map[7], map[9]) = (1, 1 << 62 | 0x20, 1, 0x31 | 2 << 32, 1);
    for (processor, status) in [(1, 0x0e), (2, 0x0e), (63, 0x0e), (0, 0)] {
        map[10] = 1 << processor;
        assert_eq!(root.call(0x7c | 2 << 17, &map), status, "{processor}");
    }
    assert_eq!(root.platform.requester_remap.len(), 1);
    assert_eq!(root.call(0x6c, &[2, 2, 0]), 0x41);
    assert_eq!(root.call(0x6c, &[0x1_0002, u64::MAX, 1]), 0x0e);
    assert_eq!(root.call(0x6c, &[0x1_0002, u64::MAX, 0]), 0);
    assert_eq!(root.violations().len(), 4, "{:?}", root.violations());
}

const DOMAIN: [u64; 3] = [u64::MAX, 0, 7 << 32];
const DEVICE: u64 = 1 << 62 | 0x28;

fn with(prefix: [u64; 3], rest: &[u64]) -> Vec<u64> {
    [&prefix[..], rest].concat()
}

/// A domain from its creation to its deletion, by calls.
#[test]
fn a_device_domain() {
    let mut root = Root::started();
    assert_eq!(root.call(0xb1, &with(DOMAIN, &[1])), 0x0b);
    assert_eq!(root.call(reps(0x48, 4), &[1, 0x80, 0x81, 0x82, 0x83]), 4 << 32);
    assert_eq!(root.call(0xb1, &with(DOMAIN, &[1])), 0);
    assert_eq!(root.call(0xb2, &with(DOMAIN, &[DEVICE])), 0);
    assert_eq!(root.call(0xb2, &with(DOMAIN, &[DEVICE])), 0x66);
    // Three pages from 0x7000 on, the last two later: in another order it is the same call.
    assert_eq!(root.call(reps(0xb3, 1), &with(DOMAIN, &[3 << 32, 0x7000, 0x90])), 1 << 32);
    assert_eq!(root.call(reps(0xb3, 3) | 1 << 48, &with(DOMAIN, &[3 << 32, 0x7000, 0x90, 0x91, 0x92])), 3 << 32);
    assert_eq!(root.call(reps(0xc6, 4), &with(DOMAIN, &[0x7123, 0x8000, 0x9fff, 0xa000])), 4 << 32);
    let found: Vec<u64> = (0..4).map(|index| root.platform.get_u64(OUTPUT + 8 * index)).collect();
    assert_eq!(found, [0x9_0123, 0x9_1000, 0x9_2fff, u64::MAX]);
    // The same to the test interface.
    let walk = |root: &mut Root, domain: u32, page: u32| {
        root.partition.control(&mut root.platform, Command::Walk as u32, page, domain << 20)
    };
    assert_eq!(walk(&mut root, 7, 8), (Reply::Ok as u32, 0x9_1003));
    assert_eq!(walk(&mut root, 7, 0xa), (Reply::Ok as u32, 0));
    assert_eq!(walk(&mut root, 8, 8), (Reply::NoSuchObject as u32, 0));
    // There is no table for the next address, and no page to make one of.
    assert_eq!(root.call(reps(0xb3, 2), &with(DOMAIN, &[3 << 32, 0x1f_f000, 0x93, 0x94])), 1 << 32 | 0x0b);
    assert_eq!(root.call(reps(0x48, 1), &[1, 0x84]), 1 << 32);
    assert_eq!(root.call(reps(0xb3, 2) | 1 << 48, &with(DOMAIN, &[3 << 32, 0x1f_f000, 0x93, 0x94])), 2 << 32);
    // At other addresses, one of them twice.
    assert_eq!(root.call(reps(0xc7, 2), &with(DOMAIN, &[1 << 32, 0xb000, 0x95, 0xb000, 0x96])), 1 << 32 | 5);
    assert_eq!(root.call(reps(0xc8, 1), &with(DOMAIN, &[0xb000])), 1 << 32);
    root.platform.take_events();
    assert_eq!(root.call(reps(0xb4, 3), &with(DOMAIN, &[0x7000])), 3 << 32);
    assert!(!root.platform.take_events().is_empty(), "flushed within the call");
    // The first is there, the second is not: one is done.
    assert_eq!(root.call(reps(0xb4, 4095), &with(DOMAIN, &[0x20_0000])), 1 << 32 | 5);
    assert_eq!(root.call(0xc5, &DOMAIN), 0x19);
    assert_eq!(root.call(0xc4, &[u64::MAX, DEVICE]), 0);
    assert_eq!(root.call(0xb2, &with([u64::MAX, 0, 0], &[DEVICE])), 0);
    assert_eq!(root.call(0xc5, &DOMAIN), 0);
    assert_eq!(root.call(reps(0x49, 9), &[1, 0]), 5 << 32 | 0x1d);
    assert_eq!(root.violations().len(), 3, "{:?}", root.violations());
}

/// What a kernel does that leaves for another one: it takes back what its domains do not need any more. What something
/// else uses stays.
#[test]
fn a_kernel_takes_back_its_memory() {
    let mut root = Root::started();
    root.call(reps(0x48, 7), &[1, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86]);
    assert_eq!(root.call(0x6c, &[1, 0, 0]), 0);
    assert_eq!(root.call(0xb1, &with(DOMAIN, &[1])), 0);
    assert_eq!(root.call(0xb2, &with(DOMAIN, &[DEVICE])), 0);
    assert_eq!(root.call(reps(0xb3, 1), &with(DOMAIN, &[3 << 32, 0x7000, 0x90])), 1 << 32);
    let mut domain =
        |id: u32| root.partition.control(&mut root.platform, Command::Domain as u32, id, DomainField::Devices as u32);
    assert_eq!((domain(7), domain(8)), ((Reply::Ok as u32, 1), (Reply::NoSuchObject as u32, 0)));
    // Tables are in use until the domain is deleted, mapped or not.
    assert_eq!(root.call(reps(0x49, 512), &[u64::MAX, 0]), 2 << 32 | 0x1d);
    assert_eq!(root.call(0xb2, &with([u64::MAX, 0, 0], &[DEVICE])), 0);
    assert_eq!(root.call(0xc5, &DOMAIN), 0);
    assert_eq!(root.call(reps(0x49, 512), &[u64::MAX, 0]), 4 << 32 | 0x1d);
    let pages: Vec<u64> = (0..4).map(|index| root.platform.get_u64(OUTPUT + 8 * index)).collect();
    assert!(pages.iter().all(|page| (0x80..0x87).contains(page) && root.platform.get_u64(page << 12) == 0));
    assert_eq!(root.call(reps(0x49, 512), &[u64::MAX, 0]), 0x1d);
    assert!(root.violations().is_empty(), "{:?}", root.violations());
    assert_eq!(root.call(0xc4, &[u64::MAX, DEVICE]), 0);
    root.write(HYPERCALL, OVERLAYS.hypercall().0);
    let left = root.partition.control(&mut root.platform, Command::Counter as u32, Counter::LeftBlocked as u32, 0);
    assert_eq!(left, (Reply::Ok as u32, 1));
    let says = |text: &str| root.platform.lines.iter().any(|(_, line)| line == text);
    assert!(says("root: a kernel leaves 1 pages, 0 of them unused"), "{:?}", root.platform.lines);
}

/// Most pages that fit a call, and one more.
#[test]
fn a_full_call() {
    let mut root = Root::started();
    let pages: Vec<u64> = (0..4).map(|page| 0x40 + page).collect();
    root.call(reps(0x48, 4), &[&[1][..], &pages[..]].concat());
    root.call(0xb1, &with(DOMAIN, &[1]));
    let list: Vec<u64> = (0..508).map(|page| 0x50 + page % 0x80).collect();
    let words = |count: usize| [&with(DOMAIN, &[1 << 32, 0])[..], &list[..count]].concat();
    assert_eq!(root.call(reps(0xb3, 507), &words(507)), 507 << 32);
    assert_eq!(root.call(reps(0xb3, 508), &words(507)), 4);
    assert_eq!(root.call(reps(0xb4, 507), &with(DOMAIN, &[0])), 507 << 32);
}

#[test]
fn nobody_writes_to_what_was_deposited() {
    let mut root = Root::started();
    root.call(reps(0x48, 1), &[1, OUTPUT >> 12]);
    root.platform.put_u64(OUTPUT, 7);
    assert_eq!(root.call(0x46, &[]), 5);
    assert_eq!(root.platform.get_u64(OUTPUT), 7);
    assert_eq!(root.violations().len(), 1);
    // The next kernel has it again.
    root.write(HYPERCALL, OVERLAYS.hypercall().0);
    root.write(HYPERCALL, OVERLAYS.hypercall().0 | 1);
    assert!(root.platform.owners.is_empty());
    assert_eq!(root.call(0x46, &[]), 0);
}

/// Words that mean something more often than random ones.
fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(u64::MAX),
        3 => Just(0u64),
        4 => (0u64..4).prop_map(|number| number << 32),
        2 => Just(DEVICE),
        2 => Just(3u64 << 32),
        2 => 0u64..16,
        3 => 0x40u64..0x80,
        2 => (0u64..64).prop_map(|page| page << 12),
        1 => any::<u64>(),
    ]
}

proptest! {
    /// No panic, an answer of sound form, and every page either the partition's or the hypervisor's.
    #[test]
    fn any_calls(calls in prop::collection::vec(
        (prop::sample::select(ROOT_TABLE), 0u64..5, 0u64..3, 0u64..3, prop::collection::vec(any_word(), 0..14)),
        1..80,
    )) {
        let mut root = Root::started();
        root.call(reps(0x48, 4), &[1, 0x80, 0x81, 0x82, 0x83]);
        for (spec, count, start, variable, words) in calls {
            let (count, start) = if spec.kind == Kind::Simple { (0, 0) } else { (count, start) };
            let control = u64::from(spec.code.0) | variable << 17 | count << 32 | start << 48;
            for (index, word) in words.iter().enumerate() {
                root.platform.put_u64(INPUT + 8 * index as u64, *word);
            }
            let registers = Registers { control, rdx: INPUT, r8: OUTPUT };
            let Progress::Done(word) = root.partition.vmmcall(&mut root.platform, VP, registers) else { return Ok(()) };
            prop_assert_eq!(word.0 & 0xffff_f000_ffff_0000, 0, "{:#x}", control);
            prop_assert!(word.0 >> 32 <= count);
            // Success without progress would hang the partition.
            prop_assert!(count == 0 || word.0 as u16 != 0 || word.0 >> 32 > start);
        }
        root.write(HYPERCALL, OVERLAYS.hypercall().0);
        prop_assert!(root.platform.owners.is_empty() && root.platform.requester_remap.is_empty());
    }
}
