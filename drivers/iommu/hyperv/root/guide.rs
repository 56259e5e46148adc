// SPDX-License-Identifier: GPL-2.0

//! A guide through the driver's memory, for readers of crash dumps.
//!
//! The guide is one structure that never moves and never changes. It says where domains and
//! requesters are. A reader finds it by its first 16 bytes, and by its own address, which it
//! contains.
//!
//! Rust does not promise any layout for the kernel's trees, counted references and vectors, and the
//! size of a lock depends on the configuration. So the guide has a sample of each of these types,
//! and says where in the sample its parts are. It describes everything else by offsets.
//! Documentation/virt/hyperv/host-iommu.rst defines the format for readers.

use super::{
    domain_name::DomainName,
    instance::Instance,
    leaf::LeafOffsets,
    mappings::Mappings,
    page_range::PageRange,
    record::{
        Record,
        RecordOffsets, //
    },
    requesters::OwnRequester,
    sample::{
        Address,
        TreeSample, //
    },
};
use core::mem::{
    forget,
    offset_of,
    size_of, //
};
use kernel::{
    hyperv::pci_device::PciDeviceId,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        Arc,
        SetOnce, //
    },
};

/// What a reader searches for. The last byte is the version of the format.
const MAGIC: [u8; 16] = *b"hv_root_iommu\0\0\x01";

/// A sample vector. Its three words are the address of its elements, `count` and `capacity`, in
/// some order.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
struct ListSample {
    list: Address,
    elements: Address,
    count: u64,
    capacity: u64,
}

/// The offsets of a requester's parts, in bytes.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
struct RequesterOffsets {
    /// The size of a requester in bytes.
    bytes: u64,
    /// `u64`.
    id: u64,
    /// `u32`, see [`super::places::Place`]. A domain's number is 4 bytes behind it.
    place: u64,
    /// `u32`, see [`super::places::Doubt`]. A domain's number is 4 bytes behind it.
    doubt: u64,
    /// `u32`.
    users: u64,
}

/// The guide. All numbers have 64 bits.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
struct Guide {
    magic: [u8; 16],
    /// The size of the guide in bytes.
    bytes: u64,
    /// The address of the guide itself.
    own: Address,
    reported_flags: u64,
    reported_width: u64,
    reported_page_sizes: u64,
    used_last: u64,
    used_page_sizes: u64,
    /// The tree of domains, ordered by number. A value is a counted reference to a record.
    domains: Address,
    /// The vector of requesters.
    requesters: Address,
    /// A sample tree of domains. The value in its node leads to `record`.
    domain_sample: TreeSample,
    /// The record in the sample tree.
    record: Address,
    /// The tree of leaves in `record`, ordered by number.
    leaf_sample: TreeSample,
    list_sample: ListSample,
    record_offsets: RecordOffsets,
    /// The offset of the tree of leaves in a record, in bytes.
    leaves_offset: u64,
    leaf_offsets: LeafOffsets,
    requester_offsets: RequesterOffsets,
}

/// The samples. They never move, and their contents have no meaning.
struct Samples {
    domains: RBTree<DomainName, Arc<Record>>,
    list: KVec<OwnRequester>,
}

/// The number of elements and the capacity of the sample vector. They differ, so that a reader can
/// tell them apart.
const SAMPLE_COUNT: usize = 1;
const SAMPLE_CAPACITY: usize = 5;

static GUIDE: SetOnce<KBox<Guide>> = SetOnce::new();

impl Samples {
    fn new(record: Arc<Record>) -> Result<KBox<Samples>> {
        let mut domains = RBTree::new();
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        domains.insert(node.into_node(record.name(), record));
        let mut list = KVec::with_capacity(SAMPLE_CAPACITY, GFP_KERNEL)?;
        for _ in 0..SAMPLE_COUNT {
            let id = PciDeviceId::new(0, 0, None);
            list.push(OwnRequester::new(id), GFP_KERNEL)?;
        }
        Ok(KBox::new(Samples { domains, list }, GFP_KERNEL)?)
    }
}

/// Makes a record that belongs to no domain, with one leaf.
fn sample_record() -> Result<Arc<Record>> {
    let record = Record::new(DomainName::BLOCKING)?;
    let page = PageRange::of_bytes(0, 4096).ok_or(EINVAL)?;
    // Dropping the claim would free the leaf.
    forget(record.mappings().claim(page, 0, GFP_KERNEL)?);
    Ok(record)
}

/// Makes the guide.
///
/// Context: may sleep; called once, after the instance was set up.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn publish(instance: &'static Instance) -> Result {
    let record = sample_record()?;
    let leaf_sample = record.mappings().sample().ok_or(EINVAL)?;
    let samples = KBox::leak(Samples::new(record.clone())?);
    let first = samples.list.first().ok_or(EINVAL)?;
    let (report, capabilities) = (instance.report(), instance.capabilities());
    let (domains, requesters) = instance.addresses();
    let room = KBox::<Guide>::new_uninit(GFP_KERNEL)?;
    let guide = Guide {
        magic: MAGIC,
        bytes: size_of::<Guide>() as u64,
        own: Address::of(&*room),
        reported_flags: report.flags,
        reported_width: report.width.into(),
        reported_page_sizes: report.page_sizes,
        used_last: capabilities.last,
        used_page_sizes: capabilities.page_sizes,
        domains,
        requesters,
        domain_sample: TreeSample::of(&samples.domains).ok_or(EINVAL)?,
        record: Address::of(&*record),
        leaves_offset: leaf_sample.tree().behind(Address::of(&*record)),
        leaf_sample,
        list_sample: ListSample {
            list: Address::of(&samples.list),
            elements: Address::of(first),
            count: samples.list.len() as u64,
            capacity: samples.list.capacity() as u64,
        },
        record_offsets: Record::OFFSETS,
        leaf_offsets: Mappings::LEAF_OFFSETS,
        requester_offsets: RequesterOffsets {
            bytes: size_of::<OwnRequester>() as u64,
            id: offset_of!(OwnRequester, id) as u64,
            place: offset_of!(OwnRequester, place) as u64,
            doubt: offset_of!(OwnRequester, doubt) as u64,
            users: offset_of!(OwnRequester, users) as u64,
        },
    };
    GUIDE.populate(KBox::write(room, guide));
    Ok(())
}
