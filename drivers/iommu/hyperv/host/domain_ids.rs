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
    /// The lowest number of a kernel that runs after a crash. The crashed kernel's domains still
    /// exist, and begin at [`Self::FIRST`]. Starting far above avoids collisions, because no
    /// document says how the hypervisor answers one.
    const FIRST_HIGH: u32 = 0x10_0000;
    /// The highest number, far below `HV_DEVICE_DOMAIN_ID_NULL`.
    const LAST: u32 = Ida::LAST;

    pub(crate) fn as_u32(self) -> u32 {
        self.0
    }

    /// The `n`th number for `passage.rs`, counted from 1. [`None`] if `n` is 0 or there are no
    /// more. A guest that needs these numbers has no other domains.
    #[cfg(CONFIG_HIBERNATION)]
    pub(crate) fn of_passage(n: u32) -> Option<DomainId> {
        let id = DomainId(DomainId::FIRST_HIGH.checked_add(n)?);
        (n > 0 && id.0 <= DomainId::LAST).then_some(id)
    }
}

impl fmt::Display for DomainId {
    // Kept out of line: one copy instead of one in each message.
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The numbers in use.
///
/// A number is taken before the hypervisor is told of it. It is given back only after the
/// hypervisor has confirmed that it forgot it. A number that the hypervisor may still know is never
/// given back; that retires it.
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
    /// Far above the numbers of a crashed kernel's domains.
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

    /// Calls `f` for each number that is taken, including the retired ones. A number that is taken
    /// or given back meanwhile may be left out or not.
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
