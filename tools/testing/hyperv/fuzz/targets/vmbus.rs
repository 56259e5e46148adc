// SPDX-License-Identifier: GPL-2.0
//! A guest's SynIC and its messages.

use crate::machine::Machine;
use crate::source::Source;

fn host(machine: &mut Machine, source: &mut Source<'_>) {
    // Rescind, offer, eject, unplug.
    const COMMANDS: [u32; 4] = [7, 8, 9, 10];
    let command = COMMANDS[source.below(COMMANDS.len())];
    let (ebx, edx) = (source.u8() % 4, source.u8() % 4);
    machine.control(command, ebx.into(), edx.into());
}

fn step(machine: &mut Machine, source: &mut Source<'_>) {
    match source.below(16) {
        0..=3 => {
            let mut payload = u32::from(source.u8() % 28).to_le_bytes().to_vec();
            payload.extend_from_slice(&[0; 4]);
            payload.extend_from_slice(source.block());
            machine.post(4, 1, &payload);
        }
        4 => {
            let (connection, kind) = (source.u32(), source.u32());
            machine.post(connection, kind, source.block());
        }
        5 => {
            let minor = u32::from(source.u8() % 5);
            machine.connect(if minor == 4 { 0x0006_0000 } else { 0x0005_0000 | minor });
        }
        6 => machine.request_offers(),
        7 | 8 => machine.open(u32::from(source.u8() % 3)),
        9 => machine.message(16, &[], 8),
        10 => {
            let (vp, msr, value) =
                (u32::from(source.u8() % 3), 0x4000_0080 + u32::from(source.u8() % 0x20), source.u64());
            machine.msr(vp, msr, value);
        }
        11 => {
            let (channel, flag) = (u32::from(source.u8() % 4), source.u16());
            machine.signal(channel, flag);
        }
        12 => host(machine, source),
        13 => {
            // A GPADL with words of its own.
            let mut words = vec![u32::from(source.u8() % 4), u32::from(source.u8())];
            for _ in 0..source.below(24) {
                words.push(source.u32());
            }
            machine.message(if source.u8() % 2 == 0 { 8 } else { 9 }, &words, 0);
        }
        14 => {
            let words: Vec<u32> = (0..source.below(6)).map(|_| u32::from(source.u8())).collect();
            machine.message(u32::from(source.u8() % 28), &words, 40);
        }
        _ => {
            machine.receive_all();
        }
    }
}

/// Sends messages; then a new kernel must find a host that answers.
pub fn run(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut machine = Machine::new("");
    machine.set_up_synic();
    if source.u8() % 4 != 0 {
        machine.connect(0x0006_0000);
    }
    source.drive(|source| step(&mut machine, source));
    machine.set_up_synic();
    machine.receive_all();
    machine.connect(0x0006_0000);
    assert!(machine.receive_all() >= 1, "a new kernel is not answered");
    assert!(machine.platform.remap.is_empty(), "interrupts are left of the kernel before");
}
