// SPDX-License-Identifier: GPL-2.0
//! The test interface: what a program in the guest can ask of minihv.
//!
//! `CPUID` with EAX = [`LEAF`] exits from any privilege level and needs no driver in the guest. ECX carries the
//! command, EBX and EDX its two arguments; EAX returns a [`Reply`] code, and EBX (low half), EDX (high half) a 64-bit
//! value. This is no part of the Hyper-V interface.

/// The CPUID leaf of the test interface (unused by Hyper-V).
pub const LEAF: u32 = 0x4fff_0000;

/// What [`Command::Ping`] returns as its value: "MiniHv" and the interface's version.
pub const PING_VALUE: u64 = 0x4d69_6e69_4876_0001;

/// The domain id of [`Command::Walk`] that stands for the selected domain; ids below it are themselves.
pub const WALK_SELECTED: u32 = 0xfff;

/// A command, in ECX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Command {
    /// Is anybody there? Value: [`PING_VALUE`].
    Ping = 0,
    /// EBX = [`Counter`]; EDX = its index where it has one. Value: the count since boot.
    Counter = 1,
    /// EBX = [`FaultField`] of the oldest fault not taken. [`FaultField::Take`] first moves on to the next one.
    Fault = 2,
    /// EBX = low 32 bits of a logical device id, EDX = [`DeviceField`]. [`Reply::NoSuchObject`] for an unknown device.
    Device = 3,
    /// EBX = a domain id, EDX = [`DomainField`]. [`Reply::NoSuchObject`] for an unknown domain.
    Domain = 4,
    /// Adds a fault-injection rule: EBX = call code 15:0 and status 31:16, EDX = first occurrence 15:0 (1 = the next
    /// call) and number of occurrences 30:16 (0x7fff = all from there on); bit 31: garbage in the output block.
    /// Value: the number of rules now in force. [`Reply::Refused`] when the table is full.
    Inject = 5,
    /// Removes all fault-injection rules, those of [`Command::Refuse`] included.
    InjectClear = 6,
    /// EBX = bus index: withdraws the bus's offer (what Hyper-V does on servicing).
    Rescind = 7,
    /// EBX = bus index: offers it again.
    Offer = 8,
    /// EBX = bus index: asks the guest to eject its function (EDX = slot).
    Eject = 9,
    /// EBX = 1: every device fails as if unplugged (config reads all ones, attach answers 0x57); EBX = 0: back.
    /// EDX = bus index.
    Unplug = 10,
    /// Walks a domain's guest table in software: EBX = IOVA page number 31:0, EDX = IOVA page number 51:32 and the
    /// domain id in bits 31:20, or [`WALK_SELECTED`] there for the domain that was selected. Value: the leaf entry, 0 when
    /// not present.
    Walk = 11,
    /// Writes a line to the hypervisor's log: EBX and EDX carry up to 8 ASCII bytes, little endian.
    Mark = 12,
    /// EBX = GPA page number: reads a 64-bit word of guest memory at byte offset EDX (8-byte aligned) of that page.
    PeekGuest = 13,
    /// EBX = a domain id; EDX = a range of guest memory in units of 1 MiB: its start 15:0, its length 31:16. Value: how
    /// many leaf entries of the domain's table point into the range. [`Reply::Refused`] for a domain without a table,
    /// or with one that is too large to be searched.
    LeavesInto = 14,
    /// EBX = a domain id: selects the domain for [`Command::Walk`].
    Select = 16,
    /// Says more about the next [`Command::Inject`]: EBX = [`Qualifier`], EDX = its value. [`Reply::Refused`] for a value
    /// out of range.
    Qualify = 15,
    /// EBX (low half) and EDX (high half) = a seed: the IOMMU's calls are answered by a hostile host
    /// ([`crate::hostile`]) from now on; 0: by an honest one. Domains that the host kept although it was told to delete
    /// them, or made although it said that it did not, are deleted as far as they are empty. Value: how many answers
    /// were wrong since the last such command.
    Hostile = 32,
    /// EBX = [`ToldField`]: what the guest was told last, true or not; EDX = low 32 bits of a logical device id for the
    /// fields that have one. [`Reply::NoSuchObject`] when it has not asked yet.
    Told = 33,
    /// Judges now: EBX = a domain id, EDX = [`StaleField`]. [`Reply::Refused`] when it is not logged what caches may hold
    /// of the domain.
    Stale = 40,
    /// Has messages on a vPCI bus refused: EBX = bus index 7:0, [`crate::vpci::MessageKind`] 15:8 and number of messages
    /// 30:16 (0x7fff = all), EDX = the status, a failure. It takes the place of an earlier one for the same messages on the
    /// bus. [`Reply::Refused`] for arguments out of range.
    Refuse = 41,
}

/// The answer's code, in EAX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reply {
    /// The value is valid.
    Ok = 0,
    /// ECX is no command.
    UnknownCommand = 1,
    /// No such device, domain, bus, counter or fault.
    NoSuchObject = 2,
    /// The arguments are out of range, or the state does not allow it.
    Refused = 3,
}

/// What [`Command::Counter`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Hypercalls with call code = index, whatever their status.
    Calls = 0,
    /// IOMMU hypercalls (see abi) that ended with status = index.
    Status = 1,
    /// Descriptors processed by list flushes.
    FlushDescriptors = 2,
    /// 4-KiB pages that list flushes covered.
    FlushPages = 3,
    /// DMA faults that the physical IOMMU recorded (as far as it does not merge them).
    DmaFaults = 4,
    /// Domains that exist now.
    LiveDomains = 5,
    /// Devices attached to any domain now.
    AttachedDevices = 6,
    /// Calls that a fault-injection rule answered.
    Injected = 7,
    /// Protocol violations of the guest: reserved bits, bad lengths, unknown ids. 0 in a sound run.
    Violations = 8,
    /// Number of vPCI buses.
    Buses = 9,
    /// Attach calls that changed a device's translation.
    Switches = 10,
    /// Devices that were in a domain which does not block them when the guest dropped its VMBus connection.
    Abandoned = 11,
    /// Invalidations of devices' own TLBs (ATS) that flushes implied.
    DeviceTlbFlushes = 12,
    /// 4-KiB pages that they covered.
    DeviceTlbPages = 13,
    /// Exits of the guest, of all processors, without the one that asks.
    Exits = 14,
    /// Ticks of the time-stamp counter that the hypervisor used to handle them, without the world switches.
    HypervisorTicks = 15,
    /// Hypercalls that were carried out while one of another processor was held back or paused.
    Overtakes = 16,
    /// Messages on vPCI buses that [`Command::Refuse`] refused.
    RefusedMessages = 17,
    /// Requesters that the last kernel of a root partition left blocked when it gave up its hypercalls.
    LeftBlocked = 18,
}

/// What [`Command::Qualify`] says about the rule that is added next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Qualifier {
    /// It is only about calls that name this domain.
    Domain = 0,
    /// For a rep call: so many elements are carried out before it is answered.
    Elements = 1,
    /// The call is carried out, after so many turns of an empty loop.
    Slow = 2,
    /// The device that the call names is withdrawn before it is carried out; the value says nothing.
    DeviceGone = 3,
    /// Low half of the 64-bit word that the next one is about.
    LowHalf = 4,
    /// High half of the word: it is the call's result word, and the call is not carried out.
    Word = 5,
    /// High half of the word: the call is carried out, and the word's bits are set in its result word.
    Marked = 6,
    /// The call is carried out, of its list at most so many elements, which the guest is told.
    Slice = 7,
    /// The call is carried out, of its list at most so many elements at a time, which the guest is not told.
    Resume = 8,
    /// The call is answered with success as if the guest had not made it; the value says nothing.
    Omitted = 9,
}

/// What [`Command::Fault`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FaultField {
    /// Collects new faults from the hardware, drops the current one, moves to the next. Value: 1 if there is one.
    Take = 0,
    /// Faulting IOVA, 4-KiB aligned.
    Iova = 1,
    /// Logical device id of the source, all ones when it is none of the guest's.
    Device = 2,
    /// VT-d reason 7:0; bit 8 set for a read.
    Reason = 3,
}

/// What [`Command::Device`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceField {
    /// Domain id the device is attached to; 0 when none (host default: bypass).
    Domain = 0,
    /// How DMA is translated now: 0 bypass, 1 blocked, 4 or 5 stage 1 with that many levels.
    Translation = 1,
    /// Requester id on the physical bus.
    Rid = 2,
    /// Whether the function's own TLB is on (ATS): 1 when it is.
    DeviceTlb = 3,
}

/// What [`Command::Domain`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DomainField {
    /// Flags as configured (abi: translation_enabled bit 0, blocked bit 1, five levels bit 2).
    Flags = 0,
    /// Guest physical address of the root table.
    Root = 1,
    /// Devices attached.
    Devices = 2,
}

/// What [`Command::Told`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ToldField {
    /// The result word of the capability call.
    Result = 0,
    /// The capability flags, as the guest read them.
    Flags = 1,
    /// The width of IOVAs.
    Width = 2,
    /// The bitmap of page sizes.
    PageSizes = 3,
    /// The result word of the property call about a device.
    DeviceResult = 4,
    /// The first word of its output.
    DeviceProperty = 5,
}

/// What [`Command::Stale`] tells: what caches may still hold of a domain, although its tables no longer say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum StaleField {
    /// Number of 4-KiB pages that were unmapped or changed and not flushed.
    Pages = 0,
    /// The first address of these; 0 when there is none.
    First = 1,
    /// Number of tables that were taken out and not flushed.
    Tables = 2,
}

macro_rules! from_u32 {
    ($($name:ident { $($variant:ident),* $(,)? })*) => {$(
        impl TryFrom<u32> for $name {
            type Error = ();

            fn try_from(number: u32) -> Result<Self, ()> {
                [$($name::$variant),*].into_iter().find(|&variant| variant as u32 == number).ok_or(())
            }
        }
    )*};
}

from_u32! {
    Command {
        Ping, Counter, Fault, Device, Domain, Inject, InjectClear, Rescind, Offer, Eject, Unplug, Walk, Mark, PeekGuest,
        LeavesInto, Qualify, Select, Hostile, Told, Stale, Refuse,
    }
    Qualifier { Domain, Elements, Slow, DeviceGone, LowHalf, Word, Marked, Slice, Resume, Omitted }
    Counter {
        Calls, Status, FlushDescriptors, FlushPages, DmaFaults, LiveDomains, AttachedDevices, Injected, Violations,
        Buses, Switches, Abandoned, DeviceTlbFlushes, DeviceTlbPages, Exits, HypervisorTicks, Overtakes,
        RefusedMessages, LeftBlocked,
    }
    FaultField { Take, Iova, Device, Reason }
    DeviceField { Domain, Translation, Rid, DeviceTlb }
    DomainField { Flags, Root, Devices }
    ToldField { Result, Flags, Width, PageSizes, DeviceResult, DeviceProperty }
    StaleField { Pages, First, Tables }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_variants() {
        assert_eq!(Command::try_from(0), Ok(Command::Ping));
        assert_eq!(Command::try_from(14), Ok(Command::LeavesInto));
        assert_eq!(Command::try_from(15), Ok(Command::Qualify));
        assert_eq!(Command::try_from(16), Ok(Command::Select));
        assert_eq!(Command::try_from(17), Err(()));
        assert_eq!(Command::try_from(40), Ok(Command::Stale));
        assert_eq!(Command::try_from(41), Ok(Command::Refuse));
        assert_eq!(Command::try_from(42), Err(()));
        assert_eq!(StaleField::try_from(3), Err(()));
        assert_eq!(Qualifier::try_from(8), Ok(Qualifier::Resume));
        assert_eq!(Qualifier::try_from(9), Ok(Qualifier::Omitted));
        assert_eq!(Qualifier::try_from(10), Err(()));
        assert_eq!(Counter::try_from(13), Ok(Counter::DeviceTlbPages));
        assert_eq!(Counter::try_from(15), Ok(Counter::HypervisorTicks));
        assert_eq!(Counter::try_from(16), Ok(Counter::Overtakes));
        assert_eq!(Counter::try_from(18), Ok(Counter::LeftBlocked));
        assert_eq!(Counter::try_from(19), Err(()));
        assert_eq!(FaultField::try_from(3), Ok(FaultField::Reason));
        assert_eq!(DeviceField::try_from(3), Ok(DeviceField::DeviceTlb));
        assert_eq!(DomainField::try_from(3), Err(()));
        assert_eq!(Command::try_from(32), Ok(Command::Hostile));
        assert_eq!(Command::try_from(33), Ok(Command::Told));
        assert_eq!(ToldField::try_from(6), Err(()));
    }
}
