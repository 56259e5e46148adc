// SPDX-License-Identifier: GPL-2.0
//! The host of a root partition: the partition that owns the machine's devices, starts its processors, and creates other
//! partitions (none here).
//!
//! It sees the machine's own PCI, firmware tables and memory, but not the hypervisor's. What it may not do, or does in the
//! wrong order, is a violation with a name; see [`crate::request::refusal`].

pub mod dids;
mod domain_calls;
pub mod domains;
pub mod interrupts;
pub mod memory;
pub mod processors;
pub mod properties;
pub mod reference_time;
pub mod sleep;
pub mod stage2;
pub mod statistics;
#[cfg(test)]
mod tests;

use crate::cachelog::{Finding, Stale, Strictness};
use crate::hypercall::control_word::Outcome;
use crate::hypercall::frame::Output;
use crate::hypercall::list::Span;
use crate::ids::{DomainId, Gpa, Iova, LpIndex, Rid, VpIndex};
use crate::iommu::capabilities::{Capabilities, Presence};
use crate::overlay::{Fixed, Moved, Overlays};
use crate::platform::{LogLevel, Platform};
use crate::request::interrupts::MapInterrupt;
use crate::request::list::{ApicId, List, PageNumber};
use crate::request::refusal::{Ended, Refusal};
use crate::request::root::{Object, PartitionProperty, RootRequest, ROOT};
use crate::request::root_domains::Name;
use crate::status::Status;
use crate::test_interface::{DeviceField, DomainField, Reply};
use domains::Domains;
use interrupts::Interrupts;
use memory::Pool;
use processors::Processors;
use sleep::{Sleep, Wish};
use statistics::{Census, Statistics};

use alloc::vec::Vec;

/// A page has so many bytes, this power of two.
const PAGE_SHIFT: u32 = 12;
const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

/// `HV_X64_MSR_VP_ASSIST_PAGE`.
pub const VP_ASSIST_PAGE: u32 = 0x4000_0073;
/// `HV_X64_MSR_REFERENCE_TSC`.
pub const REFERENCE_TSC: u32 = 0x4000_0021;

/// The host.
pub struct RootHost {
    /// CPUID 0x40000003 EAX and EBX.
    privileges: u64,
    capabilities: Capabilities,
    processors: Processors,
    interrupts: Interrupts,
    domains: Domains,
    pool: Pool,
    statistics: Statistics,
    sleep: Sleep,
    wish: Wish,
    assist_pages: Vec<Fixed>,
    reference_tsc: Fixed,
    /// Requesters that the last kernel has left blocked.
    left_blocked: u64,
}

impl RootHost {
    /// The host of a partition on a machine with so many processors. `privileges` are CPUID 0x40000003 EAX and EBX, as
    /// the partition sees them; `capabilities` are the IOMMU's, and `cache` says whether it is logged what caches may hold.
    pub fn new(
        processors: u32,
        overlays: Overlays,
        privileges: u64,
        capabilities: Capabilities,
        cache: Strictness,
    ) -> RootHost {
        RootHost {
            privileges,
            capabilities,
            processors: Processors::new(processors),
            interrupts: Interrupts::new(),
            domains: Domains::new(cache),
            pool: Pool::new(),
            statistics: Statistics::new(),
            sleep: Sleep::default(),
            wish: Wish::None,
            assist_pages: (0..processors).map(|vp| Fixed::new(overlays.of(VpIndex(vp)).assist)).collect(),
            reference_tsc: Fixed::new(overlays.reference_tsc()),
            left_blocked: 0,
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
    pub fn msr_write(&mut self, vp: VpIndex, msr: u32, value: u64) -> Option<Result<(), Moved>> {
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
        let (unused, all) = (self.pool.free(), self.pool.total());
        platform.log(LogLevel::Info, format_args!("root: a kernel leaves {all} pages, {unused} of them unused"));
        self.left_blocked = self.domains.blocked();
        self.interrupts.unmap_all(platform);
        self.domains.reset(platform, &mut self.pool);
        self.statistics.unmap_all(platform, &mut self.pool);
        while self.pool.withdraw(platform).is_some() {}
    }

    /// Requesters that the last kernel left blocked when it gave up its hypercalls. They are in identity now.
    pub fn left_blocked(&self) -> u64 {
        self.left_blocked
    }

    /// What the test interface says of a requester.
    pub fn device_field(&self, rid: Rid, field: DeviceField) -> u64 {
        match field {
            DeviceField::Domain => self.domains.whereabouts(rid).0.into(),
            DeviceField::Translation => match self.domains.whereabouts(rid).0 {
                0 => 0,
                u32::MAX => 1,
                _ => 4,
            },
            DeviceField::Rid => rid.0.into(),
            // Nobody answers a requester's translation requests.
            DeviceField::DeviceTlb => 0,
        }
    }

    /// What the test interface says of a domain that the partition has created.
    ///
    /// # Errors
    /// [`Reply::NoSuchObject`] when there is none of this number; [`Reply::Refused`] for flags, which such domains have none
    /// of.
    pub fn domain_field(&self, id: DomainId, field: DomainField) -> Result<u64, Reply> {
        let root = self.domains.root_of(id).ok_or(Reply::NoSuchObject)?;
        match field {
            DomainField::Devices => Ok(self.domains.inside(Name::Own(id))),
            DomainField::Root => Ok(root.0),
            DomainField::Flags => Err(Reply::Refused),
        }
    }

    /// What a page of a domain is mapped onto, as an entry for 4 KiB has it; 0 when it is not mapped.
    ///
    /// # Errors
    /// [`Reply::NoSuchObject`] for another domain or address than there is.
    pub fn entry(&mut self, platform: &impl Platform, id: DomainId, iova: Iova) -> Result<u64, Reply> {
        let leaf = self.domains.query(platform, Name::Own(id), iova).map_err(|_| Reply::NoSuchObject)?;
        Ok(leaf.map_or(0, |leaf| leaf.page.0 | stage2::bits(leaf.access)))
    }

    /// Takes what the log of the caches has found since the last time.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.domains.take_findings()
    }

    /// What caches may hold of a domain that its table no longer has; `None` when there is no log of it.
    pub fn stale(&self, id: DomainId) -> Option<Stale> {
        self.domains.stale(id)
    }

    /// Checks what is to be checked before the input of a call is looked at.
    ///
    /// # Errors
    /// A violation.
    pub fn admit(&self, output: Option<Output>) -> Result<(), Refusal> {
        match output.is_some_and(|output| self.pool.overlaps(output.gpa(), 1)) {
            true => Err(Refusal::parameter("an output in memory that was deposited")),
            false => Ok(()),
        }
    }

    /// Does what is asked for; of a list the elements of `span`.
    pub fn carry_out(&mut self, platform: &mut impl Platform, request: RootRequest, span: Option<Span>) -> Ended {
        match request {
            RootRequest::Domain(request) => self.domain_request(platform, request, span),
            RootRequest::Deposit(pages) => self.deposit(platform, pages, span),
            RootRequest::Withdraw(output) => self.withdraw(platform, output, span),
            RootRequest::VpIndexFromApicId(apics, output) => self.vp_indices(platform, apics, output, span),
            RootRequest::PartitionId(output) => tell(platform, output, &ROOT.to_le_bytes()).into(),
            RootRequest::PartitionProperty(PartitionProperty::PrivilegeFlags, output) => {
                tell(platform, output, &self.privileges.to_le_bytes()).into()
            }
            RootRequest::PartitionProperty(PartitionProperty::VmmCapabilities, output) => {
                tell(platform, output, &properties::VMM_CAPABILITIES).into()
            }
            RootRequest::IommuCapabilities(output) => self.iommu_capabilities(platform, output).into(),
            RootRequest::SystemProperty(property, output) => {
                tell(platform, output, &properties::system(property).to_le_bytes()).into()
            }
            RootRequest::DefineSleepState(state, types) => self.sleep.define(state, types).into(),
            RootRequest::EnterSleepState(state) => self.sleep.enter(state).map(|wish| self.wish = wish).into(),
            RootRequest::LogicalProcessorRunTime(lp, output) => self.run_time(platform, lp, output).into(),
            RootRequest::AddLogicalProcessor(lp, apic, output) => {
                self.processors.add(lp, apic).and_then(|()| tell(platform, output, &[0; 0x38])).into()
            }
            RootRequest::AllProcessorsStarted => {
                self.processors.all_started();
                Status::SUCCESS.into()
            }
            RootRequest::CreateVp(vp, lp) => self.processors.create(vp, lp).into(),
            RootRequest::MapInterrupt(map, output) => self.map_interrupt(platform, &map, output).into(),
            RootRequest::UnmapInterrupt(unmap) => self.interrupts.unmap(platform, unmap).into(),
            RootRequest::MapStatistics(object, output) => self.map_statistics(platform, object, output).into(),
            RootRequest::UnmapStatistics(object) => {
                let RootHost { statistics, pool, .. } = self;
                statistics.unmap(platform, pool, object).into()
            }
        }
    }

    fn iommu_capabilities(&self, platform: &mut impl Platform, output: Output) -> Result<(), Refusal> {
        match self.capabilities.presence {
            Presence::Absent => Err(Status::INVALID_HYPERCALL_CODE.into()),
            Presence::Present | Presence::Off => tell(platform, output, &self.capabilities.encode_for_root()),
        }
    }

    fn run_time(&self, platform: &mut impl Platform, lp: LpIndex, output: Output) -> Result<(), Refusal> {
        self.processors.check_started(lp)?;
        // Times of the partition are not kept apart.
        let mut times = [0; 0x20];
        times[0x18..].copy_from_slice(&platform.effort().ticks.to_le_bytes());
        tell(platform, output, &times)
    }

    fn map_interrupt(
        &mut self,
        platform: &mut impl Platform,
        map: &MapInterrupt,
        output: Output,
    ) -> Result<(), Refusal> {
        if !self.processors.exists(map.vp) {
            return Err(Refusal::violation(Status::INVALID_VP_INDEX, "a processor that was not created"));
        }
        let entry = self.interrupts.map(platform, map)?;
        let mut bytes = [0; 0x38];
        bytes[..0x10].copy_from_slice(&entry.encode());
        tell(platform, output, &bytes)
    }

    fn map_statistics(&mut self, platform: &mut impl Platform, object: Object, output: Output) -> Result<(), Refusal> {
        match object {
            Object::Hypervisor | Object::Partition => {}
            Object::LogicalProcessor(lp) => self.processors.check_started(lp)?,
            Object::Vp(vp) if self.processors.exists(vp) => {}
            Object::Vp(_) => return Err(Refusal::violation(Status::INVALID_VP_INDEX, "statistics of no processor")),
        }
        let census = self.census();
        let Gpa(page) = self.statistics.map(platform, &mut self.pool, object, census)?;
        tell(platform, output, &(page >> PAGE_SHIFT).to_le_bytes())
    }

    fn deposit(&mut self, platform: &mut impl Platform, pages: List<PageNumber>, span: Option<Span>) -> Ended {
        each(span, |index| {
            let page = pages.get(platform, index)?;
            self.pool.deposit(platform, page)
        })
    }

    /// Page numbers go to the output, as many as are asked for and there are.
    fn withdraw(&mut self, platform: &mut impl Platform, output: Output, span: Option<Span>) -> Ended {
        each(span, |index| {
            let at = output_element(output, index, 8)?;
            let Gpa(page) = self.pool.withdraw(platform).ok_or(Status::NO_RESOURCES)?;
            Ok(platform.write(at, &(page >> PAGE_SHIFT).to_le_bytes()).map_err(|_| Status::INVALID_PARAMETER)?)
        })
    }

    fn vp_indices(
        &mut self,
        platform: &mut impl Platform,
        apics: List<ApicId>,
        output: Output,
        span: Option<Span>,
    ) -> Ended {
        each(span, |index| {
            let at = output_element(output, index, 4)?;
            let VpIndex(vp) = self.processors.with_apic(apics.get(platform, index)?)?;
            Ok(platform.write(at, &vp.to_le_bytes()).map_err(|_| Status::INVALID_PARAMETER)?)
        })
    }
}

fn tell(platform: &mut impl Platform, output: Output, bytes: &[u8]) -> Result<(), Refusal> {
    Ok(output.write(platform, bytes)?)
}

/// Where an element of a call's output goes.
fn output_element(output: Output, index: u16, bytes: u64) -> Result<Gpa, Refusal> {
    output.element(index, bytes).map_err(|status| match status {
        Status::INVALID_ALIGNMENT => Refusal::violation(status, "an output that crosses a page"),
        status => status.into(),
    })
}

/// Does something for each element, until one fails.
fn each(span: Option<Span>, mut work: impl FnMut(u16) -> Result<(), Refusal>) -> Ended {
    let indices = span.map_or(0..0, Span::indices);
    for index in indices.clone() {
        if let Err(refusal) = work(index) {
            return Ended::at(index, refusal);
        }
    }
    Ended { outcome: Outcome { status: Status::SUCCESS, reps_completed: indices.end }, violation: None }
}
