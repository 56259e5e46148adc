// SPDX-License-Identifier: GPL-2.0

//! The IOMMUs.

use super::{
    counters::Counters,
    driver::{
        Instance,
        Kind,
        Mock,
        OPS, //
    }, //
};
use kernel::{
    debugfs::{
        Reader,
        Writer, //
    },
    fmt,
    iommu::device::{
        Registration,
        Settings, //
    },
    new_mutex,
    platform::owned::{
        Id,
        OwnedDevice, //
    },
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::UserSliceReader, //
};

/// The name of the platform devices that are the IOMMUs.
const NAME: &CStr = c"iommu-mock";

/// One IOMMU. The fields are dropped in this order.
pub(crate) struct Iommu {
    _registration: Registration<Mock>,
    parent: Arc<OwnedDevice>,
    counters: Arc<Counters>,
}

impl Iommu {
    pub(crate) fn new(kind: Kind) -> Result<Iommu> {
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

    /// The device that the IOMMU is.
    pub(crate) fn parent(&self) -> Arc<OwnedDevice> {
        self.parent.clone()
    }

    /// What the core has asked of it.
    pub(crate) fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }
}

/// Both IOMMUs, until they are withdrawn.
#[pin_data]
pub(crate) struct Iommus {
    #[pin]
    pair: Mutex<Option<[Iommu; 2]>>,
}

impl Iommus {
    pub(crate) fn new(pair: [Iommu; 2]) -> impl PinInit<Iommus> {
        pin_init!(Iommus {
            pair <- new_mutex!(Some(pair)),
        })
    }
}

impl Writer for Iommus {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}",
            self.pair.lock().as_ref().map_or(0, |pair| pair.len())
        )
    }
}

impl Reader for Iommus {
    fn read_from_slice(&self, _: &mut UserSliceReader) -> Result {
        let withdrawn = self.pair.lock().take();
        // Without the lock held.
        drop(withdrawn);
        Ok(())
    }
}
