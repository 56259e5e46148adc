// SPDX-License-Identifier: GPL-2.0

//! The attributes that user space can read in sysfs:
//! Documentation/ABI/testing/sysfs-class-iommu-hyperv.

use crate::instance::Instance;
use kernel::{
    fmt,
    iommu::attribute::{
        Attribute,
        Attributes, //
    },
    iommu_attribute_group,
    prelude::*, //
};

/// All attributes, in the directory `hyperv`.
pub(crate) const ATTRIBUTES: Attributes = iommu_attribute_group!(
    c"hyperv",
    [
        IovaWidth,
        ApertureWidth,
        TableLevels,
        PageSizes,
        Capabilities,
    ]
);

/// What an attribute shows.
#[derive(Clone, Copy)]
enum Shown {
    IovaWidth,
    ApertureWidth,
    TableLevels,
    PageSizes,
    Capabilities,
}

/// Writes an attribute's value as a line.
#[inline(never)]
fn show(f: &mut fmt::Formatter<'_>, shown: Shown) -> fmt::Result {
    let offer = Instance::get().map_err(|_| fmt::Error)?.offer();
    let (report, aperture) = (offer.report(), offer.aperture());
    let (number, is_bitmap) = match shown {
        Shown::IovaWidth => (report.max_iova_width.into(), false),
        Shown::ApertureWidth => (aperture.width.into(), false),
        Shown::TableLevels => (aperture.levels.count().into(), false),
        Shown::PageSizes => (report.page_sizes, true),
        Shown::Capabilities => (report.flags, true),
    };
    if is_bitmap {
        writeln!(f, "{number:#x}")
    } else {
        writeln!(f, "{number}")
    }
}

/// Declares an attribute and its file's name.
macro_rules! attribute {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        struct $name;

        impl Attribute for $name {
            const NAME: &'static CStr = $file;

            #[inline]
            fn show(f: &mut fmt::Formatter<'_>) -> fmt::Result {
                show(f, Shown::$name)
            }
        }
    };
}

attribute!(
    /// The width that the host reports, in bits.
    IovaWidth,
    c"host_iova_width"
);

attribute!(
    /// The width of new domains, in bits.
    ApertureWidth,
    c"aperture_width"
);

attribute!(
    /// The levels of new domains' tables.
    TableLevels,
    c"table_levels"
);

attribute!(
    /// The page sizes that the host reports. Bit n: pages of 2^n bytes.
    PageSizes,
    c"page_sizes"
);

attribute!(
    /// `HV_IOMMU_CAP_*` bits, as the host reports them.
    Capabilities,
    c"host_capabilities"
);
