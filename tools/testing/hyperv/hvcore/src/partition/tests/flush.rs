// SPDX-License-Identifier: GPL-2.0
//! Flushes become exactly what was asked for.

use super::*;
use crate::ids::Iova;

const BOTH: [DeviceIndex; 2] = [DeviceIndex(0), DeviceIndex(1)];

/// A guest whose two devices are in paging domain 1, with ATS.
fn attached(options: &str) -> Guest {
    let mut guest = Guest::new(options);
    guest.domain(1, PAGING);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.attach(1, DEVICE_1), Status(0));
    guest.events();
    guest.platform.device_tlbs.extend(BOTH);
    guest
}

#[test]
fn whole_domain() {
    let mut guest = attached("");
    assert_eq!(guest.flush(1), Status(0));
    let expected = [
        Event::FlushDevice(DeviceIndex(0)),
        Event::FlushDevice(DeviceIndex(1)),
        Event::FlushDeviceTlb(DeviceIndex(0), Iova(0), 52),
        Event::FlushDeviceTlb(DeviceIndex(1), Iova(0), 52),
    ];
    assert_eq!(guest.events(), expected);
    guest.platform.device_tlbs.remove(&DeviceIndex(0));
    assert_eq!(guest.detach(DEVICE_0), Status(0));
    guest.events();
    assert_eq!(guest.flush(1), Status(0));
    let expected = [Event::FlushDevice(DeviceIndex(1)), Event::FlushDeviceTlb(DeviceIndex(1), Iova(0), 52)];
    assert_eq!(guest.events(), expected);
}

#[test]
fn lists() {
    let mut guest = attached("");
    assert_eq!(guest.flush_list(1, &[0x1234_5000, 0x4020_0009]), (Status(0), 2));
    let expected = [(0x1234_5000, 0), (0x4020_0000, 9)].map(|(iova, shift)| {
        [
            Event::FlushDevicePages(DeviceIndex(0), Iova(iova), shift),
            Event::FlushDevicePages(DeviceIndex(1), Iova(iova), shift),
            Event::FlushDeviceTlb(DeviceIndex(0), Iova(iova), shift),
            Event::FlushDeviceTlb(DeviceIndex(1), Iova(iova), shift),
        ]
    });
    assert_eq!(guest.events(), expected.concat());
    assert_eq!(guest.counter(Counter::FlushDescriptors, 0), 2);
    assert_eq!(guest.counter(Counter::FlushPages, 0), 513);
    assert_eq!(guest.counter(Counter::DeviceTlbFlushes, 0), 4);
    assert_eq!(guest.counter(Counter::DeviceTlbPages, 0), 2 * 513);
    assert_eq!(guest.flush_list(1, &[0x34]), (Status(0), 1));
    assert_eq!(guest.events()[1], Event::FlushDevicePages(DeviceIndex(1), Iova(0), 52));
}

#[test]
fn a_full_page_of_elements() {
    let mut guest = attached("");
    let elements: Vec<u64> = (0..508).map(|page| page << 12).collect();
    assert_eq!(guest.flush_list(1, &elements), (Status(0), 508));
    assert_eq!(guest.counter(Counter::FlushPages, 0), 508);
}

#[test]
fn the_first_bad_element_ends_the_list() {
    let mut guest = attached("");
    for bad in [0x1040, 0x1001, 0x35, 0x1234_5fc0] {
        assert_eq!(guest.flush_list(1, &[0x1000, bad, 0x2000]), (Status(5), 1), "{bad:#x}");
        let pages: Vec<_> =
            guest.events().into_iter().filter(|event| matches!(event, Event::FlushDevicePages(..))).collect();
        assert_eq!(pages, BOTH.map(|device| Event::FlushDevicePages(device, Iova(0x1000), 0)));
    }
    assert_eq!(guest.counter(Counter::Violations, 0), 4);
}

#[test]
fn a_start_index_continues_the_list() {
    let mut guest = attached("");
    let words = [SELF, 0, domain(1), 1, 0xbad, 0x2000, 0x3000];
    let result = guest.raw_call(0xd1 | 3 << 32 | 1 << 48, &words);
    assert_eq!(result, 3 << 32);
    let events = guest.events();
    assert_eq!(events.len(), 8);
    assert_eq!(events[0], Event::FlushDevicePages(DeviceIndex(0), Iova(0x2000), 0));
    // Reps completed count from element 0 even when nothing was done.
    let result = guest.raw_call(0xd1 | 3 << 32 | 1 << 48, &[SELF, 0, domain(9), 1]);
    assert_eq!(result, 1 << 32 | 5);
}

#[test]
fn header_rules() {
    let mut guest = attached("");
    assert_eq!(guest.create(2), Status(0));
    for id in [0, 2, 3] {
        assert_eq!(guest.flush(id), Status(5));
        assert_eq!(guest.flush_list(id, &[0x1000]), (Status(5), 0));
    }
    assert_eq!(guest.call(0xd0, &[SELF, 0, domain(1), 1]), Status(5));
    for flags in [0, 2, 1 << 32 | 1] {
        assert_eq!(guest.raw_call(0x1_0000_00d1, &[SELF, 0, domain(1), flags, 0x1000]), 5);
    }
    assert_eq!(guest.events(), []);
}

/// A domain's flush reaches its devices and no other.
#[test]
fn other_domains_are_left_alone() {
    let mut guest = attached("");
    guest.domain(2, PAGING);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    guest.domain(3, PAGING);
    guest.platform.device_tlbs.clear();
    guest.events();
    assert_eq!(guest.flush_list(1, &[0x1000]), (Status(0), 1));
    assert_eq!(guest.events(), [Event::FlushDevicePages(DeviceIndex(1), Iova(0x1000), 0)]);
    assert_eq!(guest.flush(2), Status(0));
    assert_eq!(guest.events(), [Event::FlushDevice(DeviceIndex(0))]);
    assert_eq!((guest.flush(3), guest.flush_list(3, &[0x1000])), (Status(0), (Status(0), 1)));
    assert_eq!(guest.events(), []);
}

#[test]
fn dropped_flushes_answer_success() {
    let mut guest = attached("drop-flush=on");
    assert_eq!(guest.flush(1), Status(0));
    assert_eq!(guest.flush_list(1, &[0x1000, 0x2000]), (Status(0), 2));
    assert_eq!(guest.events(), []);
    assert_eq!(guest.flush_list(1, &[0x1001]), (Status(5), 0));
}

#[test]
fn device_tlbs_that_are_off_are_left_alone() {
    let mut guest = attached("");
    guest.platform.device_tlbs.remove(&DeviceIndex(1));
    assert_eq!(guest.flush_list(1, &[0x1000]), (Status(0), 1));
    let expected = [
        Event::FlushDevicePages(DeviceIndex(0), Iova(0x1000), 0),
        Event::FlushDevicePages(DeviceIndex(1), Iova(0x1000), 0),
        Event::FlushDeviceTlb(DeviceIndex(0), Iova(0x1000), 0),
    ];
    assert_eq!(guest.events(), expected);
    assert_eq!(guest.counter(Counter::DeviceTlbFlushes, 0), 1);
}

#[test]
fn device_tlbs_can_be_left_out() {
    let mut guest = attached("drop-flush=device-tlb");
    assert_eq!(guest.flush(1), Status(0));
    assert_eq!(guest.flush_list(1, &[0x1000]), (Status(0), 1));
    let (all, page) =
        (BOTH.map(Event::FlushDevice), BOTH.map(|device| Event::FlushDevicePages(device, Iova(0x1000), 0)));
    assert_eq!(guest.events(), [all, page].concat());
    assert_eq!(guest.counter(Counter::DeviceTlbFlushes, 0), 0);
}

#[test]
fn ats_behind_anything_but_a_table_is_a_violation() {
    /// What the guest does, and the violations so far.
    type Step = (fn(&mut Guest) -> Status, u64);

    let mut guest = attached("");
    guest.domain(2, BLOCKED);
    guest.domain(3, BYPASS);
    guest.domain(4, PAGING);
    let steps: [Step; 4] = [
        (|guest| guest.attach(4, DEVICE_0), 0),
        (|guest| guest.attach(2, DEVICE_0), 1),
        (|guest| guest.attach(3, DEVICE_0), 2),
        (|guest| guest.detach(DEVICE_0), 3),
    ];
    for (step, violations) in steps {
        assert_eq!(step(&mut guest), Status(0));
        assert_eq!(guest.counter(Counter::Violations, 0), violations);
    }
    guest.platform.device_tlbs.clear();
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    assert_eq!(guest.counter(Counter::Violations, 0), 3);
}
