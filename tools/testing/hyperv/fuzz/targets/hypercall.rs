// SPDX-License-Identifier: GPL-2.0
//! Any hypercall.

use hvcore::hypercall::table::{Kind, Spec, GUEST_TABLE};

use crate::machine::{Machine, DEVICES, ROOTS, SELF};
use crate::source::Source;

/// What the host is like.
const HOSTS: [&str; 4] =
    ["", "s1-5lvl=on ats=on quota=3", "inject=d1:0:3:2:reps=1 inject=127:5:2:3:garbage", "pviommu=off unmanaged=1"];

/// A word that means something more often than a random one.
fn word(source: &mut Source<'_>) -> u64 {
    match source.below(8) {
        0 => SELF,
        1 => 0,
        2 => 1 | u64::from(source.u8() % 6) << 32,
        3 => DEVICES[source.below(DEVICES.len())],
        4 => ROOTS[source.below(ROOTS.len())],
        5 => u64::from(source.u8()),
        6 => u64::from(source.u32()) << 12 | u64::from(source.u8() & 0x3f),
        _ => source.u64(),
    }
}

fn control_word(source: &mut Source<'_>, spec: &Spec) -> u64 {
    let code = u64::from(spec.code.0);
    match (source.below(8), spec.kind) {
        (0, _) => code | source.u64() & !0xffff,
        (1, _) => code | u64::from(source.u8() % 4) << 17 | 1 << 16,
        (_, Kind::Rep | Kind::RepOfWords | Kind::RepOfPairs | Kind::Counted) => {
            code | (1 + u64::from(source.u8() % 8)) << 32
        }
        (_, Kind::Simple) => code,
    }
}

/// Whether a result word of an honest host is sound: no reserved bits, and no more elements than there are.
fn is_sound(control: u64, result: u64) -> bool {
    result & 0xffff_f000_ffff_0000 == 0 && result >> 32 <= control >> 32 & 0xfff
}

/// Makes calls.
pub fn run(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut machine = Machine::new(HOSTS[source.below(HOSTS.len())]);
    let mut is_honest = true;
    source.drive(|source| {
        let (control, result) = match source.below(8) {
            0 => {
                let (control, rdx, r8) = (source.u64(), source.u64(), source.u64());
                (control, machine.raw(control, rdx, r8))
            }
            1 => {
                // Another seed: 0, and with it an honest host, among them.
                let seed = source.u8();
                machine.control(32, seed.into(), 0);
                is_honest = seed == 0;
                return;
            }
            2 => {
                let spec = GUEST_TABLE[source.below(GUEST_TABLE.len())];
                let control = control_word(source, &spec);
                let (rdx, r8) = (u64::from(source.u16()) << 3, u64::from(source.u16()) << 3);
                (control, machine.raw(control, rdx, r8))
            }
            _ => {
                let spec = GUEST_TABLE[source.below(GUEST_TABLE.len())];
                let control = control_word(source, &spec);
                let words: Vec<u64> = (0..spec.input_bytes.div_ceil(8)).map(|_| word(source)).collect();
                let list: Vec<u64> = (0..control >> 32 & 7).map(|_| word(source)).collect();
                (control, machine.call_words(control, &[words, list].concat()))
            }
        };
        assert!(!is_honest || is_sound(control, result), "{control:#x} -> {result:#x}");
    });
}
