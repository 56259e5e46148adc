// SPDX-License-Identifier: GPL-2.0

//! What the virtio bus calls.

use super::{
    attach::Attachments,
    driver::VirtioIommu,
    events::Events,
    iommu::{
        Iommu,
        Report,
        FEATURES, //
    },
    ops::OPS,
    requests::Requests, //
};
use kernel::{
    device::{
        Core,
        Device, //
    },
    iommu::device::{
        Registration,
        Settings, //
    },
    prelude::*,
    virtio::{
        self,
        device::Feature,
        driver::{
            DeviceId,
            Driver,
            IdTable,
            Shutdown,
            Unbinding, //
        },
    },
};

/// The driver, as the virtio bus knows it.
pub(crate) struct VirtioDriver;

kernel::virtio_device_table!(IDS, [DeviceId::IOMMU]);

/// What the driver keeps for an IOMMU. The registration stays in force while a device is behind the
/// IOMMU.
pub(crate) struct Instance {
    _registration: Registration<VirtioIommu>,
}

impl Driver for VirtioDriver {
    type Data<'bound> = Instance;

    const ID_TABLE: IdTable = &IDS;
    const FEATURES: &'static [Feature] = FEATURES;
    // Unbinding resets the IOMMU, and the devices behind it could then do DMA untranslated.
    const UNBINDING: Unbinding = Unbinding::Refused;
    // The kernel shuts devices down in the reverse of the order in which they were added. Most
    // devices behind the IOMMU were added before it had a driver, so they are shut down after it.
    const SHUTDOWN: Shutdown = Shutdown::GoesOn;

    fn probe<'bound>(
        device: &'bound virtio::Device<Core<'_>>,
    ) -> impl PinInit<Instance, Error> + 'bound {
        Instance::new(device)
    }
}

impl Instance {
    fn new(device: &virtio::Device<Core<'_>>) -> Result<Instance> {
        let dev = device.as_ref();
        // The devices behind the IOMMU name the parent's firmware node.
        let parent: &Device = device.parent().ok_or(ENODEV)?;
        let report = Report::read(device).inspect_err(|_| {
            dev_err!(dev, "not used: the device does not map, or is too old\n");
        })?;
        let (requests, events) = (Requests::new()?, Events::new(dev)?);
        device.find_queues([requests.queue(), events.clone().into()])?;
        device.ready();
        requests.fill()?;
        Events::fill(&events)?;
        let iommu = Iommu::new(dev, report.clone(), requests).inspect_err(|_| {
            dev_err!(
                dev,
                "not used: no memory, blocks larger than a page, or too few domains\n"
            );
        })?;
        dev_info!(
            dev,
            "aperture {:#x}-{:#x}, page sizes {:#x}\n",
            report.aperture.start().as_u64(),
            report.aperture.end().as_u64(),
            report.page_sizes
        );
        let settings = Settings {
            name: parent.name(),
            parent: Some(parent),
            attributes: None,
            max_pasids: 0,
        };
        Ok(Instance {
            _registration: Registration::new(&OPS, settings, Attachments::new(iommu)?)?,
        })
    }
}
