// SPDX-License-Identifier: GPL-2.0
//! The para-virtual IOMMU: device domains, attachments, flushes.
//!
//! No public document defines these calls' error statuses or corner cases. The choices made here are the strictest
//! that a sound driver can live with; each has a test in `partition/tests`.

pub mod capabilities;
pub mod domains;
pub mod entry;
pub mod flush;
pub mod layout;
pub mod tags;
pub mod walk;

use crate::cachelog::{self, CacheLog};
use crate::counters::Counters;
use crate::hypercall::control_word::Outcome;
use crate::hypercall::dispatch::{IommuCall, Request};
use crate::platform::{Platform, Translation};
use crate::status::Status;
use capabilities::{Capabilities, Presence};
use domains::{DeviceConfig, Domains, Start};
use flush::{Flusher, Invalidation};

/// How the IOMMU presents itself and how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the capability call tells.
    pub capabilities: Capabilities,
    /// Most domains that can exist at once.
    pub quota: u32,
    /// Whether flushes do what they say.
    pub invalidation: Invalidation,
    /// Whether it is logged what caches may still hold.
    pub cache: cachelog::Strictness,
    /// Where devices are before the guest attaches them.
    pub start: Start,
    /// The answer to a domain number that is in use.
    pub taken: Status,
}

/// The IOMMU of one guest.
pub struct Iommu {
    config: Config,
    domains: Domains,
    cache_log: CacheLog,
}

impl Iommu {
    /// An IOMMU without domains; every device is in the host's default domain.
    pub fn new(config: Config, devices: &[DeviceConfig]) -> Self {
        Iommu {
            config,
            domains: Domains::new(config.capabilities, config.quota, config.start, devices),
            cache_log: CacheLog::new(config.cache),
        }
    }

    /// The domains and devices.
    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    /// The domains and devices, for what happens outside hypercalls.
    pub fn domains_mut(&mut self) -> &mut Domains {
        &mut self.domains
    }

    /// What caches may still hold.
    pub fn cache_log(&self) -> &CacheLog {
        &self.cache_log
    }

    /// The same, for what happens outside hypercalls.
    pub fn cache_log_mut(&mut self) -> &mut CacheLog {
        &mut self.cache_log
    }

    /// Carries out a call whose form is sound.
    pub fn call(
        &mut self,
        platform: &mut impl Platform,
        counters: &mut Counters,
        call: IommuCall,
        request: &Request<'_>,
    ) -> Outcome {
        match self.config.capabilities.presence {
            // A host that does not know the calls at all.
            Presence::Absent => Status::INVALID_HYPERCALL_CODE.into(),
            Presence::Present | Presence::Off => self.known_call(platform, counters, call, request),
        }
    }

    /// Whether there is an IOMMU.
    pub fn presence(&self) -> Presence {
        self.config.capabilities.presence
    }

    /// Whether a sound guest never gets this status from this call.
    ///
    /// Not among them: what a guest cannot know beforehand (ids that an earlier kernel left, the quota, a device that
    /// has just been withdrawn, whether there is an IOMMU before it asked) and attaching twice.
    pub fn is_violation(&self, call: IommuCall, request: &Request<'_>, status: Status) -> bool {
        match status {
            Status::INVALID_DEVICE_ID => {
                layout::named_device(call, request.input).is_none_or(|id| self.domains.device(id).is_none())
            }
            status if call == IommuCall::Create && status == self.config.taken => {
                layout::named_domain(call, request.input).is_none_or(|id| !self.domains.is_inherited(id))
            }
            // Whoever was told that there are no such calls makes no more of them.
            Status::INVALID_HYPERCALL_CODE => call != IommuCall::GetCapabilities,
            Status::SUCCESS | Status::INSUFFICIENT_DEVICE_DOMAINS | Status::DEVICE_ALREADY_IN_DOMAIN => false,
            _ => true,
        }
    }

    fn create(&mut self, create: layout::Create) -> Result<(), Status> {
        self.domains.create(create).map_err(|status| match status {
            Status::KEY_ALREADY_EXISTS => self.config.taken,
            status => status,
        })
    }

    fn known_call(
        &mut self,
        platform: &mut impl Platform,
        counters: &mut Counters,
        call: IommuCall,
        request: &Request<'_>,
    ) -> Outcome {
        let input = request.input;
        match call {
            IommuCall::GetCapabilities => layout::partition(input, 0x08)
                .and_then(|()| write_output(platform, request, &self.config.capabilities.encode()))
                .into(),
            IommuCall::GetDeviceProperty => layout::DeviceProperty::decode(input)
                .and_then(|property| self.domains.property(property, self.config.capabilities))
                .and_then(|output| write_output(platform, request, &output))
                .into(),
            IommuCall::Flush | IommuCall::FlushList => match self.config.capabilities.stage1_usable() {
                Err(status) => status.into(),
                Ok(()) => Flusher::new(&self.domains, &mut self.cache_log, self.config.invalidation)
                    .call(platform, counters, request),
            },
            IommuCall::Create => self.domain_call(|iommu| iommu.create(layout::Create::decode(input)?)),
            IommuCall::Configure => {
                self.domain_call(|iommu| iommu.configure(platform, layout::Configure::decode(input)?))
            }
            IommuCall::Attach => {
                self.domain_call(|iommu| iommu.attach(platform, counters, layout::Attach::decode(input)?))
            }
            IommuCall::Detach => self.domain_call(|iommu| iommu.domains.detach(platform, layout::detach(input)?)),
            IommuCall::Delete => self.domain_call(|iommu| {
                let id = layout::delete(input)?;
                iommu.domains.delete(platform, id)?;
                iommu.cache_log.deleted(platform, id);
                Ok(())
            }),
        }
    }

    /// As [`Domains::configure`]; also refuses a root that is a table of another domain, or may still be taken for one.
    fn configure(&mut self, platform: &mut impl Platform, configure: layout::Configure) -> Result<(), Status> {
        let (id, translation) = (configure.domain, configure.translation);
        let root = match translation {
            Translation::Stage1 { root, levels } => Some((root, levels)),
            Translation::Bypass | Translation::Blocked => None,
        };
        if root.is_some_and(|(root, _)| self.cache_log.owner(root).is_some()) {
            return Err(Status::INVALID_PARAMETER);
        }
        self.domains.configure(platform, configure)?;
        if let Some((root, levels)) = root {
            self.cache_log.configured(platform, id, root, levels);
        }
        Ok(())
    }

    fn attach(
        &mut self,
        platform: &mut impl Platform,
        counters: &mut Counters,
        attach: layout::Attach,
    ) -> Result<(), Status> {
        let domain = attach.domain;
        let others = self.domains.attached(domain).count();
        self.domains.attach(platform, counters, attach)?;
        self.cache_log.attached(domain, others);
        Ok(())
    }

    fn domain_call(&mut self, call: impl FnOnce(&mut Iommu) -> Result<(), Status>) -> Outcome {
        self.config.capabilities.stage1_usable().and_then(|()| call(self)).into()
    }
}

fn write_output(platform: &mut impl Platform, request: &Request<'_>, bytes: &[u8]) -> Result<(), Status> {
    let gpa = request.output.ok_or(Status::INVALID_PARAMETER)?;
    platform.write(gpa, bytes).map_err(|_| Status::INVALID_PARAMETER)
}
