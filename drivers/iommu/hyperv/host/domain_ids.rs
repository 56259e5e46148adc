// SPDX-License-Identifier: GPL-2.0

//! Numbers for device domains, which the guest chooses.

use kernel::{
    fmt,
    ida::Ida,
    prelude::*, //
};

/// The number of a device domain that the hypervisor knows, or may know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct DomainId(u32);

impl DomainId {
    /// The lowest number: 0 is `HV_DEVICE_DOMAIN_ID_DEFAULT`.
    const FIRST: u32 = 1;
    /// The lowest number of a kernel that runs beside the domains of a crashed one, which begin at
    /// [`Self::FIRST`]. So it collides with none of them, whatever a collision looks like.
    const FIRST_HIGH: u32 = 0x10_0000;
    /// The highest number, far below `HV_DEVICE_DOMAIN_ID_NULL`.
    const LAST: u32 = Ida::LAST;

    pub(crate) fn as_u32(self) -> u32 {
        self.0
    }

    /// The `n`th number, from 1, of a domain that lets devices through in a guest that has no other
    /// domains. [`None`] for 0, and when there are no more.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn of_passage(n: u32) -> Option<DomainId> {
        let id = DomainId(DomainId::FIRST_HIGH.checked_add(n)?);
        (n > 0 && id.0 <= DomainId::LAST).then_some(id)
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
    first: u32,
}

/// Where numbers begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// At the lowest one.
    Low,
    /// Far above those that another kernel's domains have.
    High,
}

impl DomainIds {
    pub(crate) fn new(base: Base) -> impl PinInit<Self> {
        pin_init!(Self {
            taken <- Ida::new(),
            first: match base {
                Base::Low => DomainId::FIRST,
                Base::High => DomainId::FIRST_HIGH,
            },
        })
    }

    /// Takes the lowest free number.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`], [`ENOSPC`].
    pub(crate) fn take(&self) -> Result<DomainId> {
        let numbers = self.first..=DomainId::LAST;
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
        let mut next = self.first;
        while let Some(number) = self.taken.first_taken(next..=DomainId::LAST) {
            f(DomainId(number));
            next = number.saturating_add(1);
        }
    }
}
