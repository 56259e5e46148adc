// SPDX-License-Identifier: GPL-2.0
//! The statuses that calls are made to fail with, and what the kernel makes of each.

use hvcore::status::Status;
use nix::errno::Errno;

/// The statuses that every call fails with.
pub const STATUSES: [Status; 11] = [
    Status::INVALID_HYPERCALL_CODE,
    Status::INVALID_PARAMETER,
    Status::ACCESS_DENIED,
    Status::OPERATION_DENIED,
    Status::INSUFFICIENT_MEMORY,
    Status::OBJECT_IN_USE,
    Status::INVALID_DEVICE_ID,
    Status::INVALID_DEVICE_STATE,
    Status::DEVICE_ALREADY_IN_DOMAIN,
    Status::OPERATION_FAILED,
    Status::TIME_OUT,
];

/// The errno that the kernel's table of hypercall statuses has for a status.
pub fn errno(status: Status) -> Errno {
    match status {
        Status::INVALID_HYPERCALL_CODE | Status::INVALID_PARAMETER | Status::INVALID_PARTITION_ID => Errno::EINVAL,
        Status::ACCESS_DENIED | Status::OPERATION_DENIED => Errno::EACCES,
        Status::INSUFFICIENT_MEMORY | Status::INSUFFICIENT_ROOT_MEMORY | Status::INSUFFICIENT_CONTIGUOUS_MEMORY => {
            Errno::ENOMEM
        }
        Status::DEVICE_ALREADY_IN_DOMAIN => Errno::EEXIST,
        _ => Errno::EIO,
    }
}

/// Whether a hypervisor that creates no domain may mean that the number is taken.
pub fn may_be_about_the_number(status: Status) -> bool {
    !matches!(
        status,
        Status::INSUFFICIENT_MEMORY
            | Status::INSUFFICIENT_ROOT_MEMORY
            | Status::INSUFFICIENT_CONTIGUOUS_MEMORY
            | Status::INVALID_HYPERCALL_CODE
            | Status::ACCESS_DENIED
            | Status::OPERATION_DENIED
            | Status::INVALID_PARTITION_ID
    )
}

/// The name as the kernel prints it.
pub fn short_name(status: Status) -> &'static str {
    status.name().unwrap_or_default().trim_start_matches("HV_STATUS_")
}
