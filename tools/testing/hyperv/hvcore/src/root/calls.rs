// SPDX-License-Identifier: GPL-2.0
//! The calls that only the root partition may make. Layouts: include/hyperv in Linux.

use crate::hypercall::codes::CallCode;
use crate::hypercall::dispatch::{simple, Call, Kind, Spec};

/// A call of the root partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootCall {
    /// How long a logical processor has run: Linux asks whether there is one.
    LogicalProcessorRunTime,
    /// A property of a partition.
    PartitionProperty,
    /// A property of a partition that is longer than 64 bits.
    PartitionPropertyEx,
    /// The partition's own number.
    PartitionId,
    /// Gives memory to the hypervisor.
    Deposit,
    /// Takes memory back.
    Withdraw,
    /// Creates a virtual processor.
    CreateVp,
    /// Shows a page of statistics.
    MapStatistics,
    /// Hides it again.
    UnmapStatistics,
    /// Sets a property of the machine.
    SetSystemProperty,
    /// Asks for one.
    SystemProperty,
    /// Starts a logical processor.
    AddLogicalProcessor,
    /// Lets a device or the I/O APIC interrupt a virtual processor.
    MapInterrupt,
    /// Ends that.
    UnmapInterrupt,
    /// Puts the machine to sleep.
    EnterSleepState,
    /// Tells how far the partition is.
    NotifyEvent,
    /// Which virtual processors have these local APICs.
    VpIndexFromApicId,
    /// A call about device domains.
    Domain(DomainCall),
}

/// A call about device domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainCall {
    /// Creates one.
    Create,
    /// Puts a device into one.
    Attach,
    /// Maps pages at addresses that follow each other.
    Map,
    /// Unmaps such.
    Unmap,
    /// Takes a device out of its domain.
    Detach,
    /// Deletes one.
    Delete,
    /// What pages are mapped onto.
    Query,
    /// Maps pages at any addresses.
    MapSparse,
    /// Unmaps such.
    UnmapSparse,
}

const fn root(code: CallCode, call: RootCall, input_bytes: usize, output_bytes: usize) -> Spec {
    simple(code, Call::Root(call), input_bytes, output_bytes)
}

const fn domain(code: CallCode, kind: Kind, call: DomainCall, input_bytes: usize, output_bytes: usize) -> Spec {
    Spec { kind, ..root(code, RootCall::Domain(call), input_bytes, output_bytes) }
}

/// Bytes of the variable header: a mask of banks, and the banks.
const VP_SET_MAX: usize = 65 * 8;

/// Every call that is offered to the root partition, by ascending number.
pub const TABLE: &[Spec] = &[
    root(CallCode::GET_LOGICAL_PROCESSOR_RUN_TIME, RootCall::LogicalProcessorRunTime, 0x04, 0x20),
    root(CallCode::GET_PARTITION_PROPERTY, RootCall::PartitionProperty, 0x10, 0x08),
    root(CallCode::GET_PARTITION_ID, RootCall::PartitionId, 0x00, 0x08),
    Spec { kind: Kind::Rep, ..root(CallCode::DEPOSIT_MEMORY, RootCall::Deposit, 0x08, 0) },
    // The output has room for as many page numbers as a call can ask for.
    Spec { kind: Kind::Counted, ..root(CallCode::WITHDRAW_MEMORY, RootCall::Withdraw, 0x10, 0x1000) },
    root(CallCode::CREATE_VP, RootCall::CreateVp, 0x28, 0),
    root(CallCode::MAP_STATS_PAGE, RootCall::MapStatistics, 0x18, 0x08),
    root(CallCode::UNMAP_STATS_PAGE, RootCall::UnmapStatistics, 0x18, 0),
    root(CallCode::SET_SYSTEM_PROPERTY, RootCall::SetSystemProperty, 0x48, 0),
    root(CallCode::ADD_LOGICAL_PROCESSOR, RootCall::AddLogicalProcessor, 0x10, 0x38),
    root(CallCode::GET_SYSTEM_PROPERTY, RootCall::SystemProperty, 0x10, 0x08),
    Spec { variable_max: VP_SET_MAX, ..root(CallCode::MAP_DEVICE_INTERRUPT, RootCall::MapInterrupt, 0x48, 0x38) },
    root(CallCode::UNMAP_DEVICE_INTERRUPT, RootCall::UnmapInterrupt, 0x24, 0),
    root(CallCode::ENTER_SLEEP_STATE, RootCall::EnterSleepState, 0x04, 0),
    root(CallCode::NOTIFY_PARTITION_EVENT, RootCall::NotifyEvent, 0x08, 0),
    Spec {
        kind: Kind::RepOfWords,
        ..root(CallCode::GET_VP_INDEX_FROM_APIC_ID, RootCall::VpIndexFromApicId, 0x10, 0x04)
    },
    domain(CallCode::CREATE_DEVICE_DOMAIN, Kind::Simple, DomainCall::Create, 0x1c, 0),
    domain(CallCode::ATTACH_DEVICE_DOMAIN, Kind::Simple, DomainCall::Attach, 0x20, 0),
    domain(CallCode::MAP_DEVICE_GPA_PAGES, Kind::Rep, DomainCall::Map, 0x28, 0),
    domain(CallCode::UNMAP_DEVICE_GPA_PAGES, Kind::Counted, DomainCall::Unmap, 0x20, 0),
    domain(CallCode::DETACH_DEVICE_DOMAIN, Kind::Simple, DomainCall::Detach, 0x10, 0),
    domain(CallCode::DELETE_DEVICE_DOMAIN, Kind::Simple, DomainCall::Delete, 0x18, 0),
    domain(CallCode::QUERY_DEVICE_DOMAIN, Kind::Rep, DomainCall::Query, 0x18, 0x08),
    domain(CallCode::MAP_SPARSE_DEVICE_GPA_PAGES, Kind::RepOfPairs, DomainCall::MapSparse, 0x20, 0),
    domain(CallCode::UNMAP_SPARSE_DEVICE_GPA_PAGES, Kind::Rep, DomainCall::UnmapSparse, 0x18, 0),
    root(CallCode::GET_PARTITION_PROPERTY_EX, RootCall::PartitionPropertyEx, 0x18, 0x10),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_named() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(TABLE.iter().all(|spec| spec.code.name().is_some()));
    }
}
