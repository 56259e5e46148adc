// SPDX-License-Identifier: GPL-2.0
//! From hypercalls and MSRs to a vPCI device and back, with literal bytes all the way.

use super::*;
use crate::ids::{BusIndex, Gpa};
use crate::platform::{AccessSize, Platform};
use crate::synic::MsrOutcome;

const MESSAGES: u64 = 0x3000;
const EVENTS: u64 = 0x4000;
/// Slot of SINT 2.
const SLOT: u64 = MESSAGES + 0x200;
/// Ring pages: guest to host, then host to guest, five each.
const RINGS: u64 = 0x5_0000;
const WINDOW: u64 = 0xd000_0000;

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Guest {
    /// A guest whose processor 0 takes messages.
    fn with_synic(options: &str) -> Guest {
        let mut guest = Guest::new(options);
        for (msr, value) in [(0x83, MESSAGES | 1), (0x82, EVENTS | 1), (0x92, 0xf3), (0x80, 1)] {
            let outcome = guest.partition.msr_write(&mut guest.platform, VpIndex(0), 0x4000_0000 + msr, value);
            assert_eq!(outcome, MsrOutcome::Handled);
        }
        guest
    }

    /// HvPostMessage on connection 4.
    fn post(&mut self, payload: &[u8]) {
        self.platform.write(Gpa(INPUT + 0x10), payload).unwrap();
        assert_eq!(self.call(0x5c, &[4, (payload.len() as u64) << 32 | 1]), Status(0));
    }

    /// Takes all messages, as the kernel does.
    fn messages(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while self.platform.load_u32(Gpa(SLOT)) == Ok(1) {
            let slot = self.platform.ram[SLOT as usize..][..256].to_vec();
            all.push(slot[16..16 + usize::from(slot[4])].to_vec());
            self.platform.store_u32(Gpa(SLOT), 0).unwrap();
            self.partition.msr_write(&mut self.platform, VpIndex(0), 0x4000_0084, 0);
        }
        all
    }

    fn connect(&mut self) {
        self.post(&bytes(&[14, 0, 0x6_0000, 0, 2, 0, 0x6000, 0, 0x7000, 0]));
        assert_eq!(self.messages(), [bytes(&[15, 0, 1, 4])]);
    }

    /// Requests offers; returns the kinds of the answers.
    fn offers(&mut self) -> Vec<u8> {
        self.post(&bytes(&[3, 0]));
        self.messages().iter().map(|message| message[0]).collect()
    }

    /// Opens the channel of bus 0.
    fn open(&mut self) {
        let mut gpadl = bytes(&[8, 0, 1, 0x10, 0x1_0058, 10 * 4096, 0]);
        (0..10).for_each(|page| gpadl.extend((RINGS / 4096 + page).to_le_bytes()));
        self.post(&gpadl);
        assert_eq!(self.messages(), [bytes(&[10, 0, 1, 0x10, 0])]);
        let mut open = bytes(&[5, 0, 1, 0x77, 0x10, 0, 5]);
        open.resize(148, 0);
        self.post(&open);
        assert_eq!(self.messages(), [bytes(&[6, 0, 1, 0x77, 0])]);
    }

    /// Puts a packet that wants a completion into the ring and signals.
    fn packet(&mut self, payload: &[u32]) {
        let write = self.platform.load_u32(Gpa(RINGS)).unwrap();
        let mut packet = bytes(&[0x0002_0006, (2 + payload.len() as u32 / 2) | 1 << 16, 1, 0]);
        packet.extend(bytes(payload));
        packet.extend(bytes(&[0, write]));
        self.platform.write(Gpa(RINGS + 0x1000 + u64::from(write)), &packet).unwrap();
        self.platform.store_u32(Gpa(RINGS), write + packet.len() as u32).unwrap();
        let result = self.partition.hypercall(&mut self.platform, VpIndex(0), 0x1_005d, 0x100, 0);
        assert_eq!(result, 0);
        assert_eq!(self.platform.load_u32(Gpa(RINGS + 4)), Ok(write + packet.len() as u32), "drained");
    }

    /// The host's write index: how much it has answered.
    fn answered(&self) -> u32 {
        self.platform.load_u32(Gpa(RINGS + 0x5000)).unwrap()
    }
}

#[test]
fn a_device_comes_up() {
    let mut guest = Guest::with_synic("");
    guest.connect();
    assert_eq!(guest.offers(), [1, 1, 4]);
    guest.open();
    guest.packet(&[0x4249_0013, 0x0001_0004]);
    let version_answer = guest.answered();
    assert!(version_answer >= 32);
    guest.packet(&[0x4249_0007, 0, WINDOW as u32, 0]);
    assert!(guest.answered() > version_answer);

    // Slot 0, then the vendor and device id of the function behind it.
    assert_eq!(guest.call(0x107, &[WINDOW, 4, 0]), Status(0));
    assert_eq!(guest.call(0x106, &[WINDOW + 0x1000, 4]), Status(0));
    assert_eq!(guest.platform.get_u64(OUTPUT), 0x0010_1b36);
    guest.platform.put_u64(OUTPUT, u64::MAX);
    assert_eq!(guest.call(0x106, &[WINDOW + 0x1002, 2]), Status(0));
    assert_eq!(guest.platform.get_u64(OUTPUT), 0xffff_ffff_ffff_0010);
    guest.events();
    assert_eq!(guest.call(0x107, &[WINDOW + 0x1004, 2, 0xffff_ffff_ffff_0006]), Status(0));
    assert_eq!(guest.events(), [Event::ConfigWrite(DeviceIndex(0), 4, AccessSize::Word, 6)]);
    assert_eq!(guest.counter(Counter::Violations, 0), 0);

    // No table stands behind the device: its own TLB must stay off.
    assert_eq!(guest.call(0x107, &[WINDOW + 0x1106, 2, 0]), Status(0));
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
    guest.platform.device_tlbs.insert(DeviceIndex(0));
    assert_eq!(guest.call(0x107, &[WINDOW + 0x1004, 2, 6]), Status(0));
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
    assert_eq!(guest.call(0x107, &[WINDOW + 0x1106, 2, 0x8000]), Status(0));
    assert_eq!(guest.counter(Counter::Violations, 0), 1);
}

#[test]
fn rescind_withdraws_the_device_and_an_offer_brings_it_back() {
    let mut guest = Guest::with_synic("");
    guest.connect();
    guest.offers();
    guest.domain(1, PAGING);
    guest.domain(2, BLOCKED);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    guest.control(Command::Rescind, 0, 0);
    assert_eq!(guest.messages(), [bytes(&[2, 0, 1])]);
    assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 1), 1);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0x57));
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.refused(Command::Rescind, 0, 0), 3);
    guest.post(&bytes(&[13, 0, 1]));
    guest.control(Command::Offer, 0, 0);
    let kinds: Vec<_> = guest.messages().iter().map(|message| message[0]).collect();
    assert_eq!(kinds, [1]);
    assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 1), 0);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
}

/// Of two devices with one id the second one is meant when the first one is not there.
#[test]
fn a_shared_id_is_that_of_a_device_that_is_there() {
    let mut guest = Guest::with_synic("ids=shared guid=1:12345678-1ee7-6050-6d69-6e6968760001");
    guest.connect();
    assert_eq!(guest.offers(), [1, 1, 4]);
    guest.domain(1, PAGING);
    guest.domain(2, BLOCKED);
    guest.events();
    let attach = |guest: &mut Guest, domain| {
        assert_eq!(guest.attach(domain, DEVICE_0), Status(0));
        guest.switch().0
    };
    assert_eq!(attach(&mut guest, 1), DeviceIndex(0));
    guest.control(Command::Rescind, 0, 0);
    guest.events();
    assert_eq!(attach(&mut guest, 1), DeviceIndex(1));
    guest.control(Command::Rescind, 1, 0);
    guest.events();
    assert_eq!(guest.attach(2, DEVICE_0), Status(0x57));
    guest.messages();
    guest.post(&bytes(&[13, 0, 2]));
    guest.control(Command::Offer, 1, 0);
    guest.events();
    assert_eq!(attach(&mut guest, 2), DeviceIndex(1));
    assert_eq!((guest.delete(1), guest.counter(Counter::Violations, 0)), (Status(0), 0));
}

#[test]
fn messages_on_a_bus_are_refused() {
    let mut guest = Guest::with_synic("");
    guest.connect();
    guest.offers();
    guest.open();
    assert_eq!(guest.control(Command::Refuse, 0x0001_0000, 0xc000_0001), 0);
    // Of the other bus, until the rules are removed.
    assert_eq!(guest.control(Command::Refuse, 0x7fff_0001, 0xc000_0001), 0);
    for (word, status) in [(0x0001_0000, 0), (0x0000_0000, 0xc000_0001), (0x0001_0700, 0xc000_0001)] {
        assert_eq!(guest.refused(Command::Refuse, word, status), 3);
    }
    assert_eq!(guest.refused(Command::Refuse, 0x0001_0002, 0xc000_0001), 2);
    let version = [0x4249_0013, 0x0001_0004];
    guest.packet(&version);
    assert_eq!(guest.counter(Counter::RefusedMessages, 0), 1);
    assert!(guest.has_line("0xc0000001 by a rule"));
    guest.packet(&version);
    guest.control(Command::Refuse, 0x7fff_0000, 0xc000_0001);
    guest.control(Command::InjectClear, 0, 0);
    guest.packet(&version);
    guest.packet(&[0x4249_0007, 0, WINDOW as u32, 0]);
    assert_eq!(guest.call(0x107, &[WINDOW, 4, 0]), Status(0));
    assert_eq!((guest.counter(Counter::RefusedMessages, 0), guest.counter(Counter::Violations, 0)), (1, 0));
}

/// A kernel that follows by kexec finds its devices where the last one left them.
#[test]
fn a_new_connection_keeps_the_domains() {
    let mut guest = Guest::with_synic("");
    guest.connect();
    guest.offers();
    guest.domain(1, PAGING);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    guest.post(&bytes(&[16, 0]));
    assert_eq!(guest.messages(), [bytes(&[17, 0])]);
    guest.connect();
    guest.offers();
    assert_eq!(guest.create(1), Status(0x65));
    assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 0), 1);
    guest.domain(2, BYPASS);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    assert_eq!(guest.delete(1), Status(0));
}

/// Such a kernel is better off when they do nothing until it has attached them.
#[test]
fn devices_that_are_left_unblocked_are_counted() {
    let mut guest = Guest::with_synic("");
    let mut abandoned = |domain: Option<u32>| {
        guest.connect();
        guest.offers();
        if let Some(domain) = domain {
            assert_eq!(guest.attach(domain, DEVICE_0), Status(0));
        }
        guest.post(&bytes(&[16, 0]));
        guest.messages();
        if domain.is_none() {
            for (id, settings) in [(1, PAGING), (2, BLOCKED), (3, BYPASS)] {
                guest.domain(id, settings);
            }
        }
        guest.counter(Counter::Abandoned, 0)
    };
    assert_eq!([None, Some(1), Some(2), Some(3)].map(&mut abandoned), [0, 1, 1, 2]);
}

#[test]
fn unsound_calls() {
    let mut guest = Guest::with_synic("");
    guest.connect();
    assert_eq!(guest.call(0x5c, &[4, 241 << 32 | 1]), Status(5));
    assert_eq!(guest.call(0x5c, &[1 << 32 | 4, 8 << 32 | 1, 3]), Status(5));
    assert_eq!(guest.call(0x5c, &[9, 8 << 32 | 1, 3]), Status(0x12));
    assert_eq!(guest.call(0x5d, &[1 << 48 | 0x100]), Status(5));
    assert_eq!(guest.call(0x5d, &[0x1ff]), Status(0x12));
    assert_eq!(guest.call(0x106, &[WINDOW, 4]), Status(5));
    assert_eq!(guest.call(0x106, &[WINDOW, 8]), Status(5));
    assert_eq!(guest.call(0x107, &[WINDOW, 3, 0]), Status(5));
    assert_eq!(guest.call(0x7e, &[SELF, DEVICE_0, 2, 0, 0, 0x31, 1]), Status(5));
    assert_eq!(guest.call(0x7e, &[SELF, 0x99, 1, 0, 0, 0x31, 1]), Status(0x57));
    assert_eq!(guest.counter(Counter::Violations, 0), 10);
    let outcome = guest.partition.msr_write(&mut guest.platform, VpIndex(0), 0x4000_0080, 2);
    assert_eq!(outcome, MsrOutcome::Fault);
    assert_eq!(guest.counter(Counter::Violations, 0), 11);
    assert_eq!(guest.partition.devices_on(BusIndex(1)), [DeviceIndex(1)]);
}
