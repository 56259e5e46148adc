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
        Err(failure) if readings::is_attached_already(failure) => Answer::Done,
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
