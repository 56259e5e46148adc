// SPDX-License-Identifier: GPL-2.0

//! Domains with generic page tables.
//!
//! The IOMMU core maps and unmaps such tables by itself. A driver says which format and size a
//! table has, tells the IOMMU where the table is, and flushes.
//!
//! - [`Paging`] is the domain, and [`TableDomain`] the driver's part of it.
//! - The [`Format`]s are [`X86_64`], [`AmdV1`], [`Riscv64`] and [`VtdSs`].
//!
//! # Examples
//!
//! ```
//! use kernel::iommu::{
//!     pt::{
//!         Config,
//!         Features,
//!         Node,
//!         Paging,
//!         TableDomain,
//!         X86_64Info,
//!         X86_64, //
//!     },
//!     domain::NewDomain,
//!     Iova, //
//! };
//! # use kernel::iommu::pt::{Levels, X86_64Shape};
//!
//! /// Allocates a domain of 47 bits. `make` makes the driver's part of it.
//! fn allocate<T>(make: impl FnOnce(X86_64Info) -> T) -> Result<NewDomain<T::Driver>>
//! where
//!     T: TableDomain<Format = X86_64>,
//! {
//!     let config = Config {
//!         shape: X86_64Shape {
//!             levels: Levels::Four,
//!             width: 47,
//!         },
//!         output_width: 52,
//!         features: Features::FLUSH_RANGE,
//!         last: Iova::new((1 << 47) - 1),
//!         page_sizes: u64::MAX,
//!         node: Node::ANY,
//!     };
//!     Paging::allocate(config, |table| Ok(make(table)))
//! }
//! ```
//!
//! # Where the formats are
//!
//! The C code of each format is a module of its own, perhaps a loadable one. A driver selects the
//! formats that it uses, e.g. `select IOMMU_PT_X86_64`. A loadable driver imports the namespace
//! `GENERIC_PT_IOMMU`.
//!
//! C header: [`include/linux/generic_pt/iommu.h`](srctree/include/linux/generic_pt/iommu.h)

use super::Iova;
use crate::{
    bindings,
    device,
    ffi::c_int, //
};

mod amdv1;
mod format;
mod paging;
mod riscv_64;
mod vtdss;
mod x86_64;

pub use amdv1::{
    AmdV1,
    AmdV1Info,
    StartingLevel, //
};
pub use format::Format;
pub use paging::{
    DirtyTracking,
    Paging,
    TableDomain,
    TableFate, //
};
pub use riscv_64::{
    Riscv64,
    Riscv64Info,
    Sv, //
};
pub use vtdss::{
    VtdSs,
    VtdSsInfo,
    VtdSsShape, //
};
pub use x86_64::{
    Levels,
    X86_64Info,
    X86_64Shape,
    X86_64, //
};

/// How to build a table.
pub struct Config<F: Format> {
    /// The table's depth and width.
    pub shape: F::Shape,
    /// The width of the addresses in the table's entries, in bits. A format may limit it further.
    pub output_width: u8,
    /// What the IOMMU can do with the table.
    pub features: Features,
    /// The last address of the aperture. The aperture may be narrower than the table. If it is
    /// wider, the table limits it.
    pub last: Iova,
    /// The page sizes that the IOMMU takes, bit n for 2^n bytes.
    pub page_sizes: u64,
    /// The NUMA node that the table's memory comes from, if possible.
    pub node: Node,
}

/// What an IOMMU can do with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    /// Nothing in particular.
    pub const NONE: Features = Features(0);
    /// The IOMMU flushes ranges: gathers become few large ranges, which include gaps.
    pub const FLUSH_RANGE: Features = Features(1 << bindings::pt_features_PT_FEAT_FLUSH_RANGE);
    /// The IOMMU flushes ranges, and flushing gaps is expensive: gathers leave gaps out.
    pub const FLUSH_RANGE_NO_GAPS: Features =
        Features(1 << bindings::pt_features_PT_FEAT_FLUSH_RANGE_NO_GAPS);
    /// The highest bit of an address is extended upwards, as in canonical addresses.
    pub const SIGN_EXTEND: Features = Features(1 << bindings::pt_features_PT_FEAT_SIGN_EXTEND);

    /// The features of both.
    pub const fn with(self, other: Features) -> Features {
        Features(self.0 | other.0)
    }

    /// The top of a table can change while the table is in use.
    const DYNAMIC_TOP: Features = Features::of_format(bindings::pt_features_PT_FEAT_DYNAMIC_TOP);

    /// Whether all features of `other` are among these.
    const fn contains(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// A feature that no driver can ask for, as the format decides on it.
    const fn of_format(bit: u32) -> Features {
        Features(1 << bit)
    }
}

/// A NUMA node, or none in particular.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(c_int);

impl Node {
    /// None in particular.
    pub const ANY: Node = Node(bindings::NUMA_NO_NODE);

    /// The node that a device is close to.
    pub fn of(dev: &device::Device) -> Node {
        // SAFETY: The device is valid. The function only reads the node's number.
        Node(unsafe { bindings::dev_to_node(dev.as_raw()) })
    }

    fn as_raw(self) -> c_int {
        self.0
    }
}
