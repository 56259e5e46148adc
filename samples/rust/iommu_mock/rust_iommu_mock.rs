// SPDX-License-Identifier: GPL-2.0

//! A mock IOMMU driver: what a driver looks like on the Rust abstractions, without hardware.
//!
//! There are two IOMMUs. The driver of one maps by itself, in a tree of pages. The other one has
//! page tables of RISC-V's format. Neither protects anything, as no device behind them does DMA.
//! The driver counts what the core asks for.
//!
//! - [`driver`]: what the core calls, for both IOMMUs;
//! - [`fixed`]: the identity and the blocking domain;
//! - [`mapped`], [`table`]: the domains of one and of the other IOMMU;
//! - [`counters`]: what the core has asked for;
//! - [`iommus`]: makes the IOMMUs;
//! - [`devices`]: makes devices behind the IOMMUs, by a file in debugfs.
//!
//! In `/sys/kernel/debug/rust_iommu_mock`:
//!
//! - `devices` shows how many devices are behind each IOMMU. Writing a number creates or removes
//!   devices, until there are so many. The module cannot be unloaded while there is a device.
//! - `mapped` and `table` show what the core has asked of each IOMMU.
//! - `iommus` shows how many IOMMUs there are. Writing to it withdraws them, as if they were
//!   unplugged. If there is a device behind one of them, it stays known to the kernel, and the
//!   module stays for ever.

mod counters;
mod devices;
mod driver;
mod fixed;
mod iommus;
mod mapped;
mod table;

use crate::{
    counters::Shown,
    devices::Devices,
    driver::Kind,
    iommus::{
        Iommu,
        Iommus, //
    },
};
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    prelude::*,
    InPlaceModule, //
};

module! {
    type: Module,
    name: "rust_iommu_mock",
    authors: ["The hv-pviommu developers"],
    description: "Mock IOMMU driver in Rust",
    license: "GPL",
    imports_ns: ["GENERIC_PT_IOMMU"],
}

/// The module. The fields are dropped in this order: first the files, then the devices, then the
/// IOMMUs.
#[pin_data]
struct Module {
    _root: Dir,
    #[pin]
    devices: File<Devices>,
    #[pin]
    mapped: File<Shown>,
    #[pin]
    table: File<Shown>,
    #[pin]
    iommus: File<Iommus>,
}

impl InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let make = || -> Result<_> {
            let iommus = [Iommu::new(Kind::Mapped)?, Iommu::new(Kind::Table)?];
            let parents = iommus.each_ref().map(Iommu::parent);
            let counters = iommus.each_ref().map(Iommu::counters);
            Ok((iommus, parents, counters))
        };
        pin_init::pin_init_scope(move || {
            let (iommus, parents, [mapped, table]) = make()?;
            let root = Dir::new(c"rust_iommu_mock");
            Ok(try_pin_init!(Module {
                devices <- root.read_write_file(c"devices", Devices::new(parents)),
                mapped <- root.read_only_file(c"mapped", Shown(mapped)),
                table <- root.read_only_file(c"table", Shown(table)),
                iommus <- root.read_write_file(c"iommus", Iommus::new(iommus)),
                _root: root,
            }? Error))
        })
    }
}
