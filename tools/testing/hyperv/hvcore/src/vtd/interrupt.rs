// SPDX-License-Identifier: GPL-2.0
//! Interrupt remapping: table entries and the messages that refer to them.

use crate::ids::{Rid, VpIndex};
use crate::platform::{RemapHandle, Trigger};

/// Bytes of an interrupt-remapping table entry.
pub const ENTRY_BYTES: usize = 16;

/// An interrupt-remapping table entry: two 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Irte;

impl Irte {
    /// Interrupts through this handle are dropped and recorded as faults.
    pub const ABSENT: [u64; 2] = [0; 2];

    /// Fixed delivery of `vector` to one processor, accepted from `rid` only.
    ///
    /// `None` when `vp` does not fit the 8-bit destination (0..=254) of a table without extended interrupt mode.
    pub fn remapped(rid: Rid, trigger: Trigger, vp: VpIndex, vector: u8) -> Option<[u64; 2]> {
        const PRESENT: u64 = 1;
        const LEVEL: u64 = 1 << 4;
        const VERIFY_WHOLE_RID: u64 = 1 << 18;
        let destination = u8::try_from(vp.0).ok().filter(|&id| id != 0xff)?;
        let trigger = match trigger {
            Trigger::Edge => 0,
            Trigger::Level => LEVEL,
        };
        let low = PRESENT | trigger | u64::from(vector) << 16 | u64::from(destination) << 40;
        Some([low, u64::from(rid.0) | VERIFY_WHOLE_RID])
    }
}

/// Address of the remappable message for `handle` (no subhandle); the data is [`MESSAGE_DATA`].
pub const fn message_address(handle: RemapHandle) -> u32 {
    const REMAPPABLE: u32 = 0xfee0_0010;
    let handle = handle.0 as u32;
    REMAPPABLE | (handle & 0x7fff) << 5 | (handle >> 15) << 2
}

/// Data of a remappable message without subhandle.
pub const MESSAGE_DATA: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let edge = |rid, vp, vector| Irte::remapped(Rid(rid), Trigger::Edge, VpIndex(vp), vector);
        assert_eq!(edge(0x0018, 1, 0x31), Some([0x0000_0100_0031_0001, 0x0004_0018]));
        assert_eq!(edge(0, 254, 0xff), Some([0x0000_fe00_00ff_0001, 0x0004_0000]));
        assert_eq!(edge(0, 255, 0x31), None);
        assert_eq!(edge(0, 0x100, 0x31), None);
        let level = Irte::remapped(Rid(0xff00), Trigger::Level, VpIndex(1), 0x31);
        assert_eq!(level, Some([0x0000_0100_0031_0011, 0x0004_ff00]));
        assert_eq!(Irte::ABSENT, [0, 0]);
    }

    #[test]
    fn messages() {
        assert_eq!(message_address(RemapHandle(0)), 0xfee0_0010);
        assert_eq!(message_address(RemapHandle(3)), 0xfee0_0070);
        assert_eq!(message_address(RemapHandle(0x8001)), 0xfee0_0034);
    }
}
