// SPDX-License-Identifier: GPL-2.0
//! The IOMMU's register page.

use hvcore::vtd::registers::{self as reg, Capabilities};

use hvcore::memory_map::PhysRange;

use crate::console::fatal;
use crate::time;

/// Where QEMU puts it on Q35.
const BASE: u64 = 0xfed9_0000;
/// All of it.
pub const RANGE: PhysRange = PhysRange { start: BASE, end: BASE + 0x1000 };
const COMMAND_MILLISECONDS: u64 = 1000;

/// Access to the registers; there is only one IOMMU.
pub struct Registers(());

impl Registers {
    /// The registers, and what the IOMMU can do; `None` when nothing answers.
    pub fn find() -> Option<(Registers, Capabilities)> {
        let registers = Registers(());
        let capabilities = Capabilities::new(registers.read64(reg::CAP), registers.read64(reg::ECAP))?;
        Some((registers, capabilities))
    }

    /// Reads 32 bits.
    pub fn read32(&self, offset: usize) -> u32 {
        // SAFETY: the register page is identity mapped; reads have no side effects.
        unsafe { ((BASE + offset as u64) as *const u32).read_volatile() }
    }

    /// Writes 32 bits.
    pub fn write32(&mut self, offset: usize, value: u32) {
        // SAFETY: as above; the tables and queues that the modules here point it at live for ever.
        unsafe { ((BASE + offset as u64) as *mut u32).write_volatile(value) }
    }

    /// Reads 64 bits.
    pub fn read64(&self, offset: usize) -> u64 {
        // SAFETY: as read32().
        unsafe { ((BASE + offset as u64) as *const u64).read_volatile() }
    }

    /// Writes 64 bits.
    pub fn write64(&mut self, offset: usize, value: u64) {
        // SAFETY: as write32().
        unsafe { ((BASE + offset as u64) as *mut u64).write_volatile(value) }
    }

    /// Issues one global command and waits until the status shows it.
    pub fn command(&mut self, bit: u32) {
        let keep = self.read32(reg::GSTS) & reg::GSTS_PERSISTENT;
        self.write32(reg::GCMD, keep | bit);
        if !time::wait_until(COMMAND_MILLISECONDS, || self.read32(reg::GSTS) & bit != 0) {
            fatal!("the IOMMU does not accept command {bit:#x}, status {:#x}", self.read32(reg::GSTS))
        }
    }
}
