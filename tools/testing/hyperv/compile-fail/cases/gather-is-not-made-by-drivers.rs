// SPDX-License-Identifier: GPL-2.0
//! What is to be flushed is what the core has unmapped: a driver cannot answer for another range.

use kernel::iommu::gather::{FlushOutcome, Gather};
use kernel::iommu::pt::TableDomain;
use sound::Table;

#[cfg(misuse)]
pub fn flush_everything(table: &Table) -> FlushOutcome {
    table.flush(&Gather(kernel::types::Opaque::zeroed())) //~ E0423: cannot initialize a tuple struct which contains private fields
}

#[cfg(not(misuse))]
pub fn flush_everything(table: &Table, gather: &Gather) -> FlushOutcome {
    table.flush(gather)
}
