// SPDX-License-Identifier: GPL-2.0
//! The whole of the Hyper-V interface that one guest sees.

mod buses;
mod caches;
mod calls;
mod control;
mod device_tlb;
mod faults;
mod hostility;
mod injection;
mod summary;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::{fmt, mem};

use crate::counters::{Counters, Occurrence};
use crate::hypercall::control_word::{ControlWord, Outcome};
use crate::hypercall::dispatch::{Call, IommuCall, Request};
use crate::hypercall::fields::InputBuffer;
use crate::ids::{BusIndex, DeviceIndex, DomainId, Rid, VpIndex};
use crate::inject::{Injector, Qualifiers, TableFull};
use crate::iommu::domains::{DeviceConfig, Managed};
use crate::iommu::{self, layout, Iommu};
use crate::options::Options;
use crate::platform::{FunctionInfo, LogLevel, Platform};
use crate::report::{Event, ResetCause};
use crate::status::Status;
use crate::synic::{MsrOutcome, Synic};
use crate::vmbus::{ConfigError, Vmbus, VmbusConfig};
use faults::FaultLog;
use hostility::Hostility;

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
    /// Domains whose creation a rule answered: the guest cannot know for certain that they do not exist.
    uncertain: Vec<DomainId>,
    hostility: Hostility,
    counters: Counters,
    faults: FaultLog,
    /// By device index.
    devices: Vec<Device>,
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
        let config = VmbusConfig { max_version: options.vmbus, vpci_max_version: options.vpci, buses };
        let mut injector = Injector::new();
        for rule in options.inject {
            injector.add(rule).map_err(PartitionError::Inject)?;
        }
        let iommu_config = iommu::Config {
            capabilities: options.capabilities,
            quota: options.quota,
            invalidation: options.invalidation,
            cache: options.cache,
        };
        Ok(Partition {
            synic: Synic::new(vp_count),
            vmbus: Vmbus::new(config).map_err(PartitionError::Buses)?,
            iommu: Iommu::new(iommu_config, &iommu_devices),
            injector,
            buffer: InputBuffer::new(),
            qualifiers: Qualifiers::default(),
            uncertain: Vec::new(),
            hostility: Hostility::new(options.hostile),
            counters: Counters::new(),
            faults: FaultLog::new(),
            devices,
        })
    }

    /// Brings every function into its state before the first offer: reset, DMA untranslated. To be called once,
    /// before the guest runs.
    pub fn start(&mut self, platform: &mut impl Platform) {
        for index in (0..self.devices.len()).map(DeviceIndex) {
            platform.reset_function(index);
            self.iommu.domains_mut().start(platform, index);
        }
    }

    /// Carries out a hypercall: `control` is RCX, `rdx` and `r8` are those registers. Returns the result word for RAX.
    pub fn hypercall(&mut self, platform: &mut impl Platform, vp: VpIndex, control: u64, rdx: u64, r8: u64) -> u64 {
        let code = ControlWord::code_of(control);
        self.counters.add_call(code);
        let mut buffer = mem::take(&mut self.buffer);
        let outcome = match Request::fetch(platform, &mut buffer, control, rdx, r8) {
            Ok(request) => self.call(platform, vp, request),
            Err(Status::INVALID_HYPERCALL_CODE) => {
                if self.counters.note_unknown(code) == Occurrence::First {
                    platform.log(LogLevel::Info, format_args!("hypercall: {code} is not offered"));
                }
                Status::INVALID_HYPERCALL_CODE.into()
            }
            Err(status) => {
                self.violation(
                    platform,
                    format_args!("{code} with control {control:#x} input {rdx:#x} output {r8:#x}: {status}"),
                );
                status.into()
            }
        };
        self.buffer = buffer;
        if code.is_iommu() {
            self.counters.add_status(outcome.status);
        }
        if platform.shows(LogLevel::Trace) {
            platform.log(
                LogLevel::Trace,
                format_args!("hypercall: vp {} {code}: {}, reps {}", vp.0, outcome.status, outcome.reps_completed),
            );
        }
        self.settle(platform);
        self.hostility.take_word().unwrap_or(outcome.raw())
    }

    /// Reads an MSR of the synthetic interrupt controller; `None` when it is not one (0x40000080..=0x4000009f).
    pub fn msr_read(&self, vp: VpIndex, msr: u32) -> Option<u64> {
        self.synic.msr_read(vp, msr)
    }

    /// Writes an MSR of the synthetic interrupt controller.
    pub fn msr_write(&mut self, platform: &mut impl Platform, vp: VpIndex, msr: u32, value: u64) -> MsrOutcome {
        let outcome = self.synic.msr_write(platform, vp, msr, value);
        if outcome == MsrOutcome::Fault {
            self.violation(platform, format_args!("MSR {msr:#x} written with {value:#x}"));
        }
        outcome
    }

    fn carry_out(&mut self, platform: &mut impl Platform, vp: VpIndex, request: &Request<'_>) -> Outcome {
        match request.spec.call {
            Call::PostMessage => self.post_message(platform, vp, request.input).into(),
            Call::SignalEvent => self.signal_event(platform, request.input).into(),
            Call::RetargetInterrupt => self.retarget(platform, request.input).into(),
            Call::MmioRead => self.mmio_read(platform, request).into(),
            Call::MmioWrite => self.mmio_write(platform, request.input).into(),
            Call::Iommu(call) => {
                let outcome = self.iommu.call(platform, &mut self.counters, call, request);
                self.report_caches(platform);
                if self.iommu.is_violation(call, request, outcome.status)
                    && !self.is_uncertain(call, request)
                    && !self.hostility.confuses()
                {
                    self.violation(platform, format_args!("{}: {}", request.spec.code, outcome.status));
                }
                if let (IommuCall::Attach | IommuCall::Detach, Status::SUCCESS) = (call, outcome.status) {
                    let device = layout::named_device(call, request.input);
                    if let Some((_, _, index)) = device.and_then(|id| self.iommu.domains().device(id)) {
                        self.check_device_tlb(platform, index);
                    }
                }
                outcome
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
                Event::FunctionReturned { device } => self.iommu.domains_mut().reset(platform, device),
                Event::ExtendedConfigWritten { device } => self.check_device_tlb(platform, device),
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
                self.iommu.cache_log_mut().forget_all(platform);
            }
        }
    }

    /// Takes a device from the guest: it leaves its domain, its DMA is blocked, attach calls answer
    /// [`Status::INVALID_DEVICE_ID`]. Unknown devices are ignored.
    pub fn drop_device(&mut self, platform: &mut impl Platform, device: DeviceIndex) {
        self.iommu.domains_mut().unplug(platform, device);
        platform.log(LogLevel::Info, format_args!("iommu: device {} withdrawn, DMA blocked", device.0));
    }

    fn devices_on(&self, bus: BusIndex) -> Vec<DeviceIndex> {
        let on_bus = self.devices.iter().enumerate().filter(|(_, device)| device.bus == bus);
        on_bus.map(|(index, _)| DeviceIndex(index)).collect()
    }
}
