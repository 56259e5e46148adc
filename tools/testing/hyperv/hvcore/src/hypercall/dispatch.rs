// SPDX-License-Identifier: GPL-2.0
//! The table of calls, and the checks that every call shares.

use super::codes::CallCode;
use super::control_word::{ControlWord, InputMode, Reps};
use super::fields::{Input, InputBuffer};
use crate::ids::Gpa;
use crate::platform::Platform;
use crate::root::calls::RootCall;
use crate::status::Status;

/// A call that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Sends a message to a connection.
    PostMessage,
    /// Signals a connection.
    SignalEvent,
    /// Sends a device's interrupt elsewhere.
    RetargetInterrupt,
    /// Reads memory-mapped I/O.
    MmioRead,
    /// Writes memory-mapped I/O.
    MmioWrite,
    /// A call of the para-virtual IOMMU.
    Iommu(IommuCall),
    /// A call of the root partition.
    Root(RootCall),
}

/// A call of the para-virtual IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuCall {
    /// What the IOMMU can do.
    GetCapabilities,
    /// Whether a device is behind it.
    GetDeviceProperty,
    /// Creates a domain.
    Create,
    /// Gives a domain its translation.
    Configure,
    /// Puts a device into a domain.
    Attach,
    /// Takes a device out of its domain.
    Detach,
    /// Deletes a domain.
    Delete,
    /// Flushes a domain.
    Flush,
    /// Flushes ranges of a domain.
    FlushList,
}

/// Whether a call has a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has none.
    Simple,
    /// Behind the header follows a list of 64-bit elements.
    Rep,
    /// Behind the header follows a list of 32-bit elements.
    RepOfWords,
    /// Behind the header follows a list of pairs of 64-bit words.
    RepOfPairs,
    /// The elements are counted, but there is no list in the input.
    Counted,
}

impl Kind {
    const fn element_bytes(self) -> usize {
        match self {
            Kind::Simple | Kind::Counted => 0,
            Kind::RepOfWords => 4,
            Kind::Rep => 8,
            Kind::RepOfPairs => 16,
        }
    }
}

/// What is fixed about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its number.
    pub code: CallCode,
    /// What to do.
    pub call: Call,
    /// Whether it has a list.
    pub kind: Kind,
    /// Size of the fixed part of the input, in bytes.
    pub input_bytes: usize,
    /// Longest variable header, in bytes.
    pub variable_max: usize,
    /// Size of the output, in bytes.
    pub output_bytes: usize,
    /// Whether the input may come in registers.
    pub fast: Fast,
}

/// Whether a call's input may come in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fast {
    /// In memory only.
    No,
    /// In memory or registers.
    Allowed,
}

/// A call without list and variable header, in memory only.
pub(crate) const fn simple(code: CallCode, call: Call, input_bytes: usize, output_bytes: usize) -> Spec {
    Spec { code, call, kind: Kind::Simple, input_bytes, variable_max: 0, output_bytes, fast: Fast::No }
}

const fn iommu(code: CallCode, call: IommuCall, input_bytes: usize, output_bytes: usize) -> Spec {
    simple(code, Call::Iommu(call), input_bytes, output_bytes)
}

/// Every call that is offered to a guest, by ascending number.
pub const TABLE: &[Spec] = &[
    simple(CallCode::POST_MESSAGE, Call::PostMessage, 0x100, 0),
    Spec { fast: Fast::Allowed, ..simple(CallCode::SIGNAL_EVENT, Call::SignalEvent, 0x08, 0) },
    Spec { variable_max: 65 * 8, ..simple(CallCode::RETARGET_INTERRUPT, Call::RetargetInterrupt, 0x38, 0) },
    // The input has 4 more bytes of padding, which older headers leave out: they are not looked at.
    iommu(CallCode::CREATE_DEVICE_DOMAIN, IommuCall::Create, 0x1c, 0),
    iommu(CallCode::ATTACH_DEVICE_DOMAIN, IommuCall::Attach, 0x20, 0),
    iommu(CallCode::DETACH_DEVICE_DOMAIN, IommuCall::Detach, 0x10, 0),
    iommu(CallCode::DELETE_DEVICE_DOMAIN, IommuCall::Delete, 0x18, 0),
    iommu(CallCode::CONFIGURE_DEVICE_DOMAIN, IommuCall::Configure, 0x28, 0),
    iommu(CallCode::FLUSH_DEVICE_DOMAIN, IommuCall::Flush, 0x20, 0),
    Spec { kind: Kind::Rep, ..iommu(CallCode::FLUSH_DEVICE_DOMAIN_LIST, IommuCall::FlushList, 0x20, 0) },
    simple(CallCode::MMIO_READ, Call::MmioRead, 0x10, 0x40),
    simple(CallCode::MMIO_WRITE, Call::MmioWrite, 0x50, 0),
    iommu(CallCode::GET_IOMMU_CAPABILITIES, IommuCall::GetCapabilities, 0x10, 0x18),
    iommu(CallCode::GET_LOGICAL_DEVICE_PROPERTY, IommuCall::GetDeviceProperty, 0x18, 0x10),
];

/// The call with this number, of those in `table`.
pub fn lookup(table: &'static [Spec], code: CallCode) -> Option<&'static Spec> {
    table.iter().find(|spec| spec.code == code)
}

/// The list of a rep call, as far as it is to be processed.
///
/// # Invariants
/// `start < end <= count <= 4095`; the list, where there is one, lies in one page of guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepList {
    first: Gpa,
    element_bytes: usize,
    start: u16,
    end: u16,
}

/// Whether elements of a list are left for later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// All are to be processed now.
    None,
    /// Some are left.
    Some,
}

impl RepList {
    /// Indices of the elements to process.
    pub fn indices(self) -> core::ops::Range<u16> {
        self.start..self.end
    }

    /// Leaves at most `elements` to process (0 counts as 1: a call that makes no progress hangs the guest). Tells
    /// whether some are left out.
    pub fn limit(&mut self, elements: u16) -> Rest {
        let end = self.end;
        self.end = end.min(self.start.saturating_add(elements.max(1)));
        if self.end == end {
            Rest::None
        } else {
            Rest::Some
        }
    }

    /// Reads an element, zero-extended; the first word of a pair, 0 where the elements are only counted.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] when it is not in guest RAM.
    pub fn element(self, platform: &impl Platform, index: u16) -> Result<u64, Status> {
        self.word(platform, index, 0)
    }

    /// Reads the second word of a pair; 0 where the elements are no pairs.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] when it is not in guest RAM.
    pub fn second_word(self, platform: &impl Platform, index: u16) -> Result<u64, Status> {
        self.word(platform, index, 8)
    }

    fn word(self, platform: &impl Platform, index: u16, within: usize) -> Result<u64, Status> {
        let mut bytes = [0; 8];
        let offset = u64::from(index) * self.element_bytes as u64 + within as u64;
        let gpa = self.first.checked_add(offset).ok_or(Status::INVALID_PARAMETER)?;
        let length = self.element_bytes.saturating_sub(within).min(bytes.len());
        platform.read(gpa, &mut bytes[..length]).map_err(|_| Status::INVALID_PARAMETER)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// A call whose form is sound.
pub struct Request<'a> {
    /// What is fixed about the call.
    pub spec: &'static Spec,
    /// Its input without the list.
    pub input: Input<'a>,
    /// Its list, for a rep call.
    pub list: Option<RepList>,
    /// Where its output goes: aligned, in one page of guest RAM. Present when the call has an output.
    pub output: Option<Gpa>,
}

impl<'a> Request<'a> {
    /// Checks a call of a guest, see [`Request::fetch_of`].
    ///
    /// # Errors
    /// As there.
    pub fn fetch(
        platform: &impl Platform,
        buffer: &'a mut InputBuffer,
        control: u64,
        rdx: u64,
        r8: u64,
    ) -> Result<Request<'a>, Status> {
        Request::fetch_of(TABLE, platform, buffer, control, rdx, r8)
    }

    /// Checks the control word and the parameter blocks of one of the calls in `table` and copies the input to `buffer`.
    ///
    /// # Errors
    /// - [`Status::INVALID_HYPERCALL_CODE`]: the call is not offered.
    /// - [`Status::INVALID_HYPERCALL_INPUT`]: the control word breaks a rule.
    /// - [`Status::INVALID_ALIGNMENT`]: a block is not 8-byte aligned or crosses a page, or the two blocks overlap.
    /// - [`Status::INVALID_PARAMETER`]: a block is not in guest RAM.
    pub fn fetch_of(
        table: &'static [Spec],
        platform: &impl Platform,
        buffer: &'a mut InputBuffer,
        control: u64,
        rdx: u64,
        r8: u64,
    ) -> Result<Request<'a>, Status> {
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
                Some(Gpa(r8))
            }
        };
        Ok(Request { spec, input: Input::new(input), list, output })
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
) -> Result<Option<RepList>, Status> {
    let list_bytes = list_bytes(reps, element_bytes) as u64;
    check_place(gpa, header.len() as u64 + list_bytes)?;
    platform.read(gpa, header).map_err(|_| Status::INVALID_PARAMETER)?;
    match reps {
        None => Ok(None),
        Some(reps) => {
            let first = gpa.checked_add(header.len() as u64).ok_or(Status::INVALID_PARAMETER)?;
            check_ram(platform, first, list_bytes)?;
            Ok(Some(RepList { first, element_bytes, start: reps.start(), end: reps.count() }))
        }
    }
}

fn check_place(gpa: Gpa, bytes: u64) -> Result<(), Status> {
    const PAGE_BYTES: u64 = 4096;
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
    use crate::testing::{function, MockPlatform, RAM_BYTES};
    use alloc::vec;
    use proptest::prelude::*;

    fn platform() -> MockPlatform {
        MockPlatform::new(vec![function(3)])
    }

    fn status(control: u64, rdx: u64, r8: u64) -> Status {
        Request::fetch(&platform(), &mut InputBuffer::new(), control, rdx, r8).err().unwrap_or(Status::SUCCESS)
    }

    #[test]
    fn the_table_is_sorted_and_named() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(TABLE.iter().all(|spec| spec.code.name().is_some()));
        let literal: Vec<_> = TABLE.iter().map(|spec| (spec.code.0, spec.input_bytes, spec.output_bytes)).collect();
        let expected = [
            (0x5c, 256, 0),
            (0x5d, 8, 0),
            (0x7e, 56, 0),
            (0xb1, 28, 0),
            (0xb2, 32, 0),
            (0xc4, 16, 0),
            (0xc5, 24, 0),
            (0xce, 40, 0),
            (0xd0, 32, 0),
            (0xd1, 32, 0),
            (0x106, 16, 64),
            (0x107, 80, 0),
            (0x125, 16, 24),
            (0x127, 24, 16),
        ];
        assert_eq!(literal, expected);
    }

    #[test]
    fn codes_and_calls_agree_on_what_is_iommu() {
        for spec in TABLE {
            assert_eq!(spec.code.is_iommu(), matches!(spec.call, Call::Iommu(_)), "{}", spec.code);
        }
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
        let list = Request::fetch(&platform, &mut buffer, control(508, 0), 0x1000, 0).unwrap().list.unwrap();
        assert_eq!(list.indices(), 0..508);
        assert_eq!(list.element(&platform, 0), Ok(0x1111));
        assert_eq!(list.element(&platform, 507), Ok(0x2222));
        assert_eq!(Request::fetch(&platform, &mut buffer, control(509, 0), 0x1000, 0).err(), Some(Status(4)));
        let mut list = Request::fetch(&platform, &mut buffer, control(10, 4), 0x1000, 0).unwrap().list.unwrap();
        assert_eq!(list.indices(), 4..10);
        assert_eq!(list.limit(6), Rest::None);
        assert_eq!(list.indices(), 4..10);
        assert_eq!(list.limit(3), Rest::Some);
        assert_eq!(list.indices(), 4..7);
        assert_eq!(list.limit(0), Rest::Some);
        assert_eq!(list.indices(), 4..5);
    }

    #[test]
    fn signal_event_comes_either_way() {
        let (mut platform, mut buffer) = (platform(), InputBuffer::new());
        let fast = Request::fetch(&platform, &mut buffer, 0x1_005d, 0x0003_0000_0104, 0).unwrap();
        assert_eq!(fast.input.u64(0), 0x0003_0000_0104);
        platform.put_u64(0x2000, 0x0105);
        let memory = Request::fetch(&platform, &mut buffer, 0x5d, 0x2000, 0).unwrap();
        assert_eq!(memory.input.u64(0), 0x0105);
    }

    proptest! {
        #[test]
        fn any_call_is_survived(control: u64, rdx: u64, r8: u64) {
            let (platform, mut buffer) = (platform(), InputBuffer::new());
            let table = TABLE[control as usize % TABLE.len()].code.0;
            let known = control & 0x0fff_0fff_07ff_0000 | u64::from(table);
            for control in [control, known] {
                if let Ok(request) = Request::fetch(&platform, &mut buffer, control, rdx & 0x1f_fff8, r8 & 0x1f_fff8) {
                    if let Some(list) = request.list {
                        for index in list.indices() {
                            prop_assert!(list.element(&platform, index).is_ok());
                        }
                    }
                    prop_assert_eq!(request.output.is_some(), request.spec.output_bytes > 0);
                }
            }
        }
    }
}
