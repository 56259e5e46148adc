// SPDX-License-Identifier: GPL-2.0
//! The para-virtual IOMMU: device domains, attachments, flushes.
//!
//! No public document defines these calls' error statuses or corner cases. The choices made here are the strictest
//! that a sound driver can live with; each has a test in `partition/tests`.

pub mod capabilities;
pub mod domains;
pub mod entry;
pub mod flush;
pub mod invalidation;
pub mod walk;

use crate::cachelog::{self, CacheLog, Writer};
use crate::counters::Counters;
use crate::hypercall::calls::IommuCall;
use crate::hypercall::list::Span;
use crate::ids::{DomainId, LogicalDeviceId};
use crate::platform::{Platform, Translation};
use crate::request::iommu::{IommuRequest, Subject};
use crate::request::refusal::{Ended, Refusal};
use crate::status::Status;
use capabilities::{Capabilities, Presence};
use domains::{DeviceConfig, Domains, Start};
use flush::{Flusher, Flushes};

/// How the IOMMU presents itself and how much of it there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// What the capability call tells.
    pub capabilities: Capabilities,
    /// Most domains that can exist at once.
    pub quota: u32,
    /// Whether flushes do what they say.
    pub flushes: Flushes,
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
            cache_log: CacheLog::new(Writer::Guest, config.cache),
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

    /// Checks what is to be checked before the input of a call is looked at.
    ///
    /// # Errors
    /// [`Status::INVALID_HYPERCALL_CODE`] from a host that does not know the calls at all; as
    /// [`Capabilities::stage1_usable`] for a call about domains.
    pub fn admit(&self, call: IommuCall) -> Result<(), Status> {
        match (self.presence(), call) {
            (Presence::Absent, _) => Err(Status::INVALID_HYPERCALL_CODE),
            (_, IommuCall::GetCapabilities | IommuCall::GetDeviceProperty) => Ok(()),
            _ => self.config.capabilities.stage1_usable(),
        }
    }

    /// Does what is asked for; of a list the elements of `span`.
    pub fn carry_out(
        &mut self,
        platform: &mut impl Platform,
        counters: &mut Counters,
        request: IommuRequest,
        span: Option<Span>,
    ) -> Ended {
        let Iommu { config, domains, cache_log } = self;
        let result = match request {
            IommuRequest::GetCapabilities(output) => output.write(platform, &config.capabilities.encode()),
            IommuRequest::GetDeviceProperty(device, output) => {
                domains.property(device, config.capabilities).and_then(|block| output.write(platform, &block))
            }
            IommuRequest::Create(id) => self.create(id),
            IommuRequest::Configure(id, translation) => self.configure(platform, id, translation),
            IommuRequest::Attach(id, device) => self.attach(platform, counters, id, device),
            IommuRequest::Detach(device) => {
                domains.detach(platform, device).map(|invalidation| invalidation.perform(platform))
            }
            IommuRequest::Delete(id) => domains.delete(id).map(|()| cache_log.deleted(platform, id)),
            IommuRequest::Flush(id) => Flusher::new(domains, cache_log, counters, config.flushes).whole(platform, id),
            IommuRequest::FlushList(id, ranges) => match span {
                Some(span) => {
                    let flusher = Flusher::new(domains, cache_log, counters, config.flushes);
                    return flusher.list(platform, id, ranges, span);
                }
                None => Err(Status::INVALID_HYPERCALL_INPUT),
            },
        };
        result.map_err(Refusal::from).into()
    }

    /// Whether there is an IOMMU.
    pub fn presence(&self) -> Presence {
        self.config.capabilities.presence
    }

    /// Whether a sound guest never gets this status from this call.
    ///
    /// Not among them: what a guest cannot know beforehand (ids that an earlier kernel left, the quota, a device that
    /// has just been withdrawn, whether there is an IOMMU before it asked) and attaching twice.
    pub fn is_violation(&self, call: IommuCall, subject: Subject, status: Status) -> bool {
        match status {
            Status::INVALID_DEVICE_ID => subject.device.is_none_or(|id| self.domains.device(id).is_none()),
            status if call == IommuCall::Create && status == self.config.taken => {
                subject.domain.is_none_or(|id| !self.domains.is_inherited(id))
            }
            // Whoever was told that there are no such calls makes no more of them.
            Status::INVALID_HYPERCALL_CODE => call != IommuCall::GetCapabilities,
            Status::SUCCESS | Status::INSUFFICIENT_DEVICE_DOMAINS | Status::DEVICE_ALREADY_IN_DOMAIN => false,
            _ => true,
        }
    }

    fn create(&mut self, id: DomainId) -> Result<(), Status> {
        self.domains.create(id).map_err(|status| match status {
            Status::KEY_ALREADY_EXISTS => self.config.taken,
            status => status,
        })
    }

    /// As [`Domains::configure`]; also refuses a root that is a table of another domain, or may still be taken for one.
    fn configure(
        &mut self,
        platform: &mut impl Platform,
        id: DomainId,
        translation: Translation,
    ) -> Result<(), Status> {
        let root = match translation {
            Translation::Stage1 { root, levels } => Some((root, levels)),
            Translation::Bypass | Translation::Blocked => None,
        };
        if root.is_some_and(|(root, _)| self.cache_log.owner(root).is_some()) {
            return Err(Status::INVALID_PARAMETER);
        }
        self.domains.configure(platform, id, translation)?;
        if let Some((root, levels)) = root {
            self.cache_log.configured(platform, id, root, levels);
        }
        Ok(())
    }

    fn attach(
        &mut self,
        platform: &mut impl Platform,
        counters: &mut Counters,
        id: DomainId,
        device: LogicalDeviceId,
    ) -> Result<(), Status> {
        let others = self.domains.attached(id).count();
        self.domains.attach(platform, counters, id, device)?.perform(platform);
        self.cache_log.attached(id, others);
        Ok(())
    }
}
