// SPDX-License-Identifier: GPL-2.0

//! What a format of generic page tables consists of.

use super::Features;
use crate::{
    bindings,
    error::Result,
    ffi::c_int,
    io::PhysAddr, //
};

/// A format of generic page tables.
///
/// # Examples
///
/// ```
/// use kernel::iommu::{
///     pt::{
///         Config,
///         Features,
///         Format,
///         Node, //
///     },
///     Iova, //
/// };
///
/// /// A table whose domain ends at 4 GiB, in any format.
/// fn config<F: Format>(shape: F::Shape) -> Config<F> {
///     Config {
///         shape,
///         output_width: 52,
///         features: Features::NONE,
///         last: Iova::new(0xffff_ffff),
///         page_sizes: u64::MAX,
///         node: Node::ANY,
///     }
/// }
/// ```
///
/// # Safety
///
/// `Table` must be a C structure that begins with a `struct pt_iommu`. The functions must be those
/// of the format that the structure belongs to.
pub unsafe trait Format: 'static {
    /// Depth and width of a table.
    type Shape: Copy;

    /// What an IOMMU is told about a table.
    type Info;

    /// The C side's table.
    #[doc(hidden)]
    type Table;

    /// The C side's configuration.
    #[doc(hidden)]
    type RawConfig;

    /// Features that every table of the format has.
    #[doc(hidden)]
    const FEATURES: Features;

    /// The C side's `iova_to_phys`.
    #[doc(hidden)]
    const IOVA_TO_PHYS: unsafe extern "C" fn(
        *mut bindings::iommu_domain,
        bindings::dma_addr_t,
    ) -> bindings::phys_addr_t;

    /// The C side's `read_and_clear_dirty`.
    #[doc(hidden)]
    const READ_AND_CLEAR_DIRTY: unsafe extern "C" fn(
        *mut bindings::iommu_domain,
        usize,
        usize,
        usize,
        *mut bindings::iommu_dirty_bitmap,
    ) -> c_int;

    /// The configuration of a table of this shape. `common` has all that formats have in common,
    /// except for the table's width.
    ///
    /// # Errors
    ///
    /// [`EINVAL`](crate::error::code::EINVAL): no table has this shape.
    #[doc(hidden)]
    fn raw_config(common: bindings::pt_iommu_cfg, shape: Self::Shape) -> Result<Self::RawConfig>;

    /// Initialises a table.
    ///
    /// # Safety
    ///
    /// `table` must be zeroed, except for what the C side lets the caller set.
    #[doc(hidden)]
    unsafe fn init(table: *mut Self::Table, config: &Self::RawConfig) -> c_int;

    /// The physical address of a table's top, and the level of the top, counted from 0.
    ///
    /// # Safety
    ///
    /// `table` must be initialised.
    #[doc(hidden)]
    unsafe fn top(table: *mut Self::Table) -> (PhysAddr, u32);

    /// What an IOMMU is told about a table with this top.
    #[doc(hidden)]
    fn info(root: PhysAddr, level: u32) -> Self::Info;
}

/// Implements what the formats implement alike. The functions are inlined, so that they are
/// compiled with the driver that uses the format: that driver may be a loadable module.
macro_rules! format_functions {
    ($table:ident, $config:ident, $init:ident, $iova_to_phys:ident, $dirty:ident) => {
        type Table = $crate::bindings::$table;
        type RawConfig = $crate::bindings::$config;

        const IOVA_TO_PHYS: unsafe extern "C" fn(
            *mut $crate::bindings::iommu_domain,
            $crate::bindings::dma_addr_t,
        ) -> $crate::bindings::phys_addr_t = $crate::bindings::$iova_to_phys;

        const READ_AND_CLEAR_DIRTY: unsafe extern "C" fn(
            *mut $crate::bindings::iommu_domain,
            usize,
            usize,
            usize,
            *mut $crate::bindings::iommu_dirty_bitmap,
        ) -> $crate::ffi::c_int = $crate::bindings::$dirty;

        #[inline(always)]
        unsafe fn init(table: *mut Self::Table, config: &Self::RawConfig) -> $crate::ffi::c_int {
            // SAFETY: The caller promises a table that is zeroed as the C side expects.
            unsafe { $crate::bindings::$init(table, config, $crate::bindings::GFP_KERNEL) }
        }
    };
}
pub(super) use format_functions;
