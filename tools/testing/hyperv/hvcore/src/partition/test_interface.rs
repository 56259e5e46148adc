// SPDX-License-Identifier: GPL-2.0
//! The test interface ([`crate::test_interface`]): what each command does.

use core::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use super::Partition;
use crate::counters::Counters;
use crate::hypercall::codes::CallCode;
use crate::hypercall::control_word::ResultWord;
use crate::ids::{BusIndex, DeviceIndex, DomainId, Gpa, Iova, LogicalDeviceId, Rid};
use crate::inject::{Action, Effect, Occurrences, OutputBlock, Qualifiers, Rule};
use crate::iommu::domains::Attachment;
use crate::iommu::walk;
use crate::platform::{DeviceTlb, DmaFault, LogLevel, PagingLevels, Platform, Translation};
use crate::request::iommu::configure_flags;
use crate::status::Status;
use crate::test_interface::{
    Command, Counter, DeviceField, DomainField, FaultField, Qualifier, Reply, StaleField, ToldField, PING_VALUE,
    WALK_SELECTED,
};
use crate::vmbus::OfferError;
use crate::vpci::{Plug, Refusal, Slot};

impl Partition {
    /// Carries out a command of the test interface: `command` is ECX, `ebx` and `edx` are its arguments. Returns the
    /// [`Reply`] code for EAX and the value for EBX (low half) and EDX (high half).
    pub fn control(&mut self, platform: &mut impl Platform, command: u32, ebx: u32, edx: u32) -> (u32, u64) {
        let result = match Command::try_from(command) {
            Ok(command) => self.command(platform, command, ebx, edx),
            Err(()) => Err(Reply::UnknownCommand),
        };
        self.settle(platform);
        match result {
            Ok(value) => (Reply::Ok as u32, value),
            Err(reply) => (reply as u32, 0),
        }
    }

    fn command(&mut self, platform: &mut impl Platform, command: Command, ebx: u32, edx: u32) -> Result<u64, Reply> {
        match command {
            Command::Ping => Ok(PING_VALUE),
            Command::Counter => {
                let counter = Counter::try_from(ebx).map_err(|()| Reply::NoSuchObject)?;
                self.counter(platform, counter, edx)
            }
            Command::Fault => {
                let field = FaultField::try_from(ebx).map_err(|()| Reply::NoSuchObject)?;
                self.fault(platform, field)
            }
            Command::Device => {
                let field = DeviceField::try_from(edx).map_err(|()| Reply::NoSuchObject)?;
                self.device_field(platform, LogicalDeviceId(ebx.into()), field)
            }
            Command::Domain => {
                let field = DomainField::try_from(edx).map_err(|()| Reply::NoSuchObject)?;
                self.domain_field(DomainId(ebx), field)
            }
            Command::Inject => {
                let qualifiers = core::mem::take(&mut self.qualifiers);
                self.injector.add(decode_rule(ebx, edx, qualifiers)?).map_err(|_| Reply::Refused)?;
                Ok(self.injector.count() as u64)
            }
            Command::InjectClear => {
                self.injector.clear();
                self.vmbus.clear_refusals();
                Ok(0)
            }
            Command::Rescind => {
                self.vmbus.rescind(platform, &mut self.synic, bus(ebx)).map_err(refusal)?;
                Ok(0)
            }
            Command::Offer => self.offer(platform, bus(ebx)),
            Command::Eject => {
                let slot = Slot::from_wire(edx).ok_or(Reply::Refused)?;
                self.vmbus.eject(platform, &mut self.synic, bus(ebx), slot).map_err(refusal)?;
                Ok(0)
            }
            Command::Unplug => {
                let plug = match ebx {
                    0 => Plug::Connected,
                    1 => Plug::Unplugged,
                    _ => return Err(Reply::Refused),
                };
                self.set_plug(platform, bus(edx), plug)
            }
            Command::Refuse => {
                let (bus, rule) = Refusal::decode(ebx, edx).ok_or(Reply::Refused)?;
                self.vmbus.refuse(bus, rule).map_err(refusal)?;
                Ok(0)
            }
            Command::Hostile => Ok(self.set_hostile(platform, u64::from(edx) << 32 | u64::from(ebx))),
            Command::Told => {
                let field = ToldField::try_from(ebx).map_err(|()| Reply::NoSuchObject)?;
                self.told(field, LogicalDeviceId(edx.into())).ok_or(Reply::NoSuchObject)
            }
            Command::Walk => self.walk(platform, ebx, edx),
            Command::Select => {
                self.selected = DomainId(ebx);
                Ok(0)
            }
            Command::Mark => {
                mark(platform, ebx, edx);
                Ok(0)
            }
            Command::PeekGuest => peek(platform, ebx, edx),
            Command::LeavesInto => self.leaves_into(platform, ebx, edx),
            Command::Stale => {
                let field = StaleField::try_from(edx).map_err(|()| Reply::NoSuchObject)?;
                self.stale_field(DomainId(ebx), field).ok_or(Reply::Refused)
            }
            Command::Qualify => {
                let qualifier = Qualifier::try_from(ebx).map_err(|()| Reply::NoSuchObject)?;
                qualify(&mut self.qualifiers, qualifier, edx)?;
                Ok(0)
            }
        }
    }

    fn counter(&mut self, platform: &mut impl Platform, counter: Counter, index: u32) -> Result<u64, Reply> {
        let counters = &self.counters;
        match counter {
            Counter::Calls => counters.calls(index).ok_or(Reply::NoSuchObject),
            Counter::Status => counters.statuses(index).ok_or(Reply::NoSuchObject),
            Counter::FlushDescriptors => Ok(counters.flush_descriptors),
            Counter::FlushPages => Ok(counters.flush_pages),
            Counter::DmaFaults => {
                self.collect_faults(platform);
                Ok(self.counters.dma_faults)
            }
            Counter::LiveDomains => Ok(self.iommu.domains().count() as u64),
            Counter::AttachedDevices => Ok(self.iommu.domains().attached_count() as u64),
            Counter::Injected => Ok(counters.injected),
            Counter::Violations => Ok(self.violations()),
            Counter::Buses => Ok(self.vmbus.bus_count() as u64),
            Counter::Switches => Ok(counters.switches),
            Counter::Abandoned => Ok(counters.abandoned),
            Counter::DeviceTlbFlushes => Ok(counters.device_tlb_flushes),
            Counter::DeviceTlbPages => Ok(counters.device_tlb_pages),
            Counter::Exits => Ok(platform.effort().exits),
            Counter::HypervisorTicks => Ok(platform.effort().ticks),
            Counter::Overtakes => Ok(self.schedule.overtakes()),
            Counter::RefusedMessages => Ok(self.vmbus.refused()),
            Counter::LeftBlocked => self.root.as_ref().map(|root| root.left_blocked()).ok_or(Reply::NoSuchObject),
        }
    }

    /// Protocol violations in every layer.
    pub(super) fn violations(&self) -> u64 {
        let mut sum = self.counters.violations;
        Counters::add(&mut sum, self.vmbus.violations());
        sum
    }

    /// Takes the platform's DMA faults and logs each.
    pub(super) fn collect_faults(&mut self, platform: &mut impl Platform) {
        let Partition { faults, counters, iommu, devices, root, .. } = self;
        faults.collect(platform, counters, |platform, fault| {
            let index = devices.iter().position(|device| device.rid == fault.rid).map(DeviceIndex);
            let access = if fault.is_read { "read" } else { "write" };
            let (iova, reason) = (fault.iova.0, fault.reason);
            let id = match root {
                Some(_) => Some(control_id(fault.rid)),
                None => index.and_then(|index| iommu.domains().logical_id(index)),
            };
            match id {
                Some(LogicalDeviceId(id)) => platform.log(
                    LogLevel::Info,
                    format_args!("iommu: DMA fault: device {id:#x} {access} iova {iova:#x} reason {reason:#x}"),
                ),
                None => platform.log(
                    LogLevel::Info,
                    format_args!(
                        "iommu: DMA fault: rid {:#06x} {access} iova {iova:#x} reason {reason:#x}",
                        fault.rid.0
                    ),
                ),
            }
        });
    }

    fn fault(&mut self, platform: &mut impl Platform, field: FaultField) -> Result<u64, Reply> {
        const READ: u64 = 1 << 8;
        if field == FaultField::Take {
            self.collect_faults(platform);
            return Ok(self.faults.advance().is_some().into());
        }
        let DmaFault { rid, iova, reason, is_read } = self.faults.current().ok_or(Reply::NoSuchObject)?;
        Ok(match field {
            FaultField::Iova => iova.0,
            FaultField::Device => self.logical_id(rid).map_or(u64::MAX, |id| id.0),
            FaultField::Reason | FaultField::Take => u64::from(reason) | if is_read { READ } else { 0 },
        })
    }

    fn logical_id(&self, rid: Rid) -> Option<LogicalDeviceId> {
        if self.root.is_some() {
            return Some(control_id(rid));
        }
        let index = self.devices.iter().position(|device| device.rid == rid)?;
        self.iommu.domains().logical_id(DeviceIndex(index))
    }

    fn device_field(&self, platform: &impl Platform, id: LogicalDeviceId, field: DeviceField) -> Result<u64, Reply> {
        if let Some(root) = &self.root {
            return Ok(root.device_field(requester(id)?, field));
        }
        let (attachment, translation, index) = self.iommu.domains().device(id).ok_or(Reply::NoSuchObject)?;
        Ok(match field {
            DeviceField::Domain => match attachment {
                Attachment::Domain(domain) => domain.0.into(),
                Attachment::Default | Attachment::Detached => 0,
            },
            DeviceField::Translation => match translation {
                Translation::Bypass => 0,
                Translation::Blocked => 1,
                Translation::Stage1 { levels: PagingLevels::Four, .. } => 4,
                Translation::Stage1 { levels: PagingLevels::Five, .. } => 5,
            },
            DeviceField::DeviceTlb => (platform.device_tlb(index) == DeviceTlb::Enabled).into(),
            DeviceField::Rid => self.devices.get(index.0).ok_or(Reply::NoSuchObject)?.rid.0.into(),
        })
    }

    fn domain_field(&self, id: DomainId, field: DomainField) -> Result<u64, Reply> {
        if let Some(root) = &self.root {
            return root.domain_field(id, field);
        }
        let translation = self.iommu.domains().translation(id).ok_or(Reply::NoSuchObject)?;
        match field {
            DomainField::Devices => Ok(self.iommu.domains().attached(id).count() as u64),
            DomainField::Flags => translation.map(configure_flags).ok_or(Reply::Refused),
            DomainField::Root => match translation.ok_or(Reply::Refused)? {
                Translation::Stage1 { root, .. } => Ok(root.0),
                Translation::Bypass | Translation::Blocked => Ok(0),
            },
        }
    }

    /// Offers a bus anew; its devices are as at the start once the guest has been sent the offer.
    fn offer(&mut self, platform: &mut impl Platform, bus: BusIndex) -> Result<u64, Reply> {
        self.vmbus.offer(platform, &mut self.synic, bus).map_err(refusal)?;
        self.vmbus.set_unplugged(bus, Plug::Connected).map_err(refusal)?;
        Ok(0)
    }

    pub(super) fn set_plug(&mut self, platform: &mut impl Platform, bus: BusIndex, plug: Plug) -> Result<u64, Reply> {
        self.vmbus.set_unplugged(bus, plug).map_err(refusal)?;
        for device in self.devices_on(bus) {
            match plug {
                Plug::Unplugged => self.drop_device(platform, device),
                Plug::Connected => self.iommu.domains_mut().replug(device),
            }
        }
        Ok(0)
    }

    fn walk(&mut self, platform: &impl Platform, ebx: u32, edx: u32) -> Result<u64, Reply> {
        let page = u64::from(edx & 0xf_ffff) << 32 | u64::from(ebx);
        let id = match edx >> 20 {
            WALK_SELECTED => self.selected,
            id => DomainId(id),
        };
        if let Some(root) = &mut self.root {
            return root.entry(platform, id, Iova(page << 12));
        }
        match self.iommu.domains().translation(id) {
            None => Err(Reply::NoSuchObject),
            Some(Some(Translation::Stage1 { root, levels })) => {
                Ok(walk::walk(platform, root, levels, Iova(page << 12)).map_or(0, |leaf| leaf.entry))
            }
            Some(_) => Err(Reply::Refused),
        }
    }

    fn leaves_into(&self, platform: &impl Platform, ebx: u32, edx: u32) -> Result<u64, Reply> {
        const MIB: u64 = 1 << 20;
        let start = u64::from(edx & 0xffff) * MIB;
        let range = start..start + u64::from(edx >> 16) * MIB;
        match self.iommu.domains().translation(DomainId(ebx)) {
            None => Err(Reply::NoSuchObject),
            Some(Some(Translation::Stage1 { root, levels })) => {
                walk::leaves_into(platform, root, levels, &range).map_err(|walk::TooLarge| Reply::Refused)
            }
            Some(_) => Err(Reply::Refused),
        }
    }
}

/// What the test interface calls a requester of a root partition's machine.
const fn control_id(rid: Rid) -> LogicalDeviceId {
    LogicalDeviceId(rid.0 as u64)
}

/// The other way round.
fn requester(id: LogicalDeviceId) -> Result<Rid, Reply> {
    u16::try_from(id.0).map(Rid).map_err(|_| Reply::NoSuchObject)
}

fn bus(index: u32) -> BusIndex {
    BusIndex(index as usize)
}

fn refusal(error: OfferError) -> Reply {
    match error {
        OfferError::NoSuchBus | OfferError::NoSuchSlot => Reply::NoSuchObject,
        OfferError::WrongState | OfferError::Busy => Reply::Refused,
    }
}

fn qualify(qualifiers: &mut Qualifiers, qualifier: Qualifier, value: u32) -> Result<(), Reply> {
    let elements = || NonZeroU16::new(value as u16).ok_or(Reply::Refused);
    let word = u64::from(value) << 32 | u64::from(qualifiers.low_half);
    match qualifier {
        Qualifier::Domain => qualifiers.domain = Some(DomainId(value)),
        Qualifier::Elements => qualifiers.elements = Some(value as u16),
        Qualifier::Slow => qualifiers.effect = Effect::Slow(NonZeroU32::new(value).ok_or(Reply::Refused)?),
        Qualifier::DeviceGone => qualifiers.effect = Effect::DeviceGone,
        Qualifier::Omitted => qualifiers.effect = Effect::Omitted,
        Qualifier::LowHalf => qualifiers.low_half = value,
        Qualifier::Word => qualifiers.effect = Effect::Word(ResultWord(word)),
        Qualifier::Marked => qualifiers.effect = Effect::Marked(NonZeroU64::new(word).ok_or(Reply::Refused)?),
        Qualifier::Slice => qualifiers.effect = Effect::Slice(elements()?),
        Qualifier::Resume => qualifiers.effect = Effect::Resume(elements()?),
    }
    Ok(())
}

fn decode_rule(ebx: u32, edx: u32, qualifiers: Qualifiers) -> Result<Rule, Reply> {
    const ALL: u16 = 0x7fff;
    let positive = |number: u32| NonZeroU16::new(number as u16).ok_or(Reply::Refused);
    let times = positive(edx >> 16 & 0x7fff)?;
    let occurrences = if times.get() == ALL { Occurrences::All } else { Occurrences::Times(times) };
    let output = if edx >> 31 == 0 { OutputBlock::Untouched } else { OutputBlock::Garbage };
    let Qualifiers { domain, elements, effect, low_half: _ } = qualifiers;
    Ok(Rule {
        code: CallCode(ebx as u16),
        domain,
        first: positive(edx & 0xffff)?,
        occurrences,
        action: Action { effect, status: Status((ebx >> 16) as u16), output, elements },
    })
}

/// Logs up to 8 characters, until the first NUL; what is no printable ASCII becomes a dot.
fn mark(platform: &mut impl Platform, ebx: u32, edx: u32) {
    let mut bytes = (u64::from(edx) << 32 | u64::from(ebx)).to_le_bytes();
    let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    for byte in &mut bytes {
        if !(b' '..=b'~').contains(byte) {
            *byte = b'.';
        }
    }
    let text = core::str::from_utf8(&bytes[..len]).unwrap_or("");
    platform.log(LogLevel::Report, format_args!("mark {text}"));
}

fn peek(platform: &impl Platform, page: u32, offset: u32) -> Result<u64, Reply> {
    if offset % 8 != 0 || offset >= 4096 {
        return Err(Reply::Refused);
    }
    let mut bytes = [0; 8];
    let gpa = Gpa(u64::from(page) << 12 | u64::from(offset));
    platform.read(gpa, &mut bytes).map_err(|_| Reply::Refused)?;
    Ok(u64::from_le_bytes(bytes))
}
