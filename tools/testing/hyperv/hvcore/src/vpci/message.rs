// SPDX-License-Identifier: GPL-2.0
//! Encodings of the vPCI protocol's messages (the payload of a packet).

use alloc::vec::Vec;

use crate::ids::{Gpa, NumaNode};
use crate::nt_status::NtStatus;
use crate::platform::FunctionInfo;
use crate::wire::{array_at, u16_at, u32_at, u64_at, u8_at, Writer};

use super::{Slot, Version};
use crate::request::retarget::InterruptMessage;

const BASE: u32 = 0x4249_0000;
const BUS_RELATIONS: u32 = BASE;
const QUERY_BUS_RELATIONS: u32 = BASE + 0x01;
const QUERY_RESOURCE_REQUIREMENTS: u32 = BASE + 0x05;
const BUS_D0_ENTRY: u32 = BASE + 0x07;
const BUS_D0_EXIT: u32 = BASE + 0x08;
const EJECT: u32 = BASE + 0x0b;
const EJECTION_COMPLETE: u32 = BASE + 0x0f;
const RESOURCES_ASSIGNED: u32 = BASE + 0x10;
const RESOURCES_RELEASED: u32 = BASE + 0x11;
const QUERY_PROTOCOL_VERSION: u32 = BASE + 0x13;
const CREATE_INTERRUPT: u32 = BASE + 0x14;
const DELETE_INTERRUPT: u32 = BASE + 0x15;
const RESOURCES_ASSIGNED_2: u32 = BASE + 0x16;
const CREATE_INTERRUPT_2: u32 = BASE + 0x17;
const BUS_RELATIONS_2: u32 = BASE + 0x19;
/// A function's flag: the node is valid.
const NUMA_AFFINITY: u32 = 1 << 0;
const CREATE_INTERRUPT_3: u32 = BASE + 0x1b;
/// The last message type that the protocol defines, in either direction.
const LAST: u32 = BASE + 0x1b;

/// Bytes of `RESOURCES_ASSIGNED`, up to its reserved tail.
const ASSIGNED_BYTES: usize = 148;
/// Bytes of `RESOURCES_ASSIGNED2`.
const ASSIGNED_2_BYTES: usize = 202;
/// Processors in the list of a `CREATE_INTERRUPT2` or `3`.
const PROCESSOR_LIST: usize = 32;
/// Bytes of the answer to `QUERY_RESOURCE_REQUIREMENTS`.
const REQUIREMENTS_BYTES: usize = 28;
/// Bytes of the answer to a `CREATE_INTERRUPT`.
const CREATED_BYTES: usize = 24;

/// Which processors may take an interrupt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Targets {
    /// Bit n stands for processor n.
    Mask(u64),
    /// Processor numbers, at most 32.
    List(Vec<u16>),
}

/// A `CREATE_INTERRUPT`'s content, whatever its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InterruptRequest {
    /// First vector.
    pub(super) vector: u32,
    /// Delivery mode as in a local APIC's tables; 0 is fixed.
    pub(super) delivery_mode: u8,
    /// Number of consecutive vectors.
    pub(super) count: u16,
    /// Who takes them until they are retargeted.
    pub(super) targets: Targets,
}

/// The three generations of messages that grew with the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The original.
    First,
    /// Its successor.
    Second,
    /// The latest.
    Third,
}

impl Form {
    /// The form of `CREATE_INTERRUPT` that goes with a version.
    pub(super) fn of_create(version: Version) -> Form {
        match version {
            Version::V1_1 => Form::First,
            Version::V1_2 | Version::V1_3 => Form::Second,
            Version::V1_4 => Form::Third,
        }
    }

    /// The form of `RESOURCES_ASSIGNED` that goes with a version.
    pub(super) fn of_assigned(version: Version) -> Form {
        match version {
            Version::V1_1 => Form::First,
            Version::V1_2 | Version::V1_3 | Version::V1_4 => Form::Second,
        }
    }
}

/// A message from the guest. Slots are as sent, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// May we speak this version?
    QueryProtocolVersion { version: u32 },
    /// Which functions are there?
    QueryBusRelations,
    /// How large are a function's BARs?
    QueryResourceRequirements { slot: u32 },
    /// Power on; configuration space is to appear at `window`.
    BusD0Entry { window: Gpa },
    /// Power off.
    BusD0Exit,
    /// A function's resources are in place.
    ResourcesAssigned { form: Form, slot: u32 },
    /// They are given back.
    ResourcesReleased { slot: u32 },
    /// Allocates interrupts.
    CreateInterrupt { form: Form, slot: u32, request: InterruptRequest },
    /// Gives them back.
    DeleteInterrupt { slot: u32, message: InterruptMessage, count: u16 },
    /// The guest has let go of a function.
    EjectionComplete { slot: u32 },
    /// A message of the protocol that this server does not implement.
    Unimplemented { kind: u32 },
}

/// Why a message could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DecodeError {
    /// It ends too early for its type.
    Short,
    /// There is no such type.
    UnknownType(u32),
}

impl Request {
    /// Reads a message. Packets are padded to 8 bytes, so a longer one is fine.
    pub(super) fn decode(bytes: &[u8]) -> Result<Request, DecodeError> {
        let kind = u32_at(bytes, 0).ok_or(DecodeError::Short)?;
        Request::body(kind, bytes).ok_or(DecodeError::Short).and_then(|body| body.ok_or(DecodeError::UnknownType(kind)))
    }

    /// `None`: too short; `Some(None)`: unknown type.
    fn body(kind: u32, bytes: &[u8]) -> Option<Option<Request>> {
        let slot = || u32_at(bytes, 4);
        let create = |form, request| Some(Request::CreateInterrupt { form, slot: slot()?, request });
        let request = match kind {
            QUERY_PROTOCOL_VERSION => Request::QueryProtocolVersion { version: u32_at(bytes, 4)? },
            QUERY_BUS_RELATIONS => Request::QueryBusRelations,
            QUERY_RESOURCE_REQUIREMENTS => Request::QueryResourceRequirements { slot: slot()? },
            BUS_D0_ENTRY => Request::BusD0Entry { window: Gpa(u64_at(bytes, 8)?) },
            BUS_D0_EXIT => Request::BusD0Exit,
            RESOURCES_ASSIGNED => {
                bytes.get(..ASSIGNED_BYTES)?;
                Request::ResourcesAssigned { form: Form::First, slot: slot()? }
            }
            RESOURCES_ASSIGNED_2 => {
                bytes.get(..ASSIGNED_2_BYTES)?;
                Request::ResourcesAssigned { form: Form::Second, slot: slot()? }
            }
            RESOURCES_RELEASED => Request::ResourcesReleased { slot: slot()? },
            CREATE_INTERRUPT => create(Form::First, first_form(bytes)?)?,
            CREATE_INTERRUPT_2 => create(Form::Second, second_form(bytes)?)?,
            CREATE_INTERRUPT_3 => create(Form::Third, third_form(bytes)?)?,
            DELETE_INTERRUPT => Request::DeleteInterrupt {
                slot: slot()?,
                count: u16_at(bytes, 10)?,
                message: InterruptMessage { data: u32_at(bytes, 12)?, address: u64_at(bytes, 16)? },
            },
            EJECTION_COMPLETE => {
                bytes.get(..12)?;
                Request::EjectionComplete { slot: slot()? }
            }
            BASE..=LAST => Request::Unimplemented { kind },
            _ => return Some(None),
        };
        Some(Some(request))
    }
}

fn first_form(bytes: &[u8]) -> Option<InterruptRequest> {
    Some(InterruptRequest {
        vector: u32::from(u8_at(bytes, 8)?),
        delivery_mode: u8_at(bytes, 9)?,
        count: u16_at(bytes, 10)?,
        targets: Targets::Mask(u64_at(bytes, 16)?),
    })
}

fn second_form(bytes: &[u8]) -> Option<InterruptRequest> {
    Some(InterruptRequest {
        vector: u32::from(u8_at(bytes, 8)?),
        delivery_mode: u8_at(bytes, 9)?,
        count: u16_at(bytes, 10)?,
        targets: processor_list(bytes, 12)?,
    })
}

fn third_form(bytes: &[u8]) -> Option<InterruptRequest> {
    Some(InterruptRequest {
        vector: u32_at(bytes, 8)?,
        delivery_mode: u8_at(bytes, 12)?,
        count: u16_at(bytes, 14)?,
        targets: processor_list(bytes, 16)?,
    })
}

/// A processor count and a list with room for 32; a count beyond that gives an empty list, which no server accepts.
fn processor_list(bytes: &[u8], offset: usize) -> Option<Targets> {
    let count = usize::from(u16_at(bytes, offset)?);
    let list: [u8; 2 * PROCESSOR_LIST] = array_at(bytes, offset + 2)?;
    let used = if count > PROCESSOR_LIST { 0 } else { count };
    Some(Targets::List(list.chunks_exact(2).take(used).filter_map(|pair| u16_at(pair, 0)).collect()))
}

/// One line of a list of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FunctionDescription {
    pub(super) slot: Slot,
    pub(super) info: FunctionInfo,
    /// Distinguishes functions that look alike; the guest names a slot after it.
    pub(super) serial: u32,
    /// Where it is, if the guest is told.
    pub(super) node: Option<NumaNode>,
}

/// The list of a bus's functions, in the form that goes with `version`.
pub(super) fn bus_relations(version: Version, functions: &[FunctionDescription]) -> Vec<u8> {
    let with_numa = version >= Version::V1_3;
    let kind = if with_numa { BUS_RELATIONS_2 } else { BUS_RELATIONS };
    let mut writer = Writer::new().u32(kind).u32(functions.len() as u32);
    for function in functions {
        let info = &function.info;
        writer = writer.u32(info.vendor_device).u32(info.class_revision).u32(info.subsystem);
        writer = writer.u32(function.slot.to_wire()).u32(function.serial);
        if with_numa {
            // Flags, NUMA node, padding.
            writer = match function.node {
                Some(NumaNode(node)) => writer.u32(NUMA_AFFINITY).u16(node).u16(0),
                None => writer.u32(0).u16(0).u16(0),
            };
        }
    }
    writer.finish()
}

/// Asks the guest to give up a function.
pub(super) fn eject(slot: Slot) -> Vec<u8> {
    Writer::new().u32(EJECT).u32(slot.to_wire()).finish()
}

/// A completion with nothing but a status.
pub(crate) fn status(status: NtStatus) -> Vec<u8> {
    // The guest ignores completions of 20 bytes or less, packet header included.
    Writer::new().u32(status.0).zeroes_to(8).finish()
}

/// A completion with a failure, as long as the answer that it stands for: the guest reads the status of such a one only.
pub(super) fn refusal(request: &Request, failure: NtStatus) -> Vec<u8> {
    let bytes = match request {
        Request::QueryResourceRequirements { .. } => REQUIREMENTS_BYTES,
        Request::CreateInterrupt { .. } => CREATED_BYTES,
        _ => return status(failure),
    };
    Writer::new().u32(failure.0).zeroes_to(bytes).finish()
}

/// The answer to `QUERY_RESOURCE_REQUIREMENTS`.
pub(super) fn resource_requirements(bars: [u32; 6]) -> Vec<u8> {
    bars.into_iter().fold(Writer::new().u32(NtStatus::SUCCESS.0), Writer::u32).finish()
}

/// The answer to a `CREATE_INTERRUPT` that succeeded.
pub(super) fn interrupt_created(message: InterruptMessage, count: u16) -> Vec<u8> {
    let head = Writer::new().u32(NtStatus::SUCCESS.0).u32(0);
    head.u16(0).u16(count).u32(message.data).u64(message.address).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::function;
    use proptest::prelude::*;

    #[test]
    fn every_prefix_of_a_message_is_short() {
        let full = |kind: u32, bytes: usize| Writer::new().u32(kind).zeroes_to(bytes).finish();
        for (kind, bytes) in [
            (QUERY_PROTOCOL_VERSION, 8),
            (QUERY_BUS_RELATIONS, 4),
            (QUERY_RESOURCE_REQUIREMENTS, 8),
            (BUS_D0_ENTRY, 16),
            (BUS_D0_EXIT, 4),
            (RESOURCES_ASSIGNED, 148),
            (RESOURCES_ASSIGNED_2, 202),
            (RESOURCES_RELEASED, 8),
            (CREATE_INTERRUPT, 24),
            (CREATE_INTERRUPT_2, 78),
            (CREATE_INTERRUPT_3, 82),
            (DELETE_INTERRUPT, 24),
            (EJECTION_COMPLETE, 12),
        ] {
            let message = full(kind, bytes);
            assert!(Request::decode(&message).is_ok(), "{kind:#x}");
            for length in 0..bytes {
                assert_eq!(Request::decode(&message[..length]), Err(DecodeError::Short), "{kind:#x} of {length}");
            }
        }
    }

    #[test]
    fn types_without_an_implementation() {
        assert_eq!(Request::decode(&[9, 0, 0x49, 0x42]), Ok(Request::Unimplemented { kind: BASE + 9 }));
        assert_eq!(Request::decode(&[0x1c, 0, 0x49, 0x42]), Err(DecodeError::UnknownType(BASE + 0x1c)));
        assert_eq!(Request::decode(&[0xff, 0xff, 0x48, 0x42]), Err(DecodeError::UnknownType(BASE - 1)));
    }

    #[test]
    fn interrupt_requests_of_all_forms() {
        let first = Writer::new().u32(CREATE_INTERRUPT).u32(0x21).u8(0xef).u8(1).u16(3).u32(0).u64(6).finish();
        let request = InterruptRequest { vector: 0xef, delivery_mode: 1, count: 3, targets: Targets::Mask(6) };
        assert_eq!(Request::decode(&first), Ok(Request::CreateInterrupt { form: Form::First, slot: 0x21, request }));

        let second = Writer::new().u32(CREATE_INTERRUPT_2).u32(0).u8(0x31).u8(0).u16(1).u16(2).u16(7).u16(9);
        let request = InterruptRequest { vector: 0x31, delivery_mode: 0, count: 1, targets: Targets::List(vec![7, 9]) };
        let decoded = Request::decode(&second.zeroes_to(80).finish());
        assert_eq!(decoded, Ok(Request::CreateInterrupt { form: Form::Second, slot: 0, request }));

        let third = Writer::new().u32(CREATE_INTERRUPT_3).u32(0).u32(0x131).u8(0).u8(0).u16(1).u16(33).u16(7);
        let request = InterruptRequest { vector: 0x131, delivery_mode: 0, count: 1, targets: Targets::List(vec![]) };
        let decoded = Request::decode(&third.zeroes_to(88).finish());
        assert_eq!(decoded, Ok(Request::CreateInterrupt { form: Form::Third, slot: 0, request }));
    }

    #[test]
    fn lists_of_functions() {
        let slot = Slot::new(0, 1).unwrap();
        let one = [FunctionDescription { slot, info: function(3), serial: 7, node: None }];
        let old = bus_relations(Version::V1_2, &one);
        assert_eq!(old.len(), 28);
        assert_eq!(old[..8], [0, 0, 0x49, 0x42, 1, 0, 0, 0]);
        assert_eq!(old[8..16], [0x36, 0x1b, 0x10, 0, 2, 2, 8, 1]);
        assert_eq!(old[20..28], [0x20, 0, 0, 0, 7, 0, 0, 0]);
        let new = bus_relations(Version::V1_3, &one);
        assert_eq!(new.len(), 36);
        assert_eq!((new[0], &new[8..28]), (0x19, &old[8..28]));
        assert_eq!(new[28..36], [0; 8]);
        let near = [FunctionDescription { node: Some(NumaNode(0x102)), ..one[0] }];
        assert_eq!(bus_relations(Version::V1_3, &near)[28..36], [1, 0, 0, 0, 2, 1, 0, 0]);
        assert_eq!(bus_relations(Version::V1_2, &near), old);
        assert_eq!(bus_relations(Version::V1_4, &[]).len(), 8);
    }

    #[test]
    fn answers() {
        assert_eq!(status(NtStatus::REVISION_MISMATCH), [0x59, 0, 0, 0xc0, 0, 0, 0, 0]);
        assert_eq!(resource_requirements([1, 0, 0, 0, 0, 2]).len(), REQUIREMENTS_BYTES);
        let created = interrupt_created(InterruptMessage { address: 0xfee0_0030, data: 5 }, 2);
        assert_eq!(created, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 5, 0, 0, 0, 0x30, 0, 0xe0, 0xfe, 0, 0, 0, 0]);
        assert_eq!(created.len(), CREATED_BYTES);
        let refused = |request| refusal(&request, NtStatus::INSUFFICIENT_RESOURCES);
        assert_eq!(refused(Request::BusD0Exit), [0x9a, 0, 0, 0xc0, 0, 0, 0, 0]);
        assert_eq!(refused(Request::QueryResourceRequirements { slot: 0 }).len(), REQUIREMENTS_BYTES);
        assert_eq!(eject(Slot::new(1, 2).unwrap()), [0x0b, 0, 0x49, 0x42, 0x41, 0, 0, 0]);
    }

    proptest! {
        #[test]
        fn decoding_never_panics(kind in 0_u32..0x20, tail in proptest::collection::vec(any::<u8>(), 0..256)) {
            let message = Writer::new().u32(BASE + kind).bytes(&tail).finish();
            let _ = Request::decode(&message);
            let _ = Request::decode(&tail);
        }
    }
}
