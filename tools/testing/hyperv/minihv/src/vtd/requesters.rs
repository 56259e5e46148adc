// SPDX-License-Identifier: GPL-2.0
//! The IOMMU of a root partition: every requester of the machine, also one that appears later, starts in the identity
//! domain, which maps the partition's memory onto itself by a second-stage table.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use hvcore::ids::{Gpa, Iova, Rid};
use hvcore::platform::RequesterTranslation;
use hvcore::root::dids::IDENTITY;
use hvcore::vtd::audit::Expected;
use hvcore::vtd::context::TableOwner;
use hvcore::vtd::did::{DeviceDids, Did};
use hvcore::vtd::invalidation::Descriptor;
use hvcore::vtd::{context, pasid, root, second_stage, PhysAddr};

use super::registers::Registers;
use super::tables::{self, Tables};
use super::{Missing, Vtd};
use crate::console::log;
use crate::memory::GuestMemory;
use crate::paging::{CannotSplit, EntryFlags, IdentityTable, PageSize, TablePage};

/// The QEMU device for it: without first stage, or it would have no second one.
pub const QEMU_DEVICE: &str = "-device intel-iommu,x-scalable-mode=on,intremap=on,device-iotlb=on,aw-bits=48";

/// Tables for splitting large leaves of the identity domain: more than half a gigabyte in pieces of 4 KiB.
const MAX_SPLITS: usize = 300;

/// What a device in the identity domain may do with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceAccess {
    /// Nothing.
    None,
    /// All.
    Full,
}

/// What there is besides the tables.
pub struct Requesters {
    identity: IdentityTable,
    /// Tables left for splitting large leaves.
    splits: usize,
    /// Requesters that are not where they started, and the id that their translations are cached under.
    dids: BTreeMap<Rid, Did>,
}

impl Vtd {
    /// Switches translation and interrupt remapping on, with every requester in the identity domain.
    ///
    /// # Errors
    /// See [`Missing`].
    pub fn start_for_root(memory: &GuestMemory) -> Result<Vtd, Missing> {
        let (registers, capabilities) = Registers::find().ok_or(Missing::Device)?;
        if !capabilities.scalable_second_stage() || !capabilities.second_stage_4_levels() {
            return Err(Missing::SecondStage);
        }
        let largest = match (capabilities.second_stage_1g(), capabilities.second_stage_2m()) {
            (true, _) => PageSize::Huge,
            (false, true) => PageSize::Large,
            (false, false) => PageSize::Small,
        };
        let entry = second_stage::table(PhysAddr(0));
        let table = tables::identity_by(EntryFlags { table: entry, leaf: entry }, memory, largest);
        let identity = PhysAddr(table.root_address());
        let tables = Tables::of_every_requester(pasid::Entry::second_stage(identity, IDENTITY));
        let mut vtd = Vtd::switch_on(registers, capabilities, tables, DeviceDids::new(0), identity)?;
        for rid in (0..=u16::MAX).map(Rid) {
            vtd.audit(rid, Expected::SecondStage { root: identity, did: IDENTITY });
        }
        vtd.requesters = Some(Requesters { identity: table, splits: MAX_SPLITS, dids: BTreeMap::new() });
        log!("vtd", "on, every requester in identity by a second-stage table at {:#x}, read back", identity.0);
        Ok(vtd)
    }

    /// Switches a requester's translation in one step and drops what is cached of the old one. Nothing happens for guests,
    /// which have no requesters but their functions.
    pub fn set_requester(&mut self, rid: Rid, translation: RequesterTranslation, did: Did) {
        let Some(requesters) = &mut self.requesters else { return };
        let by_table = |root, did| (pasid::Entry::second_stage(root, did), Expected::SecondStage { root, did });
        let (did, (entry, expected)) = match translation {
            RequesterTranslation::Identity => (IDENTITY, by_table(self.identity, IDENTITY)),
            RequesterTranslation::Blocked => (did, (pasid::Entry::ABSENT, Expected::Blocked)),
            RequesterTranslation::SecondStage { root } => (did, by_table(root.into(), did)),
        };
        let before = requesters.dids.insert(rid, did).unwrap_or(IDENTITY);
        let device = self.tables.adopt(rid);
        self.tables.set(device, entry, TableOwner::Hypervisor);
        let descriptors = [before, did].into_iter().flat_map(|did| {
            [Descriptor::context_device(did, rid), Descriptor::pasid_selective(did), Descriptor::iotlb_domain(did)]
        });
        self.queue.submit(&mut self.registers, descriptors);
        self.audit(rid, expected);
    }

    /// Devices in the identity domain have this access to a page of the partition's memory.
    ///
    /// # Errors
    /// [`CannotSplit`] when there is no memory left for that.
    pub fn set_identity_access(&mut self, page: Gpa, access: DeviceAccess) -> Result<(), CannotSplit> {
        let Requesters { identity, splits, .. } = self.requesters.as_mut().ok_or(CannotSplit)?;
        let flags = match access {
            DeviceAccess::None => 0,
            DeviceAccess::Full => second_stage::READ | second_stage::WRITE,
        };
        identity.set_flags(page.0, flags, splits)?;
        self.queue.submit(&mut self.registers, [Descriptor::iotlb_domain_pages(IDENTITY, Iova(page.0), 0)]);
        Ok(())
    }
}

/// A page of repeated words.
pub fn repeated(words: [u64; 4]) -> Box<TablePage> {
    let mut page = TablePage::new();
    for index in 0..page.0.len() {
        page.store(index, words[index % words.len()]);
    }
    page
}

/// Tables that lead every requester to one and the same PASID table with this entry, and what their context tables say. All
/// buses share the context table, and both halves of a bus do.
pub fn every_requester(entry: [u64; 8]) -> (&'static mut TablePage, [u64; 4]) {
    let table = Box::leak(TablePage::new());
    for (index, word) in entry.into_iter().enumerate() {
        table.store(index, word);
    }
    let directory = Box::leak(TablePage::new());
    directory.store(0, pasid::DirectoryEntry::to_table(PhysAddr(table.address())));
    let requests = context::TranslationRequests::Refused;
    let directory = PhysAddr(directory.address());
    let background = context::Entry::with_pasid_directory(directory, requests, TableOwner::Hypervisor);
    let half = Some(PhysAddr(Box::leak(repeated(background)).address()));
    let [lower, upper] = root::Entry::to_tables(half, half);
    (Box::leak(repeated([lower, upper, lower, upper])), background)
}
