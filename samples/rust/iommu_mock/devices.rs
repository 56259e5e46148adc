// SPDX-License-Identifier: GPL-2.0

//! Devices behind the IOMMUs. They do nothing.

use kernel::{
    debugfs::{
        Reader,
        Writer, //
    },
    fmt,
    iommu::fwspec,
    new_mutex,
    platform::owned::{
        Id,
        OwnedDevice,
        Property, //
    },
    prelude::*,
    str::CString,
    sync::{
        Arc,
        Mutex, //
    },
    uaccess::UserSliceReader, //
};

/// How many devices there may be behind each IOMMU.
const MAX: usize = 16;

/// All devices.
#[pin_data]
pub(crate) struct Devices {
    /// The platform devices that are the IOMMUs.
    parents: [Arc<OwnedDevice>; 2],
    /// Pairs of devices, one behind each IOMMU.
    #[pin]
    pairs: Mutex<KVec<[OwnedDevice; 2]>>,
}

impl Devices {
    pub(crate) fn new(parents: [Arc<OwnedDevice>; 2]) -> impl PinInit<Devices, Error> {
        try_pin_init!(Devices {
            parents,
            pairs <- new_mutex!(KVec::new()),
        })
    }

    /// Makes the device `number` behind an IOMMU.
    fn make(&self, iommu: usize, number: u32) -> Result<OwnedDevice> {
        let parent = self.parents.get(iommu).ok_or(EINVAL)?;
        let name = CString::try_from_fmt(fmt!("mock{iommu}-client"))?;
        let pasid_bits = Property {
            name: c"pasid-num-bits",
            value: 4,
        };
        OwnedDevice::new(&name, Id::Number(number), &[pasid_bits], |device| {
            fwspec::describe(device, parent.dev(), &[number])
        })
    }

    fn set(&self, count: usize) -> Result {
        if count > MAX {
            return Err(EINVAL);
        }
        let mut pairs = self.pairs.lock();
        while pairs.len() > count {
            drop(pairs.pop());
        }
        while pairs.len() < count {
            let number = pairs.len() as u32;
            pairs.push([self.make(0, number)?, self.make(1, number)?], GFP_KERNEL)?;
        }
        Ok(())
    }
}

impl Writer for Devices {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.pairs.lock().len())
    }
}

impl Reader for Devices {
    fn read_from_slice(&self, reader: &mut UserSliceReader) -> Result {
        let mut text = [0u8; 8];
        let length = reader.len().min(text.len());
        let text = text.get_mut(..length).ok_or(EINVAL)?;
        reader.read_slice(text)?;
        let text = core::str::from_utf8(text).map_err(|_| EINVAL)?;
        self.set(text.trim().parse().map_err(|_| EINVAL)?)
    }
}
