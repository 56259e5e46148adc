// SPDX-License-Identifier: GPL-2.0
//! The kernel's red-black trees.

use std::collections::BTreeSet;

use anyhow::{ensure, Context as _, Result};

use crate::memory::{Address, Memory};
use crate::source::Source;

/// Where the links are in a `struct rb_node`.
const RIGHT: u64 = 8;
const LEFT: u64 = 16;

/// Where a node has its key and its value, in bytes from its links, wrapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeShape {
    key: u64,
    value: u64,
}

/// A node of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where its key is.
    pub key: Address,
    /// Where its value is.
    pub value: Address,
}

impl NodeShape {
    /// As in a tree with one node, whose key and value are at these addresses.
    ///
    /// # Errors
    /// When the tree is not in the dump.
    pub fn of_sample<S: Source + ?Sized>(
        memory: &Memory<'_, S>,
        tree: Address,
        key: Address,
        value: Address,
    ) -> Result<NodeShape> {
        let links = Address(memory.u64(tree)?);
        Ok(NodeShape { key: key.behind(links), value: value.behind(links) })
    }

    /// Calls `visit` for each node of a tree, in the order of the keys.
    ///
    /// # Errors
    /// When a node is not in the dump or comes twice; the nodes before it were visited. What `visit` returns.
    pub fn walk<S: Source + ?Sized>(
        self,
        memory: &Memory<'_, S>,
        tree: Address,
        mut visit: impl FnMut(Node) -> Result<()>,
    ) -> Result<()> {
        let (mut next, mut waiting, mut seen) = (memory.u64(tree)?, Vec::new(), BTreeSet::new());
        loop {
            while next != 0 {
                ensure!(seen.insert(next), "the node at {next:#x} is in its tree twice");
                waiting.push(next);
                next = memory.u64(Address(next).plus(LEFT)).context("the node to the left")?;
            }
            let Some(links) = waiting.pop() else { return Ok(()) };
            let links = Address(links);
            visit(Node { key: links.plus(self.key), value: links.plus(self.value) })?;
            next = memory.u64(links.plus(RIGHT)).context("the node to the right")?;
        }
    }
}
