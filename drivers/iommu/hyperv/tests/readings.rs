// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of how statuses are read. The table lists every status that has a name.

use crate::host::readings::{
    self,
    DeviceAnswer::{
        self,
        CouldNotSay,
        NotBehind,
        Refused, //
    },
    NumberAnswer::{
        self,
        Irrelevant,
        Taken,
        Unclear, //
    }, //
};
use kernel::{
    hyperv::status::{
        HypercallError,
        Status, //
    },
    prelude::*,
};

/// For each status: what it says about a device when the question about that fails with it, and
/// what it says about a domain's number when its creation fails with it.
const STATUSES: [(Status, DeviceAnswer, NumberAnswer); 39] = [
    (Status::INVALID_HYPERCALL_CODE, Refused, Irrelevant),
    (Status::INVALID_HYPERCALL_INPUT, Refused, Unclear),
    (Status::INVALID_ALIGNMENT, CouldNotSay, Unclear),
    (Status::INVALID_PARAMETER, Refused, Unclear),
    (Status::ACCESS_DENIED, Refused, Irrelevant),
    (Status::INVALID_PARTITION_STATE, CouldNotSay, Unclear),
    (Status::OPERATION_DENIED, Refused, Irrelevant),
    (Status::UNKNOWN_PROPERTY, Refused, Unclear),
    (Status::PROPERTY_VALUE_OUT_OF_RANGE, Refused, Unclear),
    (Status::INSUFFICIENT_MEMORY, CouldNotSay, Irrelevant),
    (Status::INVALID_PARTITION_ID, Refused, Irrelevant),
    (Status::INVALID_VP_INDEX, CouldNotSay, Unclear),
    (Status::NOT_FOUND, Refused, Unclear),
    (Status::INVALID_PORT_ID, CouldNotSay, Unclear),
    (Status::INVALID_CONNECTION_ID, CouldNotSay, Unclear),
    (Status::INSUFFICIENT_BUFFERS, CouldNotSay, Irrelevant),
    (Status::NOT_ACKNOWLEDGED, CouldNotSay, Unclear),
    (Status::INVALID_VP_STATE, CouldNotSay, Unclear),
    (Status::OBJECT_IN_USE, CouldNotSay, Unclear),
    (Status::INACTIVE, CouldNotSay, Unclear),
    (Status::NO_RESOURCES, CouldNotSay, Irrelevant),
    (Status::FEATURE_UNAVAILABLE, Refused, Irrelevant),
    (Status::PROCESSOR_FEATURE_NOT_SUPPORTED, Refused, Unclear),
    (Status::INSUFFICIENT_DEVICE_DOMAINS, CouldNotSay, Irrelevant),
    (Status::INVALID_LP_INDEX, CouldNotSay, Unclear),
    (Status::INVALID_REGISTER_VALUE, CouldNotSay, Unclear),
    (Status::INVALID_DEVICE_ID, NotBehind, Unclear),
    (Status::INVALID_DEVICE_STATE, CouldNotSay, Unclear),
    (Status::PENDING_PAGE_REQUESTS, CouldNotSay, Unclear),
    (Status::PAGE_REQUEST_INVALID, CouldNotSay, Unclear),
    (Status::KEY_ALREADY_EXISTS, CouldNotSay, Taken),
    (Status::DEVICE_ALREADY_IN_DOMAIN, CouldNotSay, Unclear),
    (Status::OPERATION_FAILED, CouldNotSay, Unclear),
    (Status::INSUFFICIENT_ROOT_MEMORY, CouldNotSay, Irrelevant),
    (
        Status::INSUFFICIENT_CONTIGUOUS_MEMORY,
        CouldNotSay,
        Irrelevant,
    ),
    (Status::TIME_OUT, CouldNotSay, Unclear),
    (Status::CALL_PENDING, CouldNotSay, Unclear),
    (
        Status::INSUFFICIENT_CONTIGUOUS_ROOT_MEMORY,
        CouldNotSay,
        Irrelevant,
    ),
    (Status::VTL_ALREADY_ENABLED, CouldNotSay, Unclear),
];

#[allow(unsafe_code)]
#[kunit_tests(hv_pviommu_readings)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_the_table_says() {
        for (status, device, number) in STATUSES {
            let failure = HypercallError::Status(status);
            assert_eq!(readings::device_answer(failure), device);
            assert_eq!(readings::number_answer(failure), number);
        }
    }

    #[test]
    fn a_call_that_may_still_be_carried_out_has_an_effect() {
        for (status, _, _) in STATUSES {
            let later = status == Status::TIME_OUT || status == Status::CALL_PENDING;
            let failure = HypercallError::Status(status);
            assert_eq!(readings::has_no_effect(failure), !later);
        }
        assert!(readings::has_no_effect(HypercallError::Unavailable));
        assert!(!readings::has_no_effect(HypercallError::NoProgress));
    }

    #[test]
    fn a_failure_without_a_status_is_no_answer() {
        for failure in [HypercallError::Unavailable, HypercallError::NoProgress] {
            assert_eq!(readings::device_answer(failure), CouldNotSay);
        }
        assert_eq!(
            readings::number_answer(HypercallError::Unavailable),
            Irrelevant
        );
        assert_eq!(readings::number_answer(HypercallError::NoProgress), Unclear);
    }
}
