// SPDX-License-Identifier: GPL-2.0
//! iommufd and VFIO's type 1 containers, from user space: large amounts of memory, in pages of 4 KiB and of 2 MiB.

use anyhow::{Context as _, Result};

use super::measurement::{measurement, Where};
use crate::check::{Check, Context};
use crate::checks::leaks::{io_page_table_bytes, memory_info};
use crate::instructions::{Binding, Cost, Figure, Meter, Module, Unit};
use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::pci;
use crate::processors::Alone;
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::witness::at;

const GIB: usize = (1 << 30) / PAGE;
/// The sizes, in pages, and their names.
const SIZES: [(usize, &str); 2] = [(GIB / 4, "256m"), (GIB, "1g")];
/// What the rest of the guest needs, in bytes.
const RESERVE: u64 = 512 << 20;

/// Memory of one size of page.
struct Kind {
    /// Behind the size, in the names of figures.
    suffix: &'static str,
    /// In the names of figures about memory: tables are the same, whoever maps.
    table: &'static str,
    make: fn() -> Result<DmaBuffer>,
}

const KINDS: [Kind; 2] = [
    Kind { suffix: "", table: "memory/gib-2m", make: huge_pages },
    Kind { suffix: "-4k", table: "memory/gib-4k", make: || DmaBuffer::untouched(GIB) },
];

/// 1 GiB of huge pages, from a pool that is filled for it. It is emptied with the buffer.
fn huge_pages() -> Result<DmaBuffer> {
    HugePage::TwoMiB.fill_pool(GIB / HugePage::TwoMiB.pages())?;
    let buffer = DmaBuffer::huge_pages(HugePage::TwoMiB, GIB / HugePage::TwoMiB.pages());
    HugePage::TwoMiB.fill_pool(0)?;
    buffer
}

/// A device behind an address space of user space, and what was measured there. It is printed at the end: the console is
/// busy for some time with each line.
struct User {
    session: Session,
    meter: Meter,
    /// Bytes of page tables with nothing mapped.
    empty: u64,
    figures: Vec<Figure>,
}

impl User {
    fn open(back_end: BackEnd, meter: Meter) -> Result<User> {
        let function = pci::find(pci::EDU)?;
        let before = io_page_table_bytes()?;
        let session = Session::open_by(&function, back_end)?;
        let empty = io_page_table_bytes()?;
        let figures = match back_end {
            BackEnd::Iommufd => vec![Figure::whole("memory/domain", empty.saturating_sub(before), Unit::Bytes)],
            BackEnd::Type1 => Vec::new(),
        };
        Ok(User { session, meter, empty, figures })
    }

    fn add(&mut self, name: &str, cost: Cost) {
        let mut put =
            |suffix: &str, value, unit| self.figures.push(Figure::whole(format!("{name}{suffix}"), value, unit));
        put("", cost.instructions, Unit::Instructions);
        if let (Some(hypervisor), Some(calls)) = (cost.hypervisor, cost.calls) {
            put("-hypervisor", hypervisor, Unit::Instructions);
            put("/calls", calls, Unit::Calls);
        }
    }

    /// Maps and unmaps the first pages of the buffer.
    fn measure(&mut self, buffer: &DmaBuffer, pages: usize, name: &str) -> Result<()> {
        let ((), mapped) = self.meter.measure(|| self.session.map(at(0), buffer, 0, pages).context("mapping"))?;
        let ((), unmapped) = self.meter.measure(|| self.session.unmap(at(0), pages))?;
        self.add(&format!("{name}/map"), mapped);
        self.add(&format!("{name}/unmap"), unmapped);
        Ok(())
    }

    /// What the tables take with the whole buffer mapped. It is the first thing that is done with a buffer, so that
    /// everything else is measured with all in place that stays.
    fn table_bytes(&mut self, buffer: &DmaBuffer, name: &str) -> Result<()> {
        self.session.map(at(0), buffer, 0, buffer.pages()).context("mapping")?;
        let bytes = io_page_table_bytes()?.saturating_sub(self.empty);
        self.session.unmap(at(0), buffer.pages())?;
        self.figures.push(Figure::whole(name, bytes, Unit::Bytes));
        Ok(())
    }
}

/// The cost of large mappings by iommufd, and of the tables for them. Where the guest has too little memory, nothing but
/// the domain is measured.
fn iommufd(context: &mut Context<'_>) -> Result<Outcome> {
    user(context, "iommufd", BackEnd::Iommufd)
}

pub const BENCH_IOMMUFD: Check = Check::new("bench-iommufd", iommufd);

/// The cost of large mappings by a type 1 container.
fn type1(context: &mut Context<'_>) -> Result<Outcome> {
    user(context, "vfio", BackEnd::Type1)
}

pub const BENCH_VFIO: Check = Check::new("bench-vfio", type1);

fn user(context: &mut Context<'_>, name: &str, back_end: BackEnd) -> Result<Outcome> {
    measurement(context, name, Where::StrictIommu, |context| {
        let _alone = Alone::new()?;
        let overhead = Module::bind(Binding::DmaApi)?.run("overhead")?;
        let world_switch = overhead.iter().find(|figure| figure.name == "overhead/world-switch");
        let world_switch = world_switch.context("the module does not tell the world switch")?.thousandths / 1000;
        let mut user = User::open(back_end, Meter::new(context.minihv, world_switch))?;
        for kind in &KINDS {
            if memory_info("MemAvailable")? < (GIB * PAGE) as u64 + RESERVE {
                continue;
            }
            let buffer = (kind.make)()?;
            if back_end == BackEnd::Iommufd {
                user.table_bytes(&buffer, kind.table)?;
            }
            for (pages, size) in SIZES {
                user.measure(&buffer, pages, &format!("{name}/{size}{}", kind.suffix))?;
            }
        }
        user.figures.iter().for_each(|figure| context.reporter.figure(figure));
        Ok(user.figures.len())
    })
}
