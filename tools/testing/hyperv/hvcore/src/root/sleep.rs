// SPDX-License-Identifier: GPL-2.0
//! Switching the machine off: the partition tells once what the state is called on this machine, and enters it later.

use crate::request::refusal::Refusal;
use crate::request::root::{SleepState, SleepTypes};
use crate::status::Status;

/// The state in which the machine is off.
const S5: SleepState = SleepState(5);

/// What the partition wants of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// It goes on.
    None,
    /// It is switched off.
    Off,
}

/// Which states have been told.
#[derive(Debug, Default)]
pub struct Sleep {
    off: Option<SleepTypes>,
}

impl Sleep {
    /// The partition tells what a state is called.
    ///
    /// # Errors
    /// A violation: a value that no register takes. [`Status::PROPERTY_VALUE_OUT_OF_RANGE`] for any state but S5.
    pub fn define(&mut self, state: SleepState, types: SleepTypes) -> Result<(), Refusal> {
        if state != S5 {
            return Err(Status::PROPERTY_VALUE_OUT_OF_RANGE.into());
        }
        if types.pm1a > 7 || types.pm1b > 7 {
            return Err(Refusal::parameter("a sleep type of more than three bits"));
        }
        self.off = Some(types);
        Ok(())
    }

    /// The partition enters a state.
    ///
    /// # Errors
    /// A violation: a state that was not told.
    pub fn enter(&self, state: SleepState) -> Result<Wish, Refusal> {
        match (state, self.off) {
            (S5, Some(_)) => Ok(Wish::Off),
            (S5, None) => Err(Refusal::violation(Status::OPERATION_DENIED, "a sleep state that was not described")),
            _ => Err(Refusal::parameter("a sleep state that is not offered")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_told_before_it_is_entered() {
        let mut sleep = Sleep::default();
        assert_eq!(sleep.enter(SleepState(5)).unwrap_err().status, Status(8));
        assert_eq!(sleep.define(SleepState(3), SleepTypes { pm1a: 1, pm1b: 1 }), Err(Status(0x0a).into()));
        assert_eq!(sleep.define(SleepState(5), SleepTypes { pm1a: 8, pm1b: 0 }).unwrap_err().status, Status(5));
        assert_eq!(sleep.define(SleepState(5), SleepTypes { pm1a: 0, pm1b: 7 }), Ok(()));
        assert_eq!(sleep.enter(SleepState(5)), Ok(Wish::Off));
        assert_eq!(sleep.enter(SleepState(3)).unwrap_err().status, Status(5));
    }
}
