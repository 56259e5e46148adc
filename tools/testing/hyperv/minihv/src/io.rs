// SPDX-License-Identifier: GPL-2.0
//! The I/O ports that the guest does not get: PCI configuration, power management, the keyboard controller.

use core::ops::RangeInclusive;

use hvcore::acpi;
use hvcore::identity::Identity;
use x86_64::instructions::port::Port;

use crate::console::log;
use crate::memory::{IOAPIC_BASE, LAPIC_BASE};
use crate::power::{self, Outcome};
use crate::{machine, svm};

const SLEEP_CONTROL_PORT: u16 = 0x5f4;
const SLEEP_STATUS_PORT: u16 = 0x5f5;
const RESET_PORT: u16 = 0x5f6;
const RESET_VALUE: u8 = 1;
const KEYBOARD_DATA: u16 = 0x60;
const KEYBOARD_COMMAND: u16 = 0x64;
const KEYBOARD_PULSE_RESET: u32 = 0xfe;
const PCI_CONFIG_FIRST: u16 = 0xcf8;
const PCI_CONFIG_ADDRESS_LAST: u16 = 0xcfb;
const PCI_CONFIG_LAST: u16 = 0xcff;
const CHIPSET_RESET: u16 = 0xcf9;
const CHIPSET_RESET_CPU: u32 = 1 << 2;

/// What the guest's ACPI tables say of this. `make -C acpi check` compares the DSDT with its source.
pub const ACPI_MACHINE: acpi::Machine<'static> = acpi::Machine {
    dsdt: include_bytes!("../acpi/dsdt.aml"),
    local_apic: LAPIC_BASE as u32,
    io_apic: IOAPIC_BASE as u32,
    sleep_control: SLEEP_CONTROL_PORT,
    sleep_status: SLEEP_STATUS_PORT,
    reset: RESET_PORT,
    reset_value: RESET_VALUE,
};

/// What [`access`] handles of a guest that has no board.
const OF_A_GUEST: &[RangeInclusive<u16>] = &[
    KEYBOARD_DATA..=KEYBOARD_DATA,
    KEYBOARD_COMMAND..=KEYBOARD_COMMAND,
    SLEEP_CONTROL_PORT..=SLEEP_STATUS_PORT,
    RESET_PORT..=RESET_PORT,
    PCI_CONFIG_FIRST..=PCI_CONFIG_LAST,
];

/// What [`access`] handles of a root partition, which has the board. The chipset's reset register lies in the middle of the
/// register that selects PCI configuration.
const OF_A_ROOT: &[RangeInclusive<u16>] =
    &[KEYBOARD_DATA..=KEYBOARD_DATA, KEYBOARD_COMMAND..=KEYBOARD_COMMAND, PCI_CONFIG_FIRST..=PCI_CONFIG_ADDRESS_LAST];

/// What [`access`] handles.
pub fn intercepted(identity: Identity) -> &'static [RangeInclusive<u16>] {
    match identity {
        Identity::Root => OF_A_ROOT,
        Identity::Guest | Identity::Isolated | Identity::L1vh => OF_A_GUEST,
    }
}

/// How much is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Word,
    /// 4 bytes.
    Dword,
}

/// Which way an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The guest reads.
    In,
    /// The guest writes.
    Out {
        /// What it writes.
        value: u32,
    },
}

/// Carries out an intercepted access. The result is what a read yields: all ones where the guest finds nothing.
pub fn access(port: u16, width: Width, direction: Direction) -> u32 {
    const SLEEP_ENABLE: u32 = 1 << 5;
    if let Direction::Out { value } = direction {
        match port {
            SLEEP_CONTROL_PORT if value & SLEEP_ENABLE != 0 => guest_power_off(),
            RESET_PORT if value & 0xff == u32::from(RESET_VALUE) => guest_reset("ACPI"),
            KEYBOARD_COMMAND if value & 0xff == KEYBOARD_PULSE_RESET => guest_reset("keyboard controller"),
            CHIPSET_RESET if value & CHIPSET_RESET_CPU != 0 => guest_reset("port 0xcf9"),
            _ => {}
        }
    }
    match (machine::identity(), port) {
        (Identity::Root, PCI_CONFIG_FIRST..=PCI_CONFIG_ADDRESS_LAST) => forward(port, width, direction),
        _ => u32::MAX,
    }
}

/// Lets an access of a root partition to the register that selects PCI configuration go to the machine.
fn forward(port: u16, width: Width, direction: Direction) -> u32 {
    // SAFETY: the partition owns this register; the hypervisor uses it only before the partition runs.
    unsafe {
        match (width, direction) {
            (Width::Byte, Direction::In) => u32::from(Port::<u8>::new(port).read()),
            (Width::Word, Direction::In) => u32::from(Port::<u16>::new(port).read()),
            (Width::Dword, Direction::In) => Port::<u32>::new(port).read(),
            (Width::Byte, Direction::Out { value }) => {
                Port::<u8>::new(port).write(value as u8);
                0
            }
            (Width::Word, Direction::Out { value }) => {
                Port::<u16>::new(port).write(value as u16);
                0
            }
            (Width::Dword, Direction::Out { value }) => {
                Port::<u32>::new(port).write(value);
                0
            }
        }
    }
}

/// The guest switched itself off.
pub fn guest_power_off() -> ! {
    machine::summary();
    log!("minihv", "guest powered off after {} exits", svm::effort().exits);
    power::stop(Outcome::PowerOff)
}

/// The guest asked for a reset, or crashed so that a machine would reset.
pub fn guest_reset(how: &str) -> ! {
    machine::summary();
    log!("minihv", "guest reset ({how}) after {} exits", svm::effort().exits);
    power::stop(Outcome::Reset)
}
