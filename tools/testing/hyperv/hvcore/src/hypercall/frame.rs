// SPDX-License-Identifier: GPL-2.0
//! From the registers to a call whose form is sound: the checks that every call shares.

use super::control_word::{ControlWord, InputMode, Reps};
use super::fields::{Input, InputBuffer};
use super::list::{RawList, Span};
use super::schedule::Registers;
use super::table::{lookup, Fast, Kind, Spec};
use crate::ids::Gpa;
use crate::platform::Platform;
use crate::status::Status;

const PAGE_BYTES: u64 = 4096;

/// Where a call's output goes.
///
/// # Invariants
/// It is 8-byte aligned, lies in one page, and was guest RAM when it was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    gpa: Gpa,
    bytes: usize,
}

impl Output {
    /// Its first byte.
    pub const fn gpa(self) -> Gpa {
        self.gpa
    }

    /// Its length.
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    /// Writes the beginning of it.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] when it is not guest RAM.
    pub fn write(self, platform: &mut impl Platform, bytes: &[u8]) -> Result<(), Status> {
        platform.write(self.gpa, bytes).map_err(|_| Status::INVALID_PARAMETER)
    }

    /// Where element `index` of a list of results goes, each of `bytes` bytes. A list may be longer than what the call's
    /// output has at least.
    ///
    /// # Errors
    /// [`Status::INVALID_ALIGNMENT`] when it would lie in the next page.
    pub fn element(self, index: u16, bytes: u64) -> Result<Gpa, Status> {
        let offset = u64::from(index) * bytes;
        if self.gpa.page_offset() + offset + bytes > PAGE_BYTES {
            return Err(Status::INVALID_ALIGNMENT);
        }
        self.gpa.checked_add(offset).ok_or(Status::INVALID_PARAMETER)
    }
}

/// A call whose form is sound.
pub struct Frame<'a> {
    /// What is fixed about the call.
    pub spec: &'static Spec,
    /// Its input without the list.
    pub input: Input<'a>,
    /// Which elements are to be processed, for a rep call.
    pub span: Option<Span>,
    /// The elements, for a rep call that has a list in its input.
    pub list: Option<RawList>,
    /// Where its output goes. Present when the call has an output.
    pub output: Option<Output>,
}

impl<'a> Frame<'a> {
    /// Checks the control word and the parameter blocks of one of the calls in `table` and copies the input to `buffer`.
    ///
    /// # Errors
    /// - [`Status::INVALID_HYPERCALL_CODE`]: the call is not offered.
    /// - [`Status::INVALID_HYPERCALL_INPUT`]: the control word breaks a rule.
    /// - [`Status::INVALID_ALIGNMENT`]: a block is not 8-byte aligned or crosses a page, or the two blocks overlap.
    /// - [`Status::INVALID_PARAMETER`]: a block is not in guest RAM.
    pub fn fetch(
        table: &'static [Spec],
        platform: &impl Platform,
        buffer: &'a mut InputBuffer,
        registers: Registers,
    ) -> Result<Frame<'a>, Status> {
        let Registers { control, rdx, r8 } = registers;
        let spec = lookup(table, ControlWord::code_of(control)).ok_or(Status::INVALID_HYPERCALL_CODE)?;
        let word = ControlWord::decode(control)?;
        let reps = match spec.kind {
            Kind::Simple => word.simple().map(|()| None)?,
            Kind::Rep | Kind::RepOfWords | Kind::RepOfPairs | Kind::Counted => Some(word.reps()?),
        };
        let element_bytes = spec.kind.element_bytes();
        if word.variable_bytes() > spec.variable_max {
            return Err(Status::INVALID_HYPERCALL_INPUT);
        }
        let header_bytes = spec.input_bytes + word.variable_bytes();
        let input = buffer.first(header_bytes).ok_or(Status::INVALID_HYPERCALL_INPUT)?;
        let list = match (word.mode, spec.fast) {
            (InputMode::Fast, Fast::No) => return Err(Status::INVALID_HYPERCALL_INPUT),
            (InputMode::Fast, Fast::Allowed) => {
                fill_from_registers(input, rdx, r8);
                None
            }
            (InputMode::Memory, _) => fetch_block(platform, Gpa(rdx), input, reps, element_bytes)?,
        };
        let output = match spec.output_bytes {
            0 => None,
            bytes => {
                check_place(Gpa(r8), bytes as u64)?;
                let input_bytes = header_bytes + list_bytes(reps, element_bytes);
                if word.mode == InputMode::Memory && overlap((rdx, input_bytes), (r8, bytes)) {
                    return Err(Status::INVALID_ALIGNMENT);
                }
                check_ram(platform, Gpa(r8), bytes as u64)?;
                Some(Output { gpa: Gpa(r8), bytes })
            }
        };
        Ok(Frame { spec, input: Input::new(input), span: reps.map(Span::new), list, output })
    }
}

fn list_bytes(reps: Option<Reps>, element_bytes: usize) -> usize {
    reps.map_or(0, |reps| usize::from(reps.count()) * element_bytes)
}

/// Whether two blocks, each an address and a number of bytes within one page, have a byte in common.
fn overlap(a: (u64, usize), b: (u64, usize)) -> bool {
    a.0 < b.0.saturating_add(b.1 as u64) && b.0 < a.0.saturating_add(a.1 as u64)
}

fn fill_from_registers(bytes: &mut [u8], rdx: u64, r8: u64) {
    bytes.fill(0);
    for (word, register) in bytes.chunks_mut(8).zip([rdx, r8]) {
        word.copy_from_slice(&register.to_le_bytes()[..word.len()]);
    }
}

fn fetch_block(
    platform: &impl Platform,
    gpa: Gpa,
    header: &mut [u8],
    reps: Option<Reps>,
    element_bytes: usize,
) -> Result<Option<RawList>, Status> {
    let list_bytes = list_bytes(reps, element_bytes) as u64;
    check_place(gpa, header.len() as u64 + list_bytes)?;
    platform.read(gpa, header).map_err(|_| Status::INVALID_PARAMETER)?;
    match reps {
        None => Ok(None),
        Some(_) => {
            let first = gpa.checked_add(header.len() as u64).ok_or(Status::INVALID_PARAMETER)?;
            check_ram(platform, first, list_bytes)?;
            Ok((element_bytes > 0).then(|| RawList::new(first, element_bytes)))
        }
    }
}

fn check_place(gpa: Gpa, bytes: u64) -> Result<(), Status> {
    match gpa.0 % 8 == 0 && gpa.page_offset() + bytes <= PAGE_BYTES {
        true => Ok(()),
        false => Err(Status::INVALID_ALIGNMENT),
    }
}

fn check_ram(platform: &impl Platform, gpa: Gpa, bytes: u64) -> Result<(), Status> {
    match platform.is_guest_ram(gpa, bytes) {
        true => Ok(()),
        false => Err(Status::INVALID_PARAMETER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypercall::table::{GUEST_TABLE, ROOT_TABLE};
    use crate::testing::{function, MockPlatform, RAM_BYTES};
    use alloc::vec;
    use proptest::prelude::*;

    fn platform() -> MockPlatform {
        MockPlatform::new(vec![function(3)])
    }

    fn fetch<'a>(
        platform: &MockPlatform,
        buffer: &'a mut InputBuffer,
        control: u64,
        rdx: u64,
        r8: u64,
    ) -> Result<Frame<'a>, Status> {
        Frame::fetch(GUEST_TABLE, platform, buffer, Registers { control, rdx, r8 })
    }

    fn status(control: u64, rdx: u64, r8: u64) -> Status {
        fetch(&platform(), &mut InputBuffer::new(), control, rdx, r8).err().unwrap_or(Status::SUCCESS)
    }

    #[test]
    fn unknown_codes() {
        for code in [0u64, 1, 0x46, 0xb3, 0xb4, 0xc6, 0x8001, 0xffff] {
            assert_eq!(status(code, 0x1000, 0), Status(2), "{code:#x}");
        }
    }

    #[test]
    fn memory_blocks() {
        assert_eq!(status(0xb1, 0x1000, 0), Status(0));
        assert_eq!(status(0xb1, 0x1004, 0), Status(4));
        assert_eq!(status(0xb2, 0x1fe0, 0), Status(0));
        assert_eq!(status(0xb2, 0x1fe8, 0), Status(4));
        assert_eq!(status(0xb1, RAM_BYTES as u64, 0), Status(5));
        assert_eq!(status(0xb1, !0xfff, 0), Status(5));
        // The same page for both blocks is fine, the same bytes are not.
        assert_eq!(status(0x125, 0x1000, 0x1010), Status(0));
        assert_eq!(status(0x125, 0x1018, 0x1000), Status(0));
        for output in [0xff0, 0x1000, 0x1008] {
            assert_eq!(status(0x125, 0x1000, output), Status(4), "{output:#x}");
        }
        assert_eq!(status(0x125, 0x1010, 0x1000), Status(4));
        assert_eq!(status(0x127, 0x1000, 0x1010), Status(4));
        assert_eq!(status(0x127, 0x1000, 0x1018), Status(0));
        assert_eq!(status(0x125, 0x1000, 0x1014), Status(4));
        assert_eq!(status(0x125, 0x1000, 0x1ff0), Status(4));
        assert_eq!(status(0x125, 0x1000, RAM_BYTES as u64), Status(5));
    }

    #[test]
    fn control_words() {
        assert_eq!(status(0x1_0000_00b1, 0x1000, 0), Status(3));
        assert_eq!(status(0xd1, 0x1000, 0), Status(3));
        assert_eq!(status(0x1_0000_00d1, 0x1000, 0), Status(0));
        assert_eq!(status(0x1_00b1, 0x1000, 0), Status(3));
        assert_eq!(status(0x2_00b1, 0x1000, 0), Status(3));
        assert_eq!(status(0x8000_00b1, 0x1000, 0), Status(3));
        assert_eq!(status(65 << 17 | 0x7e, 0x1000, 0), Status(0));
        assert_eq!(status(66 << 17 | 0x7e, 0x1000, 0), Status(3));
    }

    #[test]
    fn lists() {
        let (mut platform, mut buffer) = (platform(), InputBuffer::new());
        platform.put_u64(0x1020, 0x1111);
        platform.put_u64(0x1ff8, 0x2222);
        let control = |count: u64, start: u64| 0xd1 | count << 32 | start << 48;
        let frame = fetch(&platform, &mut buffer, control(508, 0), 0x1000, 0).unwrap();
        let list = frame.list.unwrap();
        assert_eq!(frame.span.unwrap().indices(), 0..508);
        assert_eq!(list.words(&platform, 0), Ok([0x1111, 0]));
        assert_eq!(list.words(&platform, 507), Ok([0x2222, 0]));
        assert_eq!(fetch(&platform, &mut buffer, control(509, 0), 0x1000, 0).err(), Some(Status(4)));
        let frame = fetch(&platform, &mut buffer, control(10, 4), 0x1000, 0).unwrap();
        assert_eq!(frame.span.unwrap().indices(), 4..10);
    }

    #[test]
    fn what_is_counted_has_no_list() {
        let (platform, mut buffer) = (platform(), InputBuffer::new());
        let registers = Registers { control: 0x49 | 5 << 32 | 2 << 48, rdx: 0x1000, r8: 0x2000 };
        let frame = Frame::fetch(ROOT_TABLE, &platform, &mut buffer, registers).unwrap();
        assert_eq!((frame.list, frame.span.map(Span::indices)), (None, Some(2..5)));
    }

    #[test]
    fn results_stay_in_their_page() {
        let output = Output { gpa: Gpa(0x1ff0), bytes: 8 };
        assert_eq!(output.element(0, 8), Ok(Gpa(0x1ff0)));
        assert_eq!(output.element(1, 8), Ok(Gpa(0x1ff8)));
        assert_eq!(output.element(2, 8), Err(Status(4)));
        assert_eq!(output.element(3, 4), Ok(Gpa(0x1ffc)));
        assert_eq!(output.element(4, 4), Err(Status(4)));
    }

    #[test]
    fn signal_event_comes_either_way() {
        let (mut platform, mut buffer) = (platform(), InputBuffer::new());
        let fast = fetch(&platform, &mut buffer, 0x1_005d, 0x0003_0000_0104, 0).unwrap();
        assert_eq!(fast.input.u64(0), 0x0003_0000_0104);
        platform.put_u64(0x2000, 0x0105);
        let memory = fetch(&platform, &mut buffer, 0x5d, 0x2000, 0).unwrap();
        assert_eq!(memory.input.u64(0), 0x0105);
    }

    proptest! {
        #[test]
        fn any_call_is_survived(control: u64, rdx: u64, r8: u64) {
            let (platform, mut buffer) = (platform(), InputBuffer::new());
            let table = GUEST_TABLE[control as usize % GUEST_TABLE.len()].code.0;
            let known = control & 0x0fff_0fff_07ff_0000 | u64::from(table);
            for control in [control, known] {
                if let Ok(frame) = fetch(&platform, &mut buffer, control, rdx & 0x1f_fff8, r8 & 0x1f_fff8) {
                    for index in frame.span.map_or(0..0, Span::indices) {
                        prop_assert!(frame.list.unwrap().words(&platform, index).is_ok());
                    }
                    prop_assert_eq!(frame.output.map_or(0, Output::bytes), frame.spec.output_bytes);
                }
            }
        }
    }
}
