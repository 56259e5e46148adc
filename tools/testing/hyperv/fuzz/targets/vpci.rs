// SPDX-License-Identifier: GPL-2.0
//! A guest with open channels: rings, vPCI messages, configuration windows, interrupts.

use crate::machine::{Machine, DEVICES, WINDOW};
use crate::source::Source;

fn step(machine: &mut Machine, source: &mut Source<'_>) {
    let channel = u32::from(source.u8() % 2);
    match source.below(12) {
        0..=3 => {
            let kind = u32::from(source.u8() % 0x1d);
            let mut payload = (0x4249_0000 + kind).to_le_bytes().to_vec();
            payload.extend_from_slice(source.block());
            let flags = u16::from(source.u8() % 4 != 0);
            machine.packet(channel, 6, flags, None, &payload);
        }
        4 => {
            let (kind, flags) = (source.u16() % 16, source.u16());
            let lengths = Some((source.u16() % 600, source.u16() % 600));
            machine.packet(channel, kind, flags, lengths, source.block());
        }
        5 => {
            let word = match source.below(3) {
                // The control pages of both rings.
                0 => u64::from(source.u8() % 18),
                1 => 5 * 1024 + u64::from(source.u8() % 18),
                _ => u64::from(source.u16()) % 10240,
            };
            let value = if source.u8() % 2 == 0 { u32::from(source.u16() % 0x4010) } else { source.u32() };
            machine.scribble(channel, word, value);
            machine.signal(channel, 0);
        }
        6 => machine.power_on(channel),
        7 => {
            let slot = u32::from(source.u8() % 3);
            machine.vpci(channel, 0x1b, &[slot, 0x31, 0x1_0000, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        8 => {
            // Address, size; write: the value besides.
            let address = WINDOW + u64::from(source.u16() % 0x4010);
            let size = u64::from(source.u8() % 6);
            if source.u8() % 2 == 0 {
                machine.call_words(0x106, &[address, size]);
            } else {
                let value = source.u64();
                machine.call_words(0x107, &[address, size, value, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
        9 => {
            // As Linux retargets: partition, device, entry source and address, then the target.
            let device = DEVICES[source.below(DEVICES.len())];
            let entry = [0xfee0_0010_0000_0001 | u64::from(source.u8()) << 37, u64::from(source.u16())];
            let (vector, flags, mask) = (u64::from(source.u8()), source.u64() & 3, u64::from(source.u8()));
            machine.call_words(0x7e, &[u64::MAX, device, entry[0], entry[1], vector, flags << 32, mask, 0]);
        }
        10 => {
            const COMMANDS: [u32; 4] = [7, 8, 9, 10];
            let command = COMMANDS[source.below(COMMANDS.len())];
            let (ebx, edx) = (source.u8() % 3, source.u8() % 4);
            machine.control(command, ebx.into(), edx.into());
        }
        _ => {
            machine.receive_all();
        }
    }
}

/// Uses the channels.
pub fn run(bytes: &[u8]) {
    let mut source = Source::new(bytes);
    let mut machine = Machine::new("ats=on");
    machine.set_up_synic();
    machine.connect(0x0006_0000);
    machine.request_offers();
    for channel in [0, 1] {
        machine.open(channel);
        if source.u8() % 4 != 0 {
            machine.power_on(channel);
        }
    }
    machine.receive_all();
    source.drive(|source| step(&mut machine, source));
    // A new kernel finds nothing of the old one.
    machine.set_up_synic();
    machine.receive_all();
    machine.connect(0x0006_0000);
    assert!(machine.platform.remap.is_empty(), "interrupts are left of the kernel before");
}
