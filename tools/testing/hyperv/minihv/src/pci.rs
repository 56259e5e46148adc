// SPDX-License-Identifier: GPL-2.0
//! Physical PCI functions: configuration space, probing, reset.

use hvcore::ids::Rid;
use hvcore::platform::{AccessSize, DeviceTlb, FunctionInfo};
use x86_64::instructions::port::Port;

use crate::bridge::Bridge;
use crate::time;

const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;
/// Q35's host bridge: base address of the memory-mapped configuration space.
const Q35_PCIEXBAR: u32 = 0x60;

const VENDOR_DEVICE: u16 = 0x00;
const COMMAND: u16 = 0x04;
const STATUS: u16 = 0x06;
const STATUS_CAPABILITIES: u32 = 1 << 4;
const CLASS_REVISION: u16 = 0x08;
const FIRST_BAR: u16 = 0x10;
const BARS: usize = 6;
const SUBSYSTEM: u16 = 0x2c;
const CAPABILITIES: u16 = 0x34;
const EXTENDED_CAPABILITIES: u16 = 0x100;
/// Longer lists are loops.
const MAX_CAPABILITIES: usize = 64;

const CAPABILITY_MSI: u32 = 0x05;
const CAPABILITY_EXPRESS: u32 = 0x10;
const CAPABILITY_MSIX: u32 = 0x11;
const EXTENDED_ATS: u32 = 0x0f;

const ABSENT: u32 = u32::MAX;

/// The memory-mapped configuration space of segment 0.
#[derive(Clone, Copy)]
pub struct ConfigSpace {
    base: u64,
}

impl ConfigSpace {
    /// Asks the Q35 host bridge where the firmware put it; `None` when it is switched off.
    pub fn find() -> Option<ConfigSpace> {
        const ENABLE: u32 = 1;
        const BASE: u64 = 0xf_f000_0000;
        let read = |offset: u32| {
            let (mut address, mut data) = (Port::<u32>::new(CONFIG_ADDRESS), Port::<u32>::new(CONFIG_DATA));
            // SAFETY: reads the host bridge's configuration; no other processor runs yet.
            unsafe {
                address.write(1 << 31 | offset);
                data.read()
            }
        };
        let (low, high) = (read(Q35_PCIEXBAR), read(Q35_PCIEXBAR + 4));
        (low & ENABLE != 0).then_some(ConfigSpace { base: (u64::from(high) << 32 | u64::from(low)) & BASE })
    }

    fn address(self, rid: Rid, offset: u16) -> u64 {
        self.base + (u64::from(rid.0) << 12) + u64::from(offset & 0xfff)
    }

    /// Reads a register; `offset` is aligned to `size`.
    pub fn read(self, rid: Rid, offset: u16, size: AccessSize) -> u32 {
        let address = self.address(rid, offset);
        // SAFETY: inside the configuration space, which is identity mapped; reads have no side effects there.
        unsafe {
            match size {
                AccessSize::Byte => u32::from((address as *const u8).read_volatile()),
                AccessSize::Word => u32::from(((address & !1) as *const u16).read_volatile()),
                AccessSize::Dword => ((address & !3) as *const u32).read_volatile(),
            }
        }
    }

    /// Writes a register; `offset` is aligned to `size`.
    pub fn write(self, rid: Rid, offset: u16, size: AccessSize, value: u32) {
        let address = self.address(rid, offset);
        // SAFETY: inside the configuration space; the function belongs to the guest, and the IOMMU confines its DMA.
        unsafe {
            match size {
                AccessSize::Byte => (address as *mut u8).write_volatile(value as u8),
                AccessSize::Word => ((address & !1) as *mut u16).write_volatile(value as u16),
                AccessSize::Dword => ((address & !3) as *mut u32).write_volatile(value),
            }
        }
    }
}

/// A function that the guest gets.
pub struct Function {
    config: ConfigSpace,
    info: FunctionInfo,
    msi: Option<u16>,
    msix: Option<u16>,
    express: Option<u16>,
    ats: Option<u16>,
}

impl Function {
    /// Probes and resets the function at `rid`, or, when that is a root port, the one behind it; `None` when there is
    /// none.
    pub fn probe(config: ConfigSpace, rid: Rid) -> Option<Function> {
        let read = |offset| config.read(rid, offset, AccessSize::Dword);
        if read(VENDOR_DEVICE) == ABSENT {
            return None;
        }
        if let Some(bridge) = Bridge::find(config, rid) {
            bridge.open();
            // One level: a bridge behind a bridge is no device for the guest.
            let inner = Rid(u16::from(bridge.secondary_bus()) << 8);
            return match Bridge::find(config, inner) {
                None => Function::probe(config, inner),
                Some(_) => None,
            };
        }
        let info = FunctionInfo {
            rid,
            vendor_device: read(VENDOR_DEVICE),
            class_revision: read(CLASS_REVISION),
            subsystem: read(SUBSYSTEM),
            bar_probe: probe_bars(config, rid),
        };
        let find = |id| find_capability(config, rid, id);
        let function = Function {
            config,
            info,
            msi: find(CAPABILITY_MSI),
            msix: find(CAPABILITY_MSIX),
            express: find(CAPABILITY_EXPRESS),
            ats: find_extended_capability(config, rid, EXTENDED_ATS),
        };
        function.reset();
        Some(function)
    }

    /// What the core needs to know.
    pub fn info(&self) -> FunctionInfo {
        self.info
    }

    /// Requester id.
    pub fn rid(&self) -> Rid {
        self.info.rid
    }

    /// Whether the function could have a TLB of its own.
    pub fn has_ats(&self) -> bool {
        self.ats.is_some()
    }

    /// Whether the guest has switched the function's TLB on.
    pub fn device_tlb(&self) -> DeviceTlb {
        const ENABLE: u32 = 1 << 15;
        match self.ats {
            Some(ats) if self.read(ats + 6, AccessSize::Word) & ENABLE != 0 => DeviceTlb::Enabled,
            _ => DeviceTlb::Disabled,
        }
    }

    /// Reads the function's configuration space.
    pub fn read(&self, offset: u16, size: AccessSize) -> u32 {
        self.config.read(self.info.rid, offset, size)
    }

    /// Writes the function's configuration space.
    pub fn write(&self, offset: u16, size: AccessSize, value: u32) {
        self.config.write(self.info.rid, offset, size, value);
    }

    /// Function-level reset where there is one; decoding, bus mastering, interrupts and ATS off; BARs zero.
    pub fn reset(&self) {
        self.write(COMMAND, AccessSize::Word, 0);
        self.function_level_reset();
        self.write(COMMAND, AccessSize::Word, 0);
        let controls = [self.msi.map(|msi| msi + 2), self.msix.map(|msix| msix + 2), self.ats.map(|ats| ats + 6)];
        for control in controls.into_iter().flatten() {
            self.write(control, AccessSize::Word, 0);
        }
        for bar in bars() {
            self.write(bar, AccessSize::Dword, 0);
        }
    }

    fn function_level_reset(&self) {
        const DEVICE_CAPABILITIES: u16 = 4;
        const CAN_RESET: u32 = 1 << 28;
        const DEVICE_CONTROL: u16 = 8;
        const RESET: u32 = 1 << 15;
        const RECOVERY_MILLISECONDS: u64 = 100;
        let Some(express) = self.express else { return };
        if self.read(express + DEVICE_CAPABILITIES, AccessSize::Dword) & CAN_RESET == 0 {
            return;
        }
        let control = self.read(express + DEVICE_CONTROL, AccessSize::Word);
        self.write(express + DEVICE_CONTROL, AccessSize::Word, control | RESET);
        let _ = time::wait_until(RECOVERY_MILLISECONDS, || self.read(VENDOR_DEVICE, AccessSize::Dword) != ABSENT);
    }
}

fn bars() -> impl Iterator<Item = u16> {
    (FIRST_BAR..).step_by(4).take(BARS)
}

/// Sizes the BARs. Decoding is off afterwards, the BARs are left for [`Function::reset`] to clear.
fn probe_bars(config: ConfigSpace, rid: Rid) -> [u32; BARS] {
    const IO_SPACE: u32 = 1;
    const TYPE: u32 = 7;
    const TYPE_64_BIT: u32 = 4;
    config.write(rid, COMMAND, AccessSize::Word, 0);
    let mut probes = [0; BARS];
    for (probe, bar) in probes.iter_mut().zip(bars()) {
        config.write(rid, bar, AccessSize::Dword, u32::MAX);
        *probe = config.read(rid, bar, AccessSize::Dword);
    }
    let mut upper_half = false;
    for probe in &mut probes {
        // All ones in an upper half look like an I/O BAR, but are none.
        let this_is_upper_half = core::mem::take(&mut upper_half);
        if this_is_upper_half {
            continue;
        }
        if *probe & IO_SPACE != 0 {
            *probe = 0;
        } else {
            upper_half = *probe & TYPE == TYPE_64_BIT;
        }
    }
    probes
}

fn find_capability(config: ConfigSpace, rid: Rid, id: u32) -> Option<u16> {
    let read = |offset| config.read(rid, offset, AccessSize::Word);
    if read(STATUS) & STATUS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = read(CAPABILITIES) as u16 & 0xfc;
    for _ in 0..MAX_CAPABILITIES {
        if at == 0 {
            return None;
        }
        let header = read(at);
        if header & 0xff == id {
            return Some(at);
        }
        at = (header >> 8) as u16 & 0xfc;
    }
    None
}

fn find_extended_capability(config: ConfigSpace, rid: Rid, id: u32) -> Option<u16> {
    let mut at = EXTENDED_CAPABILITIES;
    for _ in 0..MAX_CAPABILITIES {
        let header = config.read(rid, at, AccessSize::Dword);
        if header == 0 || header == ABSENT {
            return None;
        }
        if header & 0xffff == id {
            return Some(at);
        }
        at = (header >> 20) as u16 & 0xffc;
        if at < EXTENDED_CAPABILITIES {
            return None;
        }
    }
    None
}
