// SPDX-License-Identifier: GPL-2.0
//! The IOMMU of a root partition: every requester of the machine, also one that appears later, starts in the identity
//! domain, which maps the partition's memory onto itself by a second-stage table.

use alloc::boxed::Box;

use hvcore::ids::Rid;
use hvcore::vtd::audit::Expected;
use hvcore::vtd::did::{Did, Dids};
use hvcore::vtd::{context, pasid, root, second_stage, PhysAddr};

use super::registers::Registers;
use super::tables::{self, Tables};
use super::{Missing, Vtd};
use crate::console::log;
use crate::memory::GuestMemory;
use crate::paging::{EntryFlags, PageSize, TablePage};

/// The QEMU device for it: without first stage, or it would have no second one.
pub const QEMU_DEVICE: &str = "-device intel-iommu,x-scalable-mode=on,intremap=on,device-iotlb=on,aw-bits=48";

/// The identity domain's id.
const IDENTITY: Did = Did(1);

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
        let identity = tables::identity_by(EntryFlags { table: entry, leaf: entry }, memory, largest);
        let tables = Tables::of_every_requester(pasid::Entry::second_stage(identity, IDENTITY));
        let vtd = Vtd::switch_on(registers, capabilities, tables, Dids::new(0), identity)?;
        for rid in (0..=u16::MAX).map(Rid) {
            vtd.audit(rid, Expected::SecondStage { root: identity, did: IDENTITY });
        }
        log!("vtd", "on, every requester in identity by a second-stage table at {:#x}, read back", identity.0);
        Ok(vtd)
    }
}

/// Tables that lead every requester to one and the same PASID table with this entry. All buses share the context table,
/// and both halves of a bus do.
pub fn every_requester(entry: [u64; 8]) -> &'static mut TablePage {
    let table = Box::leak(TablePage::new());
    for (index, word) in entry.into_iter().enumerate() {
        table.store(index, word);
    }
    let directory = Box::leak(TablePage::new());
    directory.store(0, pasid::DirectoryEntry::to_table(PhysAddr(table.address())));
    let requests = context::TranslationRequests::Refused;
    let directory = PhysAddr(directory.address());
    let words = context::Entry::with_pasid_directory(directory, requests, context::TableOwner::Hypervisor);
    let contexts = Box::leak(TablePage::new());
    for index in 0..contexts.0.len() {
        contexts.store(index, words[index % words.len()]);
    }
    let half = Some(PhysAddr(contexts.address()));
    let buses = Box::leak(TablePage::new());
    let words = root::Entry::to_tables(half, half);
    for index in 0..buses.0.len() {
        buses.store(index, words[index % words.len()]);
    }
    buses
}
