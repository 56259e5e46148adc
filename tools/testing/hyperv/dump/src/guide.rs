// SPDX-License-Identifier: GPL-2.0
//! The guide that the driver leaves in its memory (drivers/iommu/hyperv/root/guide.rs).

use std::ops::ControlFlow;

use anyhow::{ensure, Context as _, Result};

use crate::memory::{Address, Mark, Memory};
use crate::source::Source;
use crate::tree::NodeShape;

/// What the guide begins with. The last byte is the version of the format.
pub const MARK: Mark = *b"hv_root_iommu\0\0\x01";

/// Words of 64 bits behind the mark.
const WORDS: usize = 36;
/// How long a guide is, in bytes.
pub const BYTES: u64 = (MARK.len() + 8 * WORDS) as u64;
/// Words of a vector.
const LIST_WORDS: u64 = 3;
/// The longest element of a vector that makes sense, in bytes.
const ELEMENT_MAX: u64 = 4096;

/// What the hypervisor reported, and what the driver used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// `HV_IOMMU_CAP_*` bits.
    pub reported_flags: u64,
    /// Bits of an address.
    pub reported_width: u64,
    /// Bit n: pages of 2^n bytes.
    pub reported_page_sizes: u64,
    /// The last address that can be mapped.
    pub used_last: u64,
    /// Bit n: pages of 2^n bytes.
    pub used_page_sizes: u64,
}

/// Which of the three words of a vector is what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListShape {
    elements: u64,
    count: u64,
}

impl ListShape {
    fn of_sample<S: Source + ?Sized>(memory: &Memory<'_, S>, sample: &[u64; 4]) -> Result<ListShape> {
        let [list, elements, count, capacity] = *sample;
        ensure!(count != capacity && count != elements && capacity != elements, "the vector's numbers are alike");
        let mut offsets = [None; 3];
        for offset in (0..LIST_WORDS).map(|index| 8 * index) {
            let word = memory.u64(Address(list).plus(offset))?;
            for (known, found) in [elements, count, capacity].iter().zip(&mut offsets) {
                if word == *known {
                    *found = Some(offset);
                }
            }
        }
        let [elements, count, _] = offsets;
        Ok(ListShape {
            elements: elements.context("the vector has no elements")?,
            count: count.context("the vector has no length")?,
        })
    }

    /// Where the elements of a vector are, and how many there are.
    ///
    /// # Errors
    /// When the vector is not in the dump.
    pub fn read<S: Source + ?Sized>(self, memory: &Memory<'_, S>, list: Address) -> Result<(Address, u64)> {
        Ok((Address(memory.u64(list.plus(self.elements))?), memory.u64(list.plus(self.count))?))
    }
}

/// Where the parts of a record are, in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordShape {
    /// The domain's number.
    pub name: u64,
    /// Calls that mapped.
    pub maps: u64,
    /// Calls that unmapped.
    pub unmaps: u64,
    /// Deposits.
    pub deposits: u64,
    /// Failures.
    pub failures: u64,
    /// Whether the domain takes no devices.
    pub closed: u64,
    /// Whether the kernel has done with the domain.
    pub retired: u64,
    /// The tree of leaves.
    pub leaves: u64,
}

/// Where the parts of a leaf are, in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafShape {
    /// Where its pages are in memory.
    pub memory: u64,
    /// Which pages are mapped.
    pub present: u64,
    /// Which pages are in doubt.
    pub stale: u64,
}

/// Where the parts of a requester are, in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequesterShape {
    /// Its length.
    pub bytes: u64,
    /// The hypervisor's name for it.
    pub id: u64,
    /// Where it is.
    pub place: u64,
    /// Where it may be besides.
    pub doubt: u64,
    /// How many devices have it.
    pub users: u64,
}

/// The guide, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guide {
    /// What the IOMMU can do.
    pub capabilities: Capabilities,
    /// The tree of domains.
    pub domains: Address,
    /// The vector of requesters.
    pub requesters: Address,
    /// A node of the tree of domains; the value leads to a record.
    pub domain_node: NodeShape,
    /// How many bytes a record lies behind the address that leads to it.
    pub record_offset: u64,
    /// A record.
    pub record: RecordShape,
    /// A node of a tree of leaves; the value is the leaf.
    pub leaf_node: NodeShape,
    /// A leaf.
    pub leaf: LeafShape,
    /// A vector.
    pub list: ListShape,
    /// A requester.
    pub requester: RequesterShape,
}

impl Guide {
    /// Searches a dump for the guide.
    ///
    /// # Errors
    /// When there is none, or the dump cannot be read.
    pub fn find<S: Source + ?Sized>(memory: &Memory<'_, S>) -> Result<Guide> {
        let mut found = None;
        memory.search(&[MARK], |_, at| {
            if !is_guide(memory, at) {
                return ControlFlow::Continue(());
            }
            found = Some(at);
            ControlFlow::Break(())
        })?;
        Guide::read(memory, found.context("no guide in the dump: that kernel did not use the root partition's IOMMU")?)
    }

    /// Reads the guide at an address.
    ///
    /// # Errors
    /// When there is none.
    pub fn read<S: Source + ?Sized>(memory: &Memory<'_, S>, at: Address) -> Result<Guide> {
        ensure!(is_guide(memory, at), "no guide at {:#x}", at.0);
        let mut words = [0; WORDS];
        for (word, place) in words.iter_mut().zip((MARK.len() as u64..).step_by(8)) {
            *word = memory.u64(at.plus(place))?;
        }
        let [_, _, rest @ ..] = words;
        let [reported_flags, reported_width, reported_page_sizes, used_last, used_page_sizes, rest @ ..] = rest;
        let [domains, requesters, tree, key, value, record_at, rest @ ..] = rest;
        let domain_node = NodeShape::of_sample(memory, Address(tree), Address(key), Address(value))?;
        let record_offset = record_at.wrapping_sub(memory.u64(Address(value))?);
        let [tree, key, value, list, elements, count, capacity, rest @ ..] = rest;
        let leaf_node = NodeShape::of_sample(memory, Address(tree), Address(key), Address(value))?;
        let list = ListShape::of_sample(memory, &[list, elements, count, capacity])?;
        let [name, maps, unmaps, deposits, failures, closed, retired, leaves, rest @ ..] = rest;
        let [in_memory, present, stale, bytes, id, place, doubt, users] = rest;
        ensure!((1..=ELEMENT_MAX).contains(&bytes), "a requester has {bytes} bytes");
        Ok(Guide {
            capabilities: Capabilities {
                reported_flags,
                reported_width,
                reported_page_sizes,
                used_last,
                used_page_sizes,
            },
            domains: Address(domains),
            requesters: Address(requesters),
            domain_node,
            record_offset,
            record: RecordShape { name, maps, unmaps, deposits, failures, closed, retired, leaves },
            leaf_node,
            leaf: LeafShape { memory: in_memory, present, stale },
            list,
            requester: RequesterShape { bytes, id, place, doubt, users },
        })
    }
}

/// Whether a guide is at an address: copies of its first bytes may be anywhere, its own address is in it alone.
pub fn is_guide<S: Source + ?Sized>(memory: &Memory<'_, S>, at: Address) -> bool {
    let mut mark = Mark::default();
    let word = |index: u64| memory.u64(at.plus(MARK.len() as u64 + 8 * index)).ok();
    memory.read(at, &mut mark).is_ok() && mark == MARK && word(0) == Some(BYTES) && word(1) == Some(at.0)
}
