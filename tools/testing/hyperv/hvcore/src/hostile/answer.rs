// SPDX-License-Identifier: GPL-2.0
//! What a hostile host puts into result words and output blocks.

use core::ops::Range;

use super::random::Random;
use crate::status::Status;

/// Bits of a result word that mean nothing: 31:16, 63:44.
pub const MEANINGLESS: u64 = 0xffff_f000_ffff_0000;
/// Position of the number of completed elements in a result word.
const REPS_SHIFT: u32 = 32;
/// The largest number of elements that fits.
pub const REPS_MAX: u16 = 0xfff;

/// The result word of this status and number of elements.
pub fn word(status: Status, reps: u16) -> u64 {
    u64::from(status.0) | u64::from(reps & REPS_MAX) << REPS_SHIFT
}

/// Bits that mean nothing, at times.
pub fn decoration(random: &mut Random) -> u64 {
    match random.happens(1, 4) {
        true => random.draw() & MEANINGLESS,
        false => 0,
    }
}

/// A status that is no success.
pub fn failure(random: &mut Random) -> Status {
    // Those that a guest may take for more than "no".
    const TELLING: [Status; 9] = [
        Status::INVALID_HYPERCALL_CODE,
        Status::INVALID_PARAMETER,
        Status::ACCESS_DENIED,
        Status::INSUFFICIENT_MEMORY,
        Status::INVALID_DEVICE_ID,
        Status::KEY_ALREADY_EXISTS,
        Status::DEVICE_ALREADY_IN_DOMAIN,
        Status::TIME_OUT,
        Status::CALL_PENDING,
    ];
    let status = match random.below(4) {
        0 | 1 => random.one_of(&TELLING, Status::OPERATION_FAILED),
        2 => random.one_of(Status::NAMED, Status::OPERATION_FAILED),
        _ => Status(random.draw() as u16),
    };
    match status.is_success() {
        true => Status::OPERATION_FAILED,
        false => status,
    }
}

/// A result word that says that the call failed, whatever else it says.
pub fn failed(random: &mut Random, indices: Option<Range<u16>>) -> u64 {
    if random.happens(1, 16) {
        return u64::MAX;
    }
    let reps = match (random.below(4), indices) {
        (0, _) | (_, None) => 0,
        (1, Some(indices)) => indices.end,
        (2, Some(indices)) => indices.start,
        (_, Some(_)) => random.draw() as u16,
    };
    let reps = if random.happens(1, 8) { random.draw() as u16 } else { reps };
    word(failure(random), reps) | decoration(random)
}

/// A capability block of 0x18 bytes: at times one that makes sense, mostly not.
pub fn capabilities(random: &mut Random) -> [u8; 0x18] {
    const SOUND_FLAGS: u64 = 1 << 0 | 1 << 2;
    const WIDTHS: [u8; 26] =
        [0, 1, 11, 12, 13, 20, 21, 29, 30, 31, 32, 33, 34, 35, 36, 37, 39, 46, 47, 48, 49, 56, 57, 58, 64, 255];
    const SIZES: [u64; 10] =
        [0, 1, 0x1000, 0x20_0000, 0x20_1000, 0x4020_1000, 0x4000_1000, 0xffff_f000, 0x8000_0000_0000_1000, u64::MAX];
    let flags = match random.below(8) {
        0 => random.draw(),
        1 => random.draw() & 0x7f,
        2 => SOUND_FLAGS | random.draw(),
        _ => SOUND_FLAGS | random.draw() & 0x7a,
    };
    let width = match random.below(3) {
        0 => random.draw() as u8,
        1 => random.one_of(&WIDTHS, 48),
        _ => random.one_of(&[39, 47, 48, 57], 48),
    };
    let sizes = match random.below(4) {
        0 => random.draw(),
        1 => random.draw() | 0x1000,
        _ => random.one_of(&SIZES, 0x1000),
    };
    let mut block = [0; 0x18];
    let header = if random.happens(1, 2) { random.draw() } else { 0x18 };
    block[0x00..0x08].copy_from_slice(&header.to_le_bytes());
    block[0x06] = width;
    block[0x08..0x10].copy_from_slice(&flags.to_le_bytes());
    block[0x10..0x18].copy_from_slice(&sizes.to_le_bytes());
    block
}

/// A property block of 0x10 bytes.
pub fn property(random: &mut Random) -> [u8; 0x10] {
    const ENABLED: u64 = 1 << 0;
    let word = match random.below(4) {
        0 => random.draw(),
        1 => random.draw() & !ENABLED,
        _ => random.draw() | ENABLED,
    };
    let mut block = [0; 0x10];
    block[..8].copy_from_slice(&word.to_le_bytes());
    block[8..].copy_from_slice(&random.draw().to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::super::random::Seed;
    use super::*;
    use core::num::NonZeroU64;

    fn random() -> Random {
        Random::new(Seed(NonZeroU64::MIN))
    }

    #[test]
    fn a_failure_is_never_a_success() {
        let mut random = random();
        let words: Vec<u64> = (0..4000).map(|_| failed(&mut random, Some(0..5))).collect();
        assert!(words.iter().all(|&word| word as u16 != 0));
        assert!(words.contains(&u64::MAX));
        assert!(words.iter().any(|word| word & MEANINGLESS != 0 && *word != u64::MAX));
        for reps in [0, 5, 0xfff] {
            assert!(words.iter().any(|word| word >> 32 & 0xfff == reps), "{reps}");
        }
        for status in Status::NAMED.iter().filter(|status| !status.is_success()) {
            assert!(words.iter().any(|&word| word as u16 == status.0), "{status}");
        }
    }

    #[test]
    fn capability_blocks_cover_what_matters() {
        let mut random = random();
        let blocks: Vec<[u8; 0x18]> = (0..4000).map(|_| capabilities(&mut random)).collect();
        let widths: std::collections::BTreeSet<u8> = blocks.iter().map(|block| block[6]).collect();
        assert!(widths.len() > 250, "{} widths", widths.len());
        let usable = |block: &&[u8; 0x18]| block[8] & 5 == 5 && block[0x11] & 0x10 != 0 && block[6] >= 39;
        let usable = blocks.iter().filter(usable).count();
        assert!((800..3200).contains(&usable), "{usable} of 4000 are usable");
        let enabled = (0..4000).filter(|_| property(&mut random)[0] & 1 != 0).count();
        assert!((1500..3500).contains(&enabled), "{enabled} of 4000 are enabled");
    }
}
