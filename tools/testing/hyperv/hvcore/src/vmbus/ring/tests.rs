// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::testing::{MockPlatform, RAM_BYTES};
use proptest::prelude::*;

/// Control page, then data pages out of order.
const PAGES: [Gpa; 3] = [Gpa(0x10000), Gpa(0x30000), Gpa(0x20000)];
const SIZE: u32 = 2 * PAGE_BYTES;

fn put(platform: &mut MockPlatform, register: u64, value: u32) {
    platform.store_u32(Gpa(PAGES[0].0 + register), value).unwrap();
}

fn get(platform: &MockPlatform, register: u64) -> u32 {
    platform.load_u32(Gpa(PAGES[0].0 + register)).unwrap()
}

fn in_band(payload: Vec<u8>) -> Packet {
    Packet { kind: PacketKind::InBand, completion: Completion::Requested, transaction: 0x1122_3344_5566_7788, payload }
}

/// The guest's sending side: the same memory, seen as an outgoing ring.
fn guest_sends(platform: &mut MockPlatform, packet: &Packet) -> Sent {
    Outgoing::open(platform, &PAGES).unwrap().send(platform, packet).unwrap()
}

#[test]
fn a_packet_in_memory() {
    let mut platform = MockPlatform::new(vec![]);
    put(&mut platform, WRITE_INDEX, SIZE - 24);
    put(&mut platform, READ_INDEX, SIZE - 24);
    let mut ring = Outgoing::open(&mut platform, &PAGES).unwrap();
    assert_eq!(get(&platform, FEATURES), 1);
    let sent = ring.send(&mut platform, &in_band(vec![0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 1, 2, 3])).unwrap();
    assert_eq!(sent, Sent::Yes(Notify::Guest));
    // 16 + 9 padded to 32, and the trailer: 24 bytes before the wrap, 16 behind it.
    assert_eq!(get(&platform, WRITE_INDEX), 16);
    let end = PAGES[2].0 as usize + 4096;
    let head = [6, 0, 2, 0, 4, 0, 1, 0, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11];
    assert_eq!(platform.ram[end - 24..end - 8], head);
    assert_eq!(platform.ram[end - 8..end], [0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 1, 2]);
    let start = PAGES[1].0 as usize;
    assert_eq!(platform.ram[start..start + 16], [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xe8, 0x1f, 0, 0]);
}

#[test]
fn masked_guests_are_not_disturbed() {
    let mut platform = MockPlatform::new(vec![]);
    put(&mut platform, INTERRUPT_MASK, 1);
    assert_eq!(guest_sends(&mut platform, &in_band(vec![])), Sent::Yes(Notify::Silent));
}

#[test]
fn a_full_ring_asks_for_a_signal() {
    let mut platform = MockPlatform::new(vec![]);
    let mut ring = Outgoing::open(&mut platform, &PAGES).unwrap();
    let packet = in_band(vec![7; 1000]);
    for _ in 0..7 {
        assert!(matches!(ring.send(&mut platform, &packet), Ok(Sent::Yes(_))));
        assert_eq!(get(&platform, PENDING_SEND_SIZE), 0);
    }
    // 8192 - 7 * 1024 = 1024 are free, but one byte must stay so.
    assert_eq!(ring.send(&mut platform, &packet), Ok(Sent::Full));
    assert_eq!(get(&platform, PENDING_SEND_SIZE), 1024);
    put(&mut platform, READ_INDEX, 1024);
    assert!(matches!(ring.send(&mut platform, &packet), Ok(Sent::Yes(_))));
    assert_eq!(get(&platform, PENDING_SEND_SIZE), 0);
    assert_eq!(ring.send(&mut platform, &in_band(vec![0; 8192 - 24])), Err(RingError::TooLong));
}

#[test]
fn packets_arrive_as_sent() {
    let mut platform = MockPlatform::new(vec![]);
    let mut ring = Incoming::open(&platform, &PAGES).unwrap();
    assert_eq!(ring.receive(&mut platform), Ok(None));
    for round in 0..40 {
        let packet = in_band(vec![round; 8 * usize::from(round)]);
        assert!(matches!(guest_sends(&mut platform, &packet), Sent::Yes(_)));
        assert_eq!(ring.receive(&mut platform), Ok(Some((packet, Notify::Silent))));
        assert_eq!(get(&platform, READ_INDEX), get(&platform, WRITE_INDEX));
    }
}

#[test]
fn a_guest_that_waits_for_room_is_told() {
    let mut platform = MockPlatform::new(vec![]);
    let mut ring = Incoming::open(&platform, &PAGES).unwrap();
    for _ in 0..7 {
        guest_sends(&mut platform, &in_band(vec![7; 1000]));
    }
    put(&mut platform, PENDING_SEND_SIZE, 2048);
    let mut receive = || ring.receive(&mut platform).unwrap().unwrap().1;
    // 1024 bytes are free at first; each packet frees as many.
    assert_eq!((receive(), receive(), receive()), (Notify::Silent, Notify::Guest, Notify::Silent));
}

#[test]
fn lengths_that_lie() {
    let with = |offset8: u16, len8: u16, write: u32| {
        let mut platform = MockPlatform::new(vec![]);
        let mut ring = Incoming::open(&platform, &PAGES).unwrap();
        let descriptor = Writer::new().u16(6).u16(offset8).u16(len8).u16(0).finish();
        platform.write(PAGES[1], &descriptor).unwrap();
        put(&mut platform, WRITE_INDEX, write);
        ring.receive(&mut platform).map(|received| received.map(|(packet, _)| packet.payload.len()))
    };
    assert_eq!(with(2, 3, 32), Ok(Some(8)));
    assert_eq!(with(2, 2, 24), Ok(Some(0)));
    assert_eq!(with(3, 3, 32), Ok(Some(0)));
    assert_eq!(with(2, 512, 4104), Ok(Some(4080)));
    for (offset8, len8, write) in
        [(2, 3, 24), (2, 3, 16), (2, 3, 8), (1, 3, 32), (0, 3, 32), (4, 3, 32), (2, 1, 32), (2, 0, 32)]
    {
        assert_eq!(with(offset8, len8, write), Err(RingError::BadPacket), "{offset8} {len8} {write}");
    }
    assert_eq!(with(2, 513, 8184), Err(RingError::BadPacket));
    assert_eq!(with(2, u16::MAX, 8184), Err(RingError::BadPacket));
    for write in [SIZE, SIZE + 8, u32::MAX, 33, 4] {
        assert_eq!(with(2, 3, write), Err(RingError::BadIndex(write)));
    }
}

#[test]
fn the_guest_cannot_move_the_hosts_indices() {
    let mut platform = MockPlatform::new(vec![]);
    let mut incoming = Incoming::open(&platform, &PAGES).unwrap();
    guest_sends(&mut platform, &in_band(vec![1; 8]));
    put(&mut platform, READ_INDEX, 4096);
    let (packet, _) = incoming.receive(&mut platform).unwrap().unwrap();
    assert_eq!((packet.payload, get(&platform, READ_INDEX)), (vec![1; 8], 32));

    let mut platform = MockPlatform::new(vec![]);
    let mut outgoing = Outgoing::open(&mut platform, &PAGES).unwrap();
    put(&mut platform, WRITE_INDEX, 8000);
    outgoing.send(&mut platform, &in_band(vec![])).unwrap();
    assert_eq!(get(&platform, WRITE_INDEX), 24);
    put(&mut platform, READ_INDEX, 3);
    assert_eq!(outgoing.send(&mut platform, &in_band(vec![])), Err(RingError::BadIndex(3)));
}

#[test]
fn rings_that_cannot_be_opened() {
    let mut platform = MockPlatform::new(vec![]);
    assert!(Incoming::open(&platform, &[]).is_none());
    assert!(Incoming::open(&platform, &PAGES[..1]).is_none());
    assert!(Outgoing::open(&mut platform, &PAGES[..1]).is_none());
    assert!(Incoming::open(&platform, &[Gpa(RAM_BYTES as u64), PAGES[1]]).is_none());
    for register in [READ_INDEX, WRITE_INDEX] {
        put(&mut platform, register, SIZE);
        assert!(Incoming::open(&platform, &PAGES).is_none());
        assert!(Outgoing::open(&mut platform, &PAGES).is_none());
        put(&mut platform, register, 0);
    }
    assert!(Incoming::open(&platform, &PAGES).is_some());
}

proptest! {
    /// Both ends of one ring: what one sends, the other receives, in order and unchanged, for any sizes.
    #[test]
    fn a_ring_is_a_queue(
        start in 0_u32..SIZE / 8,
        steps in proptest::collection::vec(proptest::option::of(0_usize..600), 1..200),
    ) {
        let mut platform = MockPlatform::new(vec![]);
        put(&mut platform, READ_INDEX, start * 8);
        put(&mut platform, WRITE_INDEX, start * 8);
        let mut sender = Outgoing::open(&mut platform, &PAGES).unwrap();
        let mut receiver = Incoming::open(&platform, &PAGES).unwrap();
        let mut expected = std::collections::VecDeque::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Some(length) => {
                    let mut packet = in_band(vec![number as u8; length]);
                    if sender.send(&mut platform, &packet) != Ok(Sent::Full) {
                        packet.payload.resize(length.next_multiple_of(8), 0);
                        expected.push_back(packet);
                    }
                }
                None => {
                    let received = receiver.receive(&mut platform).unwrap().map(|(packet, _)| packet);
                    prop_assert_eq!(received, expected.pop_front());
                }
            }
        }
        while let Some(packet) = expected.pop_front() {
            prop_assert_eq!(receiver.receive(&mut platform).unwrap().map(|(packet, _)| packet), Some(packet));
        }
        prop_assert_eq!(receiver.receive(&mut platform), Ok(None));
    }

    #[test]
    fn arbitrary_contents_never_panic(
        control in proptest::collection::vec(any::<u32>(), 4),
        small in proptest::collection::vec(0_u32..2100, 4),
        data in proptest::collection::vec(any::<u8>(), 8192),
        rounds in 1_usize..20,
    ) {
        for control in [control, small.iter().map(|word| word * 8).collect()] {
            let mut platform = MockPlatform::new(vec![]);
            platform.ram[PAGES[1].0 as usize..][..4096].copy_from_slice(&data[..4096]);
            platform.ram[PAGES[2].0 as usize..][..4096].copy_from_slice(&data[4096..]);
            let mut incoming = Incoming::open(&platform, &PAGES).unwrap();
            let mut outgoing = Outgoing::open(&mut platform, &PAGES).unwrap();
            for (word, register) in control.iter().zip([WRITE_INDEX, READ_INDEX, INTERRUPT_MASK, PENDING_SEND_SIZE]) {
                put(&mut platform, register, *word);
            }
            for _ in 0..rounds {
                if let Ok(Some((packet, _))) = incoming.receive(&mut platform) {
                    prop_assert!(packet.payload.len() <= 4096);
                }
                let _ = outgoing.send(&mut platform, &in_band(vec![1; 100]));
            }
        }
    }
}
