// SPDX-License-Identifier: GPL-2.0
//! A generator of pseudo-random numbers: the same seed gives the same numbers everywhere (SplitMix64).

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;

/// Where a sequence of numbers starts. Its text form is hexadecimal, with or without `0x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub NonZeroU64);

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The text is no seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseSeedError;

impl FromStr for Seed {
    type Err = ParseSeedError;

    fn from_str(text: &str) -> Result<Seed, ParseSeedError> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        // A sign is no digit, although the standard parser takes one.
        match digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            true => u64::from_str_radix(digits, 16).ok().and_then(NonZeroU64::new).map(Seed).ok_or(ParseSeedError),
            false => Err(ParseSeedError),
        }
    }
}

/// The generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts at a seed.
    pub fn new(seed: Seed) -> Random {
        Random(seed.0.get())
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw().checked_rem(bound).unwrap_or(0)
    }

    /// Whether something happens that happens `times` times in `of`.
    pub fn happens(&mut self, times: u64, of: u64) -> bool {
        self.below(of) < times
    }

    /// One of `choices`, or `otherwise` when there is none.
    pub fn one_of<T: Copy>(&mut self, choices: &[T], otherwise: T) -> T {
        let index = self.below(choices.len() as u64) as usize;
        choices.get(index).copied().unwrap_or(otherwise)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random(seed: u64) -> Random {
        Random::new(Seed(NonZeroU64::new(seed).unwrap()))
    }

    /// The published outputs of SplitMix64 for the seed 1234567.
    #[test]
    fn the_numbers_are_those_of_splitmix64() {
        let mut random = random(1_234_567);
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected.map(|_| random.draw()), expected);
    }

    #[test]
    fn seeds_as_text() {
        assert_eq!("0x1f".parse(), "1f".parse::<Seed>());
        assert_eq!("1f".parse::<Seed>().map(|seed| seed.0.get()), Ok(31));
        for text in ["", "0", "0x", "x", "+1", "-1", "0x0", "10000000000000000"] {
            assert_eq!(text.parse::<Seed>(), Err(ParseSeedError), "{text}");
        }
    }

    #[test]
    fn bounds_are_kept() {
        let mut random = random(5);
        assert_eq!((random.below(0), random.below(1), random.one_of(&[], 7)), (0, 0, 7));
        let seen: alloc::collections::BTreeSet<u64> = (0..200).map(|_| random.below(10)).collect();
        assert_eq!(seen, (0..10).collect());
        assert!(!random.happens(0, 5) && random.happens(5, 5));
    }

    proptest! {
        #[test]
        fn text_survives_the_round_trip(seed: NonZeroU64) {
            prop_assert_eq!(Seed(seed).to_string().parse(), Ok(Seed(seed)));
        }
    }
}
