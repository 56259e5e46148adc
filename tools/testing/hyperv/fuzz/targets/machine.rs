// SPDX-License-Identifier: GPL-2.0
//! A guest on a machine made of vectors: what every target that speaks to minihv starts from.

use hvcore::hypercall::codes::CallCode;
use hvcore::ids::{Gpa, VpIndex};
use hvcore::partition::Partition;
use hvcore::platform::Platform;
use hvcore::testing::{function, MockPlatform};

/// Where the input block of every call is.
pub const INPUT: u64 = 0x8000;
/// Where the output block is.
pub const OUTPUT: u64 = 0x8800;
/// The own partition.
pub const SELF: u64 = u64::MAX;
/// Logical device ids of the first bus and of the second one's two functions.
pub const DEVICES: [u64; 3] = [0x1ee7_6050, 0x1fe7_6150, 0x1fe7_6151];
/// Pages of RAM, for root tables.
pub const ROOTS: [u64; 2] = [0x2_0000, 0x2_1000];

const MESSAGES: u64 = 0x3000;
const EVENTS: u64 = 0x4000;
/// The slot of the messages that VMBus sends.
const SLOT: u64 = MESSAGES + 2 * 256;
const VECTOR: u64 = 0xf3;

/// Pages of a channel's two rings together; channel n has its own at `0x40000 + 0x10000 * n`.
pub const RING_PAGES: u64 = 10;
/// Where the configuration window of channel n is wanted: this, and `0x2000 * n`.
pub const WINDOW: u64 = 0xd000_0000;

pub struct Machine {
    pub partition: Partition,
    pub platform: MockPlatform,
}

impl Machine {
    /// Two buses, the second one with two functions; these options besides.
    pub fn new(options: &str) -> Machine {
        let functions: Vec<_> = (3..6).map(function).collect();
        let mut platform = MockPlatform::new(functions.clone());
        let options = format!("assign=03.0,04.0+05.0 {options}").parse().expect("the options are sound");
        let mut partition = Partition::new(options, 2, &functions).expect("the options fit the machine");
        partition.start(&mut platform);
        Machine { partition, platform }
    }

    /// Issues a call with these registers.
    pub fn raw(&mut self, control: u64, rdx: u64, r8: u64) -> u64 {
        self.partition.hypercall(&mut self.platform, VpIndex(0), control, rdx, r8)
    }

    /// Issues a call with this input in memory, as far as it fits into a page.
    pub fn call(&mut self, control: u64, input: &[u8]) -> u64 {
        let length = input.len().min(0x800);
        self.platform.write(Gpa(INPUT), &input[..length]).expect("the input block is RAM");
        self.raw(control, INPUT, OUTPUT)
    }

    /// The same with words.
    pub fn call_words(&mut self, control: u64, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.call(control, &bytes)
    }

    pub fn msr(&mut self, vp: u32, msr: u32, value: u64) {
        self.partition.msr_write(&mut self.platform, VpIndex(vp), msr, value);
    }

    /// What a kernel does on every processor when it starts.
    pub fn set_up_synic(&mut self) {
        for vp in [0, 1] {
            let page = u64::from(vp) * 0x2000;
            self.msr(vp, 0x4000_0080, 0);
            for (msr, value) in [
                (0x4000_0083, (MESSAGES + page) | 1),
                (0x4000_0082, (EVENTS + page) | 1),
                (0x4000_0092, VECTOR),
                (0x4000_0080, 1),
            ] {
                self.msr(vp, msr, value);
            }
        }
    }

    /// Takes the messages that came, as the kernel's tasklet does; how many.
    pub fn receive_all(&mut self) -> usize {
        let mut count = 0;
        while self.platform.load_u32(Gpa(SLOT)) == Ok(1) {
            let pending = self.platform.ram[SLOT as usize + 5] & 1 != 0;
            self.platform.store_u32(Gpa(SLOT), 0).expect("the slot is RAM");
            if pending {
                self.msr(0, 0x4000_0084, 0);
            }
            count += 1;
        }
        count
    }

    /// Posts a message to a connection.
    pub fn post(&mut self, connection: u32, kind: u32, payload: &[u8]) -> u64 {
        let payload = &payload[..payload.len().min(240)];
        let mut block = Vec::new();
        for word in [connection, 0, kind, payload.len() as u32] {
            block.extend_from_slice(&word.to_le_bytes());
        }
        block.extend_from_slice(payload);
        block.resize(0x100, 0);
        self.call(CallCode::POST_MESSAGE.0.into(), &block)
    }

    /// Posts a channel message of this type with these words behind its header.
    pub fn message(&mut self, kind: u32, words: &[u32], length: usize) {
        let mut payload = Vec::new();
        for word in [kind, 0].iter().chain(words) {
            payload.extend_from_slice(&word.to_le_bytes());
        }
        payload.resize(payload.len().max(length), 0);
        self.post(4, 1, &payload);
    }

    /// Asks for this version.
    pub fn connect(&mut self, version: u32) {
        self.message(14, &[version, 0, 2, 0], 40);
    }

    /// Asks for the offers.
    pub fn request_offers(&mut self) {
        self.message(3, &[], 8);
    }

    /// Hands the pages of a channel's rings over, and opens it.
    pub fn open(&mut self, channel: u32) {
        let mut words = vec![channel + 1, 0xe1e10 + channel, (8 + 8 * RING_PAGES as u32) | 1 << 16, 40960, 0];
        words.extend(ring_pages(channel).into_iter().flat_map(|page| [(page / 4096) as u32, 0]));
        self.message(8, &words, 0);
        self.message(5, &[channel + 1, 0x77, 0xe1e10 + channel, 0, RING_PAGES as u32 / 2], 148);
    }

    pub fn signal(&mut self, channel: u32, flag: u16) {
        let word = u64::from(0x100 + channel) | u64::from(flag) << 32;
        self.raw(u64::from(CallCode::SIGNAL_EVENT.0) | 1 << 16, word, 0);
    }

    /// Writes a 32-bit word of a channel's rings.
    pub fn scribble(&mut self, channel: u32, word: u64, value: u32) {
        let pages = ring_pages(channel);
        let page = pages[(word / 1024) as usize % pages.len()];
        self.platform.store_u32(Gpa(page + word % 1024 * 4), value).expect("rings are RAM");
    }

    /// Puts a packet into the ring to the host, however little it makes sense, and signals.
    pub fn packet(&mut self, channel: u32, kind: u16, flags: u16, lengths: Option<(u16, u16)>, payload: &[u8]) {
        let (control, data) = (ring_pages(channel)[0], &ring_pages(channel)[1..RING_PAGES as usize / 2]);
        let size = 4096 * data.len() as u32;
        let start = self.platform.load_u32(Gpa(control)).unwrap_or(0) % size & !7;
        let mut bytes = Vec::new();
        let padded = payload.len().next_multiple_of(8);
        let (offset, length) = lengths.unwrap_or((2, (2 + padded / 8) as u16));
        for field in [kind, offset, length, flags] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&0x99u64.to_le_bytes());
        bytes.extend_from_slice(payload);
        bytes.resize(16 + padded, 0);
        bytes.extend_from_slice(&(u64::from(start) << 32).to_le_bytes());
        for (index, byte) in bytes.iter().enumerate() {
            let at = (start + index as u32) % size;
            let page = data[(at / 4096) as usize];
            self.platform.ram[page as usize + (at % 4096) as usize] = *byte;
        }
        let end = (start + bytes.len() as u32) % size;
        self.platform.store_u32(Gpa(control), end).expect("rings are RAM");
        self.signal(channel, 0);
    }

    /// The same for a vPCI message, whose answer is wanted.
    pub fn vpci(&mut self, channel: u32, kind: u32, words: &[u32]) {
        let mut payload = (0x4249_0000 + kind).to_le_bytes().to_vec();
        payload.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.packet(channel, 6, 1, None, &payload);
    }

    /// Brings a channel's bus into D0.
    pub fn power_on(&mut self, channel: u32) {
        let window = WINDOW + u64::from(channel) * 0x2000;
        self.vpci(channel, 0x13, &[0x0001_0004]);
        self.vpci(channel, 7, &[0, window as u32, (window >> 32) as u32]);
    }

    /// A command of the test interface.
    pub fn control(&mut self, command: u32, ebx: u32, edx: u32) -> (u32, u64) {
        self.partition.control(&mut self.platform, command, ebx, edx)
    }
}

/// The pages of a channel's rings.
pub fn ring_pages(channel: u32) -> Vec<u64> {
    (0..RING_PAGES).map(|page| 0x4_0000 + 0x1_0000 * u64::from(channel) + page * 4096).collect()
}
