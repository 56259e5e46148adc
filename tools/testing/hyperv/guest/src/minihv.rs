// SPDX-License-Identifier: GPL-2.0
//! Client of minihv's test interface (a CPUID leaf, see [`hvcore::test_interface`]).

use core::arch::asm;
use core::ops::Range;

use anyhow::{bail, Context as _, Result};
use hvcore::hostile::random::Seed;
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::{BusIndex, DomainId, Gpa, Iova, LogicalDeviceId};
use hvcore::platform::DeviceTlb;
use hvcore::status::Status;
use hvcore::test_interface::{
    Command, Counter, DeviceField, DomainField, FaultField, Qualifier, Reply, StaleField, ToldField, LEAF, PING_VALUE,
    WALK_SELECTED,
};
use hvcore::vpci::{Refusal, Slot};

/// Proof that minihv answers; all its commands hang off this.
#[derive(Clone, Copy, Debug)]
pub struct Minihv(());

/// What caches may still hold of a domain although its table no longer says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Pages that were unmapped and not flushed.
    pub pages: u64,
    /// The first of them, if there is any.
    pub first: Iova,
    /// Tables that were taken out and not flushed.
    pub tables: u64,
}

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

/// Whether a device is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plug {
    /// It works.
    Connected = 0,
    /// Configuration space reads all ones, hypercalls do not know it.
    Unplugged = 1,
}

/// Every call of the IOMMU.
pub const IOMMU_CALLS: [CallCode; 9] = [
    CallCode::CREATE_DEVICE_DOMAIN,
    CallCode::ATTACH_DEVICE_DOMAIN,
    CallCode::DETACH_DEVICE_DOMAIN,
    CallCode::DELETE_DEVICE_DOMAIN,
    CallCode::CONFIGURE_DEVICE_DOMAIN,
    CallCode::FLUSH_DEVICE_DOMAIN,
    CallCode::FLUSH_DEVICE_DOMAIN_LIST,
    CallCode::GET_IOMMU_CAPABILITIES,
    CallCode::GET_LOGICAL_DEVICE_PROPERTY,
];

/// Hypercalls that are to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The call.
    pub call: CallCode,
    /// The status that is answered instead.
    pub status: Status,
    /// The first call that fails, counted from now; 1 is the next one.
    pub first: u16,
    /// How many fail in a row; `None` for all from there on.
    pub times: Option<u16>,
}

impl Injection {
    /// Every call from now on fails.
    pub const fn every(call: CallCode) -> Injection {
        Injection { call, status: Status::OPERATION_FAILED, first: 1, times: None }
    }

    /// The next call fails, and no other.
    pub const fn next(call: CallCode) -> Injection {
        Injection { times: Some(1), ..Injection::every(call) }
    }
}

/// How a call that is not carried out as usual goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is answered with the status.
    Answered,
    /// The same, with garbage in its output block.
    Garbage,
    /// So many elements of its list are carried out, then it is answered with the status.
    Partial(u16),
    /// It is carried out after so many turns of an empty loop.
    Slow(u32),
    /// The device that it names is withdrawn before it is carried out.
    DeviceGone,
    /// It is answered with success as if it had not been made: so looks a driver that leaves it out.
    Omitted,
    /// It is answered with this result word.
    Word(u64),
    /// It is carried out, and these bits are set in its result word.
    Marked(u64),
    /// It is carried out; of its list at most so many elements, which the result tells.
    Slice(u16),
    /// It is carried out; of its list at most so many elements at a time, which the result does not tell.
    Resume(u16),
}

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

    /// Hypercalls of one kind so far.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn calls(self, call: CallCode) -> Result<u64> {
        self.counter(Counter::Calls, call.0.into())
    }

    /// Hypercalls of the IOMMU so far, of every kind.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn iommu_calls(self) -> Result<u64> {
        IOMMU_CALLS.into_iter().map(|call| self.calls(call)).sum()
    }

    /// Flush calls of both kinds so far.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn flush_calls(self) -> Result<u64> {
        Ok(self.calls(CallCode::FLUSH_DEVICE_DOMAIN)? + self.calls(CallCode::FLUSH_DEVICE_DOMAIN_LIST)?)
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

    /// Withdraws a bus's offer, as Hyper-V does on servicing.
    ///
    /// # Errors
    /// When there is no such bus, or it is not offered.
    pub fn rescind(self, bus: BusIndex) -> Result<()> {
        self.must(Command::Rescind, u32::try_from(bus.0)?, 0).map(|_| ())
    }

    /// Offers a bus again.
    ///
    /// # Errors
    /// When there is no such bus, or the guest has not released it yet.
    pub fn offer(self, bus: BusIndex) -> Result<()> {
        self.must(Command::Offer, u32::try_from(bus.0)?, 0).map(|_| ())
    }

    /// Asks the guest to let go of one function of a bus.
    ///
    /// # Errors
    /// When there is no such function, or the guest has not opened the bus.
    pub fn eject(self, bus: BusIndex, slot: Slot) -> Result<()> {
        self.must(Command::Eject, u32::try_from(bus.0)?, slot.to_wire()).map(|_| ())
    }

    /// Makes the device fail as if it were unplugged, or work again.
    ///
    /// # Errors
    /// When there is no such bus.
    pub fn plug(self, bus: BusIndex, plug: Plug) -> Result<()> {
        self.must(Command::Unplug, plug as u32, u32::try_from(bus.0)?).map(|_| ())
    }

    /// Makes hypercalls fail from now on, until the rule is used up or [`Minihv::clear_injections`].
    ///
    /// # Errors
    /// When there are too many rules already, or a number does not fit.
    pub fn inject(self, injection: Injection) -> Result<()> {
        self.inject_effect(injection, Effect::Answered, None)
    }

    /// Makes hypercalls go wrong from now on, as [`Minihv::inject`]; with `domain`, only those that name it.
    ///
    /// # Errors
    /// When there are too many rules already, or a number does not fit.
    pub fn inject_effect(self, injection: Injection, effect: Effect, domain: Option<DomainId>) -> Result<()> {
        const ALL: u32 = 0x7fff;
        const GARBAGE: u32 = 1 << 31;
        let qualify = |qualifier: Qualifier, value: u32| self.must(Command::Qualify, qualifier as u32, value);
        let word_in_halves = |qualifier, word: u64| -> Result<()> {
            qualify(Qualifier::LowHalf, word as u32)?;
            qualify(qualifier, (word >> 32) as u32).map(|_| ())
        };
        if let Some(DomainId(id)) = domain {
            qualify(Qualifier::Domain, id)?;
        }
        let mut edx = u32::from(injection.first) | injection.times.map_or(ALL, u32::from) << 16;
        match effect {
            Effect::Answered => {}
            Effect::Garbage => edx |= GARBAGE,
            Effect::Partial(elements) => qualify(Qualifier::Elements, elements.into()).map(|_| ())?,
            Effect::Slow(turns) => qualify(Qualifier::Slow, turns).map(|_| ())?,
            Effect::DeviceGone => qualify(Qualifier::DeviceGone, 0).map(|_| ())?,
            Effect::Omitted => qualify(Qualifier::Omitted, 0).map(|_| ())?,
            Effect::Word(word) => word_in_halves(Qualifier::Word, word)?,
            Effect::Marked(bits) => word_in_halves(Qualifier::Marked, bits)?,
            Effect::Slice(elements) => qualify(Qualifier::Slice, elements.into()).map(|_| ())?,
            Effect::Resume(elements) => qualify(Qualifier::Resume, elements.into()).map(|_| ())?,
        }
        let ebx = u32::from(injection.call.0) | u32::from(injection.status.0) << 16;
        self.must(Command::Inject, ebx, edx).map(|_| ())
    }

    /// Has messages on a bus refused from now on, whether it is offered or not.
    ///
    /// # Errors
    /// When there is no such bus, or a number does not fit.
    pub fn refuse(self, bus: BusIndex, refusal: Refusal) -> Result<()> {
        let (ebx, edx) = refusal.encode(bus).context("the refusal does not fit into a command")?;
        self.must(Command::Refuse, ebx, edx).map(|_| ())
    }

    /// Ends all injections, and all refusals.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn clear_injections(self) -> Result<()> {
        self.must(Command::InjectClear, 0, 0).map(|_| ())
    }

    /// Has the IOMMU's calls answered by a hostile host from now on, or by an honest one; how many answers were wrong
    /// since the last time.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn set_hostile(self, seed: Option<Seed>) -> Result<u64> {
        let raw = seed.map_or(0, |seed| seed.0.get());
        self.must(Command::Hostile, raw as u32, (raw >> 32) as u32)
    }

    /// What the kernel was told last, true or not; `None` when it has not asked. `id` is for the fields about a device.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn told(self, field: ToldField, id: LogicalDeviceId) -> Result<Option<u64>> {
        self.ask(Command::Told, field as u32, id.0 as u32)
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

    /// Whether a function's own TLB is on (ATS), as minihv reads it from the physical function.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn device_tlb(self, id: LogicalDeviceId) -> Result<DeviceTlb> {
        Ok(match self.device(id, DeviceField::DeviceTlb)? {
            0 => DeviceTlb::Disabled,
            _ => DeviceTlb::Enabled,
        })
    }

    /// Guest physical address of a domain's root table.
    ///
    /// # Errors
    /// When there is no such domain.
    pub fn domain_root(self, domain: DomainId) -> Result<Gpa> {
        Ok(Gpa(self.must(Command::Domain, domain.0, DomainField::Root as u32)?))
    }

    /// Whether there is a domain of this number.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn domain_exists(self, domain: DomainId) -> Result<bool> {
        Ok(self.ask(Command::Domain, domain.0, DomainField::Devices as u32)?.is_some())
    }

    /// How many leaves of a domain's table point into a range of guest memory, which is widened to whole MiB.
    ///
    /// # Errors
    /// When there is no such domain, it has no table, or the range lies above 64 GiB.
    pub fn leaves_into(self, domain: DomainId, range: Range<Gpa>) -> Result<u64> {
        const MIB: u64 = 1 << 20;
        let first = u16::try_from(range.start.0 / MIB)?;
        let count = u16::try_from(range.end.0.div_ceil(MIB) - u64::from(first))?;
        self.must(Command::LeavesInto, domain.0, u32::from(count) << 16 | u32::from(first))
    }

    /// What caches may still hold of a domain; `None` when minihv does not log that.
    ///
    /// # Errors
    /// When minihv does not answer as documented.
    pub fn stale(self, domain: DomainId) -> Result<Option<Stale>> {
        let ask = |field: StaleField| cpuid(Command::Stale, domain.0, field as u32);
        let (pages, first, tables) = (ask(StaleField::Pages), ask(StaleField::First), ask(StaleField::Tables));
        match pages.code {
            code if code == Reply::Ok as u32 => {
                Ok(Some(Stale { pages: pages.value, first: Iova(first.value), tables: tables.value }))
            }
            code if code == Reply::Refused as u32 => Ok(None),
            code => bail!("minihv does not tell what is stale: reply {code}"),
        }
    }

    /// The leaf entry that a domain's table holds for an address; `None` when it is not mapped.
    ///
    /// # Errors
    /// When there is no such domain.
    pub fn walk(self, domain: DomainId, iova: Iova) -> Result<Option<Leaf>> {
        let short = if domain.0 < WALK_SELECTED {
            domain.0
        } else {
            self.must(Command::Select, domain.0, 0)?;
            WALK_SELECTED
        };
        let page = iova.0 >> 12;
        let value = self.must(Command::Walk, page as u32, (page >> 32) as u32 | (short << 20))?;
        Ok((value & 1 != 0).then_some(Leaf(value)))
    }

    /// The aligned 64-bit word of guest memory at `gpa`.
    ///
    /// # Errors
    /// When there is no memory, or the address is not aligned.
    pub fn peek(self, gpa: Gpa) -> Result<u64> {
        self.must(Command::PeekGuest, u32::try_from(gpa.0 >> 12)?, (gpa.0 & 0xfff) as u32)
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

    /// Whether the entry maps more than 4 KiB.
    pub fn is_large(self) -> bool {
        self.0 & Self::LARGE != 0
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
