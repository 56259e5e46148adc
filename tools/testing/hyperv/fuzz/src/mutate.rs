// SPDX-License-Identifier: GPL-2.0
//! New inputs from old ones.

use hvcore::hostile::random::Random;

use crate::coverage;

const INTERESTING: [u64; 16] =
    [0, 1, 2, 4, 8, 0x10, 0x40, 0x7f, 0x80, 0xff, 0x100, 0x1000, 0x7fff_ffff, 0xffff_ffff, 1 << 63, u64::MAX];

/// Changes an input in one to eight ways; `other` is one to take parts of.
pub fn mutate(random: &mut Random, input: &mut Vec<u8>, other: &[u8], longest: usize) {
    for _ in 0..1 << random.below(4) {
        once(random, input, other);
        input.truncate(longest);
    }
}

fn place(random: &mut Random, input: &[u8]) -> usize {
    random.below(input.len() as u64) as usize
}

fn once(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    if input.is_empty() {
        input.push(random.draw() as u8);
        return;
    }
    match random.below(12) {
        0 => {
            let at = place(random, input);
            input[at] ^= 1 << random.below(8);
        }
        1 => {
            let at = place(random, input);
            input[at] = random.draw() as u8;
        }
        2 => {
            let at = place(random, input);
            input[at] = input[at].wrapping_add(random.below(17) as u8).wrapping_sub(8);
        }
        3 => overwrite_number(random, input),
        4 => {
            let at = random.below(input.len() as u64 + 1) as usize;
            input.insert(at, random.draw() as u8);
        }
        5 => {
            let from = place(random, input);
            let count = 1 + random.below(16) as usize;
            input.drain(from..(from + count).min(input.len()));
        }
        6 => {
            // A part once more.
            let from = place(random, input);
            let to = (from + 1 + random.below(32) as usize).min(input.len());
            let part = input[from..to].to_vec();
            let at = random.below(input.len() as u64 + 1) as usize;
            input.splice(at..at, part);
        }
        7 if !other.is_empty() => {
            // A part of another input, in place of one or besides.
            let from = place(random, other);
            let to = (from + 1 + random.below(64) as usize).min(other.len());
            let at = place(random, input);
            let end = if random.happens(1, 2) { at } else { (at + to - from).min(input.len()) };
            input.splice(at..end, other[from..to].iter().copied());
        }
        8 => {
            let count = 1 + random.below(12);
            input.extend((0..count).map(|_| random.draw() as u8));
        }
        _ => meet_comparison(random, input),
    }
}

fn overwrite_number(random: &mut Random, input: &mut [u8]) {
    let at = place(random, input);
    let value = random.one_of(&INTERESTING, 0).to_le_bytes();
    let width = 1 << random.below(4);
    for (place, byte) in input[at..].iter_mut().zip(&value[..width]) {
        *place = *byte;
    }
}

/// Puts what a comparison wanted where the input has what it got.
fn meet_comparison(random: &mut Random, input: &mut [u8]) {
    let Some((a, b)) = coverage::operands(random.draw()) else { return };
    let (have, want) = if random.happens(1, 2) { (a, b) } else { (b, a) };
    // A number that is one off passes the comparisons that are not about equality.
    let want = want.wrapping_add(random.one_of(&[0, 0, 0, 1, u64::MAX], 0));
    let width = random.one_of(&[8, 4, 2, 1], 1);
    let (have, want) = (have.to_le_bytes(), want.to_le_bytes());
    let found: Vec<usize> = (0..input.len()).filter(|&at| input[at..].starts_with(&have[..width])).take(64).collect();
    let at = match found.is_empty() {
        true => place(random, input),
        false => random.one_of(&found, 0),
    };
    for (place, byte) in input[at..].iter_mut().zip(&want[..width]) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hvcore::hostile::random::Seed;
    use std::num::NonZeroU64;

    #[test]
    fn inputs_change_and_stay_short() {
        let mut random = Random::new(Seed(NonZeroU64::MIN));
        let mut changed = 0;
        for _ in 0..2000 {
            let mut input = vec![7; random.below(40) as usize];
            let before = input.clone();
            mutate(&mut random, &mut input, &[1, 2, 3], 32);
            assert!(input.len() <= 32);
            changed += usize::from(input != before);
        }
        assert!(changed > 1700, "{changed}");
    }
}
