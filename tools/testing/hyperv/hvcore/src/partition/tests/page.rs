// SPDX-License-Identifier: GPL-2.0
//! The hypercall page as the guest's instruction finds it.

use super::*;
use crate::hypercall::control_word::ResultWord;
use crate::hypercall::schedule::Registers;
use crate::partition::Progress;
use crate::synic::MsrOutcome;

const PAGE: u64 = 0x9000;

fn write(guest: &mut Guest, msr: u32, value: u64) -> MsrOutcome {
    guest.partition.msr_write(&mut guest.platform, VpIndex(0), msr, value)
}

fn read(guest: &Guest) -> [Option<u64>; 2] {
    [0x4000_0000, 0x4000_0001].map(|msr| guest.partition.msr_read(VpIndex(1), msr))
}

/// A call that is refused by its control word, if it comes as far as that.
fn vmmcall(guest: &mut Guest) -> Progress {
    let registers = Registers { control: 0x1_0000_00b1, rdx: INPUT, r8: 0 };
    guest.partition.vmmcall(&mut guest.platform, VpIndex(0), registers)
}

#[test]
fn there_are_calls_only_while_the_page_is_in_force() {
    const CALLED: Progress = Progress::Done(ResultWord(3));
    let mut guest = Guest::new("");
    guest.platform.put_u64(PAGE, 0x1234_5678);
    assert_eq!(vmmcall(&mut guest), Progress::InvalidOpcode);
    assert_eq!(guest.counter(Counter::Violations, 0), 1);
    assert_eq!(write(&mut guest, 0x4000_0001, PAGE | 1), MsrOutcome::Handled);
    assert_eq!(vmmcall(&mut guest), Progress::InvalidOpcode);
    assert_eq!(write(&mut guest, 0x4000_0000, 0x8100 << 48), MsrOutcome::Handled);
    assert_eq!(vmmcall(&mut guest), Progress::InvalidOpcode);
    assert_eq!(write(&mut guest, 0x4000_0001, PAGE | 1), MsrOutcome::Handled);
    assert_eq!(read(&guest), [Some(0x8100 << 48), Some(PAGE | 1)]);
    assert_eq!(guest.platform.get_u64(PAGE), 0xcccc_cccc_c3d9_010f);
    assert_eq!(vmmcall(&mut guest), CALLED);
    assert_eq!(write(&mut guest, 0x4000_0001, PAGE), MsrOutcome::Handled);
    assert_eq!(guest.platform.get_u64(PAGE), 0x1234_5678);
    assert_eq!(vmmcall(&mut guest), Progress::InvalidOpcode);
    assert_eq!(write(&mut guest, 0x4000_0001, PAGE | 1), MsrOutcome::Handled);
    assert_eq!(vmmcall(&mut guest), CALLED);
    assert_eq!(write(&mut guest, 0x4000_0000, 0), MsrOutcome::Handled);
    assert_eq!(vmmcall(&mut guest), Progress::InvalidOpcode);
    assert_eq!((read(&guest), guest.platform.get_u64(PAGE)), ([Some(0), Some(PAGE)], 0x1234_5678));
}

#[test]
fn a_page_outside_ram_is_a_fault() {
    let mut guest = Guest::new("");
    write(&mut guest, 0x4000_0000, 1);
    assert_eq!(write(&mut guest, 0x4000_0001, 0x7fff_f001), MsrOutcome::Fault);
    assert_eq!((read(&guest)[1], guest.counter(Counter::Violations, 0)), (Some(0), 1));
}
