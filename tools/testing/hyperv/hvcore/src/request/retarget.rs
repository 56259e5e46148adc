// SPDX-License-Identifier: GPL-2.0
//! Where a device's interrupt is to go from now on (`HvRetargetDeviceInterrupt`).

use crate::ids::{LogicalDeviceId, VpIndex};
use crate::status::Status;
use crate::wire::{u32_at, u64_at};

/// Lowest vector that a local APIC accepts.
pub const FIRST_VECTOR: u32 = 16;

/// What a device writes, and where, to raise an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptMessage {
    /// Bus address.
    pub address: u64,
    /// Data of the first vector; further vectors add their number to it.
    pub data: u32,
}

/// Another processor or vector for an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetargetInterrupt {
    /// Whose interrupt.
    pub device: LogicalDeviceId,
    /// The interrupt's message, as created: address and data of this very vector.
    pub message: InterruptMessage,
    /// The new vector, 16..=255.
    pub vector: u8,
    /// The processor that takes it: the lowest of those allowed. May not exist.
    pub vp: VpIndex,
}

impl RetargetInterrupt {
    /// Reads the input block: its fixed 56 bytes, then the variable header that holds the processor set.
    ///
    /// # Errors
    /// - [`Status::INVALID_HYPERCALL_INPUT`]: the block does not have the length of the processor set that it announces.
    /// - [`Status::INVALID_PARTITION_ID`]: not for the caller's own partition.
    /// - [`Status::INVALID_PARAMETER`]: not an MSI, reserved fields not zero, no such vector, or no processor.
    pub fn decode(block: &[u8]) -> Result<RetargetInterrupt, Status> {
        const PARTITION_SELF: u64 = u64::MAX;
        const SOURCE_MSI: u64 = 1;
        const FLAG_MULTICAST: u32 = 1;
        const FLAG_PROCESSOR_SET: u32 = 2;
        let word = |offset| u64_at(block, offset).ok_or(Status::INVALID_HYPERCALL_INPUT);
        let half = |offset| u32_at(block, offset).ok_or(Status::INVALID_HYPERCALL_INPUT);
        let (partition, device, source) = (word(0)?, word(8)?, word(16)?);
        let (address, data, reserved) = (half(24)?, half(28)?, word(32)?);
        let (vector, flags) = (half(40)?, half(44)?);
        let vp = match flags & FLAG_PROCESSOR_SET {
            0 if block.len() > 56 => return Err(Status::INVALID_HYPERCALL_INPUT),
            0 => lowest(word(48)?, 0),
            _ => processor_set(word(48)?, block.get(56..).unwrap_or(&[]))?,
        };
        if partition != PARTITION_SELF {
            return Err(Status::INVALID_PARTITION_ID);
        }
        let known_flags = flags & !(FLAG_MULTICAST | FLAG_PROCESSOR_SET) == 0;
        let vector = u8::try_from(vector).ok().filter(|&vector| u32::from(vector) >= FIRST_VECTOR);
        match (vector, vp) {
            (Some(vector), Some(vp)) if source == SOURCE_MSI && reserved == 0 && known_flags => Ok(RetargetInterrupt {
                device: LogicalDeviceId(device),
                message: InterruptMessage { address: address.into(), data },
                vector,
                vp,
            }),
            _ => Err(Status::INVALID_PARAMETER),
        }
    }
}

/// The lowest processor of a bank of 64; `None` when empty.
fn lowest(bank: u64, first: u32) -> Option<VpIndex> {
    (bank != 0).then(|| VpIndex(first + bank.trailing_zeros()))
}

/// The lowest processor of a sparse set: a mask of banks, then one word per bank present.
fn processor_set(format: u64, variable: &[u8]) -> Result<Option<VpIndex>, Status> {
    const SPARSE: u64 = 0;
    const ALL: u64 = 1;
    match format {
        ALL => Ok(Some(VpIndex(0))),
        SPARSE => {
            let mask = u64_at(variable, 0).ok_or(Status::INVALID_HYPERCALL_INPUT)?;
            if variable.len() != 8 + 8 * mask.count_ones() as usize {
                return Err(Status::INVALID_HYPERCALL_INPUT);
            }
            let present = (0..64).filter(|bank| (mask >> bank) & 1 != 0);
            let words = variable.chunks_exact(8).skip(1).filter_map(|word| u64_at(word, 0));
            Ok(present.zip(words).find_map(|(bank, word)| lowest(word, bank * 64)))
        }
        _ => Err(Status::INVALID_PARAMETER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Writer;
    use proptest::prelude::*;

    fn block(flags: u32, format: u64) -> Writer {
        let head = Writer::new().u64(u64::MAX).u64(0x1ee7_6050).u64(1).u32(0xfee0_0030).u32(0).u64(0);
        head.u32(0x41).u32(flags).u64(format)
    }

    fn decoded(vp: u32) -> Result<RetargetInterrupt, Status> {
        Ok(RetargetInterrupt {
            device: LogicalDeviceId(0x1ee7_6050),
            message: InterruptMessage { address: 0xfee0_0030, data: 0 },
            vector: 0x41,
            vp: VpIndex(vp),
        })
    }

    #[test]
    fn retarget_inputs() {
        let decode = |writer: Writer| RetargetInterrupt::decode(&writer.finish());
        assert_eq!(decode(block(2, 0).u64(1).u64(6)), decoded(1));
        assert_eq!(decode(block(2, 0).u64(0b110).u64(0).u64(1 << 5)), decoded(133));
        assert_eq!(decode(block(3, 1)), decoded(0));
        assert_eq!(decode(block(0, 0b1000)), decoded(3));
        assert_eq!(decode(block(2, 0).u64(1)), Err(Status::INVALID_HYPERCALL_INPUT));
        assert_eq!(decode(block(2, 0).u64(1).u64(1).u64(1)), Err(Status::INVALID_HYPERCALL_INPUT));
        assert_eq!(decode(block(0, 1).u64(1)), Err(Status::INVALID_HYPERCALL_INPUT));
        assert_eq!(decode(block(2, 0)), Err(Status::INVALID_HYPERCALL_INPUT));
        assert_eq!(decode(block(2, 0).u64(1).u64(0)), Err(Status::INVALID_PARAMETER));
        assert_eq!(decode(block(2, 0).u64(0)), Err(Status::INVALID_PARAMETER));
        assert_eq!(decode(block(2, 2).u64(1).u64(1)), Err(Status::INVALID_PARAMETER));
        assert_eq!(decode(block(0, 0)), Err(Status::INVALID_PARAMETER));
        assert_eq!(decode(block(4, 1)), Err(Status::INVALID_PARAMETER));
    }

    #[test]
    fn retarget_inputs_with_one_bad_field() {
        let sound = block(0, 1).finish();
        assert_eq!(RetargetInterrupt::decode(&sound), decoded(0));
        for (offset, byte, status) in [
            (0, 0, Status::INVALID_PARTITION_ID),
            (16, 2, Status::INVALID_PARAMETER),
            (20, 1, Status::INVALID_PARAMETER),
            (32, 1, Status::INVALID_PARAMETER),
            (40, 15, Status::INVALID_PARAMETER),
            (41, 1, Status::INVALID_PARAMETER),
        ] {
            let mut bad = sound.clone();
            bad[offset] = byte;
            assert_eq!(RetargetInterrupt::decode(&bad), Err(status), "offset {offset}");
        }
        for length in 0..sound.len() {
            assert_eq!(RetargetInterrupt::decode(&sound[..length]), Err(Status::INVALID_HYPERCALL_INPUT));
        }
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = RetargetInterrupt::decode(&bytes);
            let mut typical = block(2, 0).finish();
            typical.extend_from_slice(&bytes);
            let _ = RetargetInterrupt::decode(&typical);
        }
    }
}
