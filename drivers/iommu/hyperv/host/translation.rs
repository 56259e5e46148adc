// SPDX-License-Identifier: GPL-2.0

//! What a domain does with DMA, and how the hypervisor is told.
//!
//! No kernel types: this file is also built and tested outside the kernel.

use super::aperture::Levels;

/// Bits of the configuration; the same numbers as `HV_DEVICE_DOMAIN_*` of the C header.
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
    /// DMA addresses are guest physical addresses.
    Identity,
    /// No DMA gets through.
    Blocking,
    /// Stage 1, by a table of the guest.
    Table {
        /// Guest physical address of the top table, a multiple of 4096.
        root: u64,
        levels: Levels,
    },
}

impl Translation {
    /// The flags and the root for the configuration of a domain.
    ///
    /// A blocking domain has translation enabled, too, because the hypervisor demands it.
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
