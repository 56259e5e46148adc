// SPDX-License-Identifier: GPL-2.0

//! Where things are in the kernel's memory, as a reader of a crash dump is told.

use kernel::rbtree::RBTree;

/// Where something is: a virtual address of the kernel's.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Address(u64);

impl Address {
    /// Where `what` is.
    pub(crate) fn of<T>(what: &T) -> Address {
        Address(core::ptr::from_ref(what) as usize as u64)
    }

    /// How many bytes it lies behind another address.
    pub(crate) fn behind(self, other: Address) -> u64 {
        self.0.wrapping_sub(other.0)
    }
}

/// A tree with one node, as a sample of all trees of its kind.
///
/// The tree itself is the address of its node's links, which are a `struct rb_node`.
#[repr(C)]
#[allow(dead_code)] // Read from crash dumps.
pub(crate) struct TreeSample {
    tree: Address,
    /// The node's key.
    key: Address,
    /// The node's value.
    value: Address,
}

impl TreeSample {
    /// A sample. [`None`]: the tree has no node.
    ///
    /// The tree and its node stay where they are as long as a dump may be read.
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
