// SPDX-License-Identifier: GPL-2.0

//! Numbers for device domains, which the guest chooses.

use kernel::{
    fmt,
    id_pool::IdPool,
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// The number of a device domain that the hypervisor knows, or may know.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DomainId(u32);

impl DomainId {
    /// The lowest number: 0 is `HV_DEVICE_DOMAIN_ID_DEFAULT`.
    const FIRST: usize = 1;
    /// The highest number: 0xffffffff is `HV_DEVICE_DOMAIN_ID_NULL`.
    const LAST: u32 = 0xffff_fffe;

    pub(crate) fn as_u32(self) -> u32 {
        self.0
    }
}

impl fmt::Display for DomainId {
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
    numbers: Mutex<Numbers>,
}

struct Numbers {
    taken: IdPool,
    /// No number above this one was ever taken.
    highest: u32,
}

impl DomainIds {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            numbers <- new_mutex!(Numbers {
                taken: IdPool::new(),
                highest: 0,
            }),
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
        let mut numbers = self.numbers.lock();
        loop {
            if let Some(unused) = numbers.taken.find_unused_id(DomainId::FIRST) {
                let number = u32::try_from(unused.as_usize()).map_err(|_| ENOSPC)?;
                if number > DomainId::LAST {
                    return Err(ENOSPC);
                }
                unused.acquire();
                numbers.highest = numbers.highest.max(number);
                return Ok(DomainId(number));
            }
            let request = numbers.taken.grow_request().ok_or(ENOSPC)?;
            let resizer = request.realloc(GFP_KERNEL)?;
            numbers.taken.grow(resizer);
        }
    }

    /// Gives back a number that the hypervisor does not know.
    ///
    /// Context: may sleep.
    pub(crate) fn give_back(&self, id: DomainId) {
        self.numbers.lock().taken.release_id(id.0 as usize);
    }

    /// Calls `f` for each number that is taken, retired ones among them. None is taken or given
    /// back meanwhile.
    ///
    /// Context: may sleep.
    pub(crate) fn each_taken(&self, mut f: impl FnMut(DomainId)) {
        let mut numbers = self.numbers.lock();
        for number in DomainId::FIRST as u32..=numbers.highest {
            let unused = numbers.taken.find_unused_id(number as usize);
            if unused.is_none_or(|unused| unused.as_u32() != number) {
                f(DomainId(number));
            }
        }
    }
}
