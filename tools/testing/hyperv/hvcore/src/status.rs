// SPDX-License-Identifier: GPL-2.0
//! Hypercall status codes.

use core::fmt;

/// The status of a hypercall: bits 15:0 of its result word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(pub u16);

macro_rules! statuses {
    ($($name:ident = $value:literal, $doc:literal;)*) => {
        impl Status {
            $(
                #[doc = concat!("`HV_STATUS_", stringify!($name), "`: ", $doc)]
                pub const $name: Status = Status($value);
            )*

            /// Every status with a name, in ascending order.
            pub const NAMED: &'static [Status] = &[$(Status::$name),*];

            /// The hypervisor's name of this status; `None` for a number without one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(concat!("HV_STATUS_", stringify!($name))),)*
                    _ => None,
                }
            }
        }
    };
}

statuses! {
    SUCCESS = 0x00, "done.";
    INVALID_HYPERCALL_CODE = 0x02, "no such call.";
    INVALID_HYPERCALL_INPUT = 0x03, "the control word breaks a rule.";
    INVALID_ALIGNMENT = 0x04, "a parameter block is misaligned, crosses a page, or overlaps the other one.";
    INVALID_PARAMETER = 0x05, "a field of the input has no valid value.";
    ACCESS_DENIED = 0x06, "the caller lacks the privilege.";
    INVALID_PARTITION_STATE = 0x07, "the partition cannot do this now.";
    OPERATION_DENIED = 0x08, "not allowed in this state.";
    UNKNOWN_PROPERTY = 0x09, "no such property.";
    PROPERTY_VALUE_OUT_OF_RANGE = 0x0a, "the property cannot have this value.";
    INSUFFICIENT_MEMORY = 0x0b, "the partition must deposit memory first.";
    INVALID_PARTITION_ID = 0x0d, "no such partition, or not the caller's business.";
    INVALID_VP_INDEX = 0x0e, "no such virtual processor.";
    NOT_FOUND = 0x10, "no such object.";
    INVALID_PORT_ID = 0x11, "no such port.";
    INVALID_CONNECTION_ID = 0x12, "no such connection.";
    INSUFFICIENT_BUFFERS = 0x13, "the message queue is full.";
    NOT_ACKNOWLEDGED = 0x14, "an earlier request was not acknowledged.";
    INVALID_VP_STATE = 0x15, "the virtual processor cannot do this now.";
    OBJECT_IN_USE = 0x19, "the object still has users.";
    INACTIVE = 0x1c, "the object is not active.";
    NO_RESOURCES = 0x1d, "a resource has run out.";
    FEATURE_UNAVAILABLE = 0x1e, "the feature is not there.";
    PROCESSOR_FEATURE_NOT_SUPPORTED = 0x20, "the processor lacks the feature.";
    INSUFFICIENT_DEVICE_DOMAINS = 0x38, "the partition's quota of device domains is used up.";
    INVALID_LP_INDEX = 0x41, "no such logical processor.";
    INVALID_REGISTER_VALUE = 0x50, "the register cannot have this value.";
    INVALID_DEVICE_ID = 0x57, "no such device.";
    INVALID_DEVICE_STATE = 0x58, "the device cannot do this now.";
    PENDING_PAGE_REQUESTS = 0x59, "the device had outstanding page requests, which were dropped.";
    PAGE_REQUEST_INVALID = 0x60, "no such page request.";
    KEY_ALREADY_EXISTS = 0x65, "the id is taken.";
    DEVICE_ALREADY_IN_DOMAIN = 0x66, "the device is attached to this very domain.";
    OPERATION_FAILED = 0x71, "unspecified failure.";
    INSUFFICIENT_ROOT_MEMORY = 0x73, "the root partition must deposit memory first.";
    INSUFFICIENT_CONTIGUOUS_MEMORY = 0x75, "no contiguous memory of the partition is left.";
    TIME_OUT = 0x78, "the operation took too long.";
    CALL_PENDING = 0x79, "the operation goes on in the background.";
    INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY = 0x83, "no contiguous memory of the root partition is left.";
    VTL_ALREADY_ENABLED = 0x86, "the virtual trust level is already enabled.";
}

impl Status {
    /// Whether the call succeeded.
    pub const fn is_success(self) -> bool {
        self.0 == 0
    }

    /// `Ok` for success, the status itself otherwise.
    ///
    /// # Errors
    /// Every status but [`Status::SUCCESS`].
    pub const fn into_result(self) -> Result<(), Status> {
        if self.is_success() {
            Ok(())
        } else {
            Err(self)
        }
    }
}

/// `0x57 HV_STATUS_INVALID_DEVICE_ID`; the number alone when it has no name.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)?;
        match self.name() {
            Some(name) => write!(f, " {name}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_the_status() {
        assert_eq!(Status::INVALID_DEVICE_ID.to_string(), "0x57 HV_STATUS_INVALID_DEVICE_ID");
        assert_eq!(Status::SUCCESS.to_string(), "0x00 HV_STATUS_SUCCESS");
        assert_eq!(Status(0xffff).to_string(), "0xffff");
        assert_eq!(format!("{:?}", Status(0x66)), "0x66 HV_STATUS_DEVICE_ALREADY_IN_DOMAIN");
    }

    #[test]
    fn named_statuses_are_ascending_and_complete() {
        assert!(Status::NAMED.windows(2).all(|pair| pair[0] < pair[1]));
        let named = (0..=u16::MAX).filter(|&n| Status(n).name().is_some()).count();
        assert_eq!(named, Status::NAMED.len());
        assert_eq!(named, 40);
    }

    #[test]
    fn only_success_is_success() {
        assert_eq!(Status::SUCCESS.into_result(), Ok(()));
        assert!((1..=u16::MAX).all(|n| Status(n).into_result() == Err(Status(n))));
    }
}
