// SPDX-License-Identifier: GPL-2.0

//! What the IOMMU core calls.

use super::{
    attach::Attachments,
    driver::VirtioIommu,
    endpoint::Endpoint,
    paging::Domain,
    statics::{
        BLOCKING,
        IDENTITY, //
    }, //
};
use kernel::{
    iommu::{
        self,
        domain::NewDomain,
        driver::{
            Capability,
            DefaultDomain,
            Driver,
            Grouping, //
        },
        fwspec::{
            Description,
            PhandleArgs, //
        },
        ops::Ops,
        probed::{
            AttachTarget,
            Probed,
            Probing, //
        },
        resv::ReservedRegions, //
    },
    prelude::*,
    sync::Arc,
};

/// The driver's operations.
pub(crate) static OPS: Ops<VirtioIommu> = Ops::new()
    .with_identity(&IDENTITY)
    .with_blocking_unless_released(&BLOCKING);

#[vtable]
impl Driver for VirtioIommu {
    type Instance = Arc<Attachments>;
    type Endpoint = Endpoint;

    const GROUPING: Grouping = Grouping::ByBus;

    fn capable(_: &Probed<'_, VirtioIommu>, capability: Capability) -> bool {
        // The memory of a virtual machine is coherent for the devices behind a virtual IOMMU.
        matches!(
            capability,
            Capability::CACHE_COHERENCY | Capability::DEFERRED_FLUSH
        )
    }

    fn probe_device(instance: &Arc<Attachments>, device: &Probing<'_>) -> Result<Arc<Endpoint>> {
        let endpoint = Endpoint::new(device, |id| instance.iommu().properties(id))?;
        // The last step that can fail. After an error, nobody would note that the device is gone.
        instance.note_probed(&endpoint)?;
        Ok(endpoint)
    }

    fn release_device(target: &AttachTarget<'_, VirtioIommu>) {
        target.instance().release(target.endpoint());
    }

    fn default_domain(device: &Probed<'_, VirtioIommu>) -> DefaultDomain {
        let lacks_identity =
            iommu::default_is_identity() && device.instance().iommu().identity().is_none();
        if lacks_identity {
            DefaultDomain::Translating
        } else {
            DefaultDomain::Any
        }
    }

    fn alloc_domain(device: &Probed<'_, VirtioIommu>) -> Result<NewDomain<VirtioIommu>> {
        Domain::allocate(device.instance())
    }

    fn reserved_regions(device: &Probed<'_, VirtioIommu>, regions: &mut ReservedRegions) -> Result {
        regions.add_described(device);
        device.endpoint().reserve(regions)
    }

    fn of_xlate(description: &mut Description<'_>, args: &PhandleArgs) -> Result {
        description.add_ids(args.args().get(..1).ok_or(EINVAL)?)
    }
}
