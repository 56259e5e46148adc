// SPDX-License-Identifier: GPL-2.0
//! Whether the IOMMU below keeps what it may keep: a test that looks for stale translations shows nothing on an IOMMU
//! that forgets them too early. To be run before the guest, with an assigned edu (QEMU's educational device).

use alloc::boxed::Box;
use core::fmt;

use hvcore::ids::{DeviceIndex, Gpa, Iova};
use hvcore::platform::{AccessSize, PagingLevels, Platform, Translation};
use hvcore::vtd::{paging, PhysAddr};

use crate::console::log;
use crate::memory::LOW_WINDOW;
use crate::paging::TablePage;
use crate::platform::Hardware;
use crate::time;

/// Vendor and device id.
pub const EDU: u32 = 0x11e8_1234;
const COMMAND: u16 = 0x04;
const COMMAND_MEMORY_AND_MASTER: u32 = 6;
const BAR_0: u16 = 0x10;
const UNTOUCHED: u64 = u64::MAX;
/// Two pages that follow each other, in one table.
const FLUSHED: Iova = Iova(0x40_0000);
const NEIGHBOUR: Iova = Iova(0x40_1000);

/// The IOMMU does not do what the tests build on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The device did not finish, or its writes do not arrive where they should.
    Device,
    /// A flushed page is still translated as before.
    Stale,
    /// A page that was not flushed is no longer cached: the flush of its neighbour, or the switch of another device,
    /// dropped it.
    Forgotten,
    /// A device in bypass reaches the hypervisor's memory.
    Exposed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::Device => "edu does not write where its table says",
            Failure::Stale => "the IOMMU keeps a translation that was flushed",
            Failure::Forgotten => {
                "the IOMMU forgets a translation that was not flushed: nothing would show a missing flush"
            }
            Failure::Exposed => "a device in bypass reaches the hypervisor's memory",
        })
    }
}

/// A page of the hypervisor's that a device writes to.
struct Target(&'static mut TablePage);

impl Target {
    fn new() -> Target {
        Target(Box::leak(TablePage::filled(UNTOUCHED)))
    }

    fn arm(&mut self) {
        self.0.store(0, UNTOUCHED);
    }

    fn is_touched(&self) -> bool {
        // SAFETY: a valid, aligned location; volatile because the device writes it.
        unsafe { core::ptr::read_volatile(&raw const self.0 .0[0]) != UNTOUCHED }
    }
}

/// The device's registers. Its buffer is all zeroes as long as nothing was loaded into it.
pub struct Edu {
    /// Where they are.
    pub bar: u64,
}

impl Edu {
    /// The device writes eight bytes of its buffer to `to`.
    ///
    /// # Errors
    /// [`Failure::Device`] when it does not finish.
    pub fn store(&self, to: Iova) -> Result<(), Failure> {
        const SOURCE: u64 = 0x80;
        const DESTINATION: u64 = 0x88;
        const COUNT: u64 = 0x90;
        const START: u64 = 0x98;
        const BUFFER: u64 = 0x4_0000;
        const START_TO_MEMORY: u32 = 3;
        const BUSY: u32 = 1;
        const MILLISECONDS: u64 = 20_000;
        let register = |offset| (self.bar + offset) as *mut u64;
        // SAFETY: the BAR was put there, in a window where nothing else is; these are registers of the device.
        unsafe {
            register(SOURCE).write_volatile(BUFFER);
            register(DESTINATION).write_volatile(to.0);
            register(COUNT).write_volatile(8);
            register(START).cast::<u32>().write_volatile(START_TO_MEMORY);
        }
        // SAFETY: as above.
        let is_idle = || unsafe { register(START).cast::<u32>().read_volatile() } & BUSY == 0;
        time::wait_until(MILLISECONDS, is_idle).then_some(()).ok_or(Failure::Device)
    }
}

/// Tries the IOMMU with the first edu there is; without one, says so.
///
/// # Errors
/// See [`Failure`].
pub fn run(hardware: &mut Hardware) -> Result<(), Failure> {
    let Some(index) = hardware.functions.iter().position(|function| function.info().vendor_device == EDU) else {
        log!("vtd", "not checked: no edu is assigned");
        return Ok(());
    };
    let device = DeviceIndex(index);
    let edu = Edu { bar: LOW_WINDOW.start };
    hardware.config_write(device, BAR_0, AccessSize::Dword, edu.bar as u32);
    hardware.config_write(device, COMMAND, AccessSize::Word, COMMAND_MEMORY_AND_MASTER);
    let result = check(hardware, device, &edu);
    hardware.reset_function(device);
    // Faults that were provoked here are nobody's.
    while hardware.take_fault().is_some() {}
    result
}

fn check(hardware: &mut Hardware, device: DeviceIndex, edu: &Edu) -> Result<(), Failure> {
    let start = time::microseconds();
    let mut targets = [Target::new(), Target::new(), Target::new(), Target::new()];
    let (table, root) = tables();
    for (index, target) in targets.iter().take(2).enumerate() {
        table.store(index, paging::leaf_4k(PhysAddr(target.0.address())));
    }
    hardware.set_translation(device, Translation::Stage1 { root: Gpa(root), levels: PagingLevels::Four });
    for iova in [FLUSHED, NEIGHBOUR] {
        edu.store(iova)?;
    }
    if touched(&targets) != [true, true, false, false] {
        return Err(Failure::Device);
    }
    targets.iter_mut().for_each(Target::arm);
    for (index, target) in targets.iter().skip(2).enumerate() {
        table.store(index, paging::leaf_4k(PhysAddr(target.0.address())));
    }
    hardware.flush_device_pages(device, FLUSHED, 0);
    // Neither another device's switch nor its flush concerns this one.
    for other in (0..hardware.functions.len()).map(DeviceIndex).filter(|other| *other != device) {
        hardware.set_translation(other, Translation::Blocked);
        hardware.flush_device(other);
    }
    for iova in [FLUSHED, NEIGHBOUR] {
        edu.store(iova)?;
    }
    match touched(&targets) {
        [false, true, true, false] => {}
        [true, ..] => return Err(Failure::Stale),
        [false, false, true, true] => return Err(Failure::Forgotten),
        _ => return Err(Failure::Device),
    }
    targets.iter_mut().for_each(Target::arm);
    hardware.set_translation(device, Translation::Bypass);
    edu.store(Iova(targets[0].0.address()))?;
    if touched(&targets) != [false; 4] {
        return Err(Failure::Exposed);
    }
    log!("vtd", "keeps what is not flushed, and nothing else; checked in {} us", time::microseconds() - start);
    Ok(())
}

fn touched(targets: &[Target; 4]) -> [bool; 4] {
    [0, 1, 2, 3].map(|index| targets[index].is_touched())
}

/// The lowest table for [`FLUSHED`] and what follows it, and the root that leads there.
fn tables() -> (&'static mut TablePage, u64) {
    let lowest = Box::leak(TablePage::new());
    let mut next = lowest.address();
    for level in 1..4 {
        let upper = Box::leak(TablePage::new());
        upper.store((FLUSHED.0 >> (12 + 9 * level) & 0x1ff) as usize, paging::table(PhysAddr(next)));
        next = upper.address();
    }
    (lowest, next)
}
