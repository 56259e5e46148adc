// SPDX-License-Identifier: GPL-2.0
//! A guest's side of VMBus, and what it sees.

mod channel;
mod connection;
mod fuzz;

use super::ring::{Completion, Incoming, Outgoing, Packet, PacketKind, Sent};
use super::*;
use crate::ids::{Guid, VpIndex};
use crate::report::ResetCause;
use crate::request::retarget::InterruptMessage;
use crate::synic::{MsrOutcome, Synic};
use crate::testing::{self, function, MockPlatform};
use crate::vpci;
use crate::wire::{u32_at, u64_at, Writer};

const MESSAGES: u64 = 0x3000;
const EVENTS: u64 = 0x4000;
const SLOT: u64 = MESSAGES + 2 * 256;
const VECTOR: u8 = 0xf3;
const WINDOW: u64 = 0xd000_0000;
const HANDLE: u32 = 0xe1e10;
/// Pages of a channel's two rings together; channel n has its own at `0x10000 * (n + 1)`.
const RING_PAGES: u64 = 10;

/// A guest with a kernel that has set up its SynIC on processor 0.
struct Guest {
    platform: MockPlatform,
    synic: Synic,
    vmbus: Vmbus,
    /// Where messages go.
    connection: ConnectionId,
}

/// The guest's ends of an open channel's rings.
struct Rings {
    to_host: Outgoing,
    from_host: Incoming,
}

fn bus(index: usize, devices: &[usize]) -> BusConfig {
    let slot = |function| vpci::Slot::new(0, function as u8).unwrap();
    let functions = devices.iter().enumerate();
    BusConfig {
        instance: Guid::default_instance(BusIndex(index)),
        functions: functions
            .map(|(function, &device)| FunctionConfig { slot: slot(function), device: DeviceIndex(device) })
            .collect(),
        node: None,
    }
}

impl Guest {
    /// Bus 0 with one function, bus 1 with two.
    fn new(max_version: Version) -> Guest {
        Guest::with_buses(max_version, vec![bus(0, &[0]), bus(1, &[1, 2])])
    }

    fn with_buses(max_version: Version, buses: Vec<BusConfig>) -> Guest {
        Guest::with_config(VmbusConfig {
            max_version,
            vpci_max_version: vpci::Version::V1_4,
            buses,
            ids: Ids::Unique,
            unload: Unload::Reset,
        })
    }

    fn with_config(config: VmbusConfig) -> Guest {
        let mut guest = Guest {
            platform: MockPlatform::new(vec![function(3), function(4), function(5)]),
            synic: Synic::new(2),
            vmbus: Vmbus::new(config).unwrap(),
            connection: ConnectionId(4),
        };
        guest.set_up_synic();
        guest
    }

    /// What a kernel does on every processor when it starts: fresh pages, then the switches.
    fn set_up_synic(&mut self) {
        for vp in [0, 1] {
            let page = u64::from(vp) * 0x4000;
            self.msr(vp, 0x4000_0080, 0);
            self.platform.store_u32(Gpa(SLOT + page), 0).unwrap();
            for (msr, value) in [
                (0x4000_0083, (MESSAGES + page) | 1),
                (0x4000_0082, (EVENTS + page) | 1),
                (0x4000_0092, u64::from(VECTOR)),
                (0x4000_0080, 1),
            ] {
                self.msr(vp, msr, value);
            }
        }
    }

    fn connected() -> Guest {
        let mut guest = Guest::new(Version::V6_0);
        guest.connect(6, 0);
        guest
    }

    /// Connected, with both buses offered.
    fn offered() -> Guest {
        let mut guest = Guest::connected();
        guest.post(message(3));
        assert_eq!(guest.kinds(), [1, 1, 4]);
        guest
    }

    fn msr(&mut self, vp: u32, msr: u32, value: u64) {
        assert_eq!(self.synic.msr_write(&mut self.platform, VpIndex(vp), msr, value), MsrOutcome::Handled);
    }

    fn try_post(&mut self, message: Writer) -> Status {
        let Guest { platform, synic, vmbus, connection } = self;
        vmbus.post_message(platform, synic, VpIndex(0), *connection, 1, &message.finish())
    }

    fn post(&mut self, message: Writer) {
        assert_eq!(self.try_post(message), Status::SUCCESS);
    }

    /// Takes the message in the slot and asks for the next, as the kernel's tasklet does.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let slot = SLOT as usize;
        if self.platform.load_u32(Gpa(SLOT)) != Ok(1) {
            return None;
        }
        let length = usize::from(self.platform.ram[slot + 4]);
        let payload = self.platform.ram[slot + 16..slot + 16 + length].to_vec();
        self.platform.store_u32(Gpa(SLOT), 0).unwrap();
        if self.platform.ram[slot + 5] & 1 != 0 {
            self.msr(0, 0x4000_0084, 0);
        }
        Some(payload)
    }

    fn receive_all(&mut self) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| self.receive()).collect()
    }

    /// The types of all messages that have come.
    fn kinds(&mut self) -> Vec<u32> {
        self.receive_all().iter().filter_map(|message| u32_at(message, 0)).collect()
    }

    /// The only message that has come.
    fn only(&mut self) -> Vec<u8> {
        let mut all = self.receive_all();
        assert_eq!(all.len(), 1, "{all:x?}");
        all.remove(0)
    }

    fn contact(&mut self, major: u16, minor: u16) -> Vec<u8> {
        self.connection = ConnectionId(if major >= 5 { 4 } else { 1 });
        let version = (u32::from(major) << 16) | u32::from(minor);
        let interrupt = if major >= 5 { 2 } else { 0x5000 };
        self.post(message(14).u32(version).u32(0).u64(interrupt).u64(0x6000).u64(0x7000));
        self.only()
    }

    fn connect(&mut self, major: u16, minor: u16) {
        let answer = self.contact(major, minor);
        assert_eq!((u32_at(&answer, 0), answer[8], answer.len()), (Some(15), 1, 16));
        assert_eq!(u32_at(&answer, 12), Some(self.connection.0));
    }

    fn create_gpadl(&mut self, channel: u32, handle: u32) {
        let head = message(8).u32(channel + 1).u32(handle).u16(8 + 8 * RING_PAGES as u16).u16(1);
        let head = head.u32(4096 * RING_PAGES as u32).u32(0);
        self.post(ring_pages(channel).iter().fold(head, |writer, page| writer.u64(page.0 / 4096)));
        assert_eq!(self.only(), message(10).u32(channel + 1).u32(handle).u32(0).finish());
    }

    fn try_open(&mut self, channel: u32, handle: u32) -> u32 {
        for page in [0, RING_PAGES / 2] {
            let control = ring_pages(channel)[page as usize];
            self.platform.ram[control.0 as usize..][..4096].fill(0);
        }
        let head = message(5).u32(channel + 1).u32(0x77).u32(handle).u32(0);
        self.post(head.u32(RING_PAGES as u32 / 2).zeroes_to(148));
        let answer = self.only();
        assert_eq!(answer[..16], message(6).u32(channel + 1).u32(0x77).finish());
        u32_at(&answer, 16).unwrap()
    }

    fn open(&mut self, channel: u32) -> Rings {
        self.create_gpadl(channel, HANDLE + channel);
        assert_eq!(self.try_open(channel, HANDLE + channel), 0);
        self.rings(channel)
    }

    fn rings(&mut self, channel: u32) -> Rings {
        let pages = ring_pages(channel);
        let (up, down) = pages.split_at(RING_PAGES as usize / 2);
        Rings {
            to_host: Outgoing::open(&mut self.platform, up).unwrap(),
            from_host: Incoming::open(&self.platform, down).unwrap(),
        }
    }

    fn signal(&mut self, channel: u32) {
        let Guest { platform, synic, vmbus, .. } = self;
        assert_eq!(vmbus.signal_event(platform, synic, ConnectionId(0x100 + channel), 0), Status::SUCCESS);
    }

    /// Puts a vPCI message into the ring without a signal.
    fn put(&mut self, rings: &mut Rings, transaction: u64, payload: Writer) {
        let completion = if transaction == 0 { Completion::Unwanted } else { Completion::Requested };
        let packet = Packet { kind: PacketKind::InBand, completion, transaction, payload: payload.finish() };
        assert!(matches!(rings.to_host.send(&mut self.platform, &packet), Ok(Sent::Yes(_))));
    }

    fn take(&mut self, rings: &mut Rings) -> Option<Packet> {
        rings.from_host.receive(&mut self.platform).unwrap().map(|(packet, _)| packet)
    }

    /// Sends a vPCI message and gives the completion's payload.
    fn ask(&mut self, channel: u32, rings: &mut Rings, payload: Writer) -> Vec<u8> {
        self.put(rings, 0x99, payload);
        self.signal(channel);
        let packet = self.take(rings).expect("a completion");
        assert_eq!((packet.kind, packet.transaction), (PacketKind::Completion, 0x99));
        packet.payload
    }

    /// Opens a channel and brings its bus into D0.
    fn power_on(&mut self, channel: u32) -> Rings {
        let mut rings = self.open(channel);
        let window = WINDOW + u64::from(channel) * 0x2000;
        for request in [pci(0x13).u32(0x0001_0004), pci(7).u32(0).u64(window)] {
            assert_eq!(self.ask(channel, &mut rings, request), [0; 8]);
        }
        rings
    }

    /// Creates an interrupt; gives address and data.
    fn create_interrupt(&mut self, channel: u32, rings: &mut Rings) -> InterruptMessage {
        let request = pci(0x1b).u32(0).u32(0x31).u32(0x1_0000).u16(1).u16(0).zeroes_to(88);
        let reply = self.ask(channel, rings, request);
        assert_eq!(u32_at(&reply, 0), Some(0));
        InterruptMessage { data: u32_at(&reply, 12).unwrap(), address: u64_at(&reply, 16).unwrap() }
    }

    fn read_vendor(&mut self, channel: u64) -> Result<u32, Status> {
        let gpa = Gpa(WINDOW + channel * 0x2000 + 0x1000);
        self.vmbus.mmio_read(&mut self.platform, gpa, AccessSize::Word)
    }

    fn rescind(&mut self, bus: usize) -> Result<(), OfferError> {
        self.vmbus.rescind(&mut self.platform, &mut self.synic, BusIndex(bus))
    }

    fn offer(&mut self, bus: usize) -> Result<(), OfferError> {
        self.vmbus.offer(&mut self.platform, &mut self.synic, BusIndex(bus))
    }

    fn eject(&mut self, bus: usize, function: u8) -> Result<(), OfferError> {
        let slot = vpci::Slot::new(0, function).unwrap();
        self.vmbus.eject(&mut self.platform, &mut self.synic, BusIndex(bus), slot)
    }

    fn resets(&mut self) -> Vec<(usize, ResetCause)> {
        let reset = |event| match event {
            Event::FunctionReset { device, cause } => (device.0, cause),
            Event::FunctionReturned { .. } | Event::ExtendedConfigWritten { .. } | Event::BusMasterEnabled { .. } => {
                panic!("{event:?}")
            }
        };
        self.vmbus.take_events().into_iter().map(reset).collect()
    }

    fn interrupts(&mut self) -> usize {
        let is_vmbus = |event: &testing::Event| matches!(event, testing::Event::Interrupt(_, VECTOR));
        self.platform.take_events().iter().filter(|event| is_vmbus(event)).count()
    }
}

/// A channel message up to its header.
fn message(kind: u32) -> Writer {
    Writer::new().u32(kind).u32(0)
}

/// A vPCI message up to its type.
fn pci(kind: u32) -> Writer {
    Writer::new().u32(0x4249_0000 + kind)
}

/// The pages of a channel's rings.
fn ring_pages(channel: u32) -> Vec<Gpa> {
    (0..RING_PAGES).map(|page| Gpa(0x10000 * (u64::from(channel) + 1) + page * 4096)).collect()
}
