// SPDX-License-Identifier: GPL-2.0
//! The control word in RCX, and the result word in RAX.

use super::codes::CallCode;
use crate::status::Status;

/// Where a call's input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputMode {
    /// In memory: RDX and R8 are the addresses of the input and output blocks.
    Memory,
    /// In RDX and R8 themselves.
    Fast,
}

/// Which elements of a rep call's list are to be processed.
///
/// # Invariants
/// `start < count <= 4095`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reps {
    count: u16,
    start: u16,
}

impl Reps {
    /// Elements in the list.
    pub const fn count(self) -> u16 {
        self.count
    }

    /// First element to process.
    pub const fn start(self) -> u16 {
        self.start
    }
}

/// A control word without reserved bits set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlWord {
    /// Which call.
    pub code: CallCode,
    /// Where its input is.
    pub mode: InputMode,
    variable_words: u16,
    rep_count: u16,
    rep_start: u16,
}

/// Bits 30:27, 31 (nested: there is no hypervisor below to ask), 47:44 and 63:60.
const RESERVED: u64 = 0xf000_f000_f800_0000;

impl ControlWord {
    /// The call code of any control word, sound or not.
    pub const fn code_of(raw: u64) -> CallCode {
        CallCode(raw as u16)
    }

    /// Decodes a control word.
    ///
    /// # Errors
    /// [`Status::INVALID_HYPERCALL_INPUT`] when a reserved bit or the nested bit is set.
    pub const fn decode(raw: u64) -> Result<ControlWord, Status> {
        if raw & RESERVED != 0 {
            return Err(Status::INVALID_HYPERCALL_INPUT);
        }
        Ok(ControlWord {
            code: ControlWord::code_of(raw),
            mode: if raw >> 16 & 1 == 0 { InputMode::Memory } else { InputMode::Fast },
            variable_words: (raw >> 17 & 0x3ff) as u16,
            rep_count: (raw >> 32 & 0xfff) as u16,
            rep_start: (raw >> 48 & 0xfff) as u16,
        })
    }

    /// Size of the variable header, in bytes: a multiple of 8, at most 8184.
    pub const fn variable_bytes(self) -> usize {
        self.variable_words as usize * 8
    }

    /// Checks that this is the control word of a simple call.
    ///
    /// # Errors
    /// [`Status::INVALID_HYPERCALL_INPUT`] when it has rep fields.
    pub const fn simple(self) -> Result<(), Status> {
        match (self.rep_count, self.rep_start) {
            (0, 0) => Ok(()),
            _ => Err(Status::INVALID_HYPERCALL_INPUT),
        }
    }

    /// The raw control word `raw` with another start index: what a hypervisor leaves in RCX when it lets the guest
    /// execute the instruction again.
    pub const fn with_start(raw: u64, start: u16) -> u64 {
        raw & !(0xfff << 48) | (start as u64 & 0xfff) << 48
    }

    /// The rep fields of a rep call.
    ///
    /// # Errors
    /// [`Status::INVALID_HYPERCALL_INPUT`] when the count is 0, or not above the start index.
    pub const fn reps(self) -> Result<Reps, Status> {
        if self.rep_start >= self.rep_count {
            return Err(Status::INVALID_HYPERCALL_INPUT);
        }
        Ok(Reps { count: self.rep_count, start: self.rep_start })
    }
}

/// The result word in RAX: the status in bits 15:0, the elements done in bits 43:32, the others reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResultWord(pub u64);

impl ResultWord {
    /// The status in it.
    pub const fn status(self) -> Status {
        Status(self.0 as u16)
    }

    /// The elements done, 0..=4095.
    pub const fn reps(self) -> u16 {
        (self.0 >> 32 & 0xfff) as u16
    }

    /// The outcome that it tells of, without reserved bits.
    pub const fn outcome(self) -> Outcome {
        Outcome { status: self.status(), reps_completed: self.reps() }
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its status.
    pub status: Status,
    /// Elements of a rep call done, counted from element 0 on; 0 for a simple call. At most 4095.
    pub reps_completed: u16,
}

impl Outcome {
    /// The result word.
    pub const fn word(self) -> ResultWord {
        ResultWord(self.status.0 as u64 | (self.reps_completed as u64 & 0xfff) << 32)
    }
}

/// The outcome of a simple call, or of a rep call that did nothing.
impl From<Status> for Outcome {
    fn from(status: Status) -> Self {
        Outcome { status, reps_completed: 0 }
    }
}

impl From<Result<(), Status>> for Outcome {
    fn from(result: Result<(), Status>) -> Self {
        result.err().unwrap_or(Status::SUCCESS).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn linux_single_list_flush() {
        let word = ControlWord::decode(0x0000_0001_0000_00d1).unwrap();
        assert_eq!(word.code, CallCode::FLUSH_DEVICE_DOMAIN_LIST);
        assert_eq!(word.mode, InputMode::Memory);
        assert_eq!(word.variable_bytes(), 0);
        assert_eq!(word.reps(), Ok(Reps { count: 1, start: 0 }));
        assert_eq!(word.simple(), Err(Status(3)));
    }

    #[test]
    fn fields() {
        let word = ControlWord::decode(0x0005_0009_0007_007e).unwrap();
        assert_eq!((word.mode, word.variable_bytes()), (InputMode::Fast, 24));
        let reps = word.reps().unwrap();
        assert_eq!((reps.count(), reps.start()), (9, 5));
    }

    #[test]
    fn every_reserved_bit_is_refused() {
        for bit in (27..=31).chain(44..=47).chain(60..=63) {
            assert_eq!(ControlWord::decode(1 << bit | 0xb1), Err(Status(3)), "bit {bit}");
        }
        for bit in (0..=26).chain(32..=43).chain(48..=59) {
            assert!(ControlWord::decode(1 << bit).is_ok(), "bit {bit}");
        }
    }

    #[test]
    fn a_start_index_is_put_in() {
        assert_eq!(ControlWord::with_start(0x0003_0009_0000_00d1, 5), 0x0005_0009_0000_00d1);
        assert_eq!(ControlWord::with_start(0x0009_0000_00d1, 0xffff), 0x0fff_0009_0000_00d1);
    }

    #[test]
    fn rep_rules() {
        let reps = |raw| ControlWord::decode(raw).unwrap().reps();
        assert_eq!(reps(0x0000_0000_0000_00d1), Err(Status(3)));
        assert_eq!(reps(0x0002_0002_0000_00d1), Err(Status(3)));
        assert_eq!(reps(0x0003_0002_0000_00d1), Err(Status(3)));
        assert!(reps(0x0001_0002_0000_00d1).is_ok());
        let simple = |raw| ControlWord::decode(raw).unwrap().simple();
        assert_eq!(simple(0x0001_0000_0000_00b1), Err(Status(3)));
        assert_eq!(simple(0x0000_0000_0000_00b1), Ok(()));
    }

    #[test]
    fn result_word() {
        assert_eq!(Outcome { status: Status(5), reps_completed: 508 }.word(), ResultWord(0x0000_01fc_0000_0005));
        assert_eq!(Outcome::from(Ok(())).word(), ResultWord(0));
        assert_eq!(Outcome::from(Err(Status(0x66))).word(), ResultWord(0x66));
        assert_eq!(ResultWord(0xffff_ffff_0001_0066).status(), Status(0x66));
        assert_eq!(ResultWord(0xffff_f123_0001_0066).reps(), 0x123);
        assert_eq!(ResultWord(u64::MAX).outcome(), Outcome { status: Status(0xffff), reps_completed: 0xfff });
    }

    proptest! {
        #[test]
        fn decoding_loses_nothing(raw: u64) {
            if let Ok(word) = ControlWord::decode(raw) {
                let fast = u64::from(word.mode == InputMode::Fast);
                let back = u64::from(word.code.0) | fast << 16 | (word.variable_bytes() as u64 / 8) << 17
                    | u64::from(word.rep_count) << 32 | u64::from(word.rep_start) << 48;
                prop_assert_eq!(back, raw);
            } else {
                prop_assert_ne!(raw & 0xf000_f000_f800_0000, 0);
            }
        }
    }
}
