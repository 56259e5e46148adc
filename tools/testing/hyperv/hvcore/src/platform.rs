// SPDX-License-Identifier: GPL-2.0
//! What the core needs of the machine below it.
//!
//! minihv implements [`Platform`] on real (emulated) hardware; host tests implement it on a vector.
//! Calls are serialised by the caller (one lock around the partition), never nested, and never sleep.

use crate::ids::{DeviceIndex, Gpa, Iova, Rid, VpIndex};
use crate::vtd::did::Did;

/// The guest named memory that it does not own (outside RAM, or the hypervisor's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadGpa(pub Gpa);

/// A page cannot be watched, or change its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CannotWatch;

/// Width of a configuration or MMIO access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessSize {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Word,
    /// 4 bytes.
    Dword,
}

/// What a passed-through function looks like, read once before it is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionInfo {
    /// Requester id on the physical bus.
    pub rid: Rid,
    /// Vendor id 15:0, device id 31:16 (config offset 0).
    pub vendor_device: u32,
    /// Revision 7:0, programming interface 15:8, subclass 23:16, base class 31:24 (config offset 8).
    pub class_revision: u32,
    /// Subsystem vendor 15:0 and id 31:16 (config offset 0x2c).
    pub subsystem: u32,
    /// The six BARs as they read after all ones were written; I/O BARs and unused ones are zero.
    pub bar_probe: [u32; 6],
}

/// What a device's DMA goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// Addresses are guest physical addresses (hypervisor-owned table over guest RAM only).
    Bypass,
    /// Nothing gets through.
    Blocked,
    /// The guest's own stage-1 table.
    Stage1 {
        /// Guest physical address of the 4 KiB top table.
        root: Gpa,
        /// Number of levels, 4 or 5.
        levels: PagingLevels,
    },
}

/// What the DMA of a requester of a root partition's machine goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequesterTranslation {
    /// Addresses are physical addresses, of the partition's memory only.
    Identity,
    /// Nothing gets through.
    Blocked,
    /// A second-stage table of four levels, which the hypervisor keeps.
    SecondStage {
        /// Its top table.
        root: Gpa,
    },
}

/// Who may use a page of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOwner {
    /// The partition: its processors, and devices in the identity domain.
    Partition,
    /// The hypervisor alone.
    Hypervisor,
    /// The hypervisor; the partition's processors may read it.
    Shown,
}

/// Depth of a stage-1 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagingLevels {
    /// 48-bit tables.
    Four,
    /// 57-bit tables.
    Five,
}

/// A physical interrupt-remapping entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemapHandle(pub u16);

/// How an interrupt is signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// By an edge, or a message.
    Edge,
    /// By a level, until its handler ends it.
    Level,
}

/// One DMA fault as the physical IOMMU recorded it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaFault {
    /// Who asked.
    pub rid: Rid,
    /// Faulting address, 4 KiB aligned.
    pub iova: Iova,
    /// VT-d fault reason (VT-d specification, appendix "Fault Reason Encodings").
    pub reason: u8,
    /// True for a device read of memory, false for a write.
    pub is_read: bool,
}

/// Whether a function may keep translations in a TLB of its own (ATS).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceTlb {
    /// The guest has switched ATS on.
    Enabled,
    /// It has not, or the function has none.
    Disabled,
}

/// What the hypervisor has had to do for the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Exits of the guest, of all processors, without the one that is being handled.
    pub exits: u64,
    /// Ticks of the time-stamp counter between those exits and the guest's resumption, without the world switches.
    pub ticks: u64,
}

/// How urgent a log line is; a platform may drop the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Results for a program to read (counters at power-off); never dropped.
    Report,
    /// Something the guest or the test did wrong, or the hypervisor cannot go on.
    Error,
    /// Rare events: attach, offers, faults.
    Info,
    /// One line per hypercall or message.
    Trace,
}

/// The machine.
pub trait Platform {
    /// Copies guest memory into `buf`.
    ///
    /// # Errors
    /// [`BadGpa`] when any byte lies outside guest RAM; `buf` is then unspecified.
    fn read(&self, gpa: Gpa, buf: &mut [u8]) -> Result<(), BadGpa>;

    /// Copies `buf` to guest memory; nothing is written on failure.
    ///
    /// # Errors
    /// [`BadGpa`] when any byte lies outside guest RAM.
    fn write(&mut self, gpa: Gpa, buf: &[u8]) -> Result<(), BadGpa>;

    /// Reads an aligned word shared with running guest processors (acquire).
    ///
    /// # Errors
    /// [`BadGpa`] when unaligned or outside guest RAM.
    fn load_u32(&self, gpa: Gpa) -> Result<u32, BadGpa>;

    /// Writes an aligned word shared with running guest processors (release, then a full fence).
    ///
    /// # Errors
    /// [`BadGpa`] when unaligned or outside guest RAM.
    fn store_u32(&mut self, gpa: Gpa, value: u32) -> Result<(), BadGpa>;

    /// Sets bits in an aligned word atomically; returns the previous value.
    ///
    /// # Errors
    /// [`BadGpa`] when unaligned or outside guest RAM.
    fn fetch_or_u32(&mut self, gpa: Gpa, bits: u32) -> Result<u32, BadGpa>;

    /// Replaces an aligned 64-bit word that devices and guest processors may be accessing; returns the previous value.
    ///
    /// # Errors
    /// [`BadGpa`] when unaligned or outside guest RAM.
    fn exchange_u64(&mut self, gpa: Gpa, value: u64) -> Result<u64, BadGpa>;

    /// The same if the word is `expected`.
    ///
    /// # Errors
    /// [`BadGpa`] when unaligned or outside guest RAM.
    fn compare_exchange_u64(&mut self, gpa: Gpa, expected: u64, value: u64) -> Result<u64, BadGpa>;

    /// From now on, what guest processors write to the 4-KiB page at `page` is not carried out but told to
    /// [`crate::partition::Partition::watched_write`]. A write that is under way on another processor may get through.
    ///
    /// # Errors
    /// [`CannotWatch`] when there is no memory left for the bookkeeping.
    fn watch(&mut self, page: Gpa) -> Result<(), CannotWatch>;

    /// Guest processors write to the page as to any other.
    fn unwatch(&mut self, page: Gpa);

    /// Gives a page of guest RAM to somebody else; complete on return, but for processors that run the guest at this moment.
    ///
    /// # Errors
    /// [`CannotWatch`] when there is no memory left for the bookkeeping; nothing changes then.
    fn set_owner(&mut self, page: Gpa, owner: PageOwner) -> Result<(), CannotWatch>;

    /// Whether a root partition may let devices reach all of `len` bytes from `gpa`: memory or devices of its own.
    fn is_mappable(&self, gpa: Gpa, len: u64) -> bool;

    /// Switches the translation of a requester of the machine at once, wherever it was: the old one or the new one is in
    /// force at any time. What is cached for this requester is invalidated; what follows is cached under `did`.
    fn set_requester(&mut self, rid: Rid, translation: RequesterTranslation, did: Did);

    /// Invalidates everything that requesters have cached under a domain id; complete on return.
    fn flush_did(&mut self, did: Did);

    /// Invalidates exactly the naturally aligned block of `1 << page_shift` 4-KiB pages at `iova` under a domain id;
    /// complete on return. `page_shift` 0..=52.
    fn flush_did_pages(&mut self, did: Did, iova: Iova, page_shift: u8);

    /// Whether all of `len` bytes from `gpa` are guest RAM.
    fn is_guest_ram(&self, gpa: Gpa, len: u64) -> bool;

    /// Raises `vector` (16..=255) on a virtual processor's local APIC, fixed delivery, edge.
    fn raise_interrupt(&mut self, vp: VpIndex, vector: u8);

    /// Number of virtual processors.
    fn vp_count(&self) -> u32;

    /// What is known of a passed-through function.
    fn function_info(&self, device: DeviceIndex) -> FunctionInfo;

    /// Reads the function's physical configuration space; `offset` 0..=0xfff, naturally aligned.
    fn config_read(&self, device: DeviceIndex, offset: u16, size: AccessSize) -> u32;

    /// Writes the function's physical configuration space; `offset` 0..=0xfff, naturally aligned.
    fn config_write(&mut self, device: DeviceIndex, offset: u16, size: AccessSize, value: u32);

    /// Puts the function into its state before the first offer (COMMAND and BARs zero, function reset where there is one).
    fn reset_function(&mut self, device: DeviceIndex);

    /// Allocates an interrupt-remapping entry for a function and points it at `vp`/`vector`; `None` when none is left.
    fn remap_alloc(&mut self, device: DeviceIndex, vp: VpIndex, vector: u8) -> Option<RemapHandle>;

    /// Allocates an interrupt-remapping entry for interrupts of any requester of the machine; `None` when none is left.
    fn remap_requester(&mut self, source: Rid, trigger: Trigger, vp: VpIndex, vector: u8) -> Option<RemapHandle>;

    /// Points an entry at another processor or vector and invalidates exactly its cache entry.
    fn remap_retarget(&mut self, handle: RemapHandle, vp: VpIndex, vector: u8);

    /// Clears an entry, invalidates exactly its cache entry and gives it back.
    fn remap_free(&mut self, handle: RemapHandle);

    /// Switches a device's translation at once: the old one or the new one is in force at any time. What is cached for
    /// this device is invalidated, nothing else is.
    fn set_translation(&mut self, device: DeviceIndex, translation: Translation);

    /// Invalidates everything that the IOMMU has cached for a device, paging-structure caches included; complete on
    /// return.
    fn flush_device(&mut self, device: DeviceIndex);

    /// Invalidates exactly the naturally aligned block of `1 << page_shift` 4-KiB pages at `iova`, as the IOMMU has it
    /// cached for a device, paging-structure entries that cover it included; complete on return. `page_shift` 0..=52.
    fn flush_device_pages(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8);

    /// Whether the function's own TLB is on, as its configuration space says.
    fn device_tlb(&self, device: DeviceIndex) -> DeviceTlb;

    /// Invalidates a device's own TLB for the block of `1 << page_shift` pages at `iova` (52: everything), when the
    /// device has ATS enabled; complete on return.
    fn flush_device_tlb(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8);

    /// Takes the oldest DMA fault that has not been taken yet.
    fn take_fault(&mut self) -> Option<DmaFault>;

    /// What has been done for the guest since it started.
    fn effort(&self) -> Effort;

    /// Whether lines of `level` appear anywhere: making them is worth the while.
    fn shows(&self, level: LogLevel) -> bool;

    /// One log line (no line end). `args` must not contain line ends.
    fn log(&mut self, level: LogLevel, args: core::fmt::Arguments<'_>);
}
