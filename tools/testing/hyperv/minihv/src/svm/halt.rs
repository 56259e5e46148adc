// SPDX-License-Identifier: GPL-2.0
//! HLT of the guest. An NMI by which one processor kicks another ends the other's HLT. Where interrupts are on, the guest
//! bears that: any interrupt could have come. Where they are off, only the guest's own NMI, INIT or a reset may end the
//! HLT. What follows the instruction may be gone by then: a kernel that is left by kexec halts its other processors, and
//! the next kernel writes over the halted code.

use super::exits::After;
use super::vcpu::{Halts, Vcpu};
use super::vmcb::Event;
use crate::{boot, kick, startup};

const HLT_BYTES: u64 = 1;
const RFLAGS_INTERRUPTS: u64 = 1 << 9;

/// The guest executes HLT. With interrupts on the processor halts in the guest, and the interrupt that ends the HLT
/// exits, so that the next HLT is seen here again. With interrupts off the processor sleeps here.
pub fn halt(vcpu: &mut Vcpu) -> After {
    if vcpu.save().rflags & RFLAGS_INTERRUPTS != 0 {
        vcpu.set_halts(Halts::Native);
        return After::Resume;
    }
    loop {
        boot::sleep_until_nmi();
        let kicked = kick::taken(vcpu.index);
        if startup::init_requested(vcpu.index) {
            return After::Park;
        }
        if !kicked {
            vcpu.skip(HLT_BYTES);
            vcpu.inject(Event::Nmi);
            return After::Resume;
        }
    }
}
