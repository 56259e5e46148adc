// SPDX-License-Identifier: GPL-2.0
//! The state of device domains and of the devices in them.
//!
//! Everything is checked before anything changes: a call that fails leaves all as it was. What the hardware has to do so
//! that it agrees is returned, and is the caller's to have done.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use super::capabilities::{Capabilities, Presence, Switch};
use super::invalidation::Invalidation;
use crate::counters::Counters;
use crate::ids::{DeviceIndex, DomainId, Gpa, LogicalDeviceId};
use crate::platform::{LogLevel, PagingLevels, Platform, Translation};
use crate::status::Status;

/// Most domains that can exist at once, whatever the quota.
pub const DOMAINS_MAX: u32 = 0xfffd;

/// Whether the guest may put a device into domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Managed {
    /// It may; the device's PVIOMMU property says so.
    Yes,
    /// The device stays in the host's default domain.
    No,
}

/// A device as the IOMMU knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// The platform's number of it.
    pub index: DeviceIndex,
    /// The guest's number of it.
    pub id: LogicalDeviceId,
    /// Whether the guest may put it into domains.
    pub managed: Managed,
}

/// What happens to the DMA of a device that the guest has not attached anywhere since it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It is not translated.
    Bypass,
    /// It is blocked.
    Blocked,
}

/// Which kernel of the guest: the first one, or one that came after it without a reset of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kernel(u32);

/// Where a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// In the host's default domain; see [`Start`].
    Default,
    /// Nowhere: DMA is blocked.
    Detached,
    /// In a domain of the guest, which exists and is configured.
    Domain(DomainId),
}

/// Whether a device answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Plugged,
    Unplugged,
}

#[derive(Clone, Copy, Debug)]
struct Device {
    config: DeviceConfig,
    reach: Reach,
    attachment: Attachment,
}

/// Where a device is in the list: ids need not be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(usize);

#[derive(Clone, Copy, Debug)]
struct Domain {
    creator: Kernel,
    /// `None` until configured.
    translation: Option<Translation>,
}

/// All domains and devices of one guest.
pub struct Domains {
    capabilities: Capabilities,
    quota: u32,
    start: Start,
    kernel: Kernel,
    domains: BTreeMap<DomainId, Domain>,
    devices: Vec<Device>,
}

impl Domains {
    /// No domains; every device in the default domain. `quota` is capped at [`DOMAINS_MAX`].
    pub fn new(capabilities: Capabilities, quota: u32, start: Start, devices: &[DeviceConfig]) -> Self {
        let device = |&config: &DeviceConfig| Device { config, reach: Reach::Plugged, attachment: Attachment::Default };
        Domains {
            capabilities,
            quota: quota.min(DOMAINS_MAX),
            start,
            kernel: Kernel(0),
            domains: BTreeMap::new(),
            devices: devices.iter().map(device).collect(),
        }
    }

    /// Creates a domain.
    ///
    /// # Errors
    /// [`Status::KEY_ALREADY_EXISTS`], [`Status::INSUFFICIENT_DEVICE_DOMAINS`].
    pub fn create(&mut self, id: DomainId) -> Result<(), Status> {
        if self.domains.contains_key(&id) {
            return Err(Status::KEY_ALREADY_EXISTS);
        }
        if self.domains.len() >= self.quota as usize {
            return Err(Status::INSUFFICIENT_DEVICE_DOMAINS);
        }
        self.domains.insert(id, Domain { creator: self.kernel, translation: None });
        Ok(())
    }

    /// The guest's kernel makes way for another one, which cannot know what domains there are.
    pub fn kernel_leaves(&mut self) {
        self.kernel = Kernel(self.kernel.0.saturating_add(1));
    }

    /// Whether a domain exists that an earlier kernel created.
    pub fn is_inherited(&self, id: DomainId) -> bool {
        self.domains.get(&id).is_some_and(|domain| domain.creator < self.kernel)
    }

    /// Whether a device is where the host put it, is not blocked there, and the kernel, which has domains of its own,
    /// could have attached it.
    pub fn is_unguarded(&self, index: DeviceIndex) -> bool {
        let uses_domains = self.domains.values().any(|domain| domain.creator == self.kernel);
        let device = self.devices.iter().find(|device| device.config.index == index);
        uses_domains
            && self.start == Start::Bypass
            && device
                .is_some_and(|device| (device.config.managed, device.attachment) == (Managed::Yes, Attachment::Default))
    }

    /// Gives a domain its translation, once.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] for an unknown domain, a root outside guest RAM, or five levels that were not
    /// offered; [`Status::OPERATION_DENIED`] when it has a translation.
    pub fn configure(
        &mut self,
        platform: &mut impl Platform,
        id: DomainId,
        translation: Translation,
    ) -> Result<(), Status> {
        const TABLE_BYTES: u64 = 4096;
        let five_levels = self.capabilities.five_levels;
        let domain = self.domains.get_mut(&id).ok_or(Status::INVALID_PARAMETER)?;
        if domain.translation.is_some() {
            return Err(Status::OPERATION_DENIED);
        }
        if let Translation::Stage1 { root, levels } = translation {
            if !platform.is_guest_ram(root, TABLE_BYTES) {
                return Err(Status::INVALID_PARAMETER);
            }
            if levels == PagingLevels::Five && five_levels == Switch::Off {
                return Err(Status::INVALID_PARAMETER);
            }
        }
        domain.translation = Some(translation);
        let (id, translation) = (id.0, Describe(translation));
        platform.log(LogLevel::Info, format_args!("iommu: domain {id} configured ({translation})"));
        Ok(())
    }

    /// Puts a device into a domain, out of wherever it was.
    ///
    /// # Errors
    /// [`Status::INVALID_DEVICE_ID`] for an unknown or unplugged device; [`Status::ACCESS_DENIED`] for one that is not
    /// managed; [`Status::INVALID_PARAMETER`] for an unknown or unconfigured domain;
    /// [`Status::DEVICE_ALREADY_IN_DOMAIN`] for the domain that it is in.
    pub fn attach(
        &mut self,
        platform: &mut impl Platform,
        counters: &mut Counters,
        id: DomainId,
        device_id: LogicalDeviceId,
    ) -> Result<Invalidation, Status> {
        let (place, device) = self.reachable(device_id)?;
        if device.config.managed == Managed::No {
            return Err(Status::ACCESS_DENIED);
        }
        let domain = self.domains.get(&id).ok_or(Status::INVALID_PARAMETER)?;
        let translation = domain.translation.ok_or(Status::INVALID_PARAMETER)?;
        if device.attachment == Attachment::Domain(id) {
            return Err(Status::DEVICE_ALREADY_IN_DOMAIN);
        }
        if self.in_force(device.attachment) != translation {
            Counters::add(&mut counters.switches, 1);
        }
        let switch = self.switch(place, Attachment::Domain(id), translation);
        let (device, domain, translation) = (device_id.0, id.0, Describe(translation));
        platform
            .log(LogLevel::Info, format_args!("iommu: device {device:#x} attached to domain {domain} ({translation})"));
        Ok(switch)
    }

    /// Takes a device out of its domain; its DMA is blocked from then on.
    ///
    /// # Errors
    /// [`Status::INVALID_DEVICE_ID`] for an unknown or unplugged device; [`Status::INVALID_DEVICE_STATE`] for one that
    /// is in no domain of the guest.
    pub fn detach(&mut self, platform: &mut impl Platform, device: LogicalDeviceId) -> Result<Invalidation, Status> {
        let (place, found) = self.reachable(device)?;
        match found.attachment {
            Attachment::Domain(_) => {
                platform.log(LogLevel::Info, format_args!("iommu: device {:#x} detached", device.0));
                Ok(self.block(place))
            }
            Attachment::Default | Attachment::Detached => Err(Status::INVALID_DEVICE_STATE),
        }
    }

    /// Deletes a domain. Nothing is cached of it: each device dropped what it had when it left.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] for an unknown domain; [`Status::OBJECT_IN_USE`] for one with devices.
    pub fn delete(&mut self, id: DomainId) -> Result<(), Status> {
        if !self.domains.contains_key(&id) {
            return Err(Status::INVALID_PARAMETER);
        }
        if self.attached(id).next().is_some() {
            return Err(Status::OBJECT_IN_USE);
        }
        self.domains.remove(&id);
        Ok(())
    }

    /// Output of GET_LOGICAL_DEVICE_PROPERTY.
    ///
    /// # Errors
    /// [`Status::INVALID_DEVICE_ID`] for an unknown or unplugged device.
    pub fn property(&self, device: LogicalDeviceId, capabilities: Capabilities) -> Result<[u8; 16], Status> {
        const ENABLED: u8 = 1 << 0;
        let (_, device) = self.reachable(device)?;
        let mut block = [0; 16];
        if (device.config.managed, capabilities.presence) == (Managed::Yes, Presence::Present) {
            block[0] = ENABLED;
        }
        Ok(block)
    }

    /// Checks that a domain exists and is configured.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`].
    pub fn check_configured(&self, id: DomainId) -> Result<(), Status> {
        match self.domains.get(&id) {
            Some(Domain { translation: Some(_), .. }) => Ok(()),
            _ => Err(Status::INVALID_PARAMETER),
        }
    }

    /// The devices in a domain.
    pub fn attached(&self, id: DomainId) -> impl Iterator<Item = DeviceIndex> + '_ {
        let inside = move |device: &&Device| device.attachment == Attachment::Domain(id);
        self.devices.iter().filter(inside).map(|device| device.config.index)
    }

    /// Number of domains.
    pub fn count(&self) -> usize {
        self.domains.len()
    }

    /// Number of devices in any domain of the guest.
    pub fn attached_count(&self) -> usize {
        self.devices.iter().filter(|device| matches!(device.attachment, Attachment::Domain(_))).count()
    }

    /// A domain's translation: outer `None` when it does not exist, inner `None` when it is not configured.
    pub fn translation(&self, id: DomainId) -> Option<Option<Translation>> {
        self.domains.get(&id).map(|domain| domain.translation)
    }

    /// A device's place, translation and number in the platform; `None` for an unknown one.
    pub fn device(&self, id: LogicalDeviceId) -> Option<(Attachment, Translation, DeviceIndex)> {
        let (_, device) = self.find(id)?;
        Some((device.attachment, self.in_force(device.attachment), device.config.index))
    }

    /// Whether nothing that the guest set up lets a device do DMA: it is blocked, or was never attached.
    pub fn is_out_of_reach(&self, index: DeviceIndex) -> bool {
        let device = self.devices.iter().find(|device| device.config.index == index);
        device.is_none_or(|device| match device.attachment {
            Attachment::Default | Attachment::Detached => true,
            Attachment::Domain(_) => self.in_force(device.attachment) == Translation::Blocked,
        })
    }

    /// The guest's number of a device.
    pub fn logical_id(&self, index: DeviceIndex) -> Option<LogicalDeviceId> {
        self.devices.iter().map(|device| device.config).find(|config| config.index == index).map(|config| config.id)
    }

    /// A device vanishes: it leaves its domain, its DMA is blocked and calls about it fail. Unknown ones are ignored.
    pub fn unplug(&mut self, index: DeviceIndex) -> Invalidation {
        let Some(place) = self.place(index) else { return Invalidation::None };
        self.set_reach(place, Reach::Unplugged);
        self.block(place)
    }

    /// An unplugged device answers again; its DMA stays blocked. Unknown ones are ignored.
    pub fn replug(&mut self, index: DeviceIndex) {
        if let Some(place) = self.place(index) {
            self.set_reach(place, Reach::Plugged);
        }
    }

    /// Puts a device into the default domain's translation for the first time. Unknown ones are ignored.
    pub fn start(&mut self, index: DeviceIndex) -> Invalidation {
        match self.place(index) {
            Some(place) => self.put_back(place),
            None => Invalidation::None,
        }
    }

    /// A device returns to its state before the first attach. Unknown ones are ignored.
    pub fn reset(&mut self, index: DeviceIndex) -> Invalidation {
        let Some(place) = self.place(index) else { return Invalidation::None };
        self.set_reach(place, Reach::Plugged);
        match self.devices.get(place.0).map(|device| device.attachment) {
            None | Some(Attachment::Default) => Invalidation::None,
            Some(Attachment::Detached | Attachment::Domain(_)) => self.put_back(place),
        }
    }

    fn put_back(&mut self, place: Place) -> Invalidation {
        let translation = self.in_force(Attachment::Default);
        self.switch(place, Attachment::Default, translation)
    }

    fn block(&mut self, place: Place) -> Invalidation {
        match self.devices.get(place.0).map(|device| device.attachment) {
            None | Some(Attachment::Detached) => Invalidation::None,
            Some(Attachment::Default | Attachment::Domain(_)) => {
                self.switch(place, Attachment::Detached, Translation::Blocked)
            }
        }
    }

    fn switch(&mut self, place: Place, attachment: Attachment, translation: Translation) -> Invalidation {
        let Some(device) = self.devices.get_mut(place.0) else { return Invalidation::None };
        device.attachment = attachment;
        Invalidation::Switch(device.config.index, translation)
    }

    fn in_force(&self, attachment: Attachment) -> Translation {
        match attachment {
            Attachment::Default => match self.start {
                Start::Bypass => Translation::Bypass,
                Start::Blocked => Translation::Blocked,
            },
            Attachment::Detached => Translation::Blocked,
            Attachment::Domain(id) => self.translation(id).flatten().unwrap_or(Translation::Blocked),
        }
    }

    fn place(&self, index: DeviceIndex) -> Option<Place> {
        self.devices.iter().position(|device| device.config.index == index).map(Place)
    }

    /// The device of an id. Of several the first one that is there, as the guest can mean no other.
    fn find(&self, id: LogicalDeviceId) -> Option<(Place, Device)> {
        let of_id = || self.devices.iter().enumerate().filter(|(_, device)| device.config.id == id);
        let there = of_id().find(|(_, device)| device.reach == Reach::Plugged);
        there.or_else(|| of_id().next()).map(|(place, device)| (Place(place), *device))
    }

    fn reachable(&self, id: LogicalDeviceId) -> Result<(Place, Device), Status> {
        self.find(id).filter(|(_, device)| device.reach == Reach::Plugged).ok_or(Status::INVALID_DEVICE_ID)
    }

    fn set_reach(&mut self, place: Place, reach: Reach) {
        if let Some(device) = self.devices.get_mut(place.0) {
            device.reach = reach;
        }
    }
}

/// A translation in words, for the log.
struct Describe(Translation);

impl fmt::Display for Describe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Translation::Bypass => f.write_str("bypass"),
            Translation::Blocked => f.write_str("blocked"),
            Translation::Stage1 { root: Gpa(root), levels } => {
                let levels = match levels {
                    PagingLevels::Four => 4,
                    PagingLevels::Five => 5,
                };
                write!(f, "stage 1, root {root:#x}, {levels} levels")
            }
        }
    }
}
