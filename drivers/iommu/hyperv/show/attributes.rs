// SPDX-License-Identifier: GPL-2.0

//! What user space can read of the IOMMU: Documentation/ABI/testing/sysfs-class-iommu-hyperv.

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

/// Declares an attribute: the file's name, and its value as a line.
macro_rules! attribute {
    ($(#[$doc:meta])* $name:ident, $file:literal, |$instance:ident| $($value:tt)+) => {
        $(#[$doc])*
        struct $name;

        impl Attribute for $name {
            const NAME: &'static CStr = $file;

            fn show(f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $instance = Instance::get().map_err(|_| fmt::Error)?;
                writeln!(f, $($value)+)
            }
        }
    };
}

attribute!(
    /// What the host reports, in bits.
    IovaWidth,
    c"host_iova_width",
    |instance| "{}",
    instance.offer().report().max_iova_width
);

attribute!(
    /// Of new domains, in bits.
    ApertureWidth,
    c"aperture_width",
    |instance| "{}",
    instance.offer().aperture().width
);

attribute!(
    /// Of new domains' tables.
    TableLevels,
    c"table_levels",
    |instance| "{}",
    instance.offer().aperture().levels.count()
);

attribute!(
    /// Bit n: pages of 2^n bytes.
    PageSizes,
    c"page_sizes",
    |instance| "{:#x}",
    instance.offer().report().page_sizes
);

attribute!(
    /// `HV_IOMMU_CAP_*` bits, as the host reports them.
    Capabilities,
    c"host_capabilities",
    |instance| "{:#x}",
    instance.offer().report().flags
);
