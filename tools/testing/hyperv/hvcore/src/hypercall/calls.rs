// SPDX-License-Identifier: GPL-2.0
//! The calls by name: what a number of the table stands for, before anything is known of the input.

/// A call that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Sends a message to a connection.
    PostMessage,
    /// Signals a connection.
    SignalEvent,
    /// Sends a device's interrupt elsewhere.
    RetargetInterrupt,
    /// Reads memory-mapped I/O.
    MmioRead,
    /// Writes memory-mapped I/O.
    MmioWrite,
    /// A call of the para-virtual IOMMU.
    Iommu(IommuCall),
    /// A call of the root partition.
    Root(RootCall),
}

/// A call of the para-virtual IOMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuCall {
    /// What the IOMMU can do.
    GetCapabilities,
    /// Whether a device is behind it.
    GetDeviceProperty,
    /// Creates a domain.
    Create,
    /// Gives a domain its translation.
    Configure,
    /// Puts a device into a domain.
    Attach,
    /// Takes a device out of its domain.
    Detach,
    /// Deletes a domain.
    Delete,
    /// Flushes a domain.
    Flush,
    /// Flushes ranges of a domain.
    FlushList,
}

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
    /// What the IOMMU can do.
    IommuCapabilities,
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
