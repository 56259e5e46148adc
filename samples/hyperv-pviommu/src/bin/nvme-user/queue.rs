// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! A pair of NVMe queues: commands go in by the submission queue, results come back by the
//! completion queue. One command is under way at a time, and its completion is waited for.

use std::sync::atomic::{fence, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};
use user_dma::{Iova, Memory, Registers};

/// Entries of each queue.
pub const ENTRIES: u16 = 16;
const COMMAND_BYTES: usize = 64;
const COMPLETION_BYTES: usize = 16;

/// The offset of the first doorbell in BAR 0.
const DOORBELLS: usize = 0x1000;
const PATIENCE: Duration = Duration::from_secs(30);

/// A command, without its identifier. Double words that are not named here are 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct Command {
    /// What to do.
    pub opcode: u8,
    /// The namespace, 0 when it is about none.
    pub namespace: u32,
    /// Where the data is: page, and second page or list of pages.
    pub data: [u64; 2],
    /// Double words 10 to 12.
    pub arguments: [u32; 3],
}

impl Command {
    fn bytes(&self, identifier: u16) -> [u8; COMMAND_BYTES] {
        let mut words = [0_u32; COMMAND_BYTES / 4];
        words[0] = u32::from(self.opcode) | u32::from(identifier) << 16;
        words[1] = self.namespace;
        for (place, address) in [(6, self.data[0]), (8, self.data[1])] {
            words[place] = address as u32;
            words[place + 1] = (address >> 32) as u32;
        }
        words[10..13].copy_from_slice(&self.arguments);
        let mut bytes = [0; COMMAND_BYTES];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// Where a pair of queues lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Number of the pair; 0 is the admin queues.
    pub number: u16,
    /// Offset in memory of the submission queue; the completion queue takes the page behind it.
    pub offset: usize,
    /// Distance of two doorbells in bytes.
    pub stride: usize,
}

/// The pair.
pub struct QueuePair {
    place: Place,
    tail: u16,
    head: u16,
    /// The phase bit of entries that the controller writes in this round.
    phase: u16,
    identifier: u16,
}

impl QueuePair {
    /// Starts with empty queues in zeroed memory.
    pub fn new(place: Place) -> QueuePair {
        QueuePair {
            place,
            tail: 0,
            head: 0,
            phase: 1,
            identifier: 0,
        }
    }

    /// Where the controller finds the submission queue and the completion queue, when the memory is
    /// mapped at `base`.
    pub fn addresses(place: Place, base: Iova) -> [Iova; 2] {
        let first = base + place.offset as u64;
        [first, first + 4096]
    }

    fn doorbell(&self, index: usize) -> usize {
        DOORBELLS + (2 * usize::from(self.place.number) + index) * self.place.stride
    }

    /// Submits a command and waits for its completion.
    ///
    /// # Errors
    /// The status, when it is not success; or when there is no answer.
    pub fn run(&mut self, memory: &Memory, registers: &Registers, command: Command) -> Result<()> {
        self.identifier = self.identifier.wrapping_add(1);
        let slot = self.place.offset + usize::from(self.tail) * COMMAND_BYTES;
        memory.write(slot, &command.bytes(self.identifier));
        self.tail = (self.tail + 1) % ENTRIES;
        // The command must be in memory before the controller hears of it.
        fence(Ordering::SeqCst);
        registers.write32(self.doorbell(0), u32::from(self.tail));

        let entry = self.place.offset + 4096 + usize::from(self.head) * COMPLETION_BYTES;
        let deadline = Instant::now() + PATIENCE;
        while memory.read16(entry + 14) & 1 != self.phase {
            if Instant::now() > deadline {
                bail!("no answer to {command:x?} in {} s", PATIENCE.as_secs());
            }
            sleep(Duration::from_micros(100));
        }
        // The rest of the entry is read after the bit that says that it is complete.
        fence(Ordering::SeqCst);
        let identifier = memory.read16(entry + 12);
        let status = memory.read16(entry + 14) >> 1;
        self.head = (self.head + 1) % ENTRIES;
        if self.head == 0 {
            self.phase ^= 1;
        }
        registers.write32(self.doorbell(1), u32::from(self.head));
        ensure!(
            identifier == self.identifier,
            "completion of command {identifier} instead of {}",
            self.identifier
        );
        let (kind, code) = (status >> 8 & 7, status & 0xff);
        ensure!(
            status == 0,
            "{command:x?} failed: status type {kind}, code {code:#x}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_in_bytes() {
        let command = Command {
            opcode: 0x02,
            namespace: 1,
            data: [0x1_2345_6000, 0x7000],
            arguments: [0x11, 0x22, 0x33],
        };
        let bytes = command.bytes(0xabcd);
        assert_eq!(bytes[..8], [2, 0, 0xcd, 0xab, 1, 0, 0, 0]);
        assert_eq!(
            bytes[24..40],
            [0, 0x60, 0x45, 0x23, 1, 0, 0, 0, 0, 0x70, 0, 0, 0, 0, 0, 0]
        );
        assert_eq!(bytes[40..52], [0x11, 0, 0, 0, 0x22, 0, 0, 0, 0x33, 0, 0, 0]);
        assert!(bytes[52..].iter().all(|byte| *byte == 0));
    }
}
