// SPDX-License-Identifier: GPL-2.0

use super::*;

/// Offset of `pending_send_sz` in a ring's control page.
const PENDING: u64 = 12;

#[test]
fn the_whole_way_of_a_bus() {
    let mut guest = Guest::offered();
    let mut rings = guest.open(0);
    assert_eq!(guest.vmbus.availability(DeviceIndex(0)), Availability::Present);
    assert_eq!(guest.ask(0, &mut rings, pci(0x13).u32(0x0001_0005))[..4], [0x59, 0, 0, 0xc0]);
    assert_eq!(guest.ask(0, &mut rings, pci(0x13).u32(0x0001_0004)), [0; 8]);
    guest.put(&mut rings, 0, pci(1));
    guest.signal(0);
    let list = guest.take(&mut rings).unwrap();
    assert_eq!((list.kind, list.payload.len()), (PacketKind::InBand, 8 + 28 + 4));
    assert_eq!(guest.ask(0, &mut rings, pci(5).u32(0)).len(), 32);
    assert_eq!(guest.ask(0, &mut rings, pci(7).u32(0).u64(WINDOW)), [0; 8]);
    assert_eq!(guest.ask(0, &mut rings, pci(0x16).u32(0).zeroes_to(208)), [0; 8]);
    assert_eq!(guest.read_vendor(0), Ok(0x1b36));
    let selector = Gpa(WINDOW);
    assert_eq!(guest.vmbus.mmio_write(&mut guest.platform, selector, AccessSize::Dword, 1), Status::SUCCESS);
    assert_eq!(guest.read_vendor(0), Ok(0xffff));

    let interrupt = guest.create_interrupt(0, &mut rings);
    let device = guest.vmbus.logical_id_of(DeviceIndex(0)).unwrap();
    let input = RetargetInterrupt { device, message: interrupt, vector: 0x52, vp: VpIndex(1) };
    assert_eq!(guest.vmbus.retarget(&mut guest.platform, &input), Status::SUCCESS);
    let targets: Vec<_> = guest.platform.remap.values().copied().collect();
    assert_eq!(targets, [(DeviceIndex(0), VpIndex(1), 0x52)]);
    let stranger = RetargetInterrupt { device: LogicalDeviceId(5), ..input };
    assert_eq!(guest.vmbus.retarget(&mut guest.platform, &stranger), Status::INVALID_DEVICE_ID);

    guest.put(&mut rings, 0, pci(0x11).u32(0));
    assert_eq!(guest.ask(0, &mut rings, pci(8)), [0; 8]);
    assert_eq!(guest.resets(), [(0, ResetCause::PoweredOff)]);
    guest.post(message(7).u32(1));
    guest.post(message(11).u32(1).u32(HANDLE));
    assert_eq!(guest.kinds(), [12]);
    assert_eq!(guest.vmbus.availability(DeviceIndex(0)), Availability::Present);
    assert_eq!(guest.vmbus.violations(), 1);
    guest.power_on(0);
}

#[test]
fn close_without_d0_exit_powers_off() {
    let mut guest = Guest::offered();
    guest.power_on(0);
    guest.post(message(7).u32(1));
    assert_eq!(guest.resets(), [(0, ResetCause::PoweredOff)]);
    guest.post(message(7).u32(1));
    assert_eq!(guest.vmbus.violations(), 1);
    assert_eq!(guest.try_open(0, HANDLE), 0);
    let mut rings = guest.rings(0);
    // The version has to be agreed on anew.
    assert_eq!(guest.ask(0, &mut rings, pci(7).u32(0).u64(WINDOW))[..4], [0x84, 1, 0, 0xc0]);
}

#[test]
fn opens_that_fail() {
    let mut guest = Guest::offered();
    assert_eq!(guest.try_open(0, HANDLE), 0xc000_000d);
    guest.create_gpadl(0, HANDLE);
    assert_ne!(guest.try_open(1, HANDLE), 0, "another channel's GPADL");
    assert_ne!(guest.try_open(5, HANDLE), 0, "no such channel");
    for (vp, downstream) in [(2, 5), (0, 0), (0, 1), (0, 9), (0, 10), (0, 11), (0, u32::MAX)] {
        guest.post(message(5).u32(1).u32(1).u32(HANDLE).u32(vp).u32(downstream).zeroes_to(148));
        assert_eq!(u32_at(&guest.only(), 16), Some(0xc000_000d), "{vp} {downstream}");
    }
    assert_eq!(guest.vmbus.violations(), 10);
    assert_eq!(guest.try_open(0, HANDLE), 0);
    assert_ne!(guest.try_open(0, HANDLE), 0, "open already");
    // A control page that is not fresh.
    guest.create_gpadl(1, HANDLE + 1);
    guest.platform.store_u32(ring_pages(1)[5], 0x4000).unwrap();
    guest.post(message(5).u32(2).u32(1).u32(HANDLE + 1).u32(0).u32(5).zeroes_to(148));
    assert_eq!(u32_at(&guest.only(), 16), Some(0xc000_000d));
}

#[test]
fn interrupts_follow_the_channels_target() {
    let mut guest = Guest::offered();
    let mut rings = guest.power_on(0);
    guest.platform.take_events();
    for vp in [0, 1] {
        guest.post(message(22).u32(1).u32(vp));
        assert_eq!(guest.only(), message(24).u32(1).u32(0).finish());
        guest.platform.take_events();
        guest.ask(0, &mut rings, pci(5).u32(0));
        assert_eq!(guest.platform.take_events(), [testing::Event::Interrupt(VpIndex(vp), VECTOR)]);
        let flags = EVENTS + u64::from(vp) * 0x4000 + 512;
        assert_eq!(guest.platform.load_u32(Gpa(flags)), Ok(2));
    }
    guest.post(message(22).u32(2).u32(0));
    assert_eq!(guest.only(), message(24).u32(2).u32(0xc000_0001).finish(), "not open");
}

#[test]
fn one_signal_for_many_packets() {
    let mut guest = Guest::offered();
    let mut rings = guest.power_on(0);
    guest.platform.take_events();
    for transaction in 1..=20 {
        guest.put(&mut rings, transaction, pci(5).u32(0));
    }
    guest.signal(0);
    for transaction in 1..=20 {
        assert_eq!(guest.take(&mut rings).map(|packet| packet.transaction), Some(transaction));
    }
    assert_eq!((guest.take(&mut rings), guest.interrupts()), (None, 1));
}

#[test]
fn a_guest_that_does_not_read_is_waited_for() {
    let mut guest = Guest::offered();
    let mut rings = guest.power_on(0);
    // An answer takes 56 bytes of 16 KiB: the ring is full after 292 of them.
    for round in 0..5 {
        for transaction in 1..=100 {
            guest.put(&mut rings, round * 100 + transaction, pci(5).u32(0));
        }
        guest.signal(0);
    }
    let pending = Gpa(ring_pages(0)[5].0 + PENDING);
    assert_eq!(guest.platform.load_u32(pending), Ok(56));
    // Requests whose answers have no room stay in the guest's own ring: the host keeps no more than one of them.
    let index = |guest: &Guest, offset| guest.platform.load_u32(Gpa(ring_pages(0)[0].0 + offset)).unwrap();
    let unread = (index(&guest, 0) + 0x4000 - index(&guest, 4)) % 0x4000;
    assert_eq!(unread / 32, 500 - 292 - 1);
    let mut seen = 0;
    while seen < 500 {
        let packet = guest.take(&mut rings).expect("an answer");
        seen += 1;
        assert_eq!(packet.transaction, seen);
        guest.signal(0);
    }
    assert_eq!(guest.take(&mut rings), None);
    assert_eq!((guest.platform.load_u32(pending), guest.vmbus.violations()), (Ok(0), 0));
}

#[test]
fn a_corrupted_ring_stops_its_channel_only() {
    let mut guest = Guest::offered();
    let mut rings = guest.power_on(0);
    let mut other = guest.power_on(1);
    guest.platform.store_u32(ring_pages(0)[0], 0x4000).unwrap();
    guest.signal(0);
    guest.signal(0);
    assert_eq!(guest.vmbus.violations(), 1);
    guest.ask(1, &mut other, pci(5).u32(0));
    assert_eq!(guest.take(&mut rings), None);
    guest.post(message(7).u32(1));
    assert_eq!(guest.try_open(0, HANDLE), 0);
    let mut rings = guest.rings(0);
    assert_eq!(guest.ask(0, &mut rings, pci(0x13).u32(0x0001_0004)), [0; 8]);
}

#[test]
fn teardown_of_rings_in_use_closes() {
    let mut guest = Guest::offered();
    guest.power_on(0);
    guest.post(message(11).u32(1).u32(HANDLE));
    assert_eq!(guest.kinds(), [12]);
    assert_eq!((guest.vmbus.violations(), guest.resets()), (1, vec![(0, ResetCause::PoweredOff)]));
}

#[test]
fn signals_to_nobody() {
    let mut guest = Guest::offered();
    guest.signal(0);
    let Guest { platform, synic, vmbus, .. } = &mut guest;
    for (connection, flag, status) in [
        (0x102, 0, Status::INVALID_CONNECTION_ID),
        (2, 0, Status::INVALID_CONNECTION_ID),
        (0x100, 1, Status::INVALID_PARAMETER),
    ] {
        assert_eq!(vmbus.signal_event(platform, synic, ConnectionId(connection), flag), status);
    }
    assert_eq!(guest.vmbus.violations(), 3);
}

#[test]
fn rescind_and_offer_again() {
    let mut guest = Guest::offered();
    let mut rings = guest.power_on(0);
    guest.create_interrupt(0, &mut rings);
    assert_eq!(guest.offer(0), Err(OfferError::WrongState));
    guest.post(message(8).u32(1).u32(HANDLE + 9).u16(16).u16(1).u32(4096).u32(0));
    assert_eq!(guest.rescind(0), Ok(()));
    assert_eq!(guest.rescind(0), Err(OfferError::WrongState));
    assert_eq!(guest.only(), message(2).u32(1).finish());
    assert_eq!((guest.resets(), guest.platform.remap.len()), (vec![(0, ResetCause::Rescinded)], 0));
    assert_eq!(guest.vmbus.availability(DeviceIndex(0)), Availability::Gone);
    // The guest still looks at its device, and its last messages cross with the rescind.
    assert_eq!(guest.read_vendor(0), Ok(0xffff));
    guest.put(&mut rings, 1, pci(5).u32(0));
    guest.signal(0);
    assert_eq!(guest.take(&mut rings), None);
    guest.post(message(11).u32(1).u32(HANDLE));
    guest.post(message(9).u32(0).u32(HANDLE + 9).u64(1));
    assert_ne!(guest.try_open_after_teardown(), 0);
    guest.post(message(7).u32(1));
    assert_eq!(guest.vmbus.violations(), 0);

    assert_eq!(guest.offer(0), Ok(()));
    assert_eq!(guest.receive(), None, "the old offer is not released yet");
    assert_eq!(guest.vmbus.take_events(), []);
    guest.post(message(13).u32(1));
    let offer = guest.only();
    assert_eq!(guest.vmbus.take_events(), [Event::FunctionReturned { device: DeviceIndex(0) }]);
    assert_eq!((u32_at(&offer, 0), u32_at(&offer, 184)), (Some(1), Some(1)));
    assert_eq!(guest.read_vendor(0), Err(Status::INVALID_PARAMETER));
    guest.power_on(0);
    assert_eq!(guest.read_vendor(0), Ok(0x1b36));
    // Once it is back, it is no longer on its way back.
    guest.connect(6, 0);
    guest.vmbus.take_events();
    guest.post(message(3));
    assert_eq!((guest.kinds(), guest.vmbus.take_events()), (vec![1, 1, 4], vec![]));
}

impl Guest {
    /// The answer to an open that crosses with a rescind, after the answer to a teardown that did so too.
    fn try_open_after_teardown(&mut self) -> u32 {
        assert_eq!(self.only(), message(12).u32(HANDLE).finish());
        self.try_open(0, HANDLE)
    }
}

#[test]
fn offer_after_release_comes_at_once() {
    let mut guest = Guest::offered();
    assert_eq!(guest.rescind(1), Ok(()));
    guest.post(message(13).u32(2));
    assert_eq!(guest.kinds(), [2]);
    guest.vmbus.take_events();
    assert_eq!(guest.offer(1), Ok(()));
    assert_eq!(guest.kinds(), [1]);
    let returned = [1, 2].map(|device| Event::FunctionReturned { device: DeviceIndex(device) });
    assert_eq!(guest.vmbus.take_events(), returned);
    guest.power_on(1);
    assert_eq!(guest.vmbus.violations(), 0);
}

#[test]
fn offers_wait_for_the_guest_to_ask() {
    let mut guest = Guest::new(Version::V6_0);
    assert_eq!(guest.rescind(0), Ok(()));
    guest.connect(6, 0);
    assert_eq!(guest.offer(0), Ok(()));
    assert_eq!(guest.rescind(1), Ok(()));
    assert_eq!(guest.receive(), None);
    guest.post(message(3));
    assert_eq!(guest.kinds(), [1, 4]);
    assert_eq!(guest.rescind(2), Err(OfferError::NoSuchBus));
    assert_eq!(guest.offer(2), Err(OfferError::NoSuchBus));
    assert_eq!(guest.resets(), []);
}

#[test]
fn a_guest_may_decline_an_offer() {
    let mut guest = Guest::offered();
    guest.post(message(13).u32(1));
    assert_eq!((guest.receive(), guest.vmbus.availability(DeviceIndex(0))), (None, Availability::Gone));
    assert_eq!(guest.offer(0), Ok(()));
    assert_eq!((guest.kinds(), guest.vmbus.violations()), (vec![1], 0));
    guest.power_on(0);
    guest.post(message(13).u32(1));
    guest.post(message(13).u32(9));
    assert_eq!(guest.vmbus.violations(), 2);
    assert_eq!(guest.read_vendor(0), Ok(0x1b36));
}

#[test]
fn eject_and_its_answer() {
    let mut guest = Guest::offered();
    assert_eq!(guest.eject(1, 1), Err(OfferError::WrongState));
    let mut rings = guest.power_on(1);
    guest.platform.take_events();
    assert_eq!(guest.eject(1, 2), Err(OfferError::NoSuchSlot));
    assert_eq!(guest.eject(2, 0), Err(OfferError::NoSuchBus));
    assert_eq!(guest.eject(1, 1), Ok(()));
    assert_eq!(guest.interrupts(), 1);
    let request = guest.take(&mut rings).unwrap();
    assert_eq!((request.kind, request.payload), (PacketKind::InBand, pci(0x0b).u32(0x20).finish()));
    assert_eq!(guest.eject(1, 1), Err(OfferError::NoSuchSlot));
    guest.put(&mut rings, 0, pci(0x0f).u32(0x20).u32(0));
    guest.signal(1);
    assert_eq!(guest.take(&mut rings), None);
    assert_eq!(guest.resets(), [(2, ResetCause::Ejected)]);
    assert_eq!(guest.vmbus.availability(DeviceIndex(2)), Availability::Gone);
    assert_eq!(guest.vmbus.availability(DeviceIndex(1)), Availability::Present);
    assert_eq!(guest.rescind(1), Ok(()));
    assert_eq!(guest.offer(1), Ok(()));
    guest.post(message(13).u32(2));
    assert_eq!(guest.vmbus.availability(DeviceIndex(2)), Availability::Present);
}

#[test]
fn unplugged() {
    let mut guest = Guest::offered();
    guest.power_on(0);
    guest.vmbus.set_unplugged(BusIndex(0), Plug::Unplugged).unwrap();
    assert_eq!(guest.read_vendor(0), Ok(0xffff));
    assert_eq!(guest.vmbus.availability(DeviceIndex(0)), Availability::Unplugged);
    guest.vmbus.set_unplugged(BusIndex(0), Plug::Connected).unwrap();
    assert_eq!(guest.read_vendor(0), Ok(0x1b36));
    assert_eq!(guest.vmbus.set_unplugged(BusIndex(2), Plug::Connected), Err(OfferError::NoSuchBus));
}

#[test]
fn windows_of_two_buses() {
    let mut guest = Guest::offered();
    guest.power_on(0);
    let mut rings = guest.open(1);
    assert_eq!(guest.ask(1, &mut rings, pci(0x13).u32(0x0001_0004)), [0; 8]);
    let taken = guest.ask(1, &mut rings, pci(7).u32(0).u64(WINDOW + 0x1000));
    assert_eq!((taken[..4].to_vec(), guest.vmbus.violations()), (vec![0x0d, 0, 0, 0xc0], 1));
    // What a withdrawn bus leaves behind is no obstacle, and the living bus answers there.
    assert_eq!(guest.rescind(0), Ok(()));
    assert_eq!(guest.ask(1, &mut rings, pci(7).u32(0).u64(WINDOW)), [0; 8]);
    assert_eq!(guest.read_vendor(0), Ok(0x1b36));
    let outside = Gpa(WINDOW + 0x2000);
    let read = guest.vmbus.mmio_read(&mut guest.platform, outside, AccessSize::Dword);
    assert_eq!((read, guest.vmbus.violations()), (Err(Status::INVALID_PARAMETER), 2));
    let write = guest.vmbus.mmio_write(&mut guest.platform, outside, AccessSize::Dword, 0);
    assert_eq!((write, guest.vmbus.violations()), (Status::INVALID_PARAMETER, 3));
}

#[test]
fn ids() {
    let guest = Guest::new(Version::V6_0);
    for device in (0..3).map(DeviceIndex) {
        let id = guest.vmbus.logical_id_of(device).unwrap();
        assert_eq!(guest.vmbus.device_for_logical_id(id), Some(device));
        assert_eq!(guest.vmbus.availability(device), Availability::Gone);
    }
    assert_eq!(guest.vmbus.logical_id_of(DeviceIndex(2)), Some(LogicalDeviceId(0x1fe7_6151)));
    assert_eq!(guest.vmbus.logical_id_of(DeviceIndex(3)), None);
    assert_eq!(guest.vmbus.device_for_logical_id(LogicalDeviceId(0)), None);
    assert_eq!(guest.vmbus.availability(DeviceIndex(3)), Availability::Gone);
    assert_eq!(guest.vmbus.bus_count(), 2);
}
