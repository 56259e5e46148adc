// SPDX-License-Identifier: GPL-2.0
//! A machine made of vectors, for tests.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::ids::{DeviceIndex, Gpa, Iova, Rid, VpIndex};
use crate::platform::{
    AccessSize, BadGpa, CannotWatch, DeviceTlb, DmaFault, Effort, FunctionInfo, LogLevel, PageOwner, Platform,
    RemapHandle, RequesterTranslation, Translation, Trigger,
};
use crate::vtd::did::Did;

/// Bytes of guest RAM of a [`MockPlatform`] by default, from address 0.
pub const RAM_BYTES: usize = 1 << 20;

/// Something that the core made the machine do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`Platform::raise_interrupt`].
    Interrupt(VpIndex, u8),
    /// [`Platform::config_write`].
    ConfigWrite(DeviceIndex, u16, AccessSize, u32),
    /// [`Platform::reset_function`].
    Reset(DeviceIndex),
    /// [`Platform::remap_alloc`] that succeeded, and [`Platform::remap_retarget`].
    Remap(RemapHandle, VpIndex, u8),
    /// [`Platform::remap_requester`] that succeeded.
    RemapRequester(RemapHandle, Rid, Trigger, VpIndex, u8),
    /// [`Platform::remap_free`].
    RemapFree(RemapHandle),
    /// [`Platform::set_translation`].
    SetTranslation {
        /// Whose.
        device: DeviceIndex,
        /// The new one.
        translation: Translation,
    },
    /// [`Platform::set_requester`].
    SetRequester(Rid, RequesterTranslation, Did),
    /// [`Platform::flush_did`].
    FlushDid(Did),
    /// [`Platform::flush_did_pages`].
    FlushDidPages(Did, Iova, u8),
    /// [`Platform::flush_device`].
    FlushDevice(DeviceIndex),
    /// [`Platform::flush_device_pages`].
    FlushDevicePages(DeviceIndex, Iova, u8),
    /// [`Platform::flush_device_tlb`].
    FlushDeviceTlb(DeviceIndex, Iova, u8),
}

/// The machine. Fields are open for tests to set up and inspect.
pub struct MockPlatform {
    /// Guest RAM from address 0.
    pub ram: Vec<u8>,
    /// Passed-through functions.
    pub functions: Vec<FunctionInfo>,
    /// Configuration space of each function.
    pub config: Vec<Vec<u8>>,
    /// What happened.
    pub events: Vec<Event>,
    /// Faults to hand out.
    pub faults: VecDeque<DmaFault>,
    /// Lines logged.
    pub lines: Vec<(LogLevel, String)>,
    /// Interrupt-remapping entries in use.
    pub remap: BTreeMap<RemapHandle, (DeviceIndex, VpIndex, u8)>,
    /// Those of requesters that are no passed-through function.
    pub requester_remap: BTreeMap<RemapHandle, Rid>,
    /// Number of interrupt-remapping entries.
    pub remap_limit: u16,
    /// Functions whose own TLB is on.
    pub device_tlbs: BTreeSet<DeviceIndex>,
    /// Pages whose writes are told to the core.
    pub watched: BTreeSet<u64>,
    /// Most of them.
    pub watch_limit: usize,
    /// Pages that are not the partition's.
    pub owners: BTreeMap<Gpa, PageOwner>,
    /// Number of virtual processors.
    pub vps: u32,
    /// What the hypervisor claims to have done.
    pub effort: Effort,
}

/// A plausible NVMe function at 00:`slot`.0.
pub fn function(slot: u8) -> FunctionInfo {
    FunctionInfo {
        rid: Rid(u16::from(slot) << 3),
        vendor_device: 0x0010_1b36,
        class_revision: 0x0108_0202,
        subsystem: 0x1100_1af4,
        bar_probe: [0xffff_c004, 0xffff_ffff, 0, 0, 0, 0],
    }
}

impl MockPlatform {
    /// A machine with [`RAM_BYTES`] of RAM, two processors and `functions`.
    pub fn new(functions: Vec<FunctionInfo>) -> Self {
        let config = functions
            .iter()
            .map(|info| {
                let mut space = vec![0; 4096];
                space[0..4].copy_from_slice(&info.vendor_device.to_le_bytes());
                space[8..12].copy_from_slice(&info.class_revision.to_le_bytes());
                space[0x2c..0x30].copy_from_slice(&info.subsystem.to_le_bytes());
                space
            })
            .collect();
        MockPlatform {
            ram: vec![0; RAM_BYTES],
            functions,
            config,
            events: Vec::new(),
            faults: VecDeque::new(),
            lines: Vec::new(),
            remap: BTreeMap::new(),
            requester_remap: BTreeMap::new(),
            remap_limit: 64,
            device_tlbs: BTreeSet::new(),
            watched: BTreeSet::new(),
            watch_limit: usize::MAX,
            owners: BTreeMap::new(),
            vps: 2,
            effort: Effort::default(),
        }
    }

    /// Takes the events since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    /// Writes a 64-bit word to guest RAM.
    pub fn put_u64(&mut self, address: u64, value: u64) {
        self.write(Gpa(address), &value.to_le_bytes()).expect("test address in RAM");
    }

    /// Reads a 64-bit word of guest RAM.
    pub fn get_u64(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        self.read(Gpa(address), &mut bytes).expect("test address in RAM");
        u64::from_le_bytes(bytes)
    }

    fn range(&self, gpa: Gpa, len: usize) -> Result<core::ops::Range<usize>, BadGpa> {
        let start = usize::try_from(gpa.0).map_err(|_| BadGpa(gpa))?;
        let end = start.checked_add(len).filter(|&end| end <= self.ram.len()).ok_or(BadGpa(gpa))?;
        Ok(start..end)
    }

    fn free_handle(&self) -> Option<RemapHandle> {
        let is_free =
            |handle: &RemapHandle| !self.remap.contains_key(handle) && !self.requester_remap.contains_key(handle);
        (0..self.remap_limit).map(RemapHandle).find(is_free)
    }

    fn double_word(&self, gpa: Gpa) -> Result<u64, BadGpa> {
        match gpa.0 % 8 {
            0 => self.range(gpa, 8).map(|_| self.get_u64(gpa.0)),
            _ => Err(BadGpa(gpa)),
        }
    }

    fn word(&self, gpa: Gpa) -> Result<core::ops::Range<usize>, BadGpa> {
        match gpa.0 % 4 {
            0 => self.range(gpa, 4),
            _ => Err(BadGpa(gpa)),
        }
    }
}

fn width(size: AccessSize) -> usize {
    match size {
        AccessSize::Byte => 1,
        AccessSize::Word => 2,
        AccessSize::Dword => 4,
    }
}

impl Platform for MockPlatform {
    fn read(&self, gpa: Gpa, buf: &mut [u8]) -> Result<(), BadGpa> {
        buf.copy_from_slice(&self.ram[self.range(gpa, buf.len())?]);
        Ok(())
    }

    fn write(&mut self, gpa: Gpa, buf: &[u8]) -> Result<(), BadGpa> {
        let range = self.range(gpa, buf.len())?;
        self.ram[range].copy_from_slice(buf);
        Ok(())
    }

    fn load_u32(&self, gpa: Gpa) -> Result<u32, BadGpa> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.ram[self.word(gpa)?]);
        Ok(u32::from_le_bytes(bytes))
    }

    fn store_u32(&mut self, gpa: Gpa, value: u32) -> Result<(), BadGpa> {
        let range = self.word(gpa)?;
        self.ram[range].copy_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn fetch_or_u32(&mut self, gpa: Gpa, bits: u32) -> Result<u32, BadGpa> {
        let old = self.load_u32(gpa)?;
        self.store_u32(gpa, old | bits)?;
        Ok(old)
    }

    fn exchange_u64(&mut self, gpa: Gpa, value: u64) -> Result<u64, BadGpa> {
        let old = self.double_word(gpa)?;
        self.write(gpa, &value.to_le_bytes())?;
        Ok(old)
    }

    fn compare_exchange_u64(&mut self, gpa: Gpa, expected: u64, value: u64) -> Result<u64, BadGpa> {
        match self.double_word(gpa)? {
            old if old == expected => self.exchange_u64(gpa, value),
            old => Ok(old),
        }
    }

    fn watch(&mut self, page: Gpa) -> Result<(), CannotWatch> {
        assert!(page.0 % 4096 == 0 && self.is_guest_ram(page, 4096), "watched: {page:?}");
        if self.watched.len() >= self.watch_limit {
            return Err(CannotWatch);
        }
        self.watched.insert(page.0);
        Ok(())
    }

    fn unwatch(&mut self, page: Gpa) {
        self.watched.remove(&page.0);
    }

    fn set_owner(&mut self, page: Gpa, owner: PageOwner) -> Result<(), CannotWatch> {
        assert!(page.0 % 4096 == 0 && self.is_guest_ram(page, 4096), "given: {page:?}");
        let before = match owner {
            PageOwner::Partition => self.owners.remove(&page),
            _ if self.owners.len() >= self.watch_limit => return Err(CannotWatch),
            _ => self.owners.insert(page, owner),
        };
        assert_ne!(before.unwrap_or(PageOwner::Partition), owner, "{page:?}");
        Ok(())
    }

    fn is_mappable(&self, gpa: Gpa, len: u64) -> bool {
        self.is_guest_ram(gpa, len)
    }

    fn set_requester(&mut self, rid: Rid, translation: RequesterTranslation, did: Did) {
        self.events.push(Event::SetRequester(rid, translation, did));
    }

    fn flush_did(&mut self, did: Did) {
        self.events.push(Event::FlushDid(did));
    }

    fn flush_did_pages(&mut self, did: Did, iova: Iova, page_shift: u8) {
        assert!(page_shift <= 52, "page shift {page_shift}");
        self.events.push(Event::FlushDidPages(did, iova, page_shift));
    }

    fn is_guest_ram(&self, gpa: Gpa, len: u64) -> bool {
        usize::try_from(len).is_ok_and(|len| self.range(gpa, len).is_ok())
    }

    fn raise_interrupt(&mut self, vp: VpIndex, vector: u8) {
        assert!(vp.0 < self.vps && vector >= 16, "interrupt {vector:#x} for {vp:?}");
        self.events.push(Event::Interrupt(vp, vector));
    }

    fn vp_count(&self) -> u32 {
        self.vps
    }

    fn function_info(&self, device: DeviceIndex) -> FunctionInfo {
        self.functions[device.0]
    }

    fn config_read(&self, device: DeviceIndex, offset: u16, size: AccessSize) -> u32 {
        let (offset, len) = (usize::from(offset), width(size));
        assert!(offset % len == 0, "misaligned configuration read at {offset:#x}");
        let mut bytes = [0; 4];
        bytes[..len].copy_from_slice(&self.config[device.0][offset..offset + len]);
        u32::from_le_bytes(bytes)
    }

    fn config_write(&mut self, device: DeviceIndex, offset: u16, size: AccessSize, value: u32) {
        let (at, len) = (usize::from(offset), width(size));
        assert!(at % len == 0, "misaligned configuration write at {offset:#x}");
        self.config[device.0][at..at + len].copy_from_slice(&value.to_le_bytes()[..len]);
        self.events.push(Event::ConfigWrite(device, offset, size, value));
    }

    fn reset_function(&mut self, device: DeviceIndex) {
        self.config[device.0][4..6].fill(0);
        self.config[device.0][0x10..0x28].fill(0);
        self.events.push(Event::Reset(device));
    }

    fn remap_alloc(&mut self, device: DeviceIndex, vp: VpIndex, vector: u8) -> Option<RemapHandle> {
        let handle = self.free_handle()?;
        self.remap.insert(handle, (device, vp, vector));
        self.events.push(Event::Remap(handle, vp, vector));
        Some(handle)
    }

    fn remap_requester(&mut self, source: Rid, trigger: Trigger, vp: VpIndex, vector: u8) -> Option<RemapHandle> {
        let handle = self.free_handle()?;
        self.requester_remap.insert(handle, source);
        self.events.push(Event::RemapRequester(handle, source, trigger, vp, vector));
        Some(handle)
    }

    fn remap_retarget(&mut self, handle: RemapHandle, vp: VpIndex, vector: u8) {
        let entry = self.remap.get_mut(&handle).expect("retarget of a free entry");
        (entry.1, entry.2) = (vp, vector);
        self.events.push(Event::Remap(handle, vp, vector));
    }

    fn remap_free(&mut self, handle: RemapHandle) {
        let was_used = self.remap.remove(&handle).is_some() || self.requester_remap.remove(&handle).is_some();
        assert!(was_used, "entry freed twice");
        self.events.push(Event::RemapFree(handle));
    }

    fn set_translation(&mut self, device: DeviceIndex, translation: Translation) {
        assert!(device.0 < self.functions.len(), "translation of unknown {device:?}");
        self.events.push(Event::SetTranslation { device, translation });
    }

    fn flush_device(&mut self, device: DeviceIndex) {
        self.events.push(Event::FlushDevice(device));
    }

    fn flush_device_pages(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8) {
        assert!(page_shift <= 52, "page shift {page_shift}");
        self.events.push(Event::FlushDevicePages(device, iova, page_shift));
    }

    fn device_tlb(&self, device: DeviceIndex) -> DeviceTlb {
        if self.device_tlbs.contains(&device) {
            DeviceTlb::Enabled
        } else {
            DeviceTlb::Disabled
        }
    }

    fn flush_device_tlb(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8) {
        assert!(page_shift <= 52, "page shift {page_shift}");
        self.events.push(Event::FlushDeviceTlb(device, iova, page_shift));
    }

    fn take_fault(&mut self) -> Option<DmaFault> {
        self.faults.pop_front()
    }

    fn effort(&self) -> Effort {
        self.effort
    }

    fn shows(&self, _level: LogLevel) -> bool {
        true
    }

    fn log(&mut self, level: LogLevel, args: fmt::Arguments<'_>) {
        let line = args.to_string();
        assert!(!line.contains('\n'), "line end in a log line: {line:?}");
        self.lines.push((level, line));
    }
}
