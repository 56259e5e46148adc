// SPDX-License-Identifier: GPL-2.0
//! Why a call fails, and how it ends.

use crate::hypercall::control_word::Outcome;
use crate::status::Status;

/// A call that fails, and whether a sound caller would have made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What the caller is told.
    pub status: Status,
    /// What is wrong with the call; `None` when nothing is.
    pub violation: Option<&'static str>,
}

impl Refusal {
    /// A sound caller never makes this call.
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

/// How a call ended, and what was wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What the caller is told.
    pub outcome: Outcome,
    /// The violation's name.
    pub violation: Option<&'static str>,
}

impl Ended {
    /// It failed at this element of its list, before which all are done; 0 for a call without one.
    pub const fn at(index: u16, Refusal { status, violation }: Refusal) -> Ended {
        Ended { outcome: Outcome { status, reps_completed: index }, violation }
    }
}

/// Of a call without a list.
impl From<Result<(), Refusal>> for Ended {
    fn from(result: Result<(), Refusal>) -> Self {
        match result {
            Ok(()) => Ended { outcome: Status::SUCCESS.into(), violation: None },
            Err(refusal) => Ended::at(0, refusal),
        }
    }
}

impl From<Result<(), Status>> for Ended {
    fn from(result: Result<(), Status>) -> Self {
        result.map_err(Refusal::from).into()
    }
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        Ended { outcome: status.into(), violation: None }
    }
}
