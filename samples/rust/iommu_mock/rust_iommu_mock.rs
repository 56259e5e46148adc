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
//! - [`devices`]: makes devices behind the IOMMUs, by a file in debugfs.
//!
//! In `/sys/kernel/debug/rust_iommu_mock`:
//!
//! - `devices` shows how many devices are behind each IOMMU. Writing a number creates or removes
//!   devices, until there are so many. The module cannot be unloaded while there is a device.
//! - `mapped` and `table` show what the core has asked of each IOMMU.

mod counters;
mod devices;
mod driver;
mod fixed;
mod mapped;
mod table;

use crate::{
    counters::{
        Counters,
        Shown, //
    },
    devices::Devices,
    driver::{
        Instance,
        Kind,
        Mock,
        OPS, //
    },
};
use kernel::{
    debugfs::{
        Dir,
        File, //
    },
    iommu::device::{
        Registration,
        Settings, //
    },
    platform::owned::{
        Id,
        OwnedDevice, //
    },
    prelude::*,
    str::CString,
    sync::Arc,
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

/// The name of the platform devices that are the IOMMUs.
const NAME: &CStr = c"iommu-mock";

/// One IOMMU. The fields are dropped in this order.
struct Iommu {
    _registration: Registration<Mock>,
    parent: Arc<OwnedDevice>,
    counters: Arc<Counters>,
}

impl Iommu {
    fn new(kind: Kind) -> Result<Iommu> {
        let number = kind as u32;
        let parent = OwnedDevice::new(NAME, Id::Number(number), &[], |_| Ok(()))?;
        let parent = Arc::new(parent, GFP_KERNEL)?;
        let counters = Arc::new(Counters::new(), GFP_KERNEL)?;
        let settings = Settings {
            name: &CString::try_from_fmt(fmt!("mock{number}"))?,
            parent: Some(parent.dev()),
            attributes: None,
            max_pasids: 16,
        };
        let instance = Instance {
            kind,
            counters: counters.clone(),
        };
        Ok(Iommu {
            _registration: Registration::new(&OPS, settings, instance)?,
            parent,
            counters,
        })
    }
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
    iommus: [Iommu; 2],
}

impl InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let make = || -> Result<_> {
            let iommus = [Iommu::new(Kind::Mapped)?, Iommu::new(Kind::Table)?];
            let parents = iommus.each_ref().map(|iommu| iommu.parent.clone());
            let counters = iommus.each_ref().map(|iommu| iommu.counters.clone());
            Ok((iommus, parents, counters))
        };
        pin_init::pin_init_scope(move || {
            let (iommus, parents, [mapped, table]) = make()?;
            let root = Dir::new(c"rust_iommu_mock");
            Ok(try_pin_init!(Module {
                devices <- root.read_write_file(c"devices", Devices::new(parents)),
                mapped <- root.read_only_file(c"mapped", Shown(mapped)),
                table <- root.read_only_file(c"table", Shown(table)),
                iommus,
                _root: root,
            }? Error))
        })
    }
}
