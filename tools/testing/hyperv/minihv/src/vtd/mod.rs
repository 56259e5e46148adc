// SPDX-License-Identifier: GPL-2.0
//! The physical IOMMU: QEMU's VT-d in scalable mode, with interrupt remapping. For guests it translates by first-stage
//! tables, for a root partition by second-stage tables: QEMU's has either the one or the other.

use hvcore::identity::Identity;
use hvcore::ids::{DeviceIndex, Iova, Rid, VpIndex};
use hvcore::platform::{DmaFault, PagingLevels, RemapHandle, Translation, Trigger};
use hvcore::vtd::audit::{self, Expected};
use hvcore::vtd::context::{TableOwner, TranslationRequests};
use hvcore::vtd::did::{DeviceDids, Did};
use hvcore::vtd::invalidation::{self, Descriptor, Stage};
use hvcore::vtd::registers::{self as reg, Capabilities};
use hvcore::vtd::{pasid, PhysAddr};

use crate::console::{fatal, log};
use crate::memory::GuestMemory;
use crate::paging::PageSize;
use crate::pci::Function;

mod faults;
mod interrupts;
mod queue;
pub mod registers;
mod requesters;
mod tables;

pub use requesters::DeviceAccess;

use faults::FaultLog;
use interrupts::RemapTable;
use queue::InvalidationQueue;
use registers::Registers;
use requesters::Requesters;
use tables::Tables;

/// The QEMU device that has everything minihv asks for.
const QEMU_DEVICE: &str = "-device intel-iommu,x-scalable-mode=on,x-flts=on,intremap=on,device-iotlb=on,aw-bits=48";

/// The QEMU device for a partition of this kind.
pub fn qemu_device(identity: Identity) -> &'static str {
    match identity {
        Identity::Root => requesters::QEMU_DEVICE,
        Identity::Guest | Identity::Isolated | Identity::L1vh => QEMU_DEVICE,
    }
}

/// What is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The IOMMU itself.
    Device,
    /// Scalable mode with first-stage tables.
    FirstStage,
    /// Scalable mode with second-stage tables of four levels.
    SecondStage,
    /// Queued invalidation.
    QueuedInvalidation,
    /// Interrupt remapping.
    InterruptRemapping,
}

impl Missing {
    /// For the log.
    pub fn name(self) -> &'static str {
        match self {
            Missing::Device => "no IOMMU",
            Missing::FirstStage => "the IOMMU has no scalable mode with first-stage tables",
            Missing::SecondStage => "the IOMMU has no scalable mode with second-stage tables of 48 bits",
            Missing::QueuedInvalidation => "the IOMMU has no queued invalidation",
            Missing::InterruptRemapping => "the IOMMU does not remap interrupts",
        }
    }
}

/// The IOMMU, switched on.
pub struct Vtd {
    registers: Registers,
    capabilities: Capabilities,
    queue: InvalidationQueue,
    tables: Tables,
    dids: DeviceDids,
    identity: PhysAddr,
    remap: RemapTable,
    faults: FaultLog,
    /// Of a root partition.
    requesters: Option<Requesters>,
}

impl Vtd {
    /// Switches translation and interrupt remapping on; nothing gets through until [`Vtd::set_translation`] allows it.
    ///
    /// # Errors
    /// See [`Missing`].
    pub fn start(functions: &[Function], memory: &GuestMemory) -> Result<Vtd, Missing> {
        let (registers, capabilities) = Registers::find().ok_or(Missing::Device)?;
        if !capabilities.scalable_first_stage() {
            return Err(Missing::FirstStage);
        }
        let tables = Tables::new(functions.iter().map(|function| {
            let answered = capabilities.device_tlb() && function.has_ats();
            let requests = if answered { TranslationRequests::Answered } else { TranslationRequests::Refused };
            (function.rid(), requests)
        }));
        let largest = if capabilities.first_stage_1g() { PageSize::Huge } else { PageSize::Large };
        let identity = tables::identity(memory, largest);
        log!("vtd", "on, {} functions, {} domain ids", functions.len(), capabilities.domain_count());
        Vtd::switch_on(registers, capabilities, tables, DeviceDids::new(functions.len()), identity)
    }

    fn switch_on(
        mut registers: Registers,
        capabilities: Capabilities,
        tables: Tables,
        dids: DeviceDids,
        identity: PhysAddr,
    ) -> Result<Vtd, Missing> {
        for (present, missing) in [
            (capabilities.queued_invalidation(), Missing::QueuedInvalidation),
            (capabilities.interrupt_remapping(), Missing::InterruptRemapping),
        ] {
            if !present {
                return Err(missing);
            }
        }
        registers.write64(reg::RTADDR, tables.root_address() | reg::RTADDR_TTM_SCALABLE);
        registers.command(reg::GCMD_SRTP);

        let mut queue = InvalidationQueue::start(&mut registers);
        queue.submit(&mut registers, [Descriptor::CONTEXT_GLOBAL, Descriptor::PASID_GLOBAL, Descriptor::IOTLB_GLOBAL]);
        let remap = RemapTable::start(&mut registers);
        queue.submit(&mut registers, [Descriptor::IEC_GLOBAL]);
        registers.command(reg::GCMD_IRE);
        registers.command(reg::GCMD_TE);

        let faults = FaultLog::new(capabilities);
        Ok(Vtd { registers, capabilities, queue, tables, dids, identity, remap, faults, requesters: None })
    }

    /// Switches a function's translation in one step and drops what is cached for the function. What is cached for other
    /// functions stays.
    pub fn set_translation(&mut self, device: DeviceIndex, translation: Translation) {
        let (Some(rid), Some(did)) = (self.tables.rid(device), self.dids.of(device)) else { return };
        let entry = match translation {
            Translation::Bypass => pasid::Entry::first_stage(self.identity, did),
            Translation::Blocked => pasid::Entry::ABSENT,
            Translation::Stage1 { root, levels: PagingLevels::Four } => pasid::Entry::first_stage(root.into(), did),
            Translation::Stage1 { levels: PagingLevels::Five, .. } => {
                log!("vtd", "five-level tables are not supported by this IOMMU: {:#06x} is blocked", rid.0);
                pasid::Entry::ABSENT
            }
        };
        let owner = match translation {
            Translation::Stage1 { levels: PagingLevels::Four, .. } => TableOwner::Guest,
            // There is nothing to answer requests from.
            Translation::Stage1 { levels: PagingLevels::Five, .. } | Translation::Bypass | Translation::Blocked => {
                TableOwner::Hypervisor
            }
        };
        self.tables.set(device, entry, owner);
        self.queue.submit(
            &mut self.registers,
            [Descriptor::context_device(did, rid), Descriptor::pasid_selective(did), Descriptor::iotlb_pasid(did)],
        );
        let expected = match translation {
            Translation::Blocked | Translation::Stage1 { levels: PagingLevels::Five, .. } => Expected::Blocked,
            Translation::Bypass => Expected::Table { root: self.identity, did, requests: TranslationRequests::Refused },
            Translation::Stage1 { root, levels: PagingLevels::Four } => {
                Expected::Table { root: root.into(), did, requests: self.tables.requests(device) }
            }
        };
        self.audit(rid, expected);
    }

    /// Reads back what the IOMMU's tables say of a function: no device of the machine would show all of it.
    fn audit(&self, rid: Rid, expected: Expected) {
        let tables = PhysAddr(self.registers.read64(reg::RTADDR) & !0xfff);
        // SAFETY: the root register and the tables below it point at tables of ours, which live for ever.
        let read = |PhysAddr(address)| unsafe { (address as *const u64).read_volatile() };
        if let Err(mismatch) = audit::check(tables, rid, expected, read) {
            fatal!("self-check: {:#06x} is to be {expected:x?}, but {mismatch}", rid.0)
        }
    }

    /// Checks that interrupts are remapped and that those in compatibility format, which name their target themselves,
    /// are to be blocked. QEMU lets them pass all the same.
    pub fn check_interrupt_remapping(&self) {
        let status = self.registers.read32(reg::GSTS);
        if status & (reg::GCMD_IRE | reg::GCMD_CFI | reg::GCMD_TE) != reg::GCMD_IRE | reg::GCMD_TE {
            fatal!("self-check: the IOMMU's status is {status:#x}")
        }
    }

    /// Drops everything cached for a function.
    pub fn flush_device(&mut self, device: DeviceIndex) {
        if let Some(did) = self.dids.of(device) {
            self.queue.submit(&mut self.registers, [Descriptor::iotlb_pasid(did)]);
        }
    }

    /// Drops the aligned block of `1 << page_shift` pages at `iova`, as it is cached for a function.
    pub fn flush_device_pages(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8) {
        let max = self.capabilities.max_address_mask();
        if let Some(did) = self.dids.of(device) {
            let blocks = invalidation::iotlb_block(Stage::First, did, iova, page_shift, max);
            self.queue.submit(&mut self.registers, blocks);
        }
    }

    /// Drops everything that requesters have cached under a domain id.
    pub fn flush_did(&mut self, did: Did) {
        self.queue.submit(&mut self.registers, [Descriptor::iotlb_domain(did)]);
    }

    /// Drops the aligned block of `1 << page_shift` pages at `iova` under a domain id.
    pub fn flush_did_pages(&mut self, did: Did, iova: Iova, page_shift: u8) {
        let max = self.capabilities.max_address_mask();
        let blocks = invalidation::iotlb_block(Stage::Second, did, iova, page_shift, max);
        self.queue.submit(&mut self.registers, blocks);
    }

    /// Drops the block from the function's own TLB.
    pub fn flush_device_tlb(&mut self, rid: Rid, iova: Iova, page_shift: u8) {
        if self.capabilities.device_tlb() {
            self.queue.submit(&mut self.registers, [Descriptor::device_tlb(rid, iova, page_shift)]);
        }
    }

    /// Takes a remapping entry for interrupts of `rid`; `None` when none is left or `vp` cannot be addressed.
    pub fn remap_allocate(&mut self, rid: Rid, trigger: Trigger, vp: VpIndex, vector: u8) -> Option<RemapHandle> {
        let handle = self.remap.allocate(rid, trigger, vp, vector)?;
        self.queue.submit(&mut self.registers, [Descriptor::iec_index(handle)]);
        Some(handle)
    }

    /// Points an entry elsewhere.
    pub fn remap_retarget(&mut self, handle: RemapHandle, vp: VpIndex, vector: u8) {
        match self.remap.retarget(handle, vp, vector) {
            true => self.queue.submit(&mut self.registers, [Descriptor::iec_index(handle)]),
            false => log!("vtd", "{handle:?} cannot be pointed at vp {}", vp.0),
        }
    }

    /// Gives an entry back.
    pub fn remap_free(&mut self, handle: RemapHandle) {
        if self.remap.free(handle) {
            self.queue.submit(&mut self.registers, [Descriptor::iec_index(handle)]);
        }
    }

    /// Reads the fault records, so that the next faults find room.
    pub fn collect_faults(&mut self) {
        self.faults.collect(&mut self.registers);
    }

    /// The oldest DMA fault not taken yet.
    pub fn take_fault(&mut self) -> Option<DmaFault> {
        self.collect_faults();
        self.faults.take()
    }
}
