// SPDX-License-Identifier: GPL-2.0

//! What a domain does with DMA, as the hypervisor wants to be told.
//!
//! No kernel types: this file is also built and tested outside the kernel.

use super::aperture::Levels;

/// Bits of the configuration; the numbers of `HV_DEVICE_DOMAIN_*`.
pub(crate) const TRANSLATION_ENABLED: u64 = 1 << 0;
pub(crate) const BLOCKED: u64 = 1 << 1;
pub(crate) const FIVE_LEVEL: u64 = 1 << 2;

/// A table of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Guest physical address of the top table, a multiple of 4096.
    pub(crate) root: u64,
    pub(crate) levels: Levels,
}

impl From<Table> for Translation {
    fn from(Table { root, levels }: Table) -> Translation {
        Translation::Table { root, levels }
    }
}

/// What a domain does with DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Translation {
    /// Addresses are guest physical addresses.
    Identity,
    /// Nothing gets through.
    Blocking,
    /// Stage 1, by a table of the guest.
    Table {
        /// Guest physical address of the top table, a multiple of 4096.
        root: u64,
        levels: Levels,
    },
}

impl Translation {
    /// The flags and the root.
    ///
    /// A blocking domain has translation enabled, too: the hypervisor demands it.
    pub(crate) fn flags_and_root(self) -> (u64, u64) {
        match self {
            Translation::Identity => (0, 0),
            Translation::Blocking => (TRANSLATION_ENABLED | BLOCKED, 0),
            Translation::Table {
                root,
                levels: Levels::Four,
            } => (TRANSLATION_ENABLED, root),
            Translation::Table {
                root,
                levels: Levels::Five,
            } => (TRANSLATION_ENABLED | FIVE_LEVEL, root),
        }
    }
}
