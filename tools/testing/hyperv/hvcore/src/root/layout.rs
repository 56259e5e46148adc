// SPDX-License-Identifier: GPL-2.0
//! Input blocks, by literal offsets.

use super::processors::LpIndex;
use super::refusal::Refusal;
use super::sleep::SleepTypes;
use super::statistics::Object;
use crate::hypercall::fields::Input;
use crate::ids::VpIndex;
use crate::status::Status;

/// The number of the root partition.
pub const ROOT: u64 = 1;
/// "The caller's own".
const SELF: u64 = u64::MAX;

/// Checks that the partition id at `offset` is the caller's own: it has created no others.
///
/// # Errors
/// A violation.
pub fn own_partition(input: Input<'_>, offset: usize) -> Result<(), Refusal> {
    match input.u64(offset) {
        ROOT | SELF => Ok(()),
        _ => Err(Refusal::violation(Status::INVALID_PARTITION_ID, "a partition that is not there")),
    }
}

/// Processor at 0x00, its local APIC at 0x04, proximity domain at 0x08.
pub fn logical_processor(input: Input<'_>) -> (LpIndex, u32) {
    (LpIndex(input.u32(0x00)), input.u32(0x04))
}

/// Partition at 0x00, number at 0x08, logical processor at 0x20. The bytes between belong to fields that Linux leaves as
/// they were.
///
/// # Errors
/// A violation.
pub fn create_vp(input: Input<'_>) -> Result<(VpIndex, LpIndex), Refusal> {
    own_partition(input, 0x00)?;
    let lp = u32::try_from(input.u64(0x20)).map_err(|_| Refusal::parameter("flags of a virtual processor"))?;
    Ok((VpIndex(input.u32(0x08)), LpIndex(lp)))
}

/// The event at 0x00.
///
/// # Errors
/// A violation: any but that all processors were started.
pub fn all_processors_started(input: Input<'_>) -> Result<(), Refusal> {
    const ALL_LOGICAL_PROCESSORS_STARTED: u32 = 4;
    match (input.u32(0x00), input.u32(0x04)) {
        (ALL_LOGICAL_PROCESSORS_STARTED, 0) => Ok(()),
        _ => Err(Refusal::parameter("an event that is not known")),
    }
}

/// Property at 0x00, reserved at 0x04; state at 0x08, types at 0x0c and 0x0d, the rest zero.
///
/// # Errors
/// [`Status::UNKNOWN_PROPERTY`], or a violation.
pub fn set_system_property(input: Input<'_>) -> Result<(u32, SleepTypes), Refusal> {
    const SLEEP_STATE: u32 = 3;
    if input.u32(0x00) != SLEEP_STATE {
        return Err(Status::UNKNOWN_PROPERTY.into());
    }
    if input.u32(0x04) != 0 || !input.is_zero::<0x3a>(0x0e) {
        return Err(Refusal::parameter("reserved fields of a property"));
    }
    Ok((input.u32(0x08), SleepTypes { pm1a: input.u8(0x0c), pm1b: input.u8(0x0d) }))
}

/// Kind at 0x00, reserved at 0x04; identity at 0x08, whose last byte tells whose view is wanted.
///
/// # Errors
/// A violation; [`Status::INVALID_PARAMETER`] for the view of a parent, which the root partition does not have.
pub fn statistics(input: Input<'_>) -> Result<Object, Refusal> {
    const HYPERVISOR: u32 = 1;
    const LOGICAL_PROCESSOR: u32 = 2;
    const PARTITION: u32 = 0x1_0001;
    const VP: u32 = 0x1_0002;
    const IDENTITY: usize = 0x08;
    const VIEW: usize = 0x17;
    const OWN: u8 = 0;
    const PARENT: u8 = 1;
    match input.u8(VIEW) {
        OWN => {}
        PARENT => return Err(Status::INVALID_PARAMETER.into()),
        _ => return Err(Refusal::parameter("a view of statistics that is not known")),
    }
    if input.u32(0x04) != 0 {
        return Err(Refusal::parameter("reserved fields of statistics"));
    }
    match input.u32(0x00) {
        HYPERVISOR => Ok(Object::Hypervisor),
        LOGICAL_PROCESSOR => Ok(Object::LogicalProcessor(input.u32(IDENTITY))),
        PARTITION => own_partition(input, IDENTITY).map(|()| Object::Partition),
        VP => own_partition(input, IDENTITY).map(|()| Object::Vp(input.u32(0x10))),
        _ => Err(Refusal::parameter("statistics of a kind that is not known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn processors() {
        assert_eq!(logical_processor(Input::new(&words(&[2, 3, 0, 0]))), (LpIndex(2), 3));
        let create = |partition: u32, flags: u32| {
            create_vp(Input::new(&words(&[partition, 0, 2, 0xff00_0000, 9, 9, 9, 9, 2, flags])))
        };
        assert_eq!(create(1, 0), Ok((VpIndex(2), LpIndex(2))));
        assert_eq!(create(2, 0).unwrap_err().status, Status(0x0d));
        assert_eq!(create(1, 1).unwrap_err().status, Status(5));
        assert_eq!(all_processors_started(Input::new(&words(&[4, 0]))), Ok(()));
        assert!(all_processors_started(Input::new(&words(&[2, 0]))).is_err());
    }

    #[test]
    fn sleep() {
        let mut input = vec![0; 0x48];
        input[..4].copy_from_slice(&[3, 0, 0, 0]);
        input[8..14].copy_from_slice(&[5, 0, 0, 0, 1, 2]);
        assert_eq!(set_system_property(Input::new(&input)), Ok((5, SleepTypes { pm1a: 1, pm1b: 2 })));
        for reserved in [0x04, 0x0e, 0x47] {
            let mut input = input.clone();
            input[reserved] = 1;
            assert_eq!(set_system_property(Input::new(&input)).unwrap_err().status, Status(5), "{reserved:#x}");
        }
        input[0] = 4;
        assert_eq!(set_system_property(Input::new(&input)), Err(Status(9).into()));
    }

    #[test]
    fn whose_statistics() {
        let object = |input: &[u32]| statistics(Input::new(&words(input)));
        assert_eq!(object(&[1, 0, 0, 0, 0, 0]), Ok(Object::Hypervisor));
        assert_eq!(object(&[2, 0, 3, 0, 0, 0]), Ok(Object::LogicalProcessor(3)));
        assert_eq!(object(&[0x1_0001, 0, u32::MAX, u32::MAX, 0, 0]), Ok(Object::Partition));
        assert_eq!(object(&[0x1_0002, 0, 1, 0, 2, 0]), Ok(Object::Vp(2)));
        assert_eq!(object(&[0x1_0002, 0, 1, 0, 2, 1 << 24]), Err(Status(5).into()));
        assert!(object(&[1, 0, 0, 0, 0, 2 << 24]).unwrap_err().violation.is_some());
        assert!(object(&[3, 0, 0, 0, 0, 0]).unwrap_err().violation.is_some());
        assert_eq!(object(&[0x1_0001, 0, 7, 0, 0, 0]).unwrap_err().status, Status(0x0d));
    }
}
