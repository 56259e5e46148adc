// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::synic::QUEUE_DEPTH;

#[test]
fn versions_step_down() {
    let mut guest = Guest::new(Version::V5_2);
    for (major, minor) in [(6, 0), (5, 3), (7, 0), (5, 9), (3, 0)] {
        let answer = guest.contact(major, minor);
        assert_eq!((u32_at(&answer, 0), answer[8]), (Some(15), 0), "{major}.{minor}");
    }
    guest.connect(5, 2);
    assert_eq!(guest.vmbus.violations(), 0);
}

#[test]
fn every_version_can_be_agreed_on() {
    for version in Version::ALL {
        let mut guest = Guest::new(version);
        let (major, minor) = version.parts();
        guest.connect(major, minor);
        guest.post(message(3));
        assert_eq!(guest.kinds(), [1, 1, 4], "{version}");
        assert_eq!(guest.vmbus.violations(), 0);
    }
}

#[test]
fn messages_have_a_connection() {
    let mut guest = Guest::connected();
    for (connection, expected) in [(1, 0x12), (2, 0x12), (0x80_0074, 0x12), (4, 0)] {
        guest.connection = ConnectionId(connection);
        assert_eq!(guest.try_post(message(3)).0, expected, "{connection:#x}");
    }
    assert_eq!(guest.vmbus.violations(), 3);
    // A version and a connection that do not go together.
    for (connection, version) in [(1, 0x0005_0000), (4, 0x0004_0001)] {
        guest.connection = ConnectionId(connection);
        let contact = message(14).u32(version).u32(0).u64(2).zeroes_to(40);
        assert_eq!(guest.try_post(contact), Status::INVALID_CONNECTION_ID);
    }
    assert_eq!(guest.vmbus.violations(), 5);
}

#[test]
fn contacts_that_cannot_be() {
    let mut guest = Guest::new(Version::V6_0);
    for (vp, interrupt) in [(2, 2), (u32::MAX, 2), (0, 3), (0, 0x102)] {
        let contact = message(14).u32(0x0006_0000).u32(vp).u64(interrupt).zeroes_to(40);
        assert_eq!(guest.try_post(contact), Status::INVALID_PARAMETER);
    }
    assert_eq!(guest.vmbus.violations(), 4);
    assert_eq!(guest.receive(), None);
}

#[test]
fn malformed_messages() {
    let mut guest = Guest::connected();
    assert_eq!(guest.try_post(Writer::new()), Status::INVALID_PARAMETER);
    assert_eq!(guest.try_post(message(5)), Status::INVALID_PARAMETER);
    assert_eq!(guest.try_post(message(21).zeroes_to(40)), Status::INVALID_PARAMETER);
    assert_eq!(guest.try_post(message(3).zeroes_to(241)), Status::INVALID_PARAMETER);
    let Guest { platform, synic, vmbus, connection } = &mut guest;
    let other_type = vmbus.post_message(platform, synic, VpIndex(0), *connection, 2, &message(3).finish());
    assert_eq!(other_type, Status::INVALID_PARAMETER);
    assert_eq!((guest.vmbus.violations(), guest.receive()), (5, None));
}

#[test]
fn offers_name_the_buses() {
    let mut guest = Guest::connected();
    guest.post(message(3));
    let all = guest.receive_all();
    assert_eq!(all.len(), 3);
    for (index, offer) in all[..2].iter().enumerate() {
        assert_eq!(offer[24..40], Guid::default_instance(BusIndex(index)).0);
        assert_eq!(u32_at(offer, 184), Some(index as u32 + 1));
        assert_eq!(u32_at(offer, 192), Some(index as u32 + 0x100));
    }
    // Asked again, there is nothing new.
    guest.post(message(3));
    assert_eq!(guest.kinds(), [4]);
}

#[test]
fn most_buses_fit_into_the_queue() {
    let buses = (0..MAX_BUSES).map(|index| bus(index, &[])).collect();
    let mut guest = Guest::with_buses(Version::V6_0, buses);
    guest.connect(6, 0);
    guest.post(message(3));
    assert_eq!(guest.kinds().len(), MAX_BUSES + 1);
}

#[test]
fn a_full_queue_pushes_back_and_loses_nothing() {
    let mut guest = Guest::offered();
    // The guest does not take its messages: one is in the slot, the rest wait.
    let teardown = || message(11).u32(1).u32(HANDLE);
    for _ in 0..=QUEUE_DEPTH {
        guest.post(teardown());
    }
    let header = message(8).u32(1).u32(HANDLE).u16(16).u16(1).u32(4096).u32(0).u64(0x10);
    assert_eq!(guest.try_post(teardown()), Status::INSUFFICIENT_BUFFERS);
    assert_eq!(guest.try_post(Writer::new().bytes(&header.finish())), Status::INSUFFICIENT_BUFFERS);
    assert_eq!(guest.rescind(0), Err(OfferError::Busy));
    assert_eq!(guest.kinds(), vec![12; QUEUE_DEPTH + 1]);
    guest.create_gpadl(0, HANDLE);
    assert_eq!(guest.rescind(0), Ok(()));
}

#[test]
fn gpadl_in_several_messages() {
    let mut guest = Guest::offered();
    let pages: Vec<u64> = (0x10..0x10 + 60).collect();
    let head = message(8).u32(1).u32(HANDLE).u16(8 + 8 * 60).u16(1).u32(60 * 4096).u32(0);
    guest.post(pages[..26].iter().fold(head, |writer, &page| writer.u64(page)));
    guest.post(pages[26..54].iter().fold(message(9).u32(0).u32(HANDLE), |writer, &page| writer.u64(page)));
    assert_eq!(guest.receive(), None);
    guest.post(pages[54..].iter().fold(message(9).u32(0).u32(HANDLE), |writer, &page| writer.u64(page)));
    assert_eq!(guest.only(), message(10).u32(1).u32(HANDLE).u32(0).finish());
    guest.post(message(11).u32(1).u32(HANDLE));
    assert_eq!(guest.only(), message(12).u32(HANDLE).finish());
    assert_eq!(guest.vmbus.violations(), 0);
}

#[test]
fn gpadls_that_are_refused() {
    let mut guest = Guest::offered();
    let mut refused = |relid: u32, page: u64| {
        guest.post(message(8).u32(relid).u32(HANDLE).u16(16).u16(1).u32(4096).u32(0).u64(page));
        let answer = guest.only();
        assert_eq!(answer[..16], message(10).u32(relid).u32(HANDLE).finish());
        assert!(u32_at(&answer, 16).unwrap() >> 31 == 1);
        guest.vmbus.violations()
    };
    assert_eq!(refused(1, 0xf_ffff_ffff_ffff), 1);
    assert_eq!(refused(1, testing::RAM_BYTES as u64 / 4096), 2);
    assert!(refused(0, 1) > 2);
    assert!(refused(3, 1) > 3);
    let before = guest.vmbus.violations();
    guest.post(message(9).u32(0).u32(HANDLE).u64(1));
    guest.post(message(11).u32(1).u32(HANDLE));
    assert_eq!(guest.kinds(), [12]);
    assert_eq!(guest.vmbus.violations(), before + 2);
}

#[test]
fn modify_channel_by_version() {
    for (version, answers, violations) in [
        (Version::V4_0, &[][..], 2),
        (Version::V4_1, &[], 1),
        (Version::V5_2, &[], 1),
        (Version::V5_3, &[0, 0xc000_000d], 1),
        (Version::V6_0, &[0, 0xc000_000d], 1),
    ] {
        let mut guest = Guest::new(version);
        let (major, minor) = version.parts();
        guest.connect(major, minor);
        guest.post(message(3));
        guest.receive_all();
        guest.open(0);
        for vp in [1, 2] {
            guest.post(message(22).u32(1).u32(vp));
        }
        let statuses: Vec<_> = guest.receive_all().iter().filter_map(|answer| u32_at(answer, 12)).collect();
        assert_eq!((&statuses[..], guest.vmbus.violations()), (answers, violations), "{version}");
    }
}

#[test]
fn unload_resets_everything_and_a_new_kernel_can_connect() {
    let mut guest = Guest::offered();
    let mut rings = guest.power_on(1);
    guest.create_interrupt(1, &mut rings);
    guest.power_on(0);
    assert_eq!(guest.rescind(0), Ok(()));
    assert_eq!((guest.kinds(), guest.resets()), (vec![2], vec![(0, ResetCause::Rescinded)]));
    guest.post(message(16));
    assert_eq!(guest.only(), message(17).finish());
    assert_eq!(guest.resets(), [(1, ResetCause::Unloaded), (2, ResetCause::Unloaded)]);
    assert_eq!(guest.platform.remap.len(), 0);
    assert_eq!(guest.read_vendor(1), Err(Status::INVALID_PARAMETER));
    assert_eq!(guest.read_vendor(0), Err(Status::INVALID_PARAMETER));
    assert_eq!(guest.vmbus.violations(), 0);
    // Late messages of the old kernel do no harm.
    guest.post(message(7).u32(2));
    guest.signal(1);
    assert_eq!((guest.receive(), guest.vmbus.violations()), (None, 1));

    guest.connect(6, 0);
    guest.post(message(3));
    assert_eq!(guest.kinds(), [1, 4], "the rescinded bus stays withdrawn");
    guest.power_on(1);
    assert_eq!(guest.read_vendor(1), Ok(0x1b36));
    assert_eq!(guest.offer(0), Ok(()));
    assert_eq!(guest.kinds(), [1]);
    assert_eq!(guest.vmbus.take_events(), [Event::FunctionReturned { device: DeviceIndex(0) }]);
    guest.power_on(0);
    assert_eq!(guest.vmbus.violations(), 1);
}

#[test]
fn devices_of_a_guest_that_is_gone_are_kept_where_the_host_keeps_them() {
    let mut guest = Guest::with_config(VmbusConfig {
        max_version: Version::V6_0,
        vpci_max_version: vpci::Version::V1_4,
        buses: vec![bus(0, &[0])],
        ids: Ids::Unique,
        unload: Unload::Keep,
    });
    guest.connect(6, 0);
    guest.post(message(3));
    guest.kinds();
    let mut rings = guest.power_on(0);
    guest.create_interrupt(0, &mut rings);
    guest.platform.take_events();
    guest.post(message(16));
    assert_eq!(guest.resets(), [(0, ResetCause::Unloaded)]);
    let was_reset = |event: &testing::Event| matches!(event, testing::Event::Reset(_));
    assert!(!guest.platform.take_events().iter().any(was_reset), "the function goes on");
    assert_eq!(guest.platform.remap.len(), 0, "without interrupts");
}

#[test]
fn contact_without_unload_starts_over_too() {
    let mut guest = Guest::offered();
    guest.power_on(0);
    guest.connect(5, 3);
    assert_eq!(guest.resets().len(), 3);
    assert_eq!(guest.vmbus.availability(DeviceIndex(0)), Availability::Gone);
    guest.post(message(3));
    assert_eq!(guest.kinds(), [1, 1, 4]);
    guest.power_on(0);
    assert_eq!(guest.vmbus.violations(), 0);
}

#[test]
fn unload_drops_messages_that_were_not_seen() {
    let mut guest = Guest::connected();
    guest.post(message(3));
    // One offer is in the slot; the other and the end mark wait and must not come any more.
    guest.post(message(16));
    assert_eq!(guest.kinds(), [1, 17]);
}
