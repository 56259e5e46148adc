// SPDX-License-Identifier: GPL-2.0
//! What the guest cannot know, because a fault-injection rule answered in the hypervisor's stead.
//!
//! A sound guest that was lied to makes calls that a sound guest otherwise never makes. They are no violations.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::hypercall::calls::IommuCall;
use crate::ids::{DomainId, LogicalDeviceId};
use crate::iommu::domains::Domains;
use crate::request::iommu::Subject;
use crate::status::Status;

/// Bounds the memory that a guest can make us spend; what is beyond it is judged as if no rule had answered.
const KEPT_MAX: usize = 4096;

/// Why a domain's state is unknown to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// Its creation failed without having been tried: it may exist as far as the guest can know.
    CreateFailed,
    /// Something was said to be done and was not.
    Lie,
}

/// Domains and devices that a rule answered about.
#[derive(Default)]
pub(super) struct Doubt {
    domains: BTreeMap<DomainId, Reason>,
    /// Said to be attached or detached, and not.
    devices: BTreeSet<LogicalDeviceId>,
    /// Whose property a rule told.
    properties: BTreeSet<LogicalDeviceId>,
}

impl Doubt {
    /// A rule answers the call with this status.
    pub(super) fn answered(&mut self, call: IommuCall, subject: Subject, status: Status) {
        let Subject { domain, device } = subject;
        match (call, domain, device) {
            (IommuCall::Create, Some(domain), _) if !status.is_success() => self.note(domain, Reason::CreateFailed),
            (IommuCall::Create | IommuCall::Configure | IommuCall::Delete, Some(domain), _) if status.is_success() => {
                self.note(domain, Reason::Lie);
            }
            (IommuCall::Attach | IommuCall::Detach, _, Some(device)) if status.is_success() => {
                note(&mut self.devices, device);
            }
            (IommuCall::GetDeviceProperty, _, Some(device)) => note(&mut self.properties, device),
            _ => {}
        }
    }

    /// The hypervisor carried out the call, with this status: the guest knows where it is again.
    pub(super) fn carried_out(&mut self, call: IommuCall, subject: Subject, status: Status) {
        if !status.is_success() {
            return;
        }
        match call {
            IommuCall::Create | IommuCall::Delete => {
                subject.domain.and_then(|domain| self.domains.remove(&domain));
            }
            IommuCall::Attach => {
                subject.device.map(|device| self.devices.remove(&device));
            }
            IommuCall::GetDeviceProperty => {
                subject.device.map(|device| self.properties.remove(&device));
            }
            _ => {}
        }
    }

    /// Whether a sound guest may have made the call, which got a status that it otherwise never gets.
    pub(super) fn excuses(&self, call: IommuCall, subject: Subject, domains: &Domains) -> bool {
        let Subject { domain, device } = subject;
        let about_domain = match domain.and_then(|domain| self.domains.get(&domain)) {
            Some(Reason::Lie) => true,
            Some(Reason::CreateFailed) => matches!(call, IommuCall::Flush | IommuCall::Delete),
            None => false,
        };
        let inside = |domain| domains.attached(domain).filter_map(|index| domains.logical_id(index));
        let kept_by_device = call == IommuCall::Delete
            && domain.is_some_and(|domain| inside(domain).any(|device| self.devices.contains(&device)));
        about_domain || kept_by_device || device.is_some_and(|device| self.devices.contains(&device))
    }

    /// Whether a rule told the guest of this device whether it is behind the IOMMU.
    pub(super) fn concerns_property(&self, device: LogicalDeviceId) -> bool {
        self.properties.contains(&device)
    }

    fn note(&mut self, domain: DomainId, reason: Reason) {
        if self.domains.len() < KEPT_MAX || self.domains.contains_key(&domain) {
            self.domains.insert(domain, reason);
        }
    }
}

fn note(devices: &mut BTreeSet<LogicalDeviceId>, device: LogicalDeviceId) {
    if devices.len() < KEPT_MAX {
        devices.insert(device);
    }
}
