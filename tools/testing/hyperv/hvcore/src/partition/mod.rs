// SPDX-License-Identifier: GPL-2.0
//! The whole of the Hyper-V interface that one guest sees.

mod buses;
mod caches;
mod device_tlb;
mod doubt;
mod faults;
mod hostility;
mod injection;
mod plan;
mod road;
mod root;
mod summary;
mod test_interface;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

use crate::counters::Counters;
use crate::hypercall::calls::IommuCall;
use crate::hypercall::fields::InputBuffer;
use crate::hypercall::page::{self, Change, HypercallPage};
use crate::hypercall::schedule::Schedule;
use crate::ids::{BusIndex, DeviceIndex, DomainId, Rid, VpIndex};
use crate::inject::{Injector, Qualifiers, TableFull};
use crate::iommu::domains::{DeviceConfig, Managed};
use crate::iommu::{self, Iommu};
use crate::options::Options;
use crate::platform::{BadGpa, FunctionInfo, LogLevel, Platform};
use crate::report::{Event, ResetCause};
use crate::request::Hypercall;
use crate::root::RootHost;
use crate::status::Status;
use crate::synic::{MsrOutcome, Synic};
use crate::vmbus::{ConfigError, Vmbus, VmbusConfig};
use doubt::Doubt;
use faults::FaultLog;
use hostility::Hostility;

pub use road::Progress;

/// Why a partition cannot be made of these options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionError {
    /// `assign` names another number of functions than the platform found.
    DeviceCount {
        /// Named.
        assigned: usize,
        /// Found.
        found: usize,
    },
    /// `unmanaged` names a device that is not there.
    NoSuchDevice(DeviceIndex),
    /// `guid` names a bus that is not there.
    NoSuchBus(BusIndex),
    /// The buses do not go together.
    Buses(ConfigError),
    /// Too many fault-injection rules.
    Inject(TableFull),
}

impl fmt::Display for PartitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PartitionError::DeviceCount { assigned, found } => {
                write!(f, "{assigned} functions assigned, but {found} found")
            }
            PartitionError::NoSuchDevice(device) => write!(f, "unmanaged: there is no device {}", device.0),
            PartitionError::NoSuchBus(bus) => write!(f, "guid: there is no bus {}", bus.0),
            PartitionError::Buses(error) => error.fmt(f),
            PartitionError::Inject(TableFull) => f.write_str("too many fault-injection rules"),
        }
    }
}

impl core::error::Error for PartitionError {}

/// A passed-through function and where it is.
#[derive(Clone, Copy, Debug)]
struct Device {
    rid: Rid,
    bus: BusIndex,
}

/// One guest's hypervisor interface.
pub struct Partition {
    synic: Synic,
    vmbus: Vmbus,
    iommu: Iommu,
    injector: Injector,
    buffer: InputBuffer,
    /// For the next rule that the test interface adds.
    qualifiers: Qualifiers,
    hostility: Hostility,
    /// What the guest cannot know because a rule answered.
    doubt: Doubt,
    page: HypercallPage,
    schedule: Schedule,
    counters: Counters,
    faults: FaultLog,
    /// The domain that the test interface walks.
    selected: DomainId,
    /// By device index.
    devices: Vec<Device>,
    /// What the root partition has besides; `None` for any other.
    root: Option<RootHost>,
}

impl Partition {
    /// The interface of a guest with `vp_count` processors and these functions, in the order of their indices.
    ///
    /// # Errors
    /// See [`PartitionError`].
    pub fn new(options: Options, vp_count: u32, functions: &[FunctionInfo]) -> Result<Self, PartitionError> {
        let buses = buses::configure(&options, functions.len())?;
        let mut devices = Vec::new();
        let mut iommu_devices = Vec::new();
        for (index, function) in functions.iter().enumerate() {
            let index = DeviceIndex(index);
            let found = PartitionError::DeviceCount { assigned: devices.len(), found: functions.len() };
            let (bus, id) = buses::place(&buses, index).ok_or(found)?;
            let managed = if options.unmanaged.contains(&index) { Managed::No } else { Managed::Yes };
            devices.push(Device { rid: function.rid, bus });
            iommu_devices.push(DeviceConfig { index, id, managed });
        }
        if let Some(&missing) = options.unmanaged.iter().find(|device| device.0 >= functions.len()) {
            return Err(PartitionError::NoSuchDevice(missing));
        }
        let config = VmbusConfig {
            max_version: options.vmbus,
            vpci_max_version: options.vpci,
            buses,
            ids: options.ids,
            unload: options.unload,
        };
        let mut injector = Injector::new();
        for rule in options.inject {
            injector.add(rule).map_err(PartitionError::Inject)?;
        }
        let iommu_config = iommu::Config {
            capabilities: options.capabilities,
            quota: options.quota,
            flushes: options.flushes,
            cache: options.cache,
            start: options.start,
            taken: options.taken,
        };
        Ok(Partition {
            synic: Synic::new(vp_count),
            vmbus: Vmbus::new(config).map_err(PartitionError::Buses)?,
            iommu: Iommu::new(iommu_config, &iommu_devices),
            injector,
            buffer: InputBuffer::new(),
            qualifiers: Qualifiers::default(),
            hostility: Hostility::new(options.hostile),
            doubt: Doubt::default(),
            page: HypercallPage::new(),
            schedule: Schedule::new(options.interleave),
            counters: Counters::new(),
            faults: FaultLog::new(),
            selected: DomainId(0),
            devices,
            root: None,
        })
    }

    /// Brings every function into its state before the first offer: reset, DMA as `start` says. To be called once, before
    /// the guest runs.
    pub fn start(&mut self, platform: &mut impl Platform) {
        for index in (0..self.devices.len()).map(DeviceIndex) {
            platform.reset_function(index);
            self.iommu.domains_mut().start(index).perform(platform);
        }
    }

    /// Reads one of the partition's MSRs: the hypercall page's, or the synthetic interrupt controller's. `None` for any
    /// other.
    pub fn msr_read(&self, vp: VpIndex, msr: u32) -> Option<u64> {
        if let Some(value) = self.root.as_ref().and_then(|root| root.msr_read(vp, msr)) {
            return Some(value);
        }
        match msr {
            page::GUEST_OS_ID => Some(self.page.guest_os_id()),
            page::HYPERCALL => Some(self.page.register()),
            _ => self.synic.msr_read(vp, msr),
        }
    }

    /// Writes one of the partition's MSRs.
    pub fn msr_write(&mut self, platform: &mut impl Platform, vp: VpIndex, msr: u32, value: u64) -> MsrOutcome {
        if let Some(outcome) = self.root_msr_write(platform, vp, msr, value) {
            return outcome;
        }
        let change = match msr {
            page::GUEST_OS_ID => Ok(self.page.set_guest_os_id(platform, value)),
            page::HYPERCALL => self.page.set_register(platform, value),
            _ => {
                let outcome = self.synic.msr_write(platform, vp, msr, value);
                if outcome == MsrOutcome::Fault {
                    self.violation(platform, format_args!("MSR {msr:#x} written with {value:#x}"));
                }
                return outcome;
            }
        };
        match change {
            Ok(Change::Disabled) => self.kernel_left(platform),
            Ok(Change::None | Change::Enabled) => {}
            Err(BadGpa(_)) => {
                self.violation(platform, format_args!("MSR {msr:#x} written with {value:#x}"));
                return MsrOutcome::Fault;
            }
        }
        MsrOutcome::Handled
    }

    /// What a call of the IOMMU, which ended with this status, says about the guest.
    fn judge(&mut self, platform: &mut impl Platform, which: IommuCall, call: &Hypercall<'_>, status: Status) {
        let subject = call.subject;
        self.report_caches(platform);
        if self.iommu.is_violation(which, subject, status)
            && !self.doubt.excuses(which, subject, self.iommu.domains())
            && !self.hostility.confuses()
        {
            self.violation(platform, format_args!("{}: {status}", call.spec.code));
        }
        self.doubt.carried_out(which, subject, status);
        if let (IommuCall::Attach | IommuCall::Detach, Status::SUCCESS) = (which, status) {
            if let Some((_, _, index)) = subject.device.and_then(|id| self.iommu.domains().device(id)) {
                self.check_device_tlb(platform, index);
            }
        }
    }

    fn violation(&mut self, platform: &mut impl Platform, what: fmt::Arguments<'_>) {
        Counters::add(&mut self.counters.violations, 1);
        platform.log(LogLevel::Error, format_args!("violation: {what}"));
    }

    /// Follows up what the VMBus layer did to functions. After every call into it.
    fn settle(&mut self, platform: &mut impl Platform) {
        if self.vmbus.has_events() {
            self.follow_events(platform);
        }
    }

    fn follow_events(&mut self, platform: &mut impl Platform) {
        for event in self.vmbus.take_events() {
            match event {
                Event::FunctionReset { device, cause } => self.follow_reset(platform, device, cause),
                Event::FunctionReturned { device } => self.iommu.domains_mut().reset(device).perform(platform),
                Event::ExtendedConfigWritten { device } => self.check_device_tlb(platform, device),
                Event::BusMasterEnabled { device } => self.check_bus_master(platform, device),
            }
        }
    }

    fn follow_reset(&mut self, platform: &mut impl Platform, device: DeviceIndex, cause: ResetCause) {
        match cause {
            ResetCause::PoweredOff => {}
            ResetCause::Ejected | ResetCause::Rescinded => self.drop_device(platform, device),
            // The next kernel finds its devices where the last one left them: no public text says otherwise.
            ResetCause::Unloaded => {
                if !self.iommu.domains().is_out_of_reach(device) {
                    Counters::add(&mut self.counters.abandoned, 1);
                }
                self.iommu.domains_mut().replug(device);
                self.kernel_left(platform);
            }
        }
    }

    /// Counts a violation when a guest that uses the IOMMU lets a device do DMA before it has attached it anywhere, so
    /// that nothing is translated.
    fn check_bus_master(&mut self, platform: &mut impl Platform, device: DeviceIndex) {
        let domains = self.iommu.domains();
        let Some(id) = domains.logical_id(device).filter(|_| domains.is_unguarded(device)) else { return };
        if !self.doubt.concerns_property(id) {
            self.violation(platform, format_args!("device {:#x} may master the bus and is in no domain", id.0));
        }
    }

    /// Takes a device from the guest: it leaves its domain, its DMA is blocked, attach calls answer
    /// [`Status::INVALID_DEVICE_ID`]. Unknown devices are ignored.
    pub fn drop_device(&mut self, platform: &mut impl Platform, device: DeviceIndex) {
        self.iommu.domains_mut().unplug(device).perform(platform);
        platform.log(LogLevel::Info, format_args!("iommu: device {} withdrawn, DMA blocked", device.0));
    }

    fn devices_on(&self, bus: BusIndex) -> Vec<DeviceIndex> {
        let on_bus = self.devices.iter().enumerate().filter(|(_, device)| device.bus == bus);
        on_bus.map(|(index, _)| DeviceIndex(index)).collect()
    }
}
