// SPDX-License-Identifier: GPL-2.0
//! The machine as the core sees it.

use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{fence, Ordering};

use hvcore::ids::{DeviceIndex, Gpa, Iova, Rid, VpIndex};
use hvcore::iommu::capabilities::Switch;
use hvcore::platform::{
    AccessSize, BadGpa, CannotWatch, DeviceTlb, DmaFault, Effort, FunctionInfo, LogLevel, PageOwner, Platform,
    RemapHandle, RequesterTranslation, Translation, Trigger,
};
use hvcore::vtd::did::Did;

use crate::console;
use crate::lapic::{self, ApicId};
use crate::memory::GuestMemory;
use crate::npt;
use crate::pci::Function;
use crate::svm;
use crate::vtd::{DeviceAccess, Vtd};

/// Guest memory, the assigned functions and the IOMMU.
pub struct Hardware {
    /// The guest's RAM.
    pub memory: GuestMemory,
    /// The assigned functions, in the order of their [`DeviceIndex`].
    pub functions: Vec<Function>,
    /// The IOMMU.
    pub vtd: Vtd,
    /// Number of processors.
    pub processors: u32,
    /// Whether domains protect anything.
    pub protection: Switch,
    /// Whether the other processors must notice that pages were protected.
    pub others: Others,
}

/// What the other processors have cached of the nested page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nothing that matters.
    Current,
    /// That a page is writable which was protected since.
    Outdated,
}

impl Hardware {
    /// The core only uses indices that it got from us.
    fn function(&self, device: DeviceIndex) -> &Function {
        &self.functions[device.0]
    }
}

impl Platform for Hardware {
    fn read(&self, gpa: Gpa, buf: &mut [u8]) -> Result<(), BadGpa> {
        self.memory.read(gpa, buf)
    }

    fn write(&mut self, gpa: Gpa, buf: &[u8]) -> Result<(), BadGpa> {
        self.memory.write(gpa, buf)
    }

    fn load_u32(&self, gpa: Gpa) -> Result<u32, BadGpa> {
        Ok(self.memory.word(gpa)?.load(Ordering::Acquire))
    }

    fn store_u32(&mut self, gpa: Gpa, value: u32) -> Result<(), BadGpa> {
        self.memory.word(gpa)?.store(value, Ordering::Release);
        fence(Ordering::SeqCst);
        Ok(())
    }

    fn fetch_or_u32(&mut self, gpa: Gpa, bits: u32) -> Result<u32, BadGpa> {
        Ok(self.memory.word(gpa)?.fetch_or(bits, Ordering::SeqCst))
    }

    fn exchange_u64(&mut self, gpa: Gpa, value: u64) -> Result<u64, BadGpa> {
        Ok(self.memory.double_word(gpa)?.swap(value, Ordering::SeqCst))
    }

    fn compare_exchange_u64(&mut self, gpa: Gpa, expected: u64, value: u64) -> Result<u64, BadGpa> {
        let word = self.memory.double_word(gpa)?;
        Ok(word.compare_exchange(expected, value, Ordering::SeqCst, Ordering::SeqCst).unwrap_or_else(|old| old))
    }

    fn watch(&mut self, page: Gpa) -> Result<(), CannotWatch> {
        npt::protect(page.0).map_err(|_| CannotWatch)?;
        self.others = Others::Outdated;
        Ok(())
    }

    fn unwatch(&mut self, page: Gpa) {
        npt::unprotect(page.0);
    }

    fn set_owner(&mut self, page: Gpa, owner: PageOwner) -> Result<(), CannotWatch> {
        let (processors, devices) = match owner {
            PageOwner::Partition => (npt::Access::Full, DeviceAccess::Full),
            PageOwner::Hypervisor => (npt::Access::None, DeviceAccess::None),
            PageOwner::Shown => (npt::Access::Read, DeviceAccess::None),
        };
        npt::set_access(page.0, processors).map_err(|_| CannotWatch)?;
        self.others = Others::Outdated;
        self.vtd.set_identity_access(page, devices).map_err(|_| {
            // What was split stays split, so that this cannot fail.
            let _ = npt::set_access(page.0, npt::Access::Full);
            CannotWatch
        })
    }

    fn is_mappable(&self, gpa: Gpa, len: u64) -> bool {
        npt::is_mappable(gpa.0, len)
    }

    fn set_requester(&mut self, rid: Rid, translation: RequesterTranslation, did: Did) {
        self.vtd.set_requester(rid, translation, did);
    }

    fn flush_did(&mut self, did: Did) {
        self.vtd.flush_did(did);
    }

    fn flush_did_pages(&mut self, did: Did, iova: Iova, page_shift: u8) {
        self.vtd.flush_did_pages(did, iova, page_shift);
    }

    fn is_guest_ram(&self, gpa: Gpa, len: u64) -> bool {
        self.memory.contains(gpa, len)
    }

    fn raise_interrupt(&mut self, vp: VpIndex, vector: u8) {
        lapic::send_fixed(ApicId(vp.0), vector);
    }

    fn vp_count(&self) -> u32 {
        self.processors
    }

    fn function_info(&self, device: DeviceIndex) -> FunctionInfo {
        self.function(device).info()
    }

    fn config_read(&self, device: DeviceIndex, offset: u16, size: AccessSize) -> u32 {
        self.function(device).read(offset, size)
    }

    fn config_write(&mut self, device: DeviceIndex, offset: u16, size: AccessSize, value: u32) {
        self.function(device).write(offset, size, value);
    }

    fn reset_function(&mut self, device: DeviceIndex) {
        self.function(device).reset();
    }

    fn remap_alloc(&mut self, device: DeviceIndex, vp: VpIndex, vector: u8) -> Option<RemapHandle> {
        let rid = self.function(device).rid();
        self.vtd.remap_allocate(rid, Trigger::Edge, vp, vector)
    }

    fn remap_requester(&mut self, source: Rid, trigger: Trigger, vp: VpIndex, vector: u8) -> Option<RemapHandle> {
        self.vtd.remap_allocate(source, trigger, vp, vector)
    }

    fn remap_retarget(&mut self, handle: RemapHandle, vp: VpIndex, vector: u8) {
        self.vtd.remap_retarget(handle, vp, vector);
    }

    fn remap_free(&mut self, handle: RemapHandle) {
        self.vtd.remap_free(handle);
    }

    fn set_translation(&mut self, device: DeviceIndex, translation: Translation) {
        let in_force = match self.protection {
            Switch::On => translation,
            Switch::Off => Translation::Bypass,
        };
        self.vtd.set_translation(device, in_force);
        self.flush_device_tlb(device, Iova(0), WHOLE_SPACE_SHIFT);
    }

    fn flush_device(&mut self, device: DeviceIndex) {
        self.vtd.flush_device(device);
    }

    fn flush_device_pages(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8) {
        self.vtd.flush_device_pages(device, iova, page_shift);
    }

    fn device_tlb(&self, device: DeviceIndex) -> DeviceTlb {
        self.function(device).device_tlb()
    }

    fn flush_device_tlb(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8) {
        let function = self.function(device);
        if function.device_tlb() == DeviceTlb::Enabled {
            let rid = function.rid();
            self.vtd.flush_device_tlb(rid, iova, page_shift);
        }
    }

    fn take_fault(&mut self) -> Option<DmaFault> {
        self.vtd.take_fault()
    }

    fn effort(&self) -> Effort {
        svm::effort()
    }

    fn shows(&self, level: LogLevel) -> bool {
        console::shows(level)
    }

    fn log(&mut self, level: LogLevel, args: fmt::Arguments<'_>) {
        if self.shows(level) {
            console::line("", args);
        }
    }
}

/// As a page shift, everything a device could have cached.
const WHOLE_SPACE_SHIFT: u8 = 52;
