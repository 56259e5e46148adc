// SPDX-License-Identifier: GPL-2.0

//! The numbers by which the IOMMU knows a device.

use super::protocol::EndpointId;
use core::iter;
use kernel::{
    iommu::probed::Probing,
    prelude::*, //
};

/// The numbers of the endpoints that a device has.
pub(crate) struct EndpointIds {
    first: EndpointId,
    others: KVec<EndpointId>,
}

impl EndpointIds {
    /// The numbers that firmware describes.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: firmware describes none. [`ENOMEM`].
    pub(super) fn of(device: &Probing<'_>) -> Result<EndpointIds> {
        EndpointIds::new(device.ids())
    }

    /// These numbers. One of them may be there twice.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENODEV`]: there are none. [`ENOMEM`].
    pub(super) fn new(ids: &[u32]) -> Result<EndpointIds> {
        let (first, rest) = ids.split_first().ok_or(ENODEV)?;
        let mut others = KVec::with_capacity(rest.len(), GFP_KERNEL)?;
        for id in rest {
            others.push(EndpointId(*id), GFP_KERNEL)?;
        }
        Ok(EndpointIds {
            first: EndpointId(*first),
            others,
        })
    }

    /// Whether the device has an endpoint.
    pub(crate) fn contains(&self, id: EndpointId) -> bool {
        self.iter().any(|own| own == id)
    }

    /// The number that stands for the device in messages.
    pub(crate) fn first(&self) -> EndpointId {
        self.first
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = EndpointId> + '_ {
        Iterator::chain(iter::once(self.first), self.others.iter().copied())
    }
}
