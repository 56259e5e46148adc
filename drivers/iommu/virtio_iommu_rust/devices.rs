// SPDX-License-Identifier: GPL-2.0

//! The devices behind an IOMMU, and which endpoints they have.
//!
//! Devices behind one PCI bridge can share an endpoint. When one of these devices goes away, the
//! others still need the endpoint.

use super::{
    ids::EndpointIds,
    protocol::EndpointId, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Devices, each with its endpoints. Several devices may have one endpoint.
pub(crate) struct Devices(KVec<Arc<EndpointIds>>);

impl Devices {
    pub(crate) fn new() -> Devices {
        Devices(KVec::new())
    }

    /// Adds a device.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]. The device is not added then.
    pub(crate) fn add(&mut self, ids: &Arc<EndpointIds>) -> Result {
        Ok(self.0.push(ids.clone(), GFP_KERNEL)?)
    }

    /// Removes a device, if it is there. Others with the same endpoints stay.
    pub(crate) fn remove(&mut self, ids: &Arc<EndpointIds>) {
        self.0.retain(|other| !Arc::ptr_eq(other, ids));
    }

    /// Whether any of the devices has an endpoint.
    pub(crate) fn has(&self, id: EndpointId) -> bool {
        self.0.iter().any(|ids| ids.contains(id))
    }
}
