// SPDX-License-Identifier: GPL-2.0
//! What a root partition asks for, by literal offsets; device domains are in [`super::root_domains`].

use super::interrupts::{MapInterrupt, UnmapInterrupt};
use super::list::{ApicId, List, PageNumber};
use super::refusal::Refusal;
use super::root_domains::DomainRequest;
use crate::hypercall::calls::RootCall;
use crate::hypercall::fields::Input;
use crate::hypercall::frame::{Frame, Output};
use crate::ids::{LpIndex, VpIndex};
use crate::status::Status;

/// The number of the root partition.
pub const ROOT: u64 = 1;
/// "The caller's own".
const SELF: u64 = u64::MAX;

/// What a root partition asks for. The partition that a call names is always its own: it has created no others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RootRequest {
    /// How long a logical processor has run.
    LogicalProcessorRunTime(LpIndex, Output),
    /// The partition's own number.
    PartitionId(Output),
    /// A property of the partition.
    PartitionProperty(PartitionProperty, Output),
    /// A property of the machine.
    SystemProperty(SystemProperty, Output),
    /// What a sleep state is called on this machine.
    DefineSleepState(SleepState, SleepTypes),
    /// The machine is to sleep.
    EnterSleepState(SleepState),
    /// A logical processor, and its local APIC, to be started.
    AddLogicalProcessor(LpIndex, ApicId, Output),
    /// All processors that there will be were started.
    AllProcessorsStarted,
    /// A virtual processor, on a logical one.
    CreateVp(VpIndex, LpIndex),
    /// Which virtual processors have these local APICs.
    VpIndexFromApicId(List<ApicId>, Output),
    /// Memory for the hypervisor.
    Deposit(List<PageNumber>),
    /// Some of it is to be given back: the numbers of the pages go to the output.
    Withdraw(Output),
    /// A page of statistics is to be shown; its number goes to the output.
    MapStatistics(Object, Output),
    /// It is to be hidden again.
    UnmapStatistics(Object),
    /// An interrupt; what its source is to be programmed with goes to the output.
    MapInterrupt(MapInterrupt, Output),
    /// The end of one.
    UnmapInterrupt(UnmapInterrupt),
    /// What the IOMMU can do.
    IommuCapabilities(Output),
    /// Something about device domains.
    Domain(DomainRequest),
}

impl RootRequest {
    /// Decodes the input of a call.
    ///
    /// # Errors
    /// [`Status::UNKNOWN_PROPERTY`], or a violation.
    pub(super) fn decode(call: RootCall, frame: &Frame<'_>) -> Result<RootRequest, Refusal> {
        let input = frame.input;
        let output = || frame.output.ok_or(Refusal::from(Status::INVALID_PARAMETER));
        Ok(match call {
            RootCall::LogicalProcessorRunTime => {
                RootRequest::LogicalProcessorRunTime(LpIndex(input.u32(0x00)), output()?)
            }
            RootCall::PartitionId => RootRequest::PartitionId(output()?),
            RootCall::PartitionProperty => {
                own_partition(input, 0x00)?;
                RootRequest::PartitionProperty(PartitionProperty::decode(input.u32(0x08))?, output()?)
            }
            RootCall::PartitionPropertyEx => {
                own_partition(input, 0x00)?;
                RootRequest::PartitionProperty(PartitionProperty::decode_long(input.u32(0x08))?, output()?)
            }
            RootCall::SystemProperty => {
                RootRequest::SystemProperty(SystemProperty::decode(input.u32(0x00))?, output()?)
            }
            RootCall::SetSystemProperty => {
                set_system_property(input).map(|(state, types)| RootRequest::DefineSleepState(state, types))?
            }
            RootCall::EnterSleepState => RootRequest::EnterSleepState(SleepState(input.u32(0x00))),
            // Processor at 0x00, its local APIC at 0x04, proximity domain at 0x08.
            RootCall::AddLogicalProcessor => {
                RootRequest::AddLogicalProcessor(LpIndex(input.u32(0x00)), ApicId(input.u32(0x04)), output()?)
            }
            RootCall::NotifyEvent => all_processors_started(input).map(|()| RootRequest::AllProcessorsStarted)?,
            RootCall::CreateVp => create_vp(input).map(|(vp, lp)| RootRequest::CreateVp(vp, lp))?,
            RootCall::VpIndexFromApicId => {
                own_partition(input, 0x00)?;
                RootRequest::VpIndexFromApicId(List::of(frame.list)?, output()?)
            }
            RootCall::Deposit => {
                own_partition(input, 0x00)?;
                RootRequest::Deposit(List::of(frame.list)?)
            }
            RootCall::Withdraw => {
                own_partition(input, 0x00)?;
                RootRequest::Withdraw(output()?)
            }
            RootCall::MapStatistics => RootRequest::MapStatistics(statistics(input)?, output()?),
            RootCall::UnmapStatistics => RootRequest::UnmapStatistics(statistics(input)?),
            RootCall::MapInterrupt => RootRequest::MapInterrupt(MapInterrupt::decode(input)?, output()?),
            RootCall::UnmapInterrupt => RootRequest::UnmapInterrupt(UnmapInterrupt::decode(input)?),
            RootCall::IommuCapabilities => {
                own_partition(input, 0x00)?;
                if !input.is_zero::<8>(0x08) {
                    return Err(Refusal::parameter("reserved bits"));
                }
                RootRequest::IommuCapabilities(output()?)
            }
            RootCall::Domain(call) => RootRequest::Domain(DomainRequest::decode(call, frame)?),
        })
    }
}

/// A property of the partition that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionProperty {
    /// What it may do.
    PrivilegeFlags,
    /// What it may have other partitions do; longer than 64 bits.
    VmmCapabilities,
}

impl PartitionProperty {
    fn decode(number: u32) -> Result<PartitionProperty, Refusal> {
        match number {
            0x0001_0000 => Ok(PartitionProperty::PrivilegeFlags),
            _ => Err(Status::UNKNOWN_PROPERTY.into()),
        }
    }

    fn decode_long(number: u32) -> Result<PartitionProperty, Refusal> {
        match number {
            0x0009_0007 => Ok(PartitionProperty::VmmCapabilities),
            _ => Err(Status::UNKNOWN_PROPERTY.into()),
        }
    }
}

/// A property of the machine that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemProperty {
    /// Which scheduler the hypervisor has.
    Scheduler,
    /// Where a crashed hypervisor leaves its state.
    CrashDumpArea,
}

impl SystemProperty {
    fn decode(number: u32) -> Result<SystemProperty, Refusal> {
        match number {
            15 => Ok(SystemProperty::Scheduler),
            47 => Ok(SystemProperty::CrashDumpArea),
            _ => Err(Status::UNKNOWN_PROPERTY.into()),
        }
    }
}

/// The number of an ACPI sleep state, as the partition gave it: any 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepState(pub u32);

/// Values of the two sleep registers (PM1A, PM1B), 3 bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepTypes {
    /// Of the first one.
    pub pm1a: u8,
    /// Of the second one.
    pub pm1b: u8,
}

/// Whose statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    /// The hypervisor's.
    Hypervisor,
    /// A logical processor's.
    LogicalProcessor(LpIndex),
    /// A partition's.
    Partition,
    /// A virtual processor's.
    Vp(VpIndex),
}

/// Checks that the partition id at `offset` is the caller's own: it has created no others.
///
/// # Errors
/// A violation.
pub(super) fn own_partition(input: Input<'_>, offset: usize) -> Result<(), Refusal> {
    match input.u64(offset) {
        ROOT | SELF => Ok(()),
        _ => Err(Refusal::violation(Status::INVALID_PARTITION_ID, "a partition that is not there")),
    }
}

/// Partition at 0x00, number at 0x08, logical processor at 0x20. The bytes between belong to fields that Linux leaves as
/// they were.
///
/// # Errors
/// A violation.
fn create_vp(input: Input<'_>) -> Result<(VpIndex, LpIndex), Refusal> {
    own_partition(input, 0x00)?;
    let lp = u32::try_from(input.u64(0x20)).map_err(|_| Refusal::parameter("flags of a virtual processor"))?;
    Ok((VpIndex(input.u32(0x08)), LpIndex(lp)))
}

/// The event at 0x00.
///
/// # Errors
/// A violation: any but that all processors were started.
fn all_processors_started(input: Input<'_>) -> Result<(), Refusal> {
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
fn set_system_property(input: Input<'_>) -> Result<(SleepState, SleepTypes), Refusal> {
    const SLEEP_STATE: u32 = 3;
    if input.u32(0x00) != SLEEP_STATE {
        return Err(Status::UNKNOWN_PROPERTY.into());
    }
    if input.u32(0x04) != 0 || !input.is_zero::<0x3a>(0x0e) {
        return Err(Refusal::parameter("reserved fields of a property"));
    }
    Ok((SleepState(input.u32(0x08)), SleepTypes { pm1a: input.u8(0x0c), pm1b: input.u8(0x0d) }))
}

/// Kind at 0x00, reserved at 0x04; identity at 0x08, whose last byte tells whose view is wanted.
///
/// # Errors
/// A violation; [`Status::INVALID_PARAMETER`] for the view of a parent, which the root partition does not have.
fn statistics(input: Input<'_>) -> Result<Object, Refusal> {
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
        LOGICAL_PROCESSOR => Ok(Object::LogicalProcessor(LpIndex(input.u32(IDENTITY)))),
        PARTITION => own_partition(input, IDENTITY).map(|()| Object::Partition),
        VP => own_partition(input, IDENTITY).map(|()| Object::Vp(VpIndex(input.u32(0x10)))),
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
        assert_eq!(set_system_property(Input::new(&input)), Ok((SleepState(5), SleepTypes { pm1a: 1, pm1b: 2 })));
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
        assert_eq!(object(&[2, 0, 3, 0, 0, 0]), Ok(Object::LogicalProcessor(LpIndex(3))));
        assert_eq!(object(&[0x1_0001, 0, u32::MAX, u32::MAX, 0, 0]), Ok(Object::Partition));
        assert_eq!(object(&[0x1_0002, 0, 1, 0, 2, 0]), Ok(Object::Vp(VpIndex(2))));
        assert_eq!(object(&[0x1_0002, 0, 1, 0, 2, 1 << 24]), Err(Status(5).into()));
        assert!(object(&[1, 0, 0, 0, 0, 2 << 24]).unwrap_err().violation.is_some());
        assert!(object(&[3, 0, 0, 0, 0, 0]).unwrap_err().violation.is_some());
        assert_eq!(object(&[0x1_0001, 0, 7, 0, 0, 0]).unwrap_err().status, Status(0x0d));
    }

    #[test]
    fn properties() {
        assert_eq!(SystemProperty::decode(15), Ok(SystemProperty::Scheduler));
        assert_eq!(SystemProperty::decode(47), Ok(SystemProperty::CrashDumpArea));
        assert_eq!(SystemProperty::decode(3), Err(Status(9).into()));
        assert_eq!(PartitionProperty::decode(0x1_0000), Ok(PartitionProperty::PrivilegeFlags));
        assert_eq!(PartitionProperty::decode(0x1_0001), Err(Status(9).into()));
        assert_eq!(PartitionProperty::decode_long(0x9_0007), Ok(PartitionProperty::VmmCapabilities));
        assert_eq!(PartitionProperty::decode_long(0x2_0005), Err(Status(9).into()));
    }
}
