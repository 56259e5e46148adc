// SPDX-License-Identifier: GPL-2.0

//! The files below `/sys/kernel/debug/iommu/hv-pviommu`.
//!
//! For people and for tests of the driver; not an interface that stays as it is. See
//! `Documentation/ABI/testing/debugfs-hv-pviommu`.

use super::{
    block::Blocked,
    capabilities::{
        AtsSupport,
        HostReport, //
    },
    domain_ids::DomainId,
    domain_list::Record,
    endpoint::{
        Endpoint,
        Place, //
    },
    instance::Instance,
    table_dump::{
        self,
        Access,
        Line,
        Malformed,
        Selection, //
    },
};
use core::str::FromStr;
use kernel::{
    debugfs::{
        File,
        Reader,
        Writer, //
    },
    fmt,
    iommu::{
        debugfs,
        pt, //
    },
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex,
        SetOnce, //
    },
    uaccess::UserSliceReader, //
};

/// Name of the directory.
const NAME: &CStr = c"hv-pviommu";

/// The files; each goes when it is dropped.
#[pin_data]
struct Files {
    #[pin]
    _capabilities: File<CapabilitiesFile>,
    #[pin]
    _domains: File<DomainsFile>,
    #[pin]
    _select: File<SelectFile>,
    #[pin]
    _table: File<TableFile>,
}

/// They stay for ever, as the IOMMU does.
static FILES: SetOnce<Pin<KBox<Files>>> = SetOnce::new();

/// Makes the files.
///
/// Context: may sleep; once, when the IOMMU is in service.
pub(crate) fn publish(report: HostReport) {
    // As everybody who uses debugfs: when it cannot be had, things work as well without.
    let _ = make(report).inspect_err(|error| {
        pr_info!("no files in debugfs: errno {}\n", error.to_errno());
    });
}

fn make(report: HostReport) -> Result {
    let selected = Arc::pin_init(new_mutex!(Selected(None)), GFP_KERNEL)?;
    let dir = debugfs::dir(NAME);
    #[cfg(CONFIG_HYPERV_PVIOMMU_TEST_HOOKS)]
    super::probe_again::publish(&dir)?;
    let files = KBox::pin_init(
        try_pin_init!(Files {
            _capabilities <- dir.read_only_file(c"capabilities", CapabilitiesFile(report)),
            _domains <- dir.read_only_file(c"domains", DomainsFile),
            _select <- dir.write_only_file(c"select", SelectFile(selected.clone())),
            _table <- dir.read_only_file(c"table", TableFile(selected)),
        }),
        GFP_KERNEL,
    )?;
    FILES.populate(files);
    Ok(())
}

/// `capabilities`: what the host reports, and what is made of it.
struct CapabilitiesFile(HostReport);

impl Writer for CapabilitiesFile {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.0;
        writeln!(f, "reported flags: {:#x}", report.flags)?;
        writeln!(f, "reported iova width: {}", report.max_iova_width)?;
        writeln!(f, "reported page sizes: {:#x}", report.page_sizes)?;
        // Both succeeded when the IOMMU was taken into service.
        let (Ok(instance), Ok(capabilities)) = (Instance::get(), report.judge()) else {
            return Ok(());
        };
        let aperture = instance.aperture();
        writeln!(f, "used aperture: 0x0-{:#x}", aperture.last())?;
        writeln!(f, "used levels: {}", aperture.levels.count())?;
        writeln!(f, "used page sizes: {:#x}", instance.page_sizes())?;
        let list_flush = if instance.list_flush().is_known() {
            "used"
        } else {
            "unknown to the host"
        };
        writeln!(f, "list flush: {list_flush}")?;
        let ats = match capabilities.ats {
            AtsSupport::Offered => "offered",
            AtsSupport::NotOffered => "not offered",
        };
        writeln!(f, "ats: {ats}")
    }
}

/// `domains`: a line for each domain, and one for devices that are in none.
struct DomainsFile;

impl Writer for DomainsFile {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "id type root levels lists descriptors wholes failures devices"
        )?;
        let Ok(instance) = Instance::get() else {
            return Ok(());
        };
        let blocking = instance.blocking();
        if let Some(id) = blocking {
            write!(f, "{} blocking - - - - - -", id.as_u32())?;
            write_devices(f, instance, |place| {
                place == Place::Blocked(Blocked::Attached)
            })?;
        }
        if let Some(id) = instance.identity() {
            write!(f, "{} identity - - - - - -", id.as_u32())?;
            write_devices(f, instance, |place| place == Place::In(id))?;
        }
        instance
            .domains()
            .each(|id, record| write_domain(f, instance, id, record))?;
        for (name, place) in [
            ("untouched", Place::Initial),
            ("detached", Place::Blocked(Blocked::Detached)),
            ("gone", Place::Blocked(Blocked::Gone)),
            ("replaced", Place::Blocked(Blocked::Replaced)),
        ] {
            write!(f, "- {name} - - - - - -")?;
            write_devices(f, instance, |other| other == place)?;
        }
        Ok(())
    }
}

fn write_domain(
    f: &mut fmt::Formatter<'_>,
    instance: &Instance,
    id: DomainId,
    record: &Record,
) -> fmt::Result {
    let kind = if record.is_retired() {
        "retired"
    } else {
        "paging"
    };
    let counts = record.counters.counts();
    write!(
        f,
        "{} {kind} {:#x} {} {} {} {} {}",
        id.as_u32(),
        record.table.root,
        record.table.levels.count(),
        counts.lists,
        counts.descriptors,
        counts.wholes,
        counts.failures
    )?;
    write_devices(f, instance, |place| place == Place::In(id))
}

/// Ends a line with the devices that are at certain places.
fn write_devices(
    f: &mut fmt::Formatter<'_>,
    instance: &Instance,
    is_there: impl Fn(Place) -> bool,
) -> fmt::Result {
    let mut separator = ' ';
    instance.each_endpoint(|endpoint: &Endpoint| {
        if !is_there(endpoint.place()) {
            return Ok(());
        }
        let name = endpoint.dev().name().to_str().unwrap_or("?");
        write!(f, "{separator}{name}={:#x}", endpoint.id().as_u64())?;
        separator = ',';
        Ok(())
    })?;
    writeln!(f, "{}", if separator == ' ' { " -" } else { "" })
}

/// What `table` shows.
struct Selected(Option<Selection>);

impl FromStr for Selected {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Selected, Malformed> {
        text.parse().map(|selection| Selected(Some(selection)))
    }
}

/// `select`: what `table` is to show.
struct SelectFile(Arc<Mutex<Selected>>);

impl Reader for SelectFile {
    fn read_from_slice(&self, reader: &mut UserSliceReader) -> Result {
        self.0.read_from_slice(reader)
    }
}

/// `table`: what a domain's table maps.
struct TableFile(Arc<Mutex<Selected>>);

impl Writer for TableFile {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# best effort, possibly stale: tables may change while they are read"
        )?;
        let selected = self.0.lock().0;
        let Some(Selection {
            domain,
            first,
            last,
        }) = selected
        else {
            return writeln!(f, "# nothing is selected");
        };
        let Ok(instance) = Instance::get() else {
            return Ok(());
        };
        let written = instance.domains().with(domain, |record| {
            writeln!(f, "# domain {domain} range {first:#x}-{last:#x}")?;
            table_dump::dump(record.table, first, last, pt::peek_entry, |line| {
                write_line(f, line)
            })
        });
        written.unwrap_or_else(|| writeln!(f, "# domain {domain} has no table"))
    }
}

fn write_line(f: &mut fmt::Formatter<'_>, line: &Line) -> fmt::Result {
    match *line {
        Line::Mapped(run) => writeln!(
            f,
            "{:#x}-{:#x} {:#x} {} {}",
            run.first,
            run.last,
            run.physical,
            match run.page {
                0x1000 => "4K",
                0x20_0000 => "2M",
                _ => "1G",
            },
            match run.access {
                Access::Read => "r",
                Access::ReadWrite => "rw",
            }
        ),
        Line::Unreadable { first, last, table } => {
            writeln!(f, "{first:#x}-{last:#x} unreadable table {table:#x}")
        }
        Line::Nonsense { first, last, entry } => {
            writeln!(f, "{first:#x}-{last:#x} nonsense entry {entry:#x}")
        }
        Line::Cut { next } => writeln!(f, "# cut, the rest starts at {next:#x}"),
    }
}
