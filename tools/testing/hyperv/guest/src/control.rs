// SPDX-License-Identifier: GPL-2.0
//! Client of minihv's test interface (a CPUID leaf, see [`hvcore::control`]).

use core::arch::asm;

use anyhow::{bail, Result};
use hvcore::control::{Command, Counter, DeviceField, DomainField, FaultField, Reply, LEAF, PING_VALUE};
use hvcore::ids::{DomainId, Gpa, Iova, LogicalDeviceId};

/// Proof that minihv answers; all its commands hang off this.
#[derive(Clone, Copy, Debug)]
pub struct Minihv(());

/// The raw answer: reply code and value.
struct Answer {
    code: u32,
    value: u64,
}

/// How a device's DMA is translated, as minihv sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceTranslation {
    /// Addresses are guest physical addresses.
    Bypass,
    /// Nothing gets through.
    Blocked,
    /// The guest's own table, with this many levels (4 or 5).
    Stage1(u64),
}

/// A present leaf entry of a guest's I/O page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf(pub u64);

/// A DMA fault as minihv reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinihvFault {
    /// Faulting address, 4 KiB aligned.
    pub iova: Iova,
    /// Who asked; `None` when it is none of the guest's devices.
    pub device: Option<LogicalDeviceId>,
    /// Whether the device was reading memory.
    pub is_read: bool,
}

fn cpuid(command: Command, ebx: u32, edx: u32) -> Answer {
    let (eax, low, high): (u32, u64, u32);
    // SAFETY: CPUID changes no register but the four declared here (RBX, which the compiler keeps for itself, is
    // swapped back) and touches no memory of this process. A hypervisor that does not know the leaf answers junk.
    unsafe {
        asm!(
            "xchg {b}, rbx",
            "cpuid",
            "xchg {b}, rbx",
            b = inout(reg) u64::from(ebx) => low,
            inout("eax") LEAF => eax,
            inout("ecx") command as u32 => _,
            inout("edx") edx => high,
            options(nostack),
        );
    }
    Answer { code: eax, value: (low & 0xffff_ffff) | (u64::from(high) << 32) }
}

impl Minihv {
    /// Asks whether minihv is below; `None` on any other machine.
    pub fn detect() -> Option<Minihv> {
        let answer = cpuid(Command::Ping, 0, 0);
        (answer.code == Reply::Ok as u32 && answer.value == PING_VALUE).then_some(Minihv(()))
    }

    fn ask(self, command: Command, ebx: u32, edx: u32) -> Result<Option<u64>> {
        let answer = cpuid(command, ebx, edx);
        match answer.code {
            code if code == Reply::Ok as u32 => Ok(Some(answer.value)),
            code if code == Reply::NoSuchObject as u32 => Ok(None),
            code => bail!("minihv refuses {command:?}({ebx:#x}, {edx:#x}): reply {code}"),
        }
    }

    fn must(self, command: Command, ebx: u32, edx: u32) -> Result<u64> {
        match self.ask(command, ebx, edx)? {
            Some(value) => Ok(value),
            None => bail!("minihv knows no such object: {command:?}({ebx:#x}, {edx:#x})"),
        }
    }

    /// A count since boot. `index` is a call code or a status for the counters that have one, else 0.
    ///
    /// # Errors
    /// When minihv does not know the counter.
    pub fn counter(self, counter: Counter, index: u32) -> Result<u64> {
        self.must(Command::Counter, counter as u32, index)
    }

    /// Takes the next fault, if there is one.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn next_fault(self) -> Result<Option<MinihvFault>> {
        if self.ask(Command::Fault, FaultField::Take as u32, 0)? != Some(1) {
            return Ok(None);
        }
        let field = |field: FaultField| self.must(Command::Fault, field as u32, 0);
        let device = field(FaultField::Device)?;
        Ok(Some(MinihvFault {
            iova: Iova(field(FaultField::Iova)?),
            device: (device != u64::MAX).then_some(LogicalDeviceId(device)),
            is_read: field(FaultField::Reason)? & 0x100 != 0,
        }))
    }

    fn device(self, id: LogicalDeviceId, field: DeviceField) -> Result<u64> {
        self.must(Command::Device, id.0 as u32, field as u32)
    }

    /// The domain that a device is attached to; `None` for the host's default.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn device_domain(self, id: LogicalDeviceId) -> Result<Option<DomainId>> {
        let raw = u32::try_from(self.device(id, DeviceField::Domain)?)?;
        Ok((raw != 0).then_some(DomainId(raw)))
    }

    /// How a device's DMA is translated now.
    ///
    /// # Errors
    /// When there is no such device, or the answer is none of the documented ones.
    pub fn device_translation(self, id: LogicalDeviceId) -> Result<DeviceTranslation> {
        Ok(match self.device(id, DeviceField::Translation)? {
            0 => DeviceTranslation::Bypass,
            1 => DeviceTranslation::Blocked,
            levels @ (4 | 5) => DeviceTranslation::Stage1(levels),
            other => bail!("minihv reports translation kind {other}"),
        })
    }

    /// Guest physical address of a domain's root table.
    ///
    /// # Errors
    /// When there is no such domain.
    pub fn domain_root(self, domain: DomainId) -> Result<Gpa> {
        Ok(Gpa(self.must(Command::Domain, domain.0, DomainField::Root as u32)?))
    }

    /// The leaf entry that a domain's table holds for an address; `None` when it is not mapped.
    ///
    /// # Errors
    /// When there is no such domain, or its id or the address does not fit the interface (12 and 64 bits).
    pub fn walk(self, domain: DomainId, iova: Iova) -> Result<Option<Leaf>> {
        if domain.0 > 0xfff {
            bail!("domain id {} does not fit the walk command", domain.0);
        }
        let page = iova.0 >> 12;
        let value = self.must(Command::Walk, page as u32, (page >> 32) as u32 | (domain.0 << 20))?;
        Ok((value & 1 != 0).then_some(Leaf(value)))
    }
}

impl Leaf {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    const LARGE: u64 = 1 << 7;

    /// Whether the entry sends `iova` to `gpa`. A large leaf does not tell its own size: both are tried.
    pub fn sends(self, iova: Iova, gpa: Gpa) -> bool {
        let fits = |shift: u32| {
            let offset = (1_u64 << shift) - 1;
            let base = self.0 & Self::ADDRESS;
            base & offset & !0x1000 == 0 && (base & !offset) | (iova.0 & offset) == gpa.0
        };
        match self.0 & Self::LARGE {
            0 => (self.0 & Self::ADDRESS) | (iova.0 & 0xfff) == gpa.0,
            _ => fits(21) || fits(30),
        }
    }

    /// The physical page (4 KiB) or block that the entry points at.
    pub fn address(self) -> Gpa {
        Gpa(self.0 & Self::ADDRESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_leaf_keeps_the_page_offset() {
        let leaf = Leaf(0x8000_0000_1234_5067);
        assert!(leaf.sends(Iova(0xffff_f010), Gpa(0x1234_5010)));
        assert!(!leaf.sends(Iova(0xffff_f010), Gpa(0x1234_6010)));
        assert_eq!(leaf.address(), Gpa(0x1234_5000));
    }

    #[test]
    fn large_leaf_keeps_the_block_offset() {
        let leaf = Leaf(0x4020_00e7);
        assert!(leaf.sends(Iova(0x7ff5_f010), Gpa(0x4035_f010)));
        assert!(!leaf.sends(Iova(0x7ff5_f010), Gpa(0x4015_f010)));
        let giant = Leaf(0x4000_00e7);
        assert!(giant.sends(Iova(0x7_3456_7000), Gpa(0x7456_7000)));
    }
}
