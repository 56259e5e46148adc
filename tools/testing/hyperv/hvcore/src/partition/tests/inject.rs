// SPDX-License-Identifier: GPL-2.0
//! Fault injection.

use super::*;
use crate::ids::Iova;
use crate::test_interface::Qualifier;

#[test]
fn an_injected_failure_changes_nothing() {
    let mut guest = Guest::new("inject=b2:57:2:1");
    guest.domain(1, PAGING);
    guest.domain(2, BLOCKED);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    guest.events();
    assert_eq!(guest.attach(2, DEVICE_0), Status(0x57));
    assert_eq!(guest.events(), []);
    assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 0), 1);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    assert_eq!(guest.counter(Counter::Injected, 0), 1);
    assert_eq!(guest.counter(Counter::Status, 0x57), 1);
    assert_eq!(guest.counter(Counter::Calls, 0xb2), 3);
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
}

#[test]
fn list_flush_can_be_unknown() {
    let mut guest = Guest::new("inject=list-flush-unknown");
    guest.domain(1, PAGING);
    assert_eq!(guest.flush_list(1, &[0x1000]), (Status(2), 0));
    assert_eq!(guest.flush(1), Status(0));
}

#[test]
fn output_of_a_failed_call() {
    let mut guest = Guest::new("inject=125:5:1:1:garbage inject=125:5:2:1");
    assert_eq!(guest.call(0x125, &[SELF, 0]), Status(5));
    for offset in [0, 8, 16] {
        assert_eq!(guest.platform.get_u64(OUTPUT + offset), 0xa5a5_a5a5_a5a5_a5a5);
    }
    assert_eq!(guest.platform.get_u64(OUTPUT + 24), 0);
    guest.platform.put_u64(OUTPUT, 7);
    assert_eq!(guest.call(0x125, &[SELF, 0]), Status(5));
    assert_eq!(guest.platform.get_u64(OUTPUT), 7);
    assert_eq!(guest.call(0x125, &[SELF, 0]), Status(0));
}

fn pages(guest: &mut Guest) -> Vec<Iova> {
    let iova = |event| match event {
        Event::FlushDevicePages(_, iova, _) => Some(iova),
        _ => None,
    };
    guest.events().into_iter().filter_map(iova).collect()
}

#[test]
fn partial_lists() {
    let mut guest = Guest::new("inject=d1:0:1:1:reps=2 inject=d1:71:2:1:reps=1 inject=d1:71:3:1 inject=d1:0:4:1");
    guest.domain_in_use(1, PAGING);
    let elements = [0x1000, 0x2000, 0x3000];
    assert_eq!(guest.flush_list(1, &elements), (Status(0), 2));
    assert_eq!(pages(&mut guest), [Iova(0x1000), Iova(0x2000)]);
    assert_eq!(guest.flush_list(1, &elements), (Status(0x71), 1));
    assert_eq!(pages(&mut guest), [Iova(0x1000)]);
    assert_eq!(guest.flush_list(1, &elements), (Status(0x71), 0));
    assert_eq!(guest.flush_list(1, &elements), (Status(0), 3));
    assert_eq!(pages(&mut guest), []);
    assert_eq!(guest.flush_list(1, &elements), (Status(0), 3));
    assert_eq!(pages(&mut guest).len(), 3);
}

/// A guest that follows the rep protocol gets through a pause.
#[test]
fn a_pause_is_survived() {
    let mut guest = Guest::new("inject=d1:0:1:2:reps=1");
    guest.domain_in_use(1, PAGING);
    let mut start = 0;
    for _ in 0..3 {
        let result = guest.raw_call(0xd1 | 3 << 32 | start << 48, &[SELF, 0, domain(1), 1, 0x1000, 0x2000, 0x3000]);
        assert_eq!(result as u16, 0);
        start = result >> 32;
    }
    assert_eq!(start, 3);
    assert_eq!(pages(&mut guest), [Iova(0x1000), Iova(0x2000), Iova(0x3000)]);
}

#[test]
fn rules_by_the_test_interface() {
    let mut guest = Guest::new("");
    guest.domain(1, PAGING);
    // The second attach from now answers 0x71; the first list flush and all after it are unknown.
    assert_eq!(guest.control(Command::Inject, 0x0071_00b2, 0x0001_0002), 1);
    assert_eq!(guest.control(Command::Inject, 0x0002_00d1, 0x7fff_0001), 2);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.attach(1, DEVICE_1), Status(0x71));
    assert_eq!(guest.attach(1, DEVICE_1), Status(0));
    for _ in 0..3 {
        assert_eq!(guest.flush_list(1, &[0x1000]), (Status(2), 0));
    }
    guest.control(Command::InjectClear, 0, 0);
    assert_eq!(guest.flush_list(1, &[0x1000]), (Status(0), 1));
    assert_eq!(guest.control(Command::Inject, 0x0005_0125, 0x8001_0001), 1);
    assert_eq!(guest.call(0x125, &[SELF, 0]), Status(5));
    assert_eq!(guest.platform.get_u64(OUTPUT), 0xa5a5_a5a5_a5a5_a5a5);
    assert_eq!(guest.refused(Command::Inject, 0x0005_0125, 0x0001_0000), 3);
    assert_eq!(guest.refused(Command::Inject, 0x0005_0125, 0x0000_0001), 3);
    for _ in 1..crate::inject::RULES_MAX {
        guest.control(Command::Inject, 0x0005_0125, 0x0001_0001);
    }
    assert_eq!(guest.refused(Command::Inject, 0x0005_0125, 0x0001_0001), 3);
}

#[test]
fn a_rule_can_be_added_in_steps() {
    let mut guest = Guest::new("");
    guest.domain(1, PAGING);
    guest.domain(2, PAGING);
    guest.control(Command::Qualify, Qualifier::Domain as u32, 2);
    guest.control(Command::Qualify, Qualifier::Elements as u32, 1);
    guest.control(Command::Inject, 0x71 << 16 | 0xd1, 1 << 16 | 1);
    assert_eq!(guest.flush_list(1, &[0x1000, 0x2000]), (Status(0), 2));
    assert_eq!(guest.flush_list(2, &[0x1000, 0x2000]), (Status(0x71), 1));
    // What was said was about that one rule.
    guest.control(Command::Inject, 0x71 << 16 | 0xd1, 1 << 16 | 1);
    assert_eq!(guest.flush_list(1, &[0x1000]), (Status(0x71), 0));
}

#[test]
fn words_are_given_in_halves() {
    let mut guest = Guest::new("");
    guest.domain(1, PAGING);
    guest.control(Command::Qualify, Qualifier::LowHalf as u32, 0x1234_0005);
    guest.control(Command::Qualify, Qualifier::Word as u32, 0x8000_0fff);
    guest.control(Command::Inject, 0xd0, 1 << 16 | 1);
    guest.control(Command::Qualify, Qualifier::Marked as u32, 1 << 31);
    guest.control(Command::Inject, 0xd0, 2 << 16 | 1);
    guest.control(Command::Qualify, Qualifier::Slice as u32, 1);
    guest.control(Command::Inject, 0xd1, 1 << 16 | 1);
    guest.control(Command::Qualify, Qualifier::Elements as u32, 0);
    guest.control(Command::Inject, 0xd1, 2 << 16 | 1);
    let flush = [SELF, 0, domain(1), 0];
    assert_eq!(guest.raw_call(0xd0, &flush), 0x8000_0fff_1234_0005);
    assert_eq!(guest.raw_call(0xd0, &flush), 1 << 63);
    assert_eq!(guest.raw_call(0xd0, &flush), 0);
    let list = [SELF, 0, domain(1), 1, 0x1000, 0x2000];
    assert_eq!(guest.raw_call(0x2_0000_00d1, &list), 1 << 32);
    assert_eq!(guest.raw_call(0x2_0000_00d1, &list), 0);
    for (qualifier, value) in [(Qualifier::Marked, 0), (Qualifier::Slice, 0), (Qualifier::Resume, 0x1_0000)] {
        assert_eq!(guest.refused(Command::Qualify, qualifier as u32, value), 3, "{qualifier:?}");
    }
}

#[test]
fn a_slow_call_is_carried_out() {
    let mut guest = Guest::new("inject=b2:0:1:1:slow=3");
    guest.domain(1, PAGING);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 0), 1);
    assert_eq!(guest.counter(Counter::Injected, 0), 1);
}

#[test]
fn a_device_can_go_at_a_call() {
    let mut guest = Guest::new("inject=b2:0:2:1:gone");
    guest.domain(1, PAGING);
    guest.domain(2, BLOCKED);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.attach(2, DEVICE_0), Status(0x57));
    assert_eq!(guest.attach(1, DEVICE_0), Status(0x57));
    assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 1), 1);
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
}

#[test]
fn a_domain_that_may_exist_can_be_deleted() {
    let mut guest = Guest::new("inject=b1:78:1:1");
    let domain = [SELF, 0, 7 << 32 | 1];
    assert_eq!(guest.call(0xb1, &[domain[0], domain[1], domain[2], 0]), Status(0x78));
    assert_eq!(guest.call(0xc5, &domain), Status(5));
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
    assert_eq!(guest.call(0xc5, &[SELF, 0, 8 << 32 | 1]), Status(5));
    assert_eq!(guest.counter(Counter::Violations, 0), 1);
}
