// SPDX-License-Identifier: GPL-2.0
//! From requests to bytes, by literal offset: what a sound caller writes.

use super::super::interrupts::{MapInterrupt, Source, UnmapInterrupt};
use super::super::iommu::IommuRequest;
use super::super::messages::{MmioRead, MmioWrite, PostMessage, SignalEvent};
use super::super::retarget::RetargetInterrupt;
use super::super::root::{Object, PartitionProperty, RootRequest, SystemProperty};
use super::super::root_domains::{Access, DomainRequest, Map, Name, Size};
use super::super::Request;
use crate::ids::{DomainId, Gpa, LogicalDeviceId};
use crate::platform::{AccessSize, PagingLevels, Translation, Trigger};
use crate::wire::Writer;

const SELF: u64 = u64::MAX;
const PCI: u64 = 1 << 62;

/// The input of a request.
pub fn encode(request: &Request<'_>) -> Vec<u8> {
    let bytes = match *request {
        Request::PostMessage(PostMessage { connection, message_type, payload }) => Writer::new()
            .u32(connection.0)
            .u32(0)
            .u32(message_type)
            .u32(payload.len() as u32)
            .bytes(payload)
            .zeroes_to(0x100),
        Request::SignalEvent(SignalEvent { connection, flag }) => Writer::new().u32(connection.0).u16(flag).u16(0),
        Request::RetargetInterrupt(RetargetInterrupt { device, message, vector, vp }) => {
            let head = Writer::new().u64(SELF).u64(device.0).u64(1).u32(message.address as u32).u32(message.data);
            let head = head.u64(0).u32(vector.into()).u32(2).u64(0);
            head.u64(1 << (vp.0 / 64)).u64(1 << (vp.0 % 64))
        }
        Request::MmioRead(MmioRead { gpa, size, .. }) => Writer::new().u64(gpa.0).u32(width(size)).u32(0),
        Request::MmioWrite(MmioWrite { gpa, size, value }) => {
            Writer::new().u64(gpa.0).u32(width(size)).u32(0).u32(value).zeroes_to(0x50)
        }
        Request::Iommu(request) => iommu(request),
        Request::Root(request) => root(request),
    };
    bytes.finish()
}

fn width(size: AccessSize) -> u32 {
    match size {
        AccessSize::Byte => 1,
        AccessSize::Word => 2,
        AccessSize::Dword => 4,
    }
}

fn stage_1(DomainId(id): DomainId) -> Writer {
    Writer::new().u64(SELF).u64(0).u32(1).u32(id)
}

fn iommu(request: IommuRequest) -> Writer {
    match request {
        IommuRequest::GetCapabilities(_) => Writer::new().u64(SELF).u64(0),
        IommuRequest::GetDeviceProperty(LogicalDeviceId(id), _) => Writer::new().u64(SELF).u64(id).u32(10).u32(0),
        IommuRequest::Create(domain) => stage_1(domain).u32(0),
        IommuRequest::Configure(domain, translation) => {
            let (flags, root) = match translation {
                Translation::Bypass => (0, 0),
                Translation::Blocked => (3, 0),
                Translation::Stage1 { root: Gpa(root), levels: PagingLevels::Four } => (1, root),
                Translation::Stage1 { root: Gpa(root), levels: PagingLevels::Five } => (5, root),
            };
            stage_1(domain).u64(flags).u64(root)
        }
        IommuRequest::Attach(domain, LogicalDeviceId(id)) => stage_1(domain).u64(id),
        IommuRequest::Detach(LogicalDeviceId(id)) => Writer::new().u64(SELF).u64(id),
        IommuRequest::Delete(domain) => stage_1(domain),
        IommuRequest::Flush(domain) => stage_1(domain).u64(0),
        IommuRequest::FlushList(domain, _) => stage_1(domain).u64(1),
    }
}

fn root(request: RootRequest) -> Writer {
    match request {
        RootRequest::LogicalProcessorRunTime(lp, _) => Writer::new().u32(lp.0),
        RootRequest::PartitionId(_) => Writer::new(),
        RootRequest::PartitionProperty(PartitionProperty::PrivilegeFlags, _) => {
            Writer::new().u64(SELF).u32(0x1_0000).u32(0)
        }
        RootRequest::PartitionProperty(PartitionProperty::VmmCapabilities, _) => {
            Writer::new().u64(SELF).u32(0x9_0007).zeroes_to(0x18)
        }
        RootRequest::SystemProperty(SystemProperty::Scheduler, _) => Writer::new().u32(15).zeroes_to(0x10),
        RootRequest::SystemProperty(SystemProperty::CrashDumpArea, _) => Writer::new().u32(47).zeroes_to(0x10),
        RootRequest::DefineSleepState(state, types) => {
            Writer::new().u32(3).u32(0).u32(state.0).u8(types.pm1a).u8(types.pm1b).zeroes_to(0x48)
        }
        RootRequest::EnterSleepState(state) => Writer::new().u32(state.0),
        RootRequest::AddLogicalProcessor(lp, apic, _) => Writer::new().u32(lp.0).u32(apic.0).u64(0),
        RootRequest::AllProcessorsStarted => Writer::new().u64(4),
        RootRequest::CreateVp(vp, lp) => Writer::new().u64(SELF).u32(vp.0).zeroes_to(0x20).u64(lp.0.into()),
        RootRequest::VpIndexFromApicId(..) | RootRequest::Withdraw(_) => Writer::new().u64(SELF).u64(0),
        RootRequest::Deposit(_) => Writer::new().u64(SELF),
        RootRequest::MapStatistics(object, _) | RootRequest::UnmapStatistics(object) => statistics(object),
        RootRequest::MapInterrupt(map, _) => map_interrupt(map),
        RootRequest::UnmapInterrupt(UnmapInterrupt { device, entry }) => {
            let head = Writer::new().u64(SELF).u64(device.0);
            match entry {
                Some(entry) => head.bytes(&entry.encode()).u32(0),
                None => head.u32(0).u32(1).u64(0).u32(0),
            }
        }
        RootRequest::IommuCapabilities(_) => Writer::new().u64(SELF).u64(0),
        RootRequest::Domain(request) => domain(request),
    }
}

fn statistics(object: Object) -> Writer {
    let head = Writer::new();
    match object {
        Object::Hypervisor => head.u64(1).u64(0).u64(0),
        Object::LogicalProcessor(lp) => head.u64(2).u32(lp.0).u32(0).u64(0),
        Object::Partition => head.u64(0x1_0001).u64(SELF).u64(0),
        Object::Vp(vp) => head.u64(0x1_0002).u64(SELF).u32(vp.0).u32(0),
    }
}

fn map_interrupt(map: MapInterrupt) -> Writer {
    let level = u32::from(map.trigger == Trigger::Level);
    let device = match map.source {
        Source::Pci(_) | Source::IoApic => map.device.0,
    };
    let head = Writer::new().u64(SELF).u64(device).zeroes_to(0x28).u32(0).u32(level).u32(1).u32(0);
    let target = head.u32(map.vector.into()).u32(2).u64(0);
    target.u64(1 << (map.vp.0 / 64)).u64(1 << (map.vp.0 % 64))
}

fn stage_2(name: Name) -> Writer {
    let id = match name {
        Name::Identity => 0,
        Name::Blocked => u32::MAX,
        Name::Own(DomainId(id)) => id,
    };
    Writer::new().u64(SELF).u64(0).u32(0).u32(id)
}

fn mapping(map: Map) -> Writer {
    let large = if map.size == Size::Large { 1 << 31 } else { 0 };
    let access = if map.access == Access::Read { 1 } else { 3 };
    stage_2(map.domain).u32(0).u32(large | access)
}

fn domain(request: DomainRequest) -> Writer {
    match request {
        DomainRequest::Create(name) => stage_2(name).u32(0),
        DomainRequest::Delete(name) | DomainRequest::UnmapSparse(name, _) | DomainRequest::Query(name, ..) => {
            stage_2(name)
        }
        DomainRequest::Attach(name, rid) => stage_2(name).u64(PCI | u64::from(rid.0)),
        DomainRequest::Detach(rid) => Writer::new().u64(SELF).u64(PCI | u64::from(rid.0)),
        DomainRequest::Map(map, iova, _) => mapping(map).u64(iova.0),
        DomainRequest::MapSparse(map, _) => mapping(map),
        DomainRequest::Unmap(name, iova) => stage_2(name).u64(iova.0),
    }
}
