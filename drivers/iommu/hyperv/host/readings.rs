// SPDX-License-Identifier: GPL-2.0

//! How the driver reads the hypervisor's answers where no document defines them.
//!
//! The interface names its calls and statuses. It does not say which call answers with which
//! status, nor in what state one kernel leaves the IOMMU for the next one. Each such assumption of
//! the driver is here, with its reason, and how often the driver tries again.
//! Documentation/virt/hyperv/pviommu-assumptions.rst says what happens if one is wrong.

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
        bus_master,
        present::PresentDevice, //
    },
    prelude::*, //
};

/// Statuses that say that some resource has run out, whatever the call was.
const EXHAUSTED: [Status; 7] = [
    Status::INSUFFICIENT_MEMORY,
    Status::INSUFFICIENT_BUFFERS,
    Status::NO_RESOURCES,
    Status::INSUFFICIENT_DEVICE_DOMAINS,
    Status::INSUFFICIENT_ROOT_MEMORY,
    Status::INSUFFICIENT_CONTIGUOUS_MEMORY,
    Status::INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY,
];

/// Statuses that refuse a call as such, whatever its input was.
const FORBIDDEN: [Status; 5] = [
    Status::INVALID_HYPERCALL_CODE,
    Status::ACCESS_DENIED,
    Status::OPERATION_DENIED,
    Status::INVALID_PARTITION_ID,
    Status::FEATURE_UNAVAILABLE,
];

// Kept out of line, and not unrolled in each caller.
#[inline(never)]
fn is_one_of(failure: HypercallError, statuses: &[Status]) -> bool {
    statuses.iter().any(|&status| failure.is(status))
}

/// Whether `failure` says that the hypervisor does not have the device.
///
/// Assumed from the status's name. For a new device this answer is enough. That a known device has
/// gone takes two calls that say so.
pub(crate) fn says_no_such_device(failure: HypercallError) -> bool {
    failure.is(Status::INVALID_DEVICE_ID)
}

/// Whether `failure` of an attach says that the device is in a domain already.
///
/// From the status's name it may be the domain that was asked for, or any other. So the driver
/// detaches the device, and attaches it again. If the hypervisor does not detach the device, the
/// driver believes that it is where the driver has put it.
pub(crate) fn is_attached_already(failure: HypercallError) -> bool {
    failure.is(Status::DEVICE_ALREADY_IN_DOMAIN)
}

/// What the failure of the question about a new device means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceAnswer {
    /// The hypervisor has no such device behind the IOMMU.
    NotBehind,
    /// The hypervisor refuses the question. It may do so for a device that is not behind the IOMMU,
    /// or because it does not know the question.
    Refused,
    /// The hypervisor could not say.
    CouldNotSay,
}

/// Reads the failure of the question about a new device.
///
/// After a refusal the device does DMA as on a host without the IOMMU. No document defines these
/// refusals, and a guest whose boot disk was blocked by mistake could not be used at all. A failure
/// that is no refusal may come from a host in trouble, which may attach the device a moment later.
/// Such a device is blocked.
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

/// How long the driver waits before it asks about a device again, in milliseconds. It asks again
/// when the host could not say, or when another device still has the id. Devices are probed one
/// after the other, so a host that never says delays the boot by the sum of these for each device.
pub(crate) const PAUSES: [i64; 3] = [1, 10, 100];

/// What a refusal to create a domain says about the domain's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberAnswer {
    /// A domain of that number exists. A previous kernel made it, and it outlives that kernel.
    Taken,
    /// Another number would be refused, too.
    Irrelevant,
    /// The refusal may or may not be about the number.
    Unclear,
}

/// Reads a refusal to create a domain.
///
/// Assumed from its name, `KEY_ALREADY_EXISTS` says that the number is taken. A host may use
/// another status for that, and a kernel that was started by kexec must not be left without a
/// domain because of it. So a few other numbers are tried, unless the status is about something
/// else.
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

/// How many numbers in a row may turn out to be taken. Domains outlive the kernel that made them,
/// so a previous kernel may have taken many.
pub(crate) const TAKEN_MAX: usize = 4096;

/// How many numbers may turn out to be taken at a resume, where one CPU runs with interrupts off.
#[cfg(CONFIG_HIBERNATION)]
pub(crate) const TAKEN_AT_RESUME_MAX: usize = 8;

/// How many numbers are tried for one domain, when the hypervisor refuses each with a status that
/// may or may not be about the number.
pub(crate) const DOUBTFUL_MAX: usize = 8;

/// Whether a call that failed has had no effect, and will have none.
///
/// The hypervisor may still carry out a call that timed out or is pending.
pub(crate) fn has_no_effect(failure: HypercallError) -> bool {
    match failure {
        HypercallError::Status(status) => {
            status != Status::TIME_OUT && status != Status::CALL_PENDING
        }
        HypercallError::Unavailable => true,
        HypercallError::NoProgress => false,
    }
}

/// Whether the host will refuse every configuration with a 5-level table.
pub(crate) fn refuses_five_levels(failure: HypercallError) -> bool {
    const REFUSALS: [Status; 3] = [
        Status::INVALID_PARAMETER,
        Status::PROPERTY_VALUE_OUT_OF_RANGE,
        Status::FEATURE_UNAVAILABLE,
    ];
    is_one_of(failure, &REFUSALS)
}

/// Whether the host does not know the call, so that calling again is pointless.
pub(crate) fn is_unknown_call(failure: HypercallError) -> bool {
    failure.is(Status::INVALID_HYPERCALL_CODE)
}

/// Whether this kernel runs after a crash, while devices of the crashed kernel still do DMA.
///
/// The crashed kernel has detached nothing: its devices go on with their DMA through its tables,
/// into its memory. The driver assumes that attachments last until they are changed, so that these
/// devices do not harm this kernel. After a plain kexec this is false: the kernel before has
/// blocked all devices.
pub(crate) fn follows_a_crash() -> bool {
    crash_dump::is_kdump_kernel()
}

/// Whether a device stays where the crashed kernel has left it, until a driver uses it.
///
/// The device may be in the middle of a transfer to the crashed kernel's memory. A change of
/// domains would abort that, and some devices do not survive it. A device that does not master the
/// bus has no transfer under way. It was reset, or is new, and may be in no domain at all; such a
/// device does not stay.
pub(crate) fn stays_until_used(pdev: &PresentDevice) -> bool {
    follows_a_crash() && bus_master::is_on(pdev)
}

/// The address of the window to which message-signalled interrupts are written on x86.
const MSI_WINDOW: Iova = Iova::new(0xfee0_0000);
/// The length of that window in bytes.
const MSI_WINDOW_BYTES: usize = 0x10_0000;

/// Reserves the window of message-signalled interrupts. The driver assumes that the hypervisor
/// translates writes to it in no domain, as the IOMMUs of x86 machines do not.
///
/// Context: may sleep.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn reserve_interrupts(regions: &mut ReservedRegions) -> Result {
    regions.add(MSI_WINDOW, MSI_WINDOW_BYTES, Prot::NONE, ReservedKind::Msi)
}
