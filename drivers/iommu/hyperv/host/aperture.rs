// SPDX-License-Identifier: GPL-2.0

//! How wide the I/O address space is, and how deep its tables are.
//!
//! No kernel types: this file is also built and tested outside the kernel.

/// Narrowest IOVA width that the driver takes, in bits. The MSI window below 4 GiB must lie in the
/// aperture, and so must the addresses of devices with 32-bit DMA.
pub(crate) const MIN_WIDTH: u8 = 32;

/// Widest aperture of a 4-level table, in bits.
///
/// The table itself spans 48, but VT-d's first stage takes only canonical addresses, and generic
/// tables without sign extension start at 0: the upper half of 48 bits would fault. Whether Hyper-V
/// subtracts that bit from the width that it reports is not documented.
pub(crate) const MAX_WIDTH_4_LEVEL: u8 = 47;

/// Widest aperture of a 5-level table, in bits; see [`MAX_WIDTH_4_LEVEL`].
pub(crate) const MAX_WIDTH_5_LEVEL: u8 = 56;

/// Widest IOVA that 4 levels serve, in bits. The interface has no 3-level tables.
const WIDTH_4_LEVEL: u8 = 48;

/// What one entry of the top level of a 4-level table spans, in bits. A table cannot be narrower; a
/// narrower aperture is a part of what its table spans.
const MIN_TABLE_WIDTH_4_LEVEL: u8 = 39;
/// The same with 5 levels.
const MIN_TABLE_WIDTH_5_LEVEL: u8 = 48;

/// Depth of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Levels {
    Four,
    Five,
}

impl Levels {
    /// How many.
    pub(crate) fn count(self) -> u8 {
        match self {
            Levels::Four => 4,
            Levels::Five => 5,
        }
    }
}

/// The I/O address space `0..=2^width - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Aperture {
    /// In bits, [`MIN_WIDTH`]..=[`MAX_WIDTH_5_LEVEL`].
    pub(crate) width: u8,
    pub(crate) levels: Levels,
}

/// The host reports a width below [`MIN_WIDTH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooNarrow;

impl Aperture {
    /// The aperture for a host that reports `width` bits and tables of up to `deepest` levels.
    pub(crate) fn choose(width: u8, deepest: Levels) -> Result<Aperture, TooNarrow> {
        if width < MIN_WIDTH {
            return Err(TooNarrow);
        }
        Ok(match deepest {
            Levels::Five if width > WIDTH_4_LEVEL => Aperture {
                width: min(width, MAX_WIDTH_5_LEVEL),
                levels: Levels::Five,
            },
            _ => Aperture {
                width: min(width, MAX_WIDTH_4_LEVEL),
                levels: Levels::Four,
            },
        })
    }

    /// The aperture when the host takes no 5-level table after all.
    pub(crate) fn with_four_levels(self) -> Aperture {
        Aperture {
            width: min(self.width, MAX_WIDTH_4_LEVEL),
            levels: Levels::Four,
        }
    }

    /// The width of a table that spans the aperture, in bits.
    pub(crate) fn table_width(self) -> u8 {
        let narrowest = match self.levels {
            Levels::Four => MIN_TABLE_WIDTH_4_LEVEL,
            Levels::Five => MIN_TABLE_WIDTH_5_LEVEL,
        };
        if self.width < narrowest {
            narrowest
        } else {
            self.width
        }
    }

    /// The last address.
    pub(crate) fn last(self) -> u64 {
        !u64::MAX.checked_shl(self.width.into()).unwrap_or(0)
    }
}

fn min(a: u8, b: u8) -> u8 {
    if a < b {
        a
    } else {
        b
    }
}
