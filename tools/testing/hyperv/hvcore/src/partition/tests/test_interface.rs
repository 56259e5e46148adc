// SPDX-License-Identifier: GPL-2.0
//! The test interface.

use super::*;
use crate::ids::{Iova, Rid};
use crate::platform::{DmaFault, Effort, LogLevel};

const UNKNOWN_COMMAND: u32 = 1;
const NO_SUCH_OBJECT: u32 = 2;
const REFUSED: u32 = 3;

#[test]
fn ping_and_unknown_commands() {
    let mut guest = Guest::new("");
    assert_eq!(guest.control(Command::Ping, 0, 0), 0x4d69_6e69_4876_0001);
    for command in [17, 0x100, u32::MAX] {
        let reply = guest.partition.control(&mut guest.platform, command, 0, 0);
        assert_eq!(reply, (UNKNOWN_COMMAND, 0));
    }
}

#[test]
fn devices_and_domains() {
    let mut guest = Guest::new("s1-5lvl=on");
    let device = |guest: &mut Guest, field| guest.control(Command::Device, DEVICE_1 as u32, field);
    assert_eq!([0, 1, 2].map(|field| device(&mut guest, field)), [0, 0, 4 << 3]);
    guest.domain(7, PAGING);
    guest.domain(8, PAGING_5);
    guest.domain(9, BLOCKED);
    for (id, translation) in [(7, 4), (8, 5), (9, 1)] {
        assert_eq!(guest.attach(id, DEVICE_1), Status(0));
        assert_eq!([0, 1].map(|field| device(&mut guest, field)), [u64::from(id), translation]);
    }
    assert_eq!(guest.detach(DEVICE_1), Status(0));
    assert_eq!([0, 1].map(|field| device(&mut guest, field)), [0, 1]);
    assert_eq!(guest.refused(Command::Device, 0x1234, 0), NO_SUCH_OBJECT);
    assert_eq!(guest.refused(Command::Device, DEVICE_1 as u32, 4), NO_SUCH_OBJECT);

    assert_eq!(guest.attach(7, DEVICE_0), Status(0));
    let domain = |guest: &mut Guest, id| [0, 1, 2].map(|field| guest.control(Command::Domain, id, field));
    assert_eq!(domain(&mut guest, 7), [1, ROOT, 1]);
    assert_eq!(domain(&mut guest, 8), [5, ROOT, 0]);
    assert_eq!(domain(&mut guest, 9), [3, 0, 0]);
    assert_eq!(guest.create(10), Status(0));
    assert_eq!(guest.refused(Command::Domain, 10, 0), REFUSED);
    assert_eq!(guest.control(Command::Domain, 10, 2), 0);
    assert_eq!(guest.refused(Command::Domain, 11, 0), NO_SUCH_OBJECT);
}

#[test]
fn effort() {
    let mut guest = Guest::new("");
    assert_eq!([Counter::Exits, Counter::HypervisorTicks].map(|counter| guest.counter(counter, 0)), [0, 0]);
    guest.platform.effort = Effort { exits: 3, ticks: 5 << 32 };
    assert_eq!([Counter::Exits, Counter::HypervisorTicks].map(|counter| guest.counter(counter, 0)), [3, 5 << 32]);
}

#[test]
fn counters() {
    let mut guest = Guest::new("");
    guest.create(1);
    guest.create(1);
    guest.call(0x8001, &[]);
    assert_eq!(guest.counter(Counter::Calls, 0xb1), 2);
    assert_eq!(guest.counter(Counter::Status, 0), 1);
    assert_eq!(guest.counter(Counter::Status, 0x65), 1);
    assert_eq!(guest.refused(Command::Counter, 18, 0), NO_SUCH_OBJECT);
    assert_eq!(guest.refused(Command::Counter, Counter::Calls as u32, 0x400), NO_SUCH_OBJECT);
    // An unknown call is no IOMMU call.
    assert_eq!(guest.counter(Counter::Status, 2), 0);
}

#[test]
fn violations_are_what_a_sound_guest_never_does() {
    let mut guest = Guest::new("quota=2");
    guest.domain(1, PAGING);
    guest.create(2);
    guest.create(3);
    guest.attach(1, DEVICE_0);
    guest.attach(1, DEVICE_0);
    guest.control(Command::Unplug, 1, 1);
    assert_eq!(guest.attach(1, DEVICE_1), Status(0x57));
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
    let unsound: [fn(&mut Guest); 9] = [
        |guest| assert_eq!(guest.create(1), Status(0x65)),
        |guest| assert_eq!(guest.attach(1, 0x1234), Status(0x57)),
        |guest| assert_eq!(guest.attach(1, 2 << 62), Status(0x57)),
        |guest| assert_eq!(guest.delete(1), Status(0x19)),
        |guest| assert_eq!(guest.configure(1, BYPASS), Status(8)),
        |guest| assert_eq!(guest.call(0x1_00b1, &[]), Status(3)),
        |guest| assert_eq!(guest.flush_list(1, &[0x40]), (Status(5), 0)),
        |guest| assert_eq!(guest.call(0xc5, &[1, 0, domain(1)]), Status(0x0d)),
        |guest| assert_eq!(guest.detach(0x99), Status(0x57)),
    ];
    for (count, mistake) in (1..).zip(unsound) {
        mistake(&mut guest);
        assert_eq!(guest.counter(Counter::Violations, 0), count);
    }
    assert!(guest.has_line("violation: 0xc5 DELETE_DEVICE_DOMAIN: 0x19 HV_STATUS_OBJECT_IN_USE"));
}

#[test]
fn unknown_calls_are_logged_once_per_code() {
    let mut guest = Guest::new("");
    for code in [0x8001, 0x46, 0x8001, 0x46, 0x8001] {
        assert_eq!(guest.call(code, &[]), Status(2));
    }
    let lines =
        guest.platform.lines.iter().filter(|(level, line)| *level == LogLevel::Info && line.contains("offered"));
    assert_eq!(lines.count(), 2);
}

#[test]
fn faults() {
    let mut guest = Guest::new("");
    assert_eq!(guest.control(Command::Fault, 0, 0), 0);
    assert_eq!(guest.refused(Command::Fault, 1, 0), NO_SUCH_OBJECT);
    let fault = |rid, iova, is_read| DmaFault { rid: Rid(rid), iova: Iova(iova), reason: 0x71, is_read };
    guest.platform.faults.extend([fault(0x18, 0x1234_5000, true), fault(0xff, 0x5000, false)]);
    assert_eq!(guest.counter(Counter::DmaFaults, 0), 2);
    assert_eq!(guest.control(Command::Fault, 0, 0), 1);
    assert_eq!([1, 2, 3].map(|field| guest.control(Command::Fault, field, 0)), [0x1234_5000, DEVICE_0, 0x171]);
    assert_eq!(guest.control(Command::Fault, 0, 0), 1);
    assert_eq!([1, 2, 3].map(|field| guest.control(Command::Fault, field, 0)), [0x5000, u64::MAX, 0x71]);
    assert_eq!(guest.control(Command::Fault, 0, 0), 0);
    assert_eq!(guest.refused(Command::Fault, 1, 0), NO_SUCH_OBJECT);
    assert_eq!(guest.refused(Command::Fault, 4, 0), NO_SUCH_OBJECT);
    assert!(guest.has_line("iommu: DMA fault: device 0x1ee76050 read iova 0x12345000 reason 0x71"));
    assert!(guest.has_line("iommu: DMA fault: rid 0x00ff write iova 0x5000 reason 0x71"));
}

#[test]
fn a_flood_of_faults_is_counted() {
    let mut guest = Guest::new("");
    let fault = DmaFault { rid: Rid(0x18), iova: Iova(0), reason: 0x71, is_read: true };
    guest.platform.faults.extend([fault; 1000]);
    for _ in 0..4 {
        guest.counter(Counter::DmaFaults, 0);
    }
    assert_eq!(guest.counter(Counter::DmaFaults, 0), 1000);
    let mut kept = 0;
    while guest.control(Command::Fault, 0, 0) == 1 {
        kept += 1;
    }
    assert_eq!(kept, 256);
}

#[test]
fn walks_and_peeks() {
    let mut guest = Guest::new("");
    guest.domain(5, PAGING);
    guest.domain(6, BLOCKED);
    // IOVA 0x80_4060_5000: entries 1, 1, 3, 5.
    for (table, index, entry) in [(0, 1, 0x2_1027), (1, 1, 0x2_2027), (2, 3, 0x2_3027), (3, 5, 0x1234_5067)] {
        guest.platform.put_u64(ROOT + table * 0x1000 + index * 8, entry);
    }
    assert_eq!(guest.control(Command::Walk, 0x0804_0605, 5 << 20), 0x1234_5067);
    assert_eq!(guest.control(Command::Walk, 0x0804_0606, 5 << 20), 0);
    assert_eq!(guest.control(Command::Walk, 0x0804_0605, 5 << 20 | 1), 0);
    assert_eq!(guest.refused(Command::Walk, 0, 6 << 20), REFUSED);
    assert_eq!(guest.refused(Command::Walk, 0x0804_0605, 0xfff << 20), NO_SUCH_OBJECT);
    assert_eq!(guest.control(Command::Select, 5, 0), 0);
    assert_eq!(guest.control(Command::Walk, 0x0804_0605, 0xfff << 20), 0x1234_5067);
    assert_eq!(guest.refused(Command::Walk, 0, 7 << 20), NO_SUCH_OBJECT);
    assert_eq!(guest.control(Command::PeekGuest, 0x23, 5 * 8), 0x1234_5067);
    for (page, offset) in [(0x23, 4), (0x23, 4096), (0x7fff_ffff, 0), (u32::MAX, 0xff8)] {
        assert_eq!(guest.refused(Command::PeekGuest, page, offset), REFUSED);
    }
}

#[test]
fn leaves_into_a_range_are_counted() {
    let mut guest = Guest::new("");
    guest.domain(5, PAGING);
    guest.domain(6, BLOCKED);
    // A page at 3 MiB and a block of 2 MiB at 6 MiB.
    for (table, index, entry) in [(0, 1, 0x2_1027), (1, 1, 0x2_2027), (2, 3, 0x2_3027), (2, 9, 0x60_00e7)] {
        guest.platform.put_u64(ROOT + table * 0x1000 + index * 8, entry);
    }
    guest.platform.put_u64(ROOT + 0x3000 + 5 * 8, 0x30_0067);
    let leaves = |guest: &mut Guest, first: u32, count: u32| guest.control(Command::LeavesInto, 5, count << 16 | first);
    assert_eq!(
        [(0, 3), (3, 1), (4, 2), (5, 2), (7, 1), (8, 9), (0, 0xffff)].map(|(a, b)| leaves(&mut guest, a, b)),
        [0, 1, 0, 1, 1, 0, 2]
    );
    assert_eq!(guest.refused(Command::LeavesInto, 6, 1 << 16), REFUSED);
    assert_eq!(guest.refused(Command::LeavesInto, 7, 1 << 16), NO_SUCH_OBJECT);
    // A table that is its own next table has no end.
    guest.platform.put_u64(ROOT, ROOT | 1);
    for index in 1..512 {
        guest.platform.put_u64(ROOT + index * 8, ROOT | 1);
    }
    assert_eq!(guest.refused(Command::LeavesInto, 5, 1 << 16), REFUSED);
}

#[test]
fn marks() {
    let mut guest = Guest::new("");
    guest.control(Command::Mark, u32::from_le_bytes(*b"step"), u32::from_le_bytes(*b" 1\0\0"));
    guest.control(Command::Mark, u32::from_le_bytes(*b"a\nb\x80"), u32::from_le_bytes(*b"12\x1b3"));
    let marks: Vec<_> = guest.platform.lines.iter().filter(|(level, _)| *level == LogLevel::Report).collect();
    let marks: Vec<_> = marks.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(marks, ["mark step 1", "mark a.b.12.3"]);
}

#[test]
fn summary_lines() {
    let mut guest = Guest::new("");
    guest.domain(1, PAGING);
    guest.attach(1, DEVICE_0);
    guest.flush_list(1, &[0x1000, 0x20_0009]);
    guest.partition.summary(&mut guest.platform);
    let lines: Vec<_> = guest.platform.lines.iter().filter(|(level, _)| *level == LogLevel::Report).collect();
    let lines: Vec<_> = lines.iter().map(|(_, line)| line.as_str()).collect();
    let expected = [
        "counter calls 0xb1 1",
        "counter calls 0xb2 1",
        "counter calls 0xce 1",
        "counter calls 0xd1 1",
        "counter status 0x0 4",
        "counter flush-descriptors 2",
        "counter flush-pages 513",
        "counter dma-faults 0",
        "counter live-domains 1",
        "counter attached-devices 1",
        "counter injected 0",
        "counter violations 0",
        "counter buses 2",
        "counter switches 1",
        "counter abandoned 0",
        "counter device-tlb-flushes 0",
        "counter device-tlb-pages 0",
        "counter overtakes 0",
        "counter refused-messages 0",
    ];
    assert_eq!(lines, expected);
}
