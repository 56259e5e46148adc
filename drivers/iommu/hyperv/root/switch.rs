// SPDX-License-Identifier: GPL-2.0

//! Attaches and detaches devices, and reads the hypervisor's answers.

use super::{
    calls,
    domain_name::DomainName,
    places::{
        Answer,
        Switch, //
    },
    readings, //
};
use kernel::hyperv::{
    pci_device::PciDeviceId,
    status::HypercallError, //
};

/// Moves requesters by hypercall.
pub(crate) struct HypervisorSwitch;

/// Reads the answer to a call about a device.
fn read(result: Result<(), HypercallError>) -> Answer<HypercallError> {
    match result {
        Ok(()) => Answer::Done,
        Err(failure) if readings::is_attached_already(failure) => Answer::Already(failure),
        Err(failure) if readings::says_no_such_device(failure) => Answer::Gone(failure),
        Err(failure) if readings::has_no_effect(failure) => Answer::Refused(failure),
        Err(failure) => Answer::Unclear(failure),
    }
}

impl Switch for HypervisorSwitch {
    type Id = PciDeviceId;
    type Domain = DomainName;
    type Failure = HypercallError;

    const BLOCKING: DomainName = DomainName::BLOCKING;
    const IDENTITY: DomainName = DomainName::IDENTITY;

    fn attach(&self, id: PciDeviceId, domain: DomainName) -> Answer<HypercallError> {
        read(calls::attach(domain, id))
    }

    fn detach(&self, id: PciDeviceId) -> Answer<HypercallError> {
        read(calls::detach(id))
    }
}

#[allow(unsafe_code)]
#[kernel::prelude::kunit_tests(hv_root_iommu_switch)]
mod tests {
    use super::*;
    use kernel::hyperv::status::Status;

    #[test]
    fn answers_are_told_apart() {
        let after = |status| {
            let failure = HypercallError::Status(status);
            (read(Err(failure)), failure)
        };
        assert!(read(Ok(())) == Answer::Done);
        let (already, failure) = after(Status::DEVICE_ALREADY_IN_DOMAIN);
        assert!(already == Answer::Already(failure));
        let (gone, failure) = after(Status::INVALID_DEVICE_ID);
        assert!(gone == Answer::Gone(failure));
        for status in [
            Status::OPERATION_FAILED,
            Status::INSUFFICIENT_MEMORY,
            Status::INVALID_PARAMETER,
        ] {
            let (refused, failure) = after(status);
            assert!(refused == Answer::Refused(failure));
        }
        // The hypervisor may still do what it was asked for.
        for status in [Status::TIME_OUT, Status::CALL_PENDING] {
            let (late, failure) = after(status);
            assert!(late == Answer::Unclear(failure));
        }
        let unavailable = HypercallError::Unavailable;
        assert!(read(Err(unavailable)) == Answer::Refused(unavailable));
    }
}
