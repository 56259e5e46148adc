// SPDX-License-Identifier: GPL-2.0

//! Why a device is not in a domain.

use kernel::{
    hyperv::status::HypercallError,
    prelude::*, //
};

/// Why a device is not in the domain that was asked for.
#[derive(Clone, Copy)]
pub(crate) enum PutError {
    /// The domain is closed.
    Closed,
    /// The next kernel takes over.
    Left,
    /// The hypervisor refused.
    Refused(HypercallError),
    /// The hypervisor wants memory, but the kernel could not give it any.
    NoMemory(Error),
}

impl From<PutError> for Error {
    fn from(error: PutError) -> Error {
        match error {
            PutError::Closed => EIO,
            PutError::Left => ENODEV,
            PutError::Refused(failure) => failure.into(),
            PutError::NoMemory(error) => error,
        }
    }
}
