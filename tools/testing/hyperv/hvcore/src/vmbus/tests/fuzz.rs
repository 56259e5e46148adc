// SPDX-License-Identifier: GPL-2.0
//! A guest that does anything at all. The mock panics on any misuse of the machine.

use super::*;
use crate::synic::QUEUE_DEPTH;
use proptest::prelude::*;

/// One thing that a guest, or a test on the host's side, can do.
#[derive(Clone, Debug)]
enum Step {
    /// A message with a plausible type.
    Post(u32, u32, Vec<u8>),
    /// The usual way of opening a channel.
    Offers,
    Gpadl(u32),
    Open(u32),
    Connect(u16),
    Unload,
    /// A plausible packet, and a signal.
    Packet(u32, u32, Vec<u8>),
    /// The usual way of powering on.
    Power(u32),
    Interrupt(u32),
    /// A word anywhere in the rings, and a signal.
    Scribble(u32, u64, u32),
    Msr(u32, u64),
    Read(u64, bool),
    Write(u64, u32),
    Retarget(u32, u32, u32),
    Host(u8, usize),
    Take,
}

fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(2), Just(0x10), any::<u8>()], 0..length)
}

fn step() -> impl Strategy<Value = Step> {
    let window = prop_oneof![0_u64..0x4010, any::<u64>()];
    prop_oneof![
        4 => (prop_oneof![Just(4_u32), Just(1), any::<u32>()], 0_u32..26, bytes(240))
            .prop_map(|(connection, kind, body)| Step::Post(connection, kind, body)),
        2 => Just(Step::Offers),
        2 => (0_u32..3).prop_map(Step::Gpadl),
        4 => (0_u32..3).prop_map(Step::Open),
        1 => (0_u16..4).prop_map(Step::Connect),
        1 => Just(Step::Unload),
        4 => (0_u32..2, 0_u32..0x1d, bytes(230)).prop_map(|(channel, kind, body)| Step::Packet(channel, kind, body)),
        4 => (0_u32..2).prop_map(Step::Power),
        2 => (0_u32..2).prop_map(Step::Interrupt),
        2 => (0_u32..2, prop_oneof![0_u64..17, 0x1400_u64..0x1411, 0_u64..0x2800], prop_oneof![0_u32..0x4010, any::<u32>()])
            .prop_map(|(channel, word, value)| Step::Scribble(channel, word, value)),
        1 => (0x80_u32..0x94, prop_oneof![any::<u64>(), Just(1), Just(0xf3), Just(MESSAGES | 1)])
            .prop_map(|(msr, value)| Step::Msr(0x4000_0000 + msr, value)),
        1 => (window.clone(), any::<bool>()).prop_map(|(offset, wide)| Step::Read(offset, wide)),
        1 => (window, any::<u32>()).prop_map(|(offset, value)| Step::Write(offset, value)),
        1 => (0_u32..3, 0_u32..8, 0_u32..3).prop_map(|(device, handle, vp)| Step::Retarget(device, handle, vp)),
        2 => (0_u8..5, 0_usize..3).prop_map(|(what, bus)| Step::Host(what, bus)),
        3 => Just(Step::Take),
    ]
}

impl Guest {
    fn put_raw(&mut self, channel: u32, transaction: u64, payload: Writer) {
        let up = &ring_pages(channel)[..RING_PAGES as usize / 2];
        let packet = Packet {
            kind: PacketKind::InBand,
            completion: if transaction == 0 { Completion::Unwanted } else { Completion::Requested },
            transaction,
            payload: payload.finish(),
        };
        if let Some(mut ring) = Outgoing::open(&mut self.platform, up) {
            let _ = ring.send(&mut self.platform, &packet);
        }
        self.signal(channel);
    }

    fn host(&mut self, what: u8, bus: usize) {
        let _ = match what {
            0 => self.rescind(bus),
            1 => self.offer(bus),
            2 => self.eject(bus, 0),
            3 => self.vmbus.set_unplugged(BusIndex(bus), Plug::Unplugged),
            _ => self.vmbus.set_unplugged(BusIndex(bus), Plug::Connected),
        };
    }

    fn post_on(&mut self, connection: u32, message: Writer) {
        let Guest { platform, synic, vmbus, .. } = self;
        vmbus.post_message(platform, synic, VpIndex(0), ConnectionId(connection), 1, &message.finish());
    }

    fn scribble(&mut self, channel: u32, word: u64, value: u32) {
        let page = ring_pages(channel)[(word / 1024) as usize];
        self.platform.store_u32(Gpa(page.0 + word % 1024 * 4), value).unwrap();
        self.signal(channel);
    }

    fn retarget(&mut self, device: u32, handle: u32, vp: u32) {
        let input = RetargetInterrupt {
            device: self.vmbus.logical_id_of(DeviceIndex(device as usize)).unwrap(),
            message: InterruptMessage { address: u64::from(0xfee0_0010 | (handle << 5)), data: 0 },
            vector: 0x50,
            vp: VpIndex(vp),
        };
        self.vmbus.retarget(&mut self.platform, &input);
    }

    fn perform(&mut self, step: Step) {
        match step {
            Step::Post(connection, kind, body) => self.post_on(connection, message(kind).bytes(&body)),
            Step::Offers => self.post_on(4, message(3)),
            Step::Gpadl(channel) => {
                let head = message(8).u32(channel + 1).u32(HANDLE + channel).u16(88).u16(1).u32(40960).u32(0);
                self.post_on(4, ring_pages(channel).iter().fold(head, |writer, page| writer.u64(page.0 / 4096)));
            }
            Step::Open(channel) => {
                let head = message(5).u32(channel + 1).u32(1).u32(HANDLE + channel).u32(1).u32(5);
                self.post_on(4, head.zeroes_to(148));
            }
            Step::Connect(minor) => {
                let version = if minor == 0 { 0x0006_0000 } else { 0x0005_0000 | u32::from(minor) };
                self.post_on(4, message(14).u32(version).u32(0).u64(2).zeroes_to(40));
            }
            Step::Unload => self.post_on(4, message(16)),
            Step::Packet(channel, kind, body) => {
                self.put_raw(channel, u64::from(kind & 1), pci(kind).bytes(&body));
            }
            Step::Power(channel) => {
                self.put_raw(channel, 1, pci(0x13).u32(0x0001_0004));
                self.put_raw(channel, 1, pci(7).u32(0).u64(WINDOW + u64::from(channel) * 0x2000));
            }
            Step::Interrupt(channel) => {
                self.put_raw(channel, 1, pci(0x1b).u32(0).u32(0x31).u32(0x2_0000).u16(1).u16(0).zeroes_to(88));
            }
            Step::Scribble(channel, word, value) => self.scribble(channel, word, value),
            Step::Msr(msr, value) => {
                self.synic.msr_write(&mut self.platform, VpIndex(0), msr, value);
            }
            Step::Read(offset, wide) => {
                let size = if wide { AccessSize::Dword } else { AccessSize::Byte };
                let _ = self.vmbus.mmio_read(&mut self.platform, Gpa(WINDOW.wrapping_add(offset)), size);
            }
            Step::Write(offset, value) => {
                let gpa = Gpa(WINDOW.wrapping_add(offset));
                self.vmbus.mmio_write(&mut self.platform, gpa, AccessSize::Word, value);
            }
            Step::Retarget(device, handle, vp) => self.retarget(device, handle, vp),
            Step::Host(what, bus) => self.host(what, bus),
            Step::Take => {
                self.receive_all();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_guest_breaks_the_host(steps in proptest::collection::vec(step(), 1..80)) {
        let mut guest = Guest::new(Version::V6_0);
        guest.connect(6, 0);
        for step in steps {
            guest.perform(step);
            prop_assert!(guest.vmbus.take_events().len() <= 12);
            let is_loss = |line: &(crate::platform::LogLevel, String)| line.1.contains("lost");
            prop_assert!(!guest.platform.lines.iter().any(is_loss), "a message was lost");
            prop_assert!(guest.synic.room(VpIndex(0), crate::synic::Sint::VMBUS) <= QUEUE_DEPTH);
        }
        // Whatever happened, a new kernel finds a working host, and nothing is left of the old one.
        guest.set_up_synic();
        guest.receive_all();
        guest.connect(6, 0);
        prop_assert!(guest.platform.remap.is_empty());
        for bus in [0, 1] {
            let _ = guest.offer(bus);
        }
        guest.post(message(3));
        prop_assert_eq!(guest.kinds(), [1, 1, 4]);
        for channel in [0, 1] {
            guest.power_on(channel);
        }
    }
}
