// SPDX-License-Identifier: GPL-2.0
//! Dumps for tests: what a kernel's memory may hold, laid out in one of the ways that a compiler may choose.

use crate::guide::{BYTES, MARK};

/// Where the memory begins for the kernel.
pub const BASE: u64 = 0xffff_8880_0100_0000;
/// Where it begins in the dump.
pub const OFFSET: usize = 0x1000;

/// Which way the parts of the kernel's own structures lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Links, key, value; elements, room, count.
    AsWritten,
    /// Value, links, key; count, elements, room.
    Shuffled,
}

/// A leaf of a domain.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// Its number.
    pub number: u64,
    /// How far memory is from the pages.
    pub distance: u64,
    /// Where each page is, in place of the distance.
    pub table: Option<Vec<u64>>,
    /// Pages that are mapped, as a bit each.
    pub present: [u64; 8],
    /// Pages in doubt.
    pub stale: [u64; 8],
}

/// A domain: number, closed, retired, counts, leaves in the order of their numbers.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its number.
    pub name: u32,
    /// 1: it takes no devices.
    pub closed: u8,
    /// 1: the kernel has done with it.
    pub retired: u8,
    /// Maps, unmaps, deposits, failures.
    pub counts: [u64; 4],
    /// What is mapped.
    pub leaves: Vec<Leaf>,
}

/// A requester: id, place, domain of the place, doubt, domain of the doubt, users.
pub type Requester = (u64, u32, u32, u32, u32, u32);

/// A dump that is being made.
pub struct Image {
    memory: Vec<u8>,
    layout: Layout,
}

/// A node: where its links, its key and its value are.
struct Node {
    links: u64,
    key: u64,
    value: u64,
}

const RECORD_BYTES: u64 = 96;
const RECORD_OFFSETS: [u64; 8] = [88, 8, 16, 24, 32, 84, 85, 56];
const ARC_BYTES: u64 = 8;
const LEAF_BYTES: u64 = 152;
const LEAF_OFFSETS: [u64; 3] = [128, 0, 64];
const REQUESTER_OFFSETS: [u64; 5] = [40, 8, 16, 24, 0];

impl Image {
    fn take(&mut self, bytes: u64) -> u64 {
        let at = self.memory.len();
        self.memory.resize(at + bytes.next_multiple_of(8) as usize, 0);
        BASE + at as u64
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let start = (at - BASE) as usize;
        self.memory[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: u64, value: u64) {
        self.put(at, &value.to_le_bytes());
    }

    fn node(&mut self, value_bytes: u64) -> Node {
        match self.layout {
            Layout::AsWritten => {
                let links = self.take(32 + value_bytes);
                Node { links, key: links + 24, value: links + 32 }
            }
            Layout::Shuffled => {
                let value = self.take(value_bytes + 32);
                let links = value + value_bytes;
                Node { links, key: links + 24, value }
            }
        }
    }

    /// Links nodes, in the order of their keys, to a balanced tree; returns its top.
    fn link(&mut self, nodes: &[u64]) -> u64 {
        let Some(&top) = nodes.get(nodes.len() / 2) else { return 0 };
        let (left, right) = nodes.split_at(nodes.len() / 2);
        let (left, right) = (self.link(left), self.link(&right[1..]));
        self.word(top, 1);
        self.word(top + 8, right);
        self.word(top + 16, left);
        top
    }

    fn record(&mut self, domain: &Domain) -> u64 {
        let record = self.take(ARC_BYTES + RECORD_BYTES) + ARC_BYTES;
        let [name, maps, unmaps, deposits, failures, closed, retired, leaves] = RECORD_OFFSETS;
        self.put(record + name, &domain.name.to_le_bytes());
        for (offset, count) in [maps, unmaps, deposits, failures].into_iter().zip(domain.counts) {
            self.word(record + offset, count);
        }
        self.put(record + closed, &[domain.closed]);
        self.put(record + retired, &[domain.retired]);
        let nodes: Vec<u64> = domain.leaves.iter().map(|leaf| self.leaf(leaf).links).collect();
        let top = self.link(&nodes);
        self.word(record + leaves, top);
        record
    }

    fn leaf(&mut self, leaf: &Leaf) -> Node {
        let node = self.node(LEAF_BYTES);
        let [memory, present, stale] = LEAF_OFFSETS;
        self.word(node.key, leaf.number);
        if let Some(table) = &leaf.table {
            let at = self.take(4096);
            for (slot, frame) in (at..).step_by(8).zip(table) {
                self.word(slot, *frame);
            }
            self.word(node.value + memory, 1);
            self.word(node.value + memory + 8, at);
        } else {
            self.word(node.value + memory + 8, leaf.distance);
        }
        for (offset, bits) in [(present, &leaf.present), (stale, &leaf.stale)] {
            for (slot, word) in (node.value + offset..).step_by(8).zip(bits) {
                self.word(slot, *word);
            }
        }
        node
    }

    fn domain(&mut self, domain: &Domain) -> (Node, u64) {
        let (node, record) = (self.node(8), self.record(domain));
        self.put(node.key, &domain.name.to_le_bytes());
        self.word(node.value, record - ARC_BYTES);
        (node, record)
    }

    fn vector(&mut self, elements: u64, count: u64, capacity: u64) -> u64 {
        let at = self.take(24);
        let words = match self.layout {
            Layout::AsWritten => [elements, capacity, count],
            Layout::Shuffled => [count, elements, capacity],
        };
        for (slot, word) in (at..).step_by(8).zip(words) {
            self.word(slot, word);
        }
        at
    }

    fn elements(&mut self, requesters: &[Requester]) -> u64 {
        let [bytes, id, place, doubt, users] = REQUESTER_OFFSETS;
        let first = self.take(bytes * requesters.len().max(1) as u64);
        for (at, requester) in (first..).step_by(bytes as usize).zip(requesters) {
            self.word(at + id, requester.0);
            self.put(at + place, &requester.1.to_le_bytes());
            self.put(at + place + 4, &requester.2.to_le_bytes());
            self.put(at + doubt, &requester.3.to_le_bytes());
            self.put(at + doubt + 4, &requester.4.to_le_bytes());
            self.put(at + users, &requester.5.to_le_bytes());
        }
        first
    }

    /// The memory as a dump.
    fn dump(&self) -> Vec<u8> {
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for half in [4_u16, 62] {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        for word in [0_u64, 64, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        for half in [64_u16, 56, 1, 0, 0, 0] {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        bytes.extend_from_slice(&7_u32.to_le_bytes());
        let size = self.memory.len() as u64;
        for word in [OFFSET as u64, BASE, BASE & 0xffff_ffff, size, size, 4096] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.resize(OFFSET, 0);
        bytes.extend_from_slice(&self.memory);
        bytes
    }
}

/// A dump of a kernel that knew this.
pub fn dump(layout: Layout, domains: &[Domain], requesters: &[Requester]) -> Vec<u8> {
    let mut image = Image { memory: Vec::new(), layout };
    // What looks like the beginning of a guide is none.
    let decoy = image.take(BYTES);
    image.put(decoy, &MARK);
    image.word(decoy + 16, BYTES);
    let leaf = Leaf { number: 0, distance: 0, table: None, present: [0; 8], stale: [0; 8] };
    let sample = Domain { name: u32::MAX, closed: 0, retired: 0, counts: [0; 4], leaves: vec![leaf] };
    let (node, record) = image.domain(&sample);
    let domain_tree = image.take(8);
    image.word(domain_tree, node.links);
    let leaf_tree = record + RECORD_OFFSETS[7];
    let links = u64::from_le_bytes(
        image.memory[(leaf_tree - BASE) as usize..].first_chunk().copied().expect("the record is in the image"),
    );
    let (leaf_key, leaf_value) = match layout {
        Layout::AsWritten => (links + 24, links + 32),
        Layout::Shuffled => (links + 24, links - LEAF_BYTES),
    };
    let first = image.elements(&[(0, 0, 0, 0, 0, 1)]);
    let list = image.vector(first, 1, 5);
    let nodes: Vec<u64> = domains.iter().map(|domain| image.domain(domain).0.links).collect();
    let top = image.link(&nodes);
    let tree = image.take(8);
    image.word(tree, top);
    let elements = image.elements(requesters);
    let vector = image.vector(elements, requesters.len() as u64, 64);
    let guide = image.take(BYTES);
    image.put(guide, &MARK);
    let words =
        [BYTES, guide, 3, 48, 0x20_1000, (1 << 48) - 1, 0x4020_1000, tree, vector, domain_tree, node.key, node.value];
    let samples = [record, leaf_tree, leaf_key, leaf_value, list, first, 1, 5];
    let all = words.iter().chain(&samples).chain(&RECORD_OFFSETS).chain(&LEAF_OFFSETS).chain(&REQUESTER_OFFSETS);
    for (slot, word) in (guide + 16..).step_by(8).zip(all) {
        image.word(slot, *word);
    }
    image.dump()
}

/// A dump with something of everything.
pub fn full(layout: Layout) -> Vec<u8> {
    let leaf = |number, distance, present, stale| Leaf { number, distance, table: None, present, stale };
    let mut table = leaf(0x10_2000, 0, [0b1011, 0, 0, 0, 0, 0, 0, 1 << 63], [0b10, 0, 0, 0, 0, 0, 0, 0]);
    table.table = Some((0x5000..0x5200).map(|frame| frame ^ 1).collect());
    let leaves = vec![
        leaf(0, 0x100, [u64::MAX; 8], [0; 8]),
        leaf(1, 0x100, [u64::MAX; 8], [0; 8]),
        leaf(7, 0u64.wrapping_sub(0xe00), [0; 8], [0x70, 0, 0, 0, 0, 0, 0, 0]),
        table,
    ];
    let domain = |name, closed, retired, leaves| Domain { name, closed, retired, counts: [9, 8, 3, 1], leaves };
    let many = (1..40).map(|number| leaf(3 * number, number, [1; 8], [0; 8])).collect();
    dump(
        layout,
        &[domain(1, 0, 0, leaves), domain(2, 1, 0, vec![]), domain(3, 1, 1, many), domain(0x10_0000, 0, 0, vec![])],
        &[
            (0x4000_0000_0000_0028, 1, 1, 0, 0, 1),
            (0x4000_0000_0000_0030, 1, u32::MAX, 2, 0, 1),
            (0x4000_0000_0000_0100, 2, 0, 1, 0, 2),
            (0x4000_0000_0000_0200, 0, 0, 0, 0, 0),
            (0x4000_0000_0000_0300, 3, 0, 0, 0, 0),
        ],
    )
}
