// SPDX-License-Identifier: GPL-2.0
//! The tables of calls: what is fixed about each. Layouts of the root partition's calls: include/hyperv in Linux.

use super::calls::{Call, DomainCall, IommuCall, RootCall};
use super::codes::CallCode;

/// Whether a call has a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It has none.
    Simple,
    /// Behind the header follows a list of 64-bit elements.
    Rep,
    /// Behind the header follows a list of 32-bit elements.
    RepOfWords,
    /// Behind the header follows a list of pairs of 64-bit words.
    RepOfPairs,
    /// The elements are counted, but there is no list in the input.
    Counted,
}

impl Kind {
    /// Bytes of an element in the input; 0 where there is no list.
    pub const fn element_bytes(self) -> usize {
        match self {
            Kind::Simple | Kind::Counted => 0,
            Kind::RepOfWords => 4,
            Kind::Rep => 8,
            Kind::RepOfPairs => 16,
        }
    }
}

/// What is fixed about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its number.
    pub code: CallCode,
    /// What to do.
    pub call: Call,
    /// Whether it has a list.
    pub kind: Kind,
    /// Size of the fixed part of the input, in bytes.
    pub input_bytes: usize,
    /// Longest variable header, in bytes.
    pub variable_max: usize,
    /// Size of the output, in bytes.
    pub output_bytes: usize,
    /// Whether the input may come in registers.
    pub fast: Fast,
}

/// Whether a call's input may come in registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fast {
    /// In memory only.
    No,
    /// In memory or registers.
    Allowed,
}

/// Longest set of processors in a variable header, in bytes: a mask of banks, and the banks.
pub(super) const VP_SET_MAX: usize = 65 * 8;

/// A call without list and variable header, in memory only.
const fn simple(code: CallCode, call: Call, input_bytes: usize, output_bytes: usize) -> Spec {
    Spec { code, call, kind: Kind::Simple, input_bytes, variable_max: 0, output_bytes, fast: Fast::No }
}

const fn iommu(code: CallCode, call: IommuCall, input_bytes: usize, output_bytes: usize) -> Spec {
    simple(code, Call::Iommu(call), input_bytes, output_bytes)
}

/// Every call that is offered to a guest, by ascending number.
pub const GUEST_TABLE: &[Spec] = &[
    simple(CallCode::POST_MESSAGE, Call::PostMessage, 0x100, 0),
    Spec { fast: Fast::Allowed, ..simple(CallCode::SIGNAL_EVENT, Call::SignalEvent, 0x08, 0) },
    Spec { variable_max: VP_SET_MAX, ..simple(CallCode::RETARGET_INTERRUPT, Call::RetargetInterrupt, 0x38, 0) },
    // The input has 4 more bytes of padding, which older headers leave out: they are not looked at.
    iommu(CallCode::CREATE_DEVICE_DOMAIN, IommuCall::Create, 0x1c, 0),
    iommu(CallCode::ATTACH_DEVICE_DOMAIN, IommuCall::Attach, 0x20, 0),
    iommu(CallCode::DETACH_DEVICE_DOMAIN, IommuCall::Detach, 0x10, 0),
    iommu(CallCode::DELETE_DEVICE_DOMAIN, IommuCall::Delete, 0x18, 0),
    iommu(CallCode::CONFIGURE_DEVICE_DOMAIN, IommuCall::Configure, 0x28, 0),
    iommu(CallCode::FLUSH_DEVICE_DOMAIN, IommuCall::Flush, 0x20, 0),
    Spec { kind: Kind::Rep, ..iommu(CallCode::FLUSH_DEVICE_DOMAIN_LIST, IommuCall::FlushList, 0x20, 0) },
    simple(CallCode::MMIO_READ, Call::MmioRead, 0x10, 0x40),
    simple(CallCode::MMIO_WRITE, Call::MmioWrite, 0x50, 0),
    iommu(CallCode::GET_IOMMU_CAPABILITIES, IommuCall::GetCapabilities, 0x10, 0x18),
    iommu(CallCode::GET_LOGICAL_DEVICE_PROPERTY, IommuCall::GetDeviceProperty, 0x18, 0x10),
];

/// The call with this number, of those in `table`.
pub fn lookup(table: &'static [Spec], code: CallCode) -> Option<&'static Spec> {
    table.iter().find(|spec| spec.code == code)
}

const fn root(code: CallCode, call: RootCall, input_bytes: usize, output_bytes: usize) -> Spec {
    simple(code, Call::Root(call), input_bytes, output_bytes)
}

const fn domain(code: CallCode, kind: Kind, call: DomainCall, input_bytes: usize, output_bytes: usize) -> Spec {
    Spec { kind, ..root(code, RootCall::Domain(call), input_bytes, output_bytes) }
}

/// Every call that is offered to the root partition, by ascending number.
pub const ROOT_TABLE: &[Spec] = &[
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
    root(CallCode::GET_IOMMU_CAPABILITIES, RootCall::IommuCapabilities, 0x10, 0x18),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypercall::fields::INPUT_MAX;

    #[test]
    fn the_tables_are_sorted_and_named() {
        for table in [GUEST_TABLE, ROOT_TABLE] {
            assert!(table.windows(2).all(|pair| pair[0].code < pair[1].code));
            assert!(table.iter().all(|spec| spec.code.name().is_some()));
            assert!(table.iter().all(|spec| spec.input_bytes + spec.variable_max <= INPUT_MAX));
        }
    }

    #[test]
    fn a_guests_calls() {
        let literal: Vec<_> =
            GUEST_TABLE.iter().map(|spec| (spec.code.0, spec.input_bytes, spec.output_bytes)).collect();
        let expected = [
            (0x5c, 256, 0),
            (0x5d, 8, 0),
            (0x7e, 56, 0),
            (0xb1, 28, 0),
            (0xb2, 32, 0),
            (0xc4, 16, 0),
            (0xc5, 24, 0),
            (0xce, 40, 0),
            (0xd0, 32, 0),
            (0xd1, 32, 0),
            (0x106, 16, 64),
            (0x107, 80, 0),
            (0x125, 16, 24),
            (0x127, 24, 16),
        ];
        assert_eq!(literal, expected);
    }

    #[test]
    fn codes_and_calls_agree_on_what_is_iommu() {
        for spec in GUEST_TABLE {
            assert_eq!(spec.code.is_iommu(), matches!(spec.call, Call::Iommu(_)), "{}", spec.code);
        }
    }
}
