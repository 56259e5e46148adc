// SPDX-License-Identifier: GPL-2.0
//! The host of a root partition: the partition that owns the machine's devices, starts its processors, and creates other
//! partitions (none here).
//!
//! It sees the machine's own PCI, firmware tables and memory, but not the hypervisor's. What it may not do, or does in the
//! wrong order, is a violation with a name; see [`refusal`].

pub mod calls;
mod domain_calls;
pub mod domain_layout;
pub mod domains;
pub mod interrupts;
pub mod layout;
pub mod memory;
pub mod overlay;
pub mod processors;
pub mod properties;
pub mod reference_time;
pub mod refusal;
pub mod sleep;
pub mod stage2;
pub mod statistics;
#[cfg(test)]
mod tests;

use crate::control::{DeviceField, Reply};
use crate::hypercall::control_word::Outcome;
use crate::hypercall::dispatch::{RepList, Request};
use crate::ids::{Gpa, Rid, VpIndex};
use crate::platform::Platform;
use crate::status::Status;
use calls::RootCall;
use domains::Domains;
use interrupts::{Interrupts, MapRequest};
use memory::Pool;
use overlay::{Fixed, Overlays};
use processors::{LpIndex, Processors};
use properties::SystemProperty;
use refusal::Refusal;
use sleep::{Sleep, Wish};
use statistics::{Census, Object, Statistics};

use alloc::vec::Vec;

/// A page has so many bytes, this power of two.
const PAGE_SHIFT: u32 = 12;
const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

/// `HV_X64_MSR_VP_ASSIST_PAGE`.
pub const VP_ASSIST_PAGE: u32 = 0x4000_0073;
/// `HV_X64_MSR_REFERENCE_TSC`.
pub const REFERENCE_TSC: u32 = 0x4000_0021;

/// How a call ended, and what was wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What the caller is told.
    pub outcome: Outcome,
    /// The violation's name.
    pub violation: Option<&'static str>,
}

impl From<Result<(), Refusal>> for Ended {
    fn from(result: Result<(), Refusal>) -> Self {
        match result {
            Ok(()) => Ended { outcome: Status::SUCCESS.into(), violation: None },
            Err(Refusal { status, violation }) => Ended { outcome: status.into(), violation },
        }
    }
}

/// The host.
pub struct RootHost {
    /// CPUID 0x40000003 EAX and EBX.
    privileges: u64,
    processors: Processors,
    interrupts: Interrupts,
    domains: Domains,
    pool: Pool,
    statistics: Statistics,
    sleep: Sleep,
    wish: Wish,
    assist_pages: Vec<Fixed>,
    reference_tsc: Fixed,
}

impl RootHost {
    /// The host of a partition on a machine with so many processors. `privileges` are CPUID 0x40000003 EAX and EBX, as
    /// the partition sees them.
    pub fn new(processors: u32, overlays: Overlays, privileges: u64) -> RootHost {
        RootHost {
            privileges,
            processors: Processors::new(processors),
            interrupts: Interrupts::new(),
            domains: Domains::new(),
            pool: Pool::new(),
            statistics: Statistics::new(),
            sleep: Sleep::default(),
            wish: Wish::None,
            assist_pages: (0..processors).map(|vp| Fixed::new(overlays.of(VpIndex(vp)).assist)).collect(),
            reference_tsc: Fixed::new(overlays.reference_tsc()),
        }
    }

    /// Reads a register that only differs for a root partition; `None` for any other.
    pub fn msr_read(&self, vp: VpIndex, msr: u32) -> Option<u64> {
        match msr {
            VP_ASSIST_PAGE => self.assist_pages.get(vp.0 as usize).map(|page| page.value()),
            REFERENCE_TSC => Some(self.reference_tsc.value()),
            _ => None,
        }
    }

    /// Writes such a register; `None` for any other.
    pub fn msr_write(&mut self, vp: VpIndex, msr: u32, value: u64) -> Option<Result<(), overlay::Moved>> {
        match msr {
            VP_ASSIST_PAGE => self.assist_pages.get_mut(vp.0 as usize).map(|page| page.set(value)),
            REFERENCE_TSC => Some(self.reference_tsc.set(value)),
            _ => None,
        }
    }

    /// Whether the virtual processor has been created, so that it can be started.
    pub fn has_vp(&self, vp: VpIndex) -> bool {
        self.processors.exists(vp)
    }

    /// What the partition wants of the machine now.
    pub fn wish(&self) -> Wish {
        self.wish
    }

    /// The machine as the partition has made it.
    pub fn census(&self) -> Census {
        Census {
            logical_processors: self.processors.started(),
            virtual_processors: self.processors.created(),
            pages: self.pool.total(),
        }
    }

    /// Interrupts that are mapped.
    pub fn mapped_interrupts(&self) -> u64 {
        self.interrupts.count()
    }

    /// Domains that the partition has created.
    pub fn live_domains(&self) -> u64 {
        self.domains.count()
    }

    /// The partition's kernel gives up all hypercalls. Another one maps its own interrupts; it finds all devices in the
    /// identity domain, and does not know of pages that this one has deposited, which it uses as it likes.
    pub fn kernel_left(&mut self, platform: &mut impl Platform) {
        self.interrupts.unmap_all(platform);
        self.domains.reset(platform, &mut self.pool);
        self.statistics.unmap_all(platform, &mut self.pool);
        while self.pool.withdraw(platform).is_some() {}
    }

    /// What the test interface says of a requester.
    ///
    /// # Errors
    /// [`Reply::Refused`] for what a requester does not have.
    pub fn device_field(&self, rid: Rid, field: DeviceField) -> Result<u64, Reply> {
        match field {
            DeviceField::Domain => Ok(self.domains.whereabouts(rid).0.into()),
            DeviceField::Translation => Ok(match self.domains.whereabouts(rid).0 {
                0 => 0,
                u32::MAX => 1,
                _ => 4,
            }),
            DeviceField::Rid => Ok(rid.0.into()),
            DeviceField::DeviceTlb => Err(Reply::Refused),
        }
    }

    /// Carries out a call whose form is sound.
    pub fn call(&mut self, platform: &mut impl Platform, call: RootCall, request: &Request<'_>) -> Ended {
        let input = request.input;
        if request.output.is_some_and(|gpa| self.pool.overlaps(gpa, 1)) {
            return Err(Refusal::parameter("an output in memory that was deposited")).into();
        }
        match call {
            RootCall::Domain(call) => self.domain_call(platform, call, request),
            RootCall::Deposit => self.deposit(platform, request),
            RootCall::Withdraw => self.withdraw(platform, request),
            RootCall::VpIndexFromApicId => self.vp_indices(platform, request),
            RootCall::PartitionId => write(platform, request, &layout::ROOT.to_le_bytes()).into(),
            RootCall::PartitionProperty => layout::own_partition(input, 0x00)
                .and_then(|()| properties::partition(input.u32(0x08), self.privileges))
                .and_then(|value| write(platform, request, &value.to_le_bytes()))
                .into(),
            RootCall::PartitionPropertyEx => layout::own_partition(input, 0x00)
                .and_then(|()| properties::partition_ex(input.u32(0x08)))
                .and_then(|value| write(platform, request, &value))
                .into(),
            RootCall::SystemProperty => SystemProperty::decode(input.u32(0x00))
                .and_then(|property| write(platform, request, &property.value().to_le_bytes()))
                .into(),
            RootCall::SetSystemProperty => {
                layout::set_system_property(input).and_then(|(state, types)| self.sleep.define(state, types)).into()
            }
            RootCall::EnterSleepState => self.sleep.enter(input.u32(0x00)).map(|wish| self.wish = wish).into(),
            RootCall::LogicalProcessorRunTime => self
                .processors
                .check_started(LpIndex(input.u32(0x00)))
                .and_then(|()| {
                    // Times of the partition are not kept apart.
                    let mut times = [0; 0x20];
                    times[0x18..].copy_from_slice(&platform.effort().ticks.to_le_bytes());
                    write(platform, request, &times)
                })
                .into(),
            RootCall::AddLogicalProcessor => {
                let (lp, apic_id) = layout::logical_processor(input);
                self.processors.add(lp, apic_id).and_then(|()| write(platform, request, &[0; 0x38])).into()
            }
            RootCall::NotifyEvent => {
                layout::all_processors_started(input).map(|()| self.processors.all_started()).into()
            }
            RootCall::CreateVp => layout::create_vp(input).and_then(|(vp, lp)| self.processors.create(vp, lp)).into(),
            RootCall::MapInterrupt => self.map_interrupt(platform, request).into(),
            RootCall::UnmapInterrupt => {
                layout::own_partition(input, 0x00).and_then(|()| self.interrupts.unmap(platform, input)).into()
            }
            RootCall::MapStatistics => self.map_statistics(platform, request).into(),
            RootCall::UnmapStatistics => {
                let RootHost { statistics, pool, .. } = self;
                layout::statistics(input).and_then(|object| statistics.unmap(platform, pool, object)).into()
            }
        }
    }

    fn map_interrupt(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Result<(), Refusal> {
        let input = request.input;
        layout::own_partition(input, 0x00)?;
        let wanted = MapRequest::decode(input, &self.processors)?;
        let entry = self.interrupts.map(platform, input.u64(0x08), &wanted)?;
        let mut output = [0; 0x38];
        output[..0x10].copy_from_slice(&entry.encode());
        write(platform, request, &output)
    }

    fn map_statistics(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Result<(), Refusal> {
        let object = layout::statistics(request.input)?;
        match object {
            Object::Hypervisor | Object::Partition => {}
            Object::LogicalProcessor(lp) => self.processors.check_started(LpIndex(lp))?,
            Object::Vp(vp) if self.processors.exists(VpIndex(vp)) => {}
            Object::Vp(_) => return Err(Refusal::violation(Status::INVALID_VP_INDEX, "statistics of no processor")),
        }
        let census = self.census();
        let Gpa(page) = self.statistics.map(platform, &mut self.pool, object, census)?;
        write(platform, request, &(page >> 12).to_le_bytes())
    }

    fn deposit(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Ended {
        each(layout::own_partition(request.input, 0x00), request.list, |(), list, index| {
            let page = list.element(platform, index)?;
            self.pool.deposit(platform, page)
        })
    }

    /// Page numbers go to the output, as many as are asked for and there are.
    fn withdraw(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Ended {
        each(layout::own_partition(request.input, 0x00), request.list, |(), _, index| {
            let at = output_element(request, index, 8)?;
            let Gpa(page) = self.pool.withdraw(platform).ok_or(Status::NO_RESOURCES)?;
            Ok(platform.write(at, &(page >> 12).to_le_bytes()).map_err(|_| Status::INVALID_PARAMETER)?)
        })
    }

    fn vp_indices(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Ended {
        each(layout::own_partition(request.input, 0x00), request.list, |(), list, index| {
            let at = output_element(request, index, 4)?;
            let VpIndex(vp) = self.processors.with_apic(list.element(platform, index)?)?;
            Ok(platform.write(at, &vp.to_le_bytes()).map_err(|_| Status::INVALID_PARAMETER)?)
        })
    }
}

/// Where an element of a call's output goes.
fn output_element(request: &Request<'_>, index: u16, bytes: u64) -> Result<Gpa, Refusal> {
    let output = request.output.ok_or(Status::INVALID_PARAMETER)?;
    let offset = u64::from(index) * bytes;
    if output.page_offset() + offset + bytes > PAGE_BYTES {
        return Err(Refusal::violation(Status::INVALID_ALIGNMENT, "an output that crosses a page"));
    }
    Ok(output.checked_add(offset).ok_or(Status::INVALID_PARAMETER)?)
}

/// Carries out a call for each element of its list, until one fails; for none, if its header is refused.
fn each<T>(
    header: Result<T, Refusal>,
    list: Option<RepList>,
    mut work: impl FnMut(&T, RepList, u16) -> Result<(), Refusal>,
) -> Ended {
    let header = match header {
        Ok(header) => header,
        Err(refusal) => return Err(refusal).into(),
    };
    let Some(list) = list else {
        return Err(Refusal::violation(Status::INVALID_HYPERCALL_INPUT, "a call without a list")).into();
    };
    for index in list.indices() {
        if let Err(Refusal { status, violation }) = work(&header, list, index) {
            return Ended { outcome: Outcome { status, reps_completed: index }, violation };
        }
    }
    Ended { outcome: Outcome { status: Status::SUCCESS, reps_completed: list.indices().end }, violation: None }
}

fn write(platform: &mut impl Platform, request: &Request<'_>, bytes: &[u8]) -> Result<(), Refusal> {
    let gpa = request.output.ok_or(Status::INVALID_PARAMETER)?;
    Ok(platform.write(gpa, bytes).map_err(|_| Status::INVALID_PARAMETER)?)
}
