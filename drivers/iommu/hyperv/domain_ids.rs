// SPDX-License-Identifier: GPL-2.0

//! Numbers for device domains, which the guest chooses.

use kernel::{
    fmt,
    ida::Ida,
    prelude::*, //
};

/// The number of a device domain that the hypervisor knows, or may know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DomainId(u32);

impl DomainId {
    /// The lowest number: 0 is `HV_DEVICE_DOMAIN_ID_DEFAULT`.
    const FIRST: u32 = 1;
    /// The highest number, far below `HV_DEVICE_DOMAIN_ID_NULL`.
    const LAST: u32 = Ida::LAST;

    pub(crate) fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DomainId {
    // Once, not in each message.
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The numbers in use.
///
/// A number is taken before the hypervisor is told of it and given back only when the hypervisor
/// said that it forgot it. One that the hypervisor may still know is never given back: it is
/// retired, by doing nothing.
#[pin_data]
pub(crate) struct DomainIds {
    #[pin]
    taken: Ida,
}

impl DomainIds {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self { taken <- Ida::new() })
    }

    /// Takes the lowest free number.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENOSPC`].
    pub(crate) fn take(&self) -> Result<DomainId> {
        let numbers = DomainId::FIRST..=DomainId::LAST;
        self.taken.take(numbers, GFP_KERNEL).map(DomainId)
    }

    /// Gives back a number that the hypervisor does not know.
    ///
    /// Context: any but NMI.
    pub(crate) fn give_back(&self, id: DomainId) {
        self.taken.give_back(id.0);
    }

    /// Calls `f` for each number that is taken, retired ones among them. One that is taken or given
    /// back meanwhile may be among them or not.
    ///
    /// Context: that of `f`.
    pub(crate) fn each_taken(&self, mut f: impl FnMut(DomainId)) {
        let mut next = DomainId::FIRST;
        while let Some(number) = self.taken.first_taken(next..=DomainId::LAST) {
            f(DomainId(number));
            next = number.saturating_add(1);
        }
    }
}
