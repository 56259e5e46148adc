// SPDX-License-Identifier: GPL-2.0
//! What the IOMMU says it can do.

use crate::status::Status;

/// Whether there is a para-virtual IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is.
    Present,
    /// The hypervisor does not know its calls.
    Absent,
    /// The hypervisor knows its calls, but this guest has none: PRESENT is clear.
    Off,
}

/// Whether a feature is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

impl Switch {
    /// `bit` when on, 0 when off.
    const fn select(self, bit: u64) -> u64 {
        match self {
            Switch::On => bit,
            Switch::Off => 0,
        }
    }
}

const PRESENT: u64 = 1 << 0;
const S2: u64 = 1 << 1;
const S1: u64 = 1 << 2;
const S1_5LVL: u64 = 1 << 3;
const ATS: u64 = 1 << 5;

/// Bytes of the capability block.
const OUTPUT_BYTES: u32 = 0x18;

/// The capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether there is an IOMMU.
    pub presence: Presence,
    /// Stage-1 domains.
    pub stage1: Switch,
    /// Five-level stage-1 tables.
    pub five_levels: Switch,
    /// Devices may use ATS.
    pub ats: Switch,
    /// Reported width of IOVAs, in bits; any value, to try the guest.
    pub iova_width: u8,
    /// Reported page sizes: bit n stands for pages of `1 << n` bytes; any value, to try the guest.
    pub page_sizes: u64,
}

impl Capabilities {
    /// The capability block as the guest reads it.
    pub fn encode(&self) -> [u8; OUTPUT_BYTES as usize] {
        let flags = match self.presence {
            Presence::Absent | Presence::Off => 0,
            Presence::Present => {
                PRESENT | self.stage1.select(S1) | self.five_levels.select(S1_5LVL) | self.ats.select(ATS)
            }
        };
        self.block(flags)
    }

    /// The capability block as a root partition reads it: the hypervisor keeps the tables.
    pub fn encode_for_root(&self) -> [u8; OUTPUT_BYTES as usize] {
        self.block(match self.presence {
            Presence::Absent | Presence::Off => 0,
            Presence::Present => PRESENT | S2,
        })
    }

    fn block(&self, flags: u64) -> [u8; OUTPUT_BYTES as usize] {
        let mut block = [0; OUTPUT_BYTES as usize];
        block[0x00..0x04].copy_from_slice(&OUTPUT_BYTES.to_le_bytes());
        block[0x06] = self.iova_width;
        block[0x08..0x10].copy_from_slice(&flags.to_le_bytes());
        block[0x10..0x18].copy_from_slice(&self.page_sizes.to_le_bytes());
        block
    }

    /// Checks that stage-1 domains can be used at all.
    ///
    /// # Errors
    /// [`Status::ACCESS_DENIED`] without IOMMU or without stage 1.
    pub fn stage1_usable(&self) -> Result<(), Status> {
        match (self.presence, self.stage1) {
            (Presence::Present, Switch::On) => Ok(()),
            _ => Err(Status::ACCESS_DENIED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Capabilities = Capabilities {
        presence: Presence::Present,
        stage1: Switch::On,
        five_levels: Switch::On,
        ats: Switch::On,
        iova_width: 57,
        page_sizes: 0x4020_1000,
    };

    #[test]
    fn block() {
        let block = ALL.encode();
        assert_eq!(block[0..8], [0x18, 0, 0, 0, 0, 0, 57, 0]);
        assert_eq!(block[8..16], [0b10_1101, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(block[16..24], [0, 0x10, 0x20, 0x40, 0, 0, 0, 0]);
        let four = Capabilities { five_levels: Switch::Off, ats: Switch::Off, ..ALL };
        assert_eq!(four.encode()[8], 0b101);
        let no_stage1 = Capabilities { stage1: Switch::Off, ..four };
        assert_eq!(no_stage1.encode()[8], 0b001);
        assert_eq!(Capabilities { presence: Presence::Off, ..ALL }.encode()[8], 0);
        assert_eq!((ALL.encode_for_root()[6], ALL.encode_for_root()[8]), (57, 0b011));
        assert_eq!(Capabilities { presence: Presence::Off, ..ALL }.encode_for_root()[8], 0);
    }

    #[test]
    fn usable_only_with_stage1() {
        assert_eq!(ALL.stage1_usable(), Ok(()));
        assert_eq!(Capabilities { stage1: Switch::Off, ..ALL }.stage1_usable(), Err(Status(6)));
        assert_eq!(Capabilities { presence: Presence::Off, ..ALL }.stage1_usable(), Err(Status(6)));
    }
}
