// SPDX-License-Identifier: GPL-2.0
//! The guest's interrupt commands. INIT and start-up IPIs go to [`crate::startup`], everything else to the hardware.

use hvcore::ids::VpIndex;

use crate::console::log;
use crate::lapic::{self, ApicId};
use crate::{machine, startup};

const DELIVERY_INIT: u32 = 5;
const DELIVERY_STARTUP: u32 = 6;
const LEVEL_ASSERT: u32 = 1 << 14;
const LOGICAL_DESTINATION: u32 = 1 << 11;
/// Vector, delivery mode, destination mode, level, trigger mode, shorthand.
const VALID_COMMAND: u32 = 0x000c_cfff;

/// Virtual processor `sender` writes its interrupt command register.
pub fn command(sender: VpIndex, destination: ApicId, command: u32) {
    let action: fn(VpIndex, u8) = match command >> 8 & 7 {
        // A de-assert synchronises arbitration ids of old hardware only.
        DELIVERY_INIT if command & LEVEL_ASSERT == 0 => return,
        DELIVERY_INIT => |vp, _| startup::init(vp),
        DELIVERY_STARTUP => |vp, page| {
            if machine::may_start(vp) {
                startup::startup(vp, page);
            }
        },
        _ => return lapic::send(destination, command & VALID_COMMAND),
    };
    let vector = command as u8;
    let count = machine::processor_count();
    match command >> 18 & 3 {
        // Logical destinations are never used for these.
        0 if command & LOGICAL_DESTINATION != 0 => {
            log!("apic", "vp {} sent {command:#x} to logical destination {:#x}: ignored", sender.0, destination.0);
        }
        0 if destination.0 < count => action(VpIndex(destination.0), vector),
        3 => (0..count).map(VpIndex).filter(|vp| *vp != sender).for_each(|vp| action(vp, vector)),
        _ => log!("apic", "vp {} sent {command:#x} to {:#x}: ignored", sender.0, destination.0),
    }
}
