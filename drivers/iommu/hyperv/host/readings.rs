// SPDX-License-Identifier: GPL-2.0

//! What the driver takes the hypervisor to mean where no document says it.
//!
//! The interface names its calls and statuses. It does not say which call answers with which
//! status, nor what a kernel finds that another one ran before. Every such choice of the driver
//! stands here, with its reason; Documentation/virt/hyperv/pviommu-assumptions.rst tells what
//! happens where a choice is wrong.

use kernel::{
    crash_dump,
    hyperv::status::{
        HypercallError,
        Status, //
    },
    iommu::{
        domain::Prot,
        resv::{
            ReservedKind,
            ReservedRegions, //
        },
        Iova, //
    },
    pci::{
        self,
        bus_master, //
    },
    prelude::*, //
};

/// Statuses that say that something has run out, whatever was asked for.
const EXHAUSTED: [Status; 7] = [
    Status::INSUFFICIENT_MEMORY,
    Status::INSUFFICIENT_BUFFERS,
    Status::NO_RESOURCES,
    Status::INSUFFICIENT_DEVICE_DOMAINS,
    Status::INSUFFICIENT_ROOT_MEMORY,
    Status::INSUFFICIENT_CONTIGUOUS_MEMORY,
    Status::INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY,
];

/// Statuses that refuse a call as such, whatever its input says.
const FORBIDDEN: [Status; 5] = [
    Status::INVALID_HYPERCALL_CODE,
    Status::ACCESS_DENIED,
    Status::OPERATION_DENIED,
    Status::INVALID_PARTITION_ID,
    Status::FEATURE_UNAVAILABLE,
];

// Once, not unrolled in each caller.
#[inline(never)]
fn is_one_of(failure: HypercallError, statuses: &[Status]) -> bool {
    statuses.iter().any(|&status| failure.is(status))
}

/// Whether `failure` says that the hypervisor does not have the device.
///
/// By the status's name. It is believed alone only when a device appears: that a device has gone
/// takes two calls that say so.
pub(crate) fn says_no_such_device(failure: HypercallError) -> bool {
    failure.is(Status::INVALID_DEVICE_ID)
}

/// Whether an attach that failed leaves the device in the domain that was asked for.
///
/// By the status's name: the device was in that very domain before.
pub(crate) fn is_attached_already(failure: HypercallError) -> bool {
    failure.is(Status::DEVICE_ALREADY_IN_DOMAIN)
}

/// What a failed question about a new device says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceAnswer {
    /// The hypervisor has no such device behind the IOMMU.
    NotBehind,
    /// The question is refused, as it may be for a device that is not behind the IOMMU, or on a
    /// host that does not know the question.
    Refused,
    /// The hypervisor could not say.
    CouldNotSay,
}

/// Reads a failed question about a new device.
///
/// A refusal lets the device do DMA as on a host without the IOMMU: a guest whose boot disk was
/// blocked for a word that nobody has defined could not be used at all. What is no refusal may come
/// of a host in trouble, which may attach the device a moment later; such a device is blocked.
#[inline(never)]
pub(crate) fn device_answer(failure: HypercallError) -> DeviceAnswer {
    const REFUSALS: [Status; 6] = [
        Status::INVALID_HYPERCALL_INPUT,
        Status::INVALID_PARAMETER,
        Status::UNKNOWN_PROPERTY,
        Status::PROPERTY_VALUE_OUT_OF_RANGE,
        Status::NOT_FOUND,
        Status::PROCESSOR_FEATURE_NOT_SUPPORTED,
    ];
    if says_no_such_device(failure) {
        DeviceAnswer::NotBehind
    } else if is_one_of(failure, &REFUSALS) || is_one_of(failure, &FORBIDDEN) {
        DeviceAnswer::Refused
    } else {
        DeviceAnswer::CouldNotSay
    }
}

/// What a refused creation of a domain says about the domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberAnswer {
    /// A domain of that number exists: one of a kernel before this one, which outlives it.
    Taken,
    /// Another number would be refused, too.
    Irrelevant,
    /// It may or may not be about the number.
    Unclear,
}

/// Reads a refused creation of a domain.
///
/// That `KEY_ALREADY_EXISTS` is the word for a number that is taken follows from its name. A host
/// may have another word. A kernel that is started by kexec must not be left without a domain for
/// that, so other numbers are tried, a few, unless the status is about something else.
#[inline(never)]
pub(crate) fn number_answer(failure: HypercallError) -> NumberAnswer {
    if failure.is(Status::KEY_ALREADY_EXISTS) {
        NumberAnswer::Taken
    } else if is_one_of(failure, &EXHAUSTED)
        || is_one_of(failure, &FORBIDDEN)
        || failure == HypercallError::Unavailable
    {
        NumberAnswer::Irrelevant
    } else {
        NumberAnswer::Unclear
    }
}

/// Whether the hypervisor has done nothing of a call that failed.
///
/// A call that timed out or is pending may be carried out yet.
pub(crate) fn has_no_effect(failure: HypercallError) -> bool {
    match failure {
        HypercallError::Status(status) => {
            status != Status::TIME_OUT && status != Status::CALL_PENDING
        }
        HypercallError::Unavailable => true,
        HypercallError::NoProgress => false,
    }
}

/// Whether a refused configuration with a 5-level table is one that the host will never take.
pub(crate) fn refuses_five_levels(failure: HypercallError) -> bool {
    const REFUSALS: [Status; 3] = [
        Status::INVALID_PARAMETER,
        Status::PROPERTY_VALUE_OUT_OF_RANGE,
        Status::FEATURE_UNAVAILABLE,
    ];
    is_one_of(failure, &REFUSALS)
}

/// Whether the host does not know a call. It is not asked again.
pub(crate) fn is_unknown_call(failure: HypercallError) -> bool {
    failure.is(Status::INVALID_HYPERCALL_CODE)
}

/// Whether this kernel runs after a crash, beside what the crashed kernel left running.
///
/// The crashed kernel has detached nothing: its devices go on with their DMA, through its tables,
/// into its memory. That an attachment stays until it is changed, so that they do no harm to this
/// kernel, is assumed. A kernel that was started by a plain kexec is no such kernel: the one before
/// has blocked all devices.
pub(crate) fn follows_a_crash() -> bool {
    crash_dump::is_kdump_kernel()
}

/// Whether a device stays where another kernel has left it, until a driver uses it.
///
/// That kernel has crashed. Its device may be in the middle of a transfer, which a change of
/// domains would abort; some devices do not survive that. The transfer goes to the crashed kernel's
/// memory. A device that does not master the bus has none under way: it was reset, or is new, and
/// may be in no domain at all.
pub(crate) fn stays_until_used(pdev: &pci::Device) -> bool {
    follows_a_crash() && bus_master::is_on(pdev)
}

/// Where message-signalled interrupts go on x86.
const MSI_WINDOW: Iova = Iova::new(0xfee0_0000);
/// Its length in bytes.
const MSI_WINDOW_BYTES: usize = 0x10_0000;

/// Reserves the window of message-signalled interrupts. That the hypervisor does not translate what
/// devices write there, in no domain, is assumed: it is so with the IOMMUs of x86 machines.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn reserve_interrupts(regions: &mut ReservedRegions) -> Result {
    regions.add(MSI_WINDOW, MSI_WINDOW_BYTES, Prot::NONE, ReservedKind::Msi)
}
