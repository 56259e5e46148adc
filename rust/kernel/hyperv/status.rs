// SPDX-License-Identifier: GPL-2.0

//! Hypercall status codes.
//!
//! The numbers are those of the Hypervisor Top-Level Functional Specification, and, for the device
//! domain calls, of the interface between Linux and Hyper-V (`HV_STATUS_*` in
//! [`include/hyperv/hvgdk_mini.h`](srctree/include/hyperv/hvgdk_mini.h) where Linux has a name for
//! them). The errnos agree with `hv_result_to_errno()`.

use crate::{
    error::Error,
    fmt,
    prelude::*, //
};

/// A failed hypercall's status: any 16-bit code but 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(u16);

/// Declares the known codes: constant, value, errno.
macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal => $errno:ident,)*) => {
        impl Status {
            $($(#[$doc])* pub const $name: Status = Status($code);)*

            /// The hypervisor's name of the code, without the prefix `HV_STATUS_`; "UNKNOWN" for a
            /// code that has none here.
            pub fn name(self) -> &'static str {
                match self.0 {
                    $($code => stringify!($name),)*
                    _ => "UNKNOWN",
                }
            }

            /// The errno that stands for the code; [`EIO`] for a code that has none.
            pub fn to_error(self) -> Error {
                match self.0 {
                    $($code => $errno,)*
                    _ => EIO,
                }
            }
        }
    };
}

statuses! {
    /// The hypervisor does not know the call.
    INVALID_HYPERCALL_CODE = 0x0002 => EINVAL,
    /// The control word is malformed.
    INVALID_HYPERCALL_INPUT = 0x0003 => EINVAL,
    /// The input or output block is misaligned.
    INVALID_ALIGNMENT = 0x0004 => EIO,
    /// A field of the input is out of range, or names nothing.
    INVALID_PARAMETER = 0x0005 => EINVAL,
    /// The partition may not make this call.
    ACCESS_DENIED = 0x0006 => EACCES,
    /// The partition is in the wrong state.
    INVALID_PARTITION_STATE = 0x0007 => EIO,
    /// The operation is not allowed now.
    OPERATION_DENIED = 0x0008 => EACCES,
    /// The property is not known.
    UNKNOWN_PROPERTY = 0x0009 => EINVAL,
    /// The property's value is out of range.
    PROPERTY_VALUE_OUT_OF_RANGE = 0x000a => EINVAL,
    /// The hypervisor has no memory left for this partition.
    INSUFFICIENT_MEMORY = 0x000b => ENOMEM,
    /// No such partition.
    INVALID_PARTITION_ID = 0x000d => EINVAL,
    /// No such virtual processor.
    INVALID_VP_INDEX = 0x000e => EINVAL,
    /// Not found.
    NOT_FOUND = 0x0010 => EIO,
    /// No such port.
    INVALID_PORT_ID = 0x0011 => EINVAL,
    /// No such connection.
    INVALID_CONNECTION_ID = 0x0012 => EINVAL,
    /// Not enough message buffers.
    INSUFFICIENT_BUFFERS = 0x0013 => EIO,
    /// The previous message was not acknowledged.
    NOT_ACKNOWLEDGED = 0x0014 => EIO,
    /// The virtual processor is in the wrong state.
    INVALID_VP_STATE = 0x0015 => EIO,
    /// The object is in use.
    OBJECT_IN_USE = 0x0019 => EIO,
    /// The object is inactive.
    INACTIVE = 0x001c => EIO,
    /// A resource has run out.
    NO_RESOURCES = 0x001d => EIO,
    /// The feature is not available.
    FEATURE_UNAVAILABLE = 0x001e => EIO,
    /// The processor lacks the feature.
    PROCESSOR_FEATURE_NOT_SUPPORTED = 0x0020 => EOPNOTSUPP,
    /// No device domain is left.
    INSUFFICIENT_DEVICE_DOMAINS = 0x0038 => EIO,
    /// No such logical processor.
    INVALID_LP_INDEX = 0x0041 => EINVAL,
    /// A register cannot take the value.
    INVALID_REGISTER_VALUE = 0x0050 => EINVAL,
    /// No such device.
    INVALID_DEVICE_ID = 0x0057 => EIO,
    /// The device is in the wrong state.
    INVALID_DEVICE_STATE = 0x0058 => EIO,
    /// Page requests of the device were outstanding, and were dropped.
    PENDING_PAGE_REQUESTS = 0x0059 => EIO,
    /// The page request is malformed.
    PAGE_REQUEST_INVALID = 0x0060 => EIO,
    /// An object of this name exists.
    KEY_ALREADY_EXISTS = 0x0065 => EIO,
    /// The device is attached to this very domain.
    DEVICE_ALREADY_IN_DOMAIN = 0x0066 => EEXIST,
    /// The operation failed.
    OPERATION_FAILED = 0x0071 => EIO,
    /// The root partition has no memory left.
    INSUFFICIENT_ROOT_MEMORY = 0x0073 => ENOMEM,
    /// No contiguous memory is left.
    INSUFFICIENT_CONTIGUOUS_MEMORY = 0x0075 => ENOMEM,
    /// The operation took too long.
    TIME_OUT = 0x0078 => EIO,
    /// The call is still under way.
    CALL_PENDING = 0x0079 => EIO,
    /// The root partition has no contiguous memory left.
    INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY = 0x0083 => ENOMEM,
    /// The virtual trust level is enabled already.
    VTL_ALREADY_ENABLED = 0x0086 => EIO,
}

impl Status {
    /// The status in a hypercall's result word, bits 15:0; `Ok` when it is `HV_STATUS_SUCCESS`.
    #[inline]
    pub(super) fn check(result: u64) -> Result<(), Status> {
        match result as u16 {
            0 => Ok(()),
            code => Err(Status(code)),
        }
    }

    /// The 16-bit code, never 0.
    pub fn code(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} {}", self.0, self.name())
    }
}

/// Why a hypercall did not do what was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HypercallError {
    /// There is no hypercall page: the kernel is suspending, crashing, or not on Hyper-V.
    Unavailable,
    /// The hypervisor refused.
    Status(Status),
    /// A rep call reported success but no progress; going on would spin for ever.
    NoProgress,
}

impl HypercallError {
    /// Whether the hypervisor answered with `status`.
    #[inline]
    pub fn is(self, status: Status) -> bool {
        self == HypercallError::Status(status)
    }
}

impl From<HypercallError> for Error {
    fn from(error: HypercallError) -> Error {
        match error {
            HypercallError::Unavailable => EOPNOTSUPP,
            HypercallError::Status(status) => status.to_error(),
            HypercallError::NoProgress => EIO,
        }
    }
}

impl fmt::Display for HypercallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HypercallError::Unavailable => f.write_str("no hypercall page"),
            HypercallError::Status(status) => status.fmt(f),
            HypercallError::NoProgress => f.write_str("no progress"),
        }
    }
}

#[macros::kunit_tests(rust_kernel_hyperv_status)]
mod tests {
    use super::*;

    /// What the C table knows, too, and one code that neither gives an errno of its own.
    const SHARED_WITH_C: [u16; 30] = [
        0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0d, 0x0e, 0x10, 0x11, 0x12,
        0x13, 0x14, 0x15, 0x1d, 0x20, 0x41, 0x50, 0x71, 0x73, 0x75, 0x78, 0x79, 0x83, 0x86, 0x19,
    ];

    #[test]
    fn errnos_agree_with_the_c_table() {
        for code in SHARED_WITH_C {
            // SAFETY: The function reads a constant table.
            let errno = unsafe { bindings::hv_result_to_errno(code.into()) };
            assert_eq!(Status(code).to_error().to_errno(), errno);
        }
    }

    #[test]
    fn already_in_domain_is_eexist() {
        assert!(Status::DEVICE_ALREADY_IN_DOMAIN.to_error() == EEXIST);
        assert_eq!(Status::DEVICE_ALREADY_IN_DOMAIN.code(), 0x66);
    }

    #[test]
    fn only_the_low_half_word_is_the_status() {
        assert!(Status::check(0x0000_0fff_0000_0000).is_ok());
        assert!(Status::check(0x0000_0001_0000_0057) == Err(Status::INVALID_DEVICE_ID));
    }
}
