// SPDX-License-Identifier: GPL-2.0
//! Whatever the bytes of an input are: they become a request that, put into bytes again by hand ([`encode`]), means the
//! same, or they are refused with a status that the call's documentation names.

mod encode;
mod strategy;

use proptest::prelude::*;

use super::root_domains::{DomainRequest, Map, Name};
use super::*;
use crate::hypercall::fields::InputBuffer;
use crate::hypercall::schedule::Registers;
use crate::hypercall::table::{Fast, Kind, GUEST_TABLE, ROOT_TABLE};
use crate::ids::{DomainId, Gpa, LogicalDeviceId};
use crate::platform::Translation;
use crate::testing::MockPlatform;
use encode::encode;
use strategy::{any_fields, any_spec};

/// Where the input block is, and where the output block.
const INPUT: u64 = 0x1000;
const OUTPUT: u64 = 0x3000;
/// Elements of every list.
const ELEMENTS: u64 = 3;

/// Makes the call with this input, and lets `look` see what becomes of it.
fn with_call<T>(spec: &'static Spec, input: &[u8], look: impl FnOnce(&Hypercall<'_>, &MockPlatform) -> T) -> T {
    let mut platform = MockPlatform::new(vec![]);
    platform.ram[INPUT as usize..][..input.len()].copy_from_slice(input);
    let table = if matches!(spec.call, Call::Root(_)) { ROOT_TABLE } else { GUEST_TABLE };
    let variable = (input.len() - spec.input_bytes) as u64 / 8;
    let reps = if spec.kind == Kind::Simple { 0 } else { ELEMENTS << 32 | 1 << 48 };
    let control = u64::from(spec.code.0) | variable << 17 | reps;
    let mut buffer = InputBuffer::new();
    let registers = Registers { control, rdx: INPUT, r8: OUTPUT };
    let frame = Frame::fetch(table, &platform, &mut buffer, registers).expect("the form is sound");
    look(&Hypercall::decode(&frame), &platform)
}

/// The statuses that a call's input can be refused with.
fn documented(spec: &Spec) -> &'static [Status] {
    const INPUT: Status = Status::INVALID_HYPERCALL_INPUT;
    const PARAMETER: Status = Status::INVALID_PARAMETER;
    const PARTITION: Status = Status::INVALID_PARTITION_ID;
    const DEVICE: Status = Status::INVALID_DEVICE_ID;
    const PROPERTY: Status = Status::UNKNOWN_PROPERTY;
    match spec.code.0 {
        // MMIO, messages, events, statistics' relatives: a field has no valid value.
        0x5c | 0x5d | 0x87 | 0x106 | 0x107 => &[PARAMETER],
        0x7e => &[INPUT, PARAMETER, PARTITION],
        // Property of a device.
        0x127 => &[PARTITION, PARAMETER, PROPERTY, DEVICE],
        // Those that name a device, and with it a domain or none.
        0xb2 | 0x7c => &[PARTITION, PARAMETER, DEVICE],
        0xc4 => &[PARTITION, DEVICE],
        // Those that name a domain, or an object of the partition's.
        0x6c | 0x6d | 0x7d | 0xb1 | 0xb3 | 0xb4 | 0xc5..=0xc8 | 0xce | 0xd0 | 0xd1 | 0x125 | 0x4e => {
            &[PARTITION, PARAMETER]
        }
        // Those with nothing but a partition.
        0x48 | 0x49 | 0x9a => &[PARTITION],
        0x44 | 0x101 => &[PARTITION, PROPERTY],
        0x6f => &[PROPERTY, PARAMETER],
        0x7b => &[PROPERTY],
        // Every input is sound.
        0x04 | 0x46 | 0x76 | 0x84 => &[],
        code => panic!("{code:#x} is in no row"),
    }
}

#[test]
fn every_call_of_the_tables_has_a_row() {
    for spec in GUEST_TABLE.iter().chain(ROOT_TABLE) {
        documented(spec);
    }
}

/// The elements' types agree with the tables about their sizes.
#[test]
fn lists_are_read_with_the_right_stride() {
    for spec in GUEST_TABLE.iter().chain(ROOT_TABLE) {
        let expected = match spec.code.0 {
            0x9a => 4,
            0xc7 => 16,
            0x48 | 0xb3 | 0xc6 | 0xc8 | 0xd1 => 8,
            _ => 0,
        };
        assert_eq!(spec.kind.element_bytes(), expected, "{}", spec.code);
    }
    assert_eq!(<list::PageNumber as list::Element>::BYTES, 8);
    assert_eq!(<iommu::FlushRange as list::Element>::BYTES, 8);
    assert_eq!(<list::Placement as list::Element>::BYTES, 16);
    assert_eq!(<list::ApicId as list::Element>::BYTES, 4);
}

/// In registers and in memory, the same words are the same request.
#[test]
fn a_fast_call_means_the_same() {
    let spec = GUEST_TABLE.iter().find(|spec| spec.fast == Fast::Allowed).unwrap();
    let word = 0x0003_0000_0104u64;
    let (platform, mut buffer) = (MockPlatform::new(vec![]), InputBuffer::new());
    let registers = Registers { control: u64::from(spec.code.0) | 1 << 16, rdx: word, r8: 0 };
    let frame = Frame::fetch(GUEST_TABLE, &platform, &mut buffer, registers).unwrap();
    let fast = Hypercall::decode(&frame).request;
    with_call(spec, &word.to_le_bytes(), |call, _| assert_eq!(call.request, fast));
    assert!(matches!(fast, Ok(Request::SignalEvent(_))));
}

/// The order of the checks: of two mistakes, the one that is told.
#[test]
fn the_first_mistake_is_told() {
    let status = |code: u16, words: &[u64]| {
        let spec = GUEST_TABLE.iter().chain(ROOT_TABLE).find(|spec| spec.code.0 == code).unwrap();
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.resize(spec.input_bytes, 0);
        with_call(spec, &bytes, |call, _| call.request.map(|_| ()).map_err(|refusal| refusal.status.0))
    };
    const SELF: u64 = u64::MAX;
    const PCI: u64 = 1 << 62;
    // The partition before the domain, the domain before the device or the flags.
    assert_eq!(status(0xb2, &[0, 1, 0, PCI]), Err(0x0d));
    assert_eq!(status(0xb2, &[SELF, 0, 0, PCI]), Err(5));
    assert_eq!(status(0xb2, &[SELF, 0, 7 << 32 | 1, PCI]), Err(0x57));
    assert_eq!(status(0xb1, &[0, 0, 7 << 32 | 1, 4]), Err(0x0d));
    // A reserved field before the property, the property before the device.
    assert_eq!(status(0x127, &[SELF, PCI, 1 << 32 | 9]), Err(5));
    assert_eq!(status(0x127, &[SELF, PCI, 9]), Err(9));
    assert_eq!(status(0x127, &[SELF, PCI, 10]), Err(0x57));
    assert_eq!(status(0xc4, &[0, PCI]), Err(0x0d));
    // A retarget's form before its partition, that before its fields.
    assert_eq!(status(0x7e, &[0, 0, 1, 0, 0, 2 << 32 | 0x31, 0]), Err(3));
    assert_eq!(status(0x7e, &[0, 0, 2, 0, 0, 0, 1]), Err(0x0d));
}

proptest! {
    #[test]
    fn any_bytes_are_a_request_or_refused_as_documented(spec in any_spec(), fields in any_fields(), extra in 0usize..4) {
        let mut bytes = fields;
        bytes.resize(spec.input_bytes + (8 * extra).min(spec.variable_max), 0);
        with_call(spec, &bytes, |call, platform| {
            let request = match call.request {
                Ok(request) => request,
                Err(refusal) => {
                    prop_assert!(documented(spec).contains(&refusal.status), "{}: {refusal:?}", spec.code);
                    return Ok(());
                }
            };
            let again = encode(&request);
            prop_assert!(again.len() >= spec.input_bytes, "{}", spec.code);
            with_call(spec, &again, |second, _| {
                prop_assert_eq!(second.request, Ok(request), "{}", spec.code);
                prop_assert_eq!(second.subject, call.subject, "{}", spec.code);
                Ok(())
            })?;
            // Elements are read when their turn comes, or refused as bad parameters.
            if let Request::Iommu(IommuRequest::FlushList(_, ranges)) = request {
                for index in 0..ELEMENTS as u16 {
                    let result = ranges.get(platform, index);
                    prop_assert!(result.is_ok_and(|range| range.page_shift() <= 52)
                        || result.is_err_and(|refusal| refusal.status == Status::INVALID_PARAMETER));
                }
            }
            Ok(())
        })?;
    }

    /// What a call names does not depend on whether it is sound.
    #[test]
    fn a_request_names_what_its_call_names(spec in any_spec(), fields in any_fields()) {
        let mut bytes = fields;
        bytes.resize(spec.input_bytes, 0);
        with_call(spec, &bytes, |call, _| {
            if let Ok(Request::Root(RootRequest::Domain(request))) = call.request {
                let named = match request {
                    DomainRequest::Detach(_) => None,
                    DomainRequest::Create(name)
                    | DomainRequest::Delete(name)
                    | DomainRequest::Attach(name, _)
                    | DomainRequest::Map(Map { domain: name, .. }, _, _)
                    | DomainRequest::MapSparse(Map { domain: name, .. }, _)
                    | DomainRequest::Unmap(name, _)
                    | DomainRequest::UnmapSparse(name, _)
                    | DomainRequest::Query(name, _, _) => Some(match name {
                        Name::Identity => DomainId(0),
                        Name::Blocked => DomainId(u32::MAX),
                        Name::Own(id) => id,
                    }),
                };
                prop_assert_eq!(call.subject, Subject { domain: named, device: None });
            }
            let Ok(Request::Iommu(request)) = call.request else { return Ok(()) };
            let expected: (Option<DomainId>, Option<LogicalDeviceId>) = match request {
                IommuRequest::GetCapabilities(_) => (None, None),
                IommuRequest::GetDeviceProperty(device, _) | IommuRequest::Detach(device) => (None, Some(device)),
                IommuRequest::Attach(domain, device) => (Some(domain), Some(device)),
                IommuRequest::Create(domain)
                | IommuRequest::Configure(domain, _)
                | IommuRequest::Delete(domain)
                | IommuRequest::Flush(domain)
                | IommuRequest::FlushList(domain, _) => (Some(domain), None),
            };
            prop_assert_eq!((call.subject.domain, call.subject.device), expected);
            if let IommuRequest::Configure(_, Translation::Stage1 { root: Gpa(root), .. }) = request {
                prop_assert_eq!(root & !0x000f_ffff_ffff_f000, 0);
            }
            Ok(())
        })?;
    }
}
