// SPDX-License-Identifier: GPL-2.0
//! Which status each mistake gets, and what a sound sequence does to the hardware.

use super::*;

#[test]
fn create_rules() {
    let mut guest = Guest::new("quota=2");
    for id in [0, u32::MAX] {
        assert_eq!(guest.create(id), Status(5));
    }
    assert_eq!(guest.create(1), Status(0));
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(guest.create(0xffff_fffe), Status(0));
    assert_eq!(guest.create(3), Status(0x38));
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(guest.call(0xb1, &[SELF, 0, domain(4), 4]), Status(5));
    assert_eq!(guest.call(0xb1, &[1, 0, domain(4), 1]), Status(0x0d));
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.create(3), Status(0));
    assert_eq!(guest.counter(Counter::LiveDomains, 0), 2);
}

#[test]
fn configure_rules() {
    let mut guest = Guest::new("");
    assert_eq!(guest.configure(1, BYPASS), Status(5));
    assert_eq!(guest.create(1), Status(0));
    let refused = [
        Settings { flags: 2, root: 0 },
        Settings { flags: 1, root: ROOT + 8 },
        Settings { flags: 1, root: 0x7fff_f000 },
        Settings { flags: 1, root: crate::testing::RAM_BYTES as u64 },
        PAGING_5,
        Settings { flags: 3, root: ROOT },
        Settings { flags: 8, root: 0 },
    ];
    for settings in refused {
        assert_eq!(guest.configure(1, settings), Status(5), "{settings:x?}");
    }
    assert_eq!(guest.configure(1, PAGING), Status(0));
    assert_eq!(guest.configure(1, PAGING), Status(8));
    assert_eq!(guest.configure(1, BLOCKED), Status(8));
    assert!(guest.has_line("iommu: domain 1 configured (stage 1, root 0x20000, 4 levels)"));
}

#[test]
fn five_levels_need_the_capability() {
    let mut guest = Guest::new("s1-5lvl=on");
    guest.domain(1, PAGING_5);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.switch().1, stage1(ROOT, PagingLevels::Five));
}

#[test]
fn attach_rules() {
    let mut guest = Guest::new("unmanaged=1");
    guest.domain(1, BYPASS);
    assert_eq!(guest.create(2), Status(0));
    assert_eq!(guest.attach(1, 0x1234), Status(0x57));
    assert_eq!(guest.attach(1, 1 << 62 | DEVICE_0), Status(0x57));
    assert_eq!(guest.attach(9, DEVICE_0), Status(5));
    assert_eq!(guest.attach(2, DEVICE_0), Status(5));
    assert_eq!(guest.attach(1, DEVICE_1), Status(6));
    assert_eq!(guest.events(), []);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    guest.switch();
    assert_eq!(guest.attach(1, DEVICE_0), Status(0x66));
    assert_eq!(guest.attach(2, DEVICE_0), Status(5));
    assert_eq!(guest.events(), []);
    assert_eq!(guest.counter(Counter::AttachedDevices, 0), 1);
    assert!(guest.has_line("iommu: device 0x1ee76050 attached to domain 1 (bypass)"));
}

#[test]
fn detach_and_delete_rules() {
    let mut guest = Guest::new("");
    assert_eq!(guest.detach(DEVICE_0), Status(0x58));
    assert_eq!(guest.detach(0x1234), Status(0x57));
    assert_eq!(guest.delete(1), Status(5));
    guest.domain(1, PAGING);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.delete(1), Status(0x19));
    guest.switch();
    assert_eq!(guest.detach(DEVICE_0), Status(0));
    assert_eq!(guest.switch(), (DeviceIndex(0), Translation::Blocked));
    assert_eq!(guest.detach(DEVICE_0), Status(0x58));
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.events(), []);
    assert_eq!(guest.delete(1), Status(5));
}

/// What a driver does from boot to unbind: identity, blocking, paging, and back.
#[test]
fn switches_from_boot_to_unbind() {
    let mut guest = Guest::new("");
    guest.domain(1, BYPASS);
    guest.domain(2, BLOCKED);
    guest.domain(3, PAGING);
    let expected = [
        (1, Translation::Bypass),
        (3, stage1(ROOT, PagingLevels::Four)),
        (2, Translation::Blocked),
        (3, stage1(ROOT, PagingLevels::Four)),
    ];
    for (id, translation) in expected {
        assert_eq!(guest.attach(id, DEVICE_1), Status(0));
        assert_eq!(guest.switch(), (DeviceIndex(1), translation));
    }
    // From the default domain to a bypass domain nothing changes for the device.
    assert_eq!(guest.counter(Counter::Switches, 0), 3);
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
}

#[test]
fn many_domains_live_at_once() {
    let mut guest = Guest::new("");
    for id in 1..=4096 {
        guest.domain(id, BYPASS);
    }
    assert_eq!(guest.create(5000), Status(0x38));
    assert_eq!(guest.counter(Counter::LiveDomains, 0), 4096);
    for id in 1..=4096 {
        assert_eq!(guest.attach(id, DEVICE_0), Status(0));
    }
}

/// More often than there can be domains.
#[test]
fn create_and_delete_leak_nothing() {
    let mut guest = Guest::new("quota=3");
    for cycle in 1..=70_000 {
        assert_eq!(guest.create(cycle), Status(0), "cycle {cycle}");
        assert_eq!(guest.delete(cycle), Status(0), "cycle {cycle}");
        guest.events();
    }
    assert_eq!(guest.counter(Counter::LiveDomains, 0), 0);
}

#[test]
fn nothing_works_without_stage_1() {
    for options in ["pviommu=off", "s1=off"] {
        let mut guest = Guest::new(options);
        assert_eq!(guest.create(1), Status(6));
        assert_eq!(guest.attach(1, DEVICE_0), Status(6));
        assert_eq!(guest.flush(1), Status(6));
        assert_eq!(guest.flush_list(1, &[0x1000]), (Status(6), 0));
        assert_eq!(guest.events(), []);
    }
    let mut guest = Guest::new("pviommu=absent");
    assert_eq!(guest.create(1), Status(2));
    assert_eq!(guest.flush_list(1, &[0x1000]), (Status(2), 0));
    assert_eq!(guest.counter(Counter::Violations, 0), 2);
}
