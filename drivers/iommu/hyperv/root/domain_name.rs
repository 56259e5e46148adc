// SPDX-License-Identifier: GPL-2.0

//! Numbers of device domains, which the partition chooses.

use super::device_domain::{
    HV_DEVICE_DOMAIN_ID_DEFAULT,
    HV_DEVICE_DOMAIN_ID_NULL, //
};
use kernel::{
    fmt,
    ida::Ida,
    prelude::*, //
};

/// The number of a device domain that the hypervisor knows, or may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct DomainName(u32);

impl DomainName {
    /// The domain that translates nothing. It always exists, and devices start in it.
    pub(crate) const IDENTITY: DomainName = DomainName(HV_DEVICE_DOMAIN_ID_DEFAULT);
    /// The domain that lets nothing through. It always exists.
    pub(crate) const BLOCKING: DomainName = DomainName(HV_DEVICE_DOMAIN_ID_NULL);

    /// The lowest number of a domain that the driver creates.
    const FIRST: u32 = 1;
    /// The lowest number of a kernel that runs after a crash. The crashed kernel's domains still
    /// exist, and begin at [`Self::FIRST`].
    const FIRST_HIGH: u32 = 0x10_0000;
    /// The highest number.
    const LAST: u32 = Ida::LAST;

    pub(crate) fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DomainName {
    // Kept out of line: one copy instead of one in each message.
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DomainName::IDENTITY => f.write_str("identity"),
            DomainName::BLOCKING => f.write_str("blocking"),
            DomainName(number) => write!(f, "{number}"),
        }
    }
}

/// The numbers in use.
///
/// A number is taken before the hypervisor is told of it. It is given back only after the
/// hypervisor has confirmed that it forgot it. A number that the hypervisor may still know is never
/// given back.
#[pin_data]
pub(crate) struct DomainNames {
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

impl DomainNames {
    pub(crate) fn new(base: Base) -> impl PinInit<Self> {
        pin_init!(Self {
            taken <- Ida::new(),
            first: match base {
                Base::Low => DomainName::FIRST,
                Base::High => DomainName::FIRST_HIGH,
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
    pub(crate) fn take(&self) -> Result<DomainName> {
        let numbers = self.first..=DomainName::LAST;
        self.taken.take(numbers, GFP_KERNEL).map(DomainName)
    }

    /// Gives back a number that the hypervisor does not know.
    ///
    /// Context: any but NMI.
    pub(crate) fn give_back(&self, name: DomainName) {
        self.taken.give_back(name.0);
    }
}
