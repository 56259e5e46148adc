// SPDX-License-Identifier: GPL-2.0
//! Why a call of the root partition fails.

use crate::status::Status;

/// A call that fails, and whether a sound root partition would have made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller is told.
    pub status: Status,
    /// What is wrong with the call; `None` when nothing is.
    pub violation: Option<&'static str>,
}

impl Refusal {
    /// A sound partition never makes this call.
    pub const fn violation(status: Status, what: &'static str) -> Refusal {
        Refusal { status, violation: Some(what) }
    }

    /// A field has no valid value.
    pub const fn parameter(what: &'static str) -> Refusal {
        Refusal::violation(Status::INVALID_PARAMETER, what)
    }
}

/// The caller could not know.
impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Refusal { status, violation: None }
    }
}
