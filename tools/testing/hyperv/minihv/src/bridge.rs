// SPDX-License-Identifier: GPL-2.0
//! PCI Express root ports of bus 0: what QEMU gives some capabilities (ATS) only to devices behind one.

use hvcore::ids::Rid;
use hvcore::platform::AccessSize;

use crate::memory::{HIGH_WINDOW, LOW_WINDOW};
use crate::pci::ConfigSpace;

const COMMAND: u16 = 0x04;
const COMMAND_MEMORY_AND_MASTER: u32 = 6;
const HEADER_TYPE: u16 = 0x0e;
const HEADER_BRIDGE: u32 = 1;
const SECONDARY_BUS: u16 = 0x19;
/// Base 15:0 and limit 31:16, each address bits 31:20 in its bits 15:4.
const MEMORY_WINDOW: u16 = 0x20;
/// The same for the window that can lie above 4 GiB, whose upper halves follow in two words.
const PREFETCHABLE_WINDOW: u16 = 0x24;
const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;

/// A bridge that the firmware has given its bus number.
pub struct Bridge {
    config: ConfigSpace,
    rid: Rid,
}

impl Bridge {
    /// The function at `rid`, if it is a bridge.
    pub fn find(config: ConfigSpace, rid: Rid) -> Option<Bridge> {
        let kind = config.read(rid, HEADER_TYPE, AccessSize::Byte) & 0x7f;
        (kind == HEADER_BRIDGE).then_some(Bridge { config, rid })
    }

    /// Number of the bus behind it.
    pub fn secondary_bus(&self) -> u8 {
        self.config.read(self.rid, SECONDARY_BUS, AccessSize::Byte) as u8
    }

    /// Lets everything through to where the guest can put BARs.
    ///
    /// Several bridges, and devices on bus 0, then claim the same addresses. In QEMU only what lies behind a window
    /// answers, so that nothing is hidden as long as no two BARs overlap.
    pub fn open(&self) {
        let high_word = |address: u64| (address >> 16) as u32 & 0xfff0;
        let window = |start: u64, end: u64| high_word(end - 1) << 16 | high_word(start);
        let write = |offset, value| self.config.write(self.rid, offset, AccessSize::Dword, value);
        write(MEMORY_WINDOW, window(LOW_WINDOW.start, LOW_WINDOW.end));
        write(PREFETCHABLE_WINDOW, window(HIGH_WINDOW.start, HIGH_WINDOW.end));
        write(PREFETCHABLE_BASE_UPPER, (HIGH_WINDOW.start >> 32) as u32);
        write(PREFETCHABLE_LIMIT_UPPER, ((HIGH_WINDOW.end - 1) >> 32) as u32);
        self.config.write(self.rid, COMMAND, AccessSize::Word, COMMAND_MEMORY_AND_MASTER);
    }
}
