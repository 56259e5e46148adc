// SPDX-License-Identifier: GPL-2.0
//! What only a mistaken guest does, and what a sound one may do because an earlier kernel or a rule is behind it.

use super::*;
use crate::report::ResetCause;

fn violations(guest: &mut Guest) -> u64 {
    guest.counter(Counter::Violations, 0)
}

/// The guest's kernel switches the hypercall page on, or off.
fn set_page(guest: &mut Guest, enable: u64) {
    for (msr, value) in [(0x4000_0000, 1), (0x4000_0001, 0x9000 | enable)] {
        guest.partition.msr_write(&mut guest.platform, VpIndex(0), msr, value);
    }
}

#[test]
fn a_number_is_taken_twice() {
    let mut guest = Guest::new("");
    set_page(&mut guest, 1);
    assert_eq!(guest.create(1), Status(0));
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(violations(&mut guest), 1);
    // The next kernel finds out what the last one left, and may take what it left free.
    set_page(&mut guest, 0);
    set_page(&mut guest, 1);
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(guest.create(2), Status(0));
    assert_eq!(violations(&mut guest), 1);
    assert_eq!(guest.create(2), Status(0x65));
    assert_eq!(violations(&mut guest), 2);
    // A domain that is deleted and made again is the new kernel's.
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.create(1), Status(0));
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(violations(&mut guest), 3);
}

#[test]
fn a_number_that_is_taken_has_the_status_that_was_asked_for() {
    let mut guest = Guest::new("taken=71");
    set_page(&mut guest, 1);
    assert_eq!(guest.create(1), Status(0));
    assert_eq!(guest.create(1), Status(0x71));
    assert_eq!(violations(&mut guest), 1);
    set_page(&mut guest, 0);
    set_page(&mut guest, 1);
    assert_eq!(guest.create(1), Status(0x71));
    assert_eq!(violations(&mut guest), 1);
}

#[test]
fn a_kernel_that_drops_its_devices_makes_way() {
    let mut guest = Guest::new("");
    assert_eq!(guest.create(1), Status(0));
    guest.partition.follow_reset(&mut guest.platform, DeviceIndex(0), ResetCause::PoweredOff);
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(violations(&mut guest), 1);
    guest.partition.follow_reset(&mut guest.platform, DeviceIndex(0), ResetCause::Unloaded);
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(violations(&mut guest), 1);
}

#[test]
fn who_was_lied_to_is_excused() {
    let mut guest =
        Guest::new("inject=b1:0:2:1 inject=c5:0:1:1 inject=c5:71:2:1 inject=b2:0:1:1 inject=b1:65:5:1 inject=ce:0:3:1");
    guest.domain(1, PAGING);
    // Said to be created.
    assert_eq!(guest.create(2), Status(0));
    assert_eq!(guest.configure(2, PAGING), Status(5));
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    // Said to be deleted.
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(violations(&mut guest), 0);
    // Said not to be deleted: the number must not be used again.
    assert_eq!(guest.delete(1), Status(0x71));
    let mut strict = Guest::new("inject=c5:71:1:1");
    strict.domain(1, PAGING);
    assert_eq!(strict.delete(1), Status(0x71));
    assert_eq!(strict.create(1), Status(0x65));
    assert_eq!(violations(&mut strict), 1);
}

#[test]
fn a_device_that_was_said_to_leave_keeps_its_domain() {
    let mut guest = Guest::new("inject=b2:0:2:1");
    guest.domain(1, PAGING);
    guest.domain(2, BLOCKED);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    assert_eq!(guest.delete(1), Status(0x19));
    assert_eq!(violations(&mut guest), 0);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    assert_eq!(guest.delete(1), Status(0x19));
    assert_eq!(violations(&mut guest), 1);
}

/// What the vPCI layer reports when the guest writes to the command register.
fn enable_bus_master(guest: &mut Guest) {
    guest.partition.check_bus_master(&mut guest.platform, DeviceIndex(0));
}

#[test]
fn a_device_masters_the_bus_before_it_is_attached() {
    for (options, expected) in
        [("", 1), ("unmanaged=0", 0), ("start=blocked", 0), ("pviommu=off", 0), ("inject=127:5:1:1", 0)]
    {
        let mut guest = Guest::new(options);
        enable_bus_master(&mut guest);
        assert_eq!(violations(&mut guest), 0, "{options}: a guest without domains");
        let before = match guest.create(1) {
            Status::SUCCESS => 0,
            _ => 1,
        };
        guest.call(0x127, &[SELF, DEVICE_0, 10]);
        enable_bus_master(&mut guest);
        assert_eq!(violations(&mut guest), before + expected, "{options}");
    }
    let mut guest = Guest::new("");
    guest.domain(1, PAGING);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    enable_bus_master(&mut guest);
    assert_eq!(violations(&mut guest), 0);
    assert!(!guest.has_line("may master the bus"));
}

#[test]
fn an_offered_device_is_observed_again() {
    let mut guest = Guest::new("");
    guest.domain(1, PAGING);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    guest.partition.drop_device(&mut guest.platform, DeviceIndex(0));
    enable_bus_master(&mut guest);
    assert_eq!(violations(&mut guest), 0);
    guest.partition.iommu.domains_mut().reset(DeviceIndex(0)).perform(&mut guest.platform);
    enable_bus_master(&mut guest);
    assert_eq!(violations(&mut guest), 1);
    assert!(guest.has_line("violation: device 0x1ee76050 may master the bus and is in no domain"));
}

#[test]
fn blocks_that_overlap() {
    let mut guest = Guest::new("");
    guest.platform.put_u64(INPUT, SELF);
    guest.platform.put_u64(INPUT + 8, 0);
    let result = guest.partition.hypercall(&mut guest.platform, VpIndex(0), 0x125, INPUT, INPUT + 8);
    assert_eq!((result, violations(&mut guest)), (4, 1));
    assert_eq!(guest.platform.get_u64(INPUT + 8), 0);
}
