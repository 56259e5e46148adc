// SPDX-License-Identifier: GPL-2.0

//! Addresses in the kernel's memory, for readers of crash dumps.

use kernel::rbtree::RBTree;

/// A virtual address of the kernel.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Address(u64);

impl Address {
    /// The address of `what`.
    pub(crate) fn of<T>(what: &T) -> Address {
        Address(core::ptr::from_ref(what) as usize as u64)
    }

    /// The distance from another address to this one, in bytes.
    pub(crate) fn behind(self, other: Address) -> u64 {
        self.0.wrapping_sub(other.0)
    }
}

/// A tree with one node, as a sample of all trees of its type.
///
/// The tree itself is the address of the links in its node, which are a `struct rb_node`.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
pub(crate) struct TreeSample {
    tree: Address,
    /// The address of the node's key.
    key: Address,
    /// The address of the node's value.
    value: Address,
}

impl TreeSample {
    /// A sample; [`None`] if the tree has no node.
    ///
    /// The tree and its node must never move, as a dump may be made at any time.
    pub(crate) fn of<K, V>(tree: &RBTree<K, V>) -> Option<TreeSample> {
        let (key, value) = tree.iter().next()?;
        Some(TreeSample {
            tree: Address::of(tree),
            key: Address::of(key),
            value: Address::of(value),
        })
    }

    /// The tree.
    pub(crate) fn tree(&self) -> Address {
        self.tree
    }
}
