// SPDX-License-Identifier: GPL-2.0

//! Hypercall status codes.
//!
//! The names and errnos are those of the C code (`hv_result_to_string()` and `hv_result_to_errno()`
//! in `drivers/hv/hv_common.c`). The numbers are those of the Hypervisor Top-Level Functional
//! Specification. Those of the device domain calls come from the interface between Linux and
//! Hyper-V.
//!
//! C header: [`include/hyperv/hvgdk_mini.h`](srctree/include/hyperv/hvgdk_mini.h)

use crate::{
    bindings,
    error::Error,
    fmt,
    prelude::*,
    str::CStr, //
};

/// The status of a hypercall that failed: any 16-bit code but 0.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Status(u16);

/// Declares constants. Linux has the same names with the prefix `HV_STATUS_`.
macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $c_name:ident,)*) => {
        impl Status {
            $(
                $(#[$doc])*
                pub const $name: Status = Status(bindings::$c_name as u16);
            )*
        }
    };
}

statuses! {
    /// The hypervisor does not know the call.
    INVALID_HYPERCALL_CODE = HV_STATUS_INVALID_HYPERCALL_CODE,
    /// The control word is malformed.
    INVALID_HYPERCALL_INPUT = HV_STATUS_INVALID_HYPERCALL_INPUT,
    /// The input or output block is misaligned.
    INVALID_ALIGNMENT = HV_STATUS_INVALID_ALIGNMENT,
    /// A field of the input is out of range, or names nothing.
    INVALID_PARAMETER = HV_STATUS_INVALID_PARAMETER,
    /// The partition may not make this call.
    ACCESS_DENIED = HV_STATUS_ACCESS_DENIED,
    /// The partition is in the wrong state.
    INVALID_PARTITION_STATE = HV_STATUS_INVALID_PARTITION_STATE,
    /// The operation is not allowed now.
    OPERATION_DENIED = HV_STATUS_OPERATION_DENIED,
    /// The property is not known.
    UNKNOWN_PROPERTY = HV_STATUS_UNKNOWN_PROPERTY,
    /// The property's value is out of range.
    PROPERTY_VALUE_OUT_OF_RANGE = HV_STATUS_PROPERTY_VALUE_OUT_OF_RANGE,
    /// The hypervisor has no memory left for this partition.
    INSUFFICIENT_MEMORY = HV_STATUS_INSUFFICIENT_MEMORY,
    /// No such partition.
    INVALID_PARTITION_ID = HV_STATUS_INVALID_PARTITION_ID,
    /// No such virtual processor.
    INVALID_VP_INDEX = HV_STATUS_INVALID_VP_INDEX,
    /// Not found.
    NOT_FOUND = HV_STATUS_NOT_FOUND,
    /// No such port.
    INVALID_PORT_ID = HV_STATUS_INVALID_PORT_ID,
    /// No such connection.
    INVALID_CONNECTION_ID = HV_STATUS_INVALID_CONNECTION_ID,
    /// Not enough message buffers.
    INSUFFICIENT_BUFFERS = HV_STATUS_INSUFFICIENT_BUFFERS,
    /// The previous message was not acknowledged.
    NOT_ACKNOWLEDGED = HV_STATUS_NOT_ACKNOWLEDGED,
    /// The virtual processor is in the wrong state.
    INVALID_VP_STATE = HV_STATUS_INVALID_VP_STATE,
    /// The object is in use.
    OBJECT_IN_USE = HV_STATUS_OBJECT_IN_USE,
    /// The object is inactive.
    INACTIVE = HV_STATUS_INACTIVE,
    /// A resource has run out.
    NO_RESOURCES = HV_STATUS_NO_RESOURCES,
    /// The feature is not available.
    FEATURE_UNAVAILABLE = HV_STATUS_FEATURE_UNAVAILABLE,
    /// The processor lacks the feature.
    PROCESSOR_FEATURE_NOT_SUPPORTED = HV_STATUS_PROCESSOR_FEATURE_NOT_SUPPORTED,
    /// No device domain is left.
    INSUFFICIENT_DEVICE_DOMAINS = HV_STATUS_INSUFFICIENT_DEVICE_DOMAINS,
    /// No such logical processor.
    INVALID_LP_INDEX = HV_STATUS_INVALID_LP_INDEX,
    /// A register cannot take the value.
    INVALID_REGISTER_VALUE = HV_STATUS_INVALID_REGISTER_VALUE,
    /// No such device.
    INVALID_DEVICE_ID = HV_STATUS_INVALID_DEVICE_ID,
    /// The device is in the wrong state.
    INVALID_DEVICE_STATE = HV_STATUS_INVALID_DEVICE_STATE,
    /// Page requests of the device were outstanding, and were dropped.
    PENDING_PAGE_REQUESTS = HV_STATUS_PENDING_PAGE_REQUESTS,
    /// The page request is malformed.
    PAGE_REQUEST_INVALID = HV_STATUS_PAGE_REQUEST_INVALID,
    /// An object of this name exists.
    KEY_ALREADY_EXISTS = HV_STATUS_KEY_ALREADY_EXISTS,
    /// The device is attached to this very domain.
    DEVICE_ALREADY_IN_DOMAIN = HV_STATUS_DEVICE_ALREADY_IN_DOMAIN,
    /// The operation failed.
    OPERATION_FAILED = HV_STATUS_OPERATION_FAILED,
    /// The root partition has no memory left.
    INSUFFICIENT_ROOT_MEMORY = HV_STATUS_INSUFFICIENT_ROOT_MEMORY,
    /// No contiguous memory is left.
    INSUFFICIENT_CONTIGUOUS_MEMORY = HV_STATUS_INSUFFICIENT_CONTIGUOUS_MEMORY,
    /// The operation took too long.
    TIME_OUT = HV_STATUS_TIME_OUT,
    /// The call is still under way.
    CALL_PENDING = HV_STATUS_CALL_PENDING,
    /// The root partition has no contiguous memory left.
    INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY = HV_STATUS_INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY,
    /// The virtual trust level is enabled already.
    VTL_ALREADY_ENABLED = HV_STATUS_VTL_ALREADY_ENABLED,
}

impl Status {
    /// The status in bits 15:0 of a hypercall's result word. `Ok` if it is `HV_STATUS_SUCCESS`.
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

    /// The hypervisor's name of the code, without the prefix `HV_STATUS_`. "Unknown" if Linux has
    /// no name for the code.
    pub fn name(self) -> &'static str {
        // SAFETY: The function takes any number. It returns a string that is never freed.
        let name = unsafe { CStr::from_char_ptr(bindings::hv_result_to_string(self.0.into())) };
        let name = name.to_str().unwrap_or_default();
        name.strip_prefix("HV_STATUS_").unwrap_or(name)
    }

    /// The errno that stands for the code. [`EIO`] if Linux has no errno for the code.
    pub fn to_error(self) -> Error {
        // SAFETY: The function takes any number.
        Error::from_errno(unsafe { bindings::hv_result_to_errno(self.0.into()) })
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x} {}", self.0, self.name())
    }
}

/// Why a hypercall failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum HypercallError {
    /// There is no hypercall page: the kernel is suspending or crashing, or does not run on
    /// Hyper-V.
    Unavailable,
    /// The hypervisor refused.
    Status(Status),
    /// A rep call reported success without progress. Repeating it might never end.
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

    #[test]
    fn names_and_errnos_are_those_of_linux() {
        assert_eq!(Status::INVALID_PARAMETER.name(), "INVALID_PARAMETER");
        assert!(Status::INVALID_PARAMETER.to_error() == EINVAL);
        assert_eq!(Status::INVALID_DEVICE_ID.name(), "INVALID_DEVICE_ID");
        assert!(Status::INVALID_DEVICE_ID.to_error() == EIO);
        assert!(Status::INSUFFICIENT_MEMORY.to_error() == ENOMEM);
    }

    #[test]
    fn a_code_without_a_name_is_eio() {
        assert_eq!(Status(0x7fff).name(), "Unknown");
        assert!(Status(0x7fff).to_error() == EIO);
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
