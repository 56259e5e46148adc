// SPDX-License-Identifier: GPL-2.0
//! The test interface, on a guest whose tables hold anything.

use crate::machine::{Machine, DEVICES, ROOTS, SELF};
use crate::source::Source;

/// Makes a domain with a table; puts a device into it.
fn domain(machine: &mut Machine, id: u64, root: u64, flags: u64) {
    let name = id << 32 | 1;
    machine.call_words(0xb1, &[SELF, 0, name, 1]);
    machine.call_words(0xce, &[SELF, 0, name, flags, root]);
    machine.call_words(0xb2, &[SELF, 0, name, DEVICES[0]]);
}

/// Gives commands.
pub fn run(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut machine = Machine::new("s1-5lvl=on");
    domain(&mut machine, 1, ROOTS[0], 1);
    domain(&mut machine, 2, ROOTS[1], 5);
    source.drive(|source| {
        match source.below(4) {
            0 => {
                // An entry of one of the tables, or of one that they may lead to.
                let table = ROOTS[0] + u64::from(source.u8() % 4) * 0x1000;
                let target = (0x20 + u64::from(source.u8() % 8)) << 12;
                let bits = u64::from(source.u8()) | u64::from(source.u8()) << 56;
                let entry = if source.u8() % 4 == 0 { source.u64() } else { target | bits };
                machine.platform.put_u64(table + 8 * u64::from(source.u16() % 512), entry);
            }
            1 => {
                // Walk, and a search for leaves.
                let (ebx, edx) = (source.u32(), source.u32() & 0xfffff | u32::from(source.u8() % 3) << 20);
                machine.control(11, ebx, edx);
                machine.control(14, u32::from(source.u8() % 3), source.u32());
            }
            _ => {
                let command = u32::from(source.u8() % 40);
                let ebx = if source.u8() % 2 == 0 { u32::from(source.u8() % 8) } else { source.u32() };
                let edx = if source.u8() % 2 == 0 { u32::from(source.u8() % 8) } else { source.u32() };
                let (reply, value) = machine.control(command, ebx, edx);
                assert!(reply <= 3 && (reply == 0 || value == 0), "{command} {ebx:#x} {edx:#x}: {reply} {value:#x}");
            }
        }
    });
}
