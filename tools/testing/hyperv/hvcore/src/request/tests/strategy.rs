// SPDX-License-Identifier: GPL-2.0
//! Inputs that are sound more often than random ones.

use proptest::prelude::*;

use crate::hypercall::fields::INPUT_MAX;
use crate::hypercall::table::{Spec, GUEST_TABLE, ROOT_TABLE};

/// A call of either table.
pub fn any_spec() -> impl Strategy<Value = &'static Spec> {
    prop_oneof![prop::sample::select(GUEST_TABLE), prop::sample::select(ROOT_TABLE)].prop_map(|spec| {
        let mut all = GUEST_TABLE.iter().chain(ROOT_TABLE);
        all.find(|other| **other == spec).expect("it is of one of the tables")
    })
}

/// Words that mean something to some call.
fn any_word() -> impl Strategy<Value = u64> {
    const PCI: u64 = 1 << 62;
    prop_oneof![
        6 => Just(0u64),
        2 => Just(1u64),
        2 => Just(u64::MAX),
        // Domains of both types, with flags behind them.
        3 => (0u64..2, 0u64..8).prop_map(|(kind, id)| id << 32 | kind),
        2 => (0u64..6).prop_map(|flags| flags << 32),
        2 => 0u64..16,
        1 => Just(PCI | 0x28),
        1 => Just(2 << 62),
        1 => (0u64..1 << 40).prop_map(|page| page << 12),
        // A vector and a target, a sleep state, a property of either kind.
        1 => (0x10u64..0x100).prop_map(|vector| vector | 2 << 32),
        1 => Just(0x1_0000u64),
        1 => Just(0x9_0007u64),
        1 => Just(0x1_0001u64),
        1 => Just(0x1_0002u64),
        1 => any::<u64>(),
    ]
}

/// The own partition in front, for the most part; then words, and at times a random byte somewhere.
pub fn any_fields() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![4 => Just(u64::MAX), 1 => any_word()];
    let rest = prop::collection::vec(any_word(), INPUT_MAX / 8 - 1);
    let spoiled = prop::option::weighted(0.3, (0usize..0x60, any::<u8>()));
    (first, rest, spoiled).prop_map(|(first, rest, spoiled)| {
        let words = core::iter::once(first).chain(rest);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        if let Some((at, byte)) = spoiled {
            bytes[at] = byte;
        }
        bytes
    })
}
