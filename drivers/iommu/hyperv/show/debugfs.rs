// SPDX-License-Identifier: GPL-2.0

//! The files below `/sys/kernel/debug/iommu/hv_pviommu`.
//!
//! These files are for people and for tests of the driver. They may change at any time. See
//! `Documentation/ABI/testing/debugfs-hv_pviommu`.

use crate::{
    device::{
        block::Blocked,
        endpoint::Endpoint,
        state::Place, //
    },
    host::{
        capabilities::AtsSupport,
        domain_ids::DomainId, //
    },
    instance::Instance,
    known::list::Record, //
};
use kernel::{
    debugfs::{
        Dir,
        File,
        Writer, //
    },
    fmt,
    prelude::*,
    sync::SetOnce, //
};

/// The files. Dropping one of them removes it.
#[pin_data]
struct Files {
    #[pin]
    _capabilities: File<CapabilitiesFile>,
    #[pin]
    _domains: File<DomainsFile>,
}

/// The files stay as long as the IOMMU, which is for ever.
static FILES: SetOnce<Pin<KBox<Files>>> = SetOnce::new();

/// Makes the files.
///
/// Context: may sleep; called once, when the IOMMU is in service.
///
/// # Errors
///
/// [`ENOMEM`].
pub(crate) fn publish(dir: &Dir) -> Result {
    let files = KBox::pin_init(
        try_pin_init!(Files {
            _capabilities <- dir.read_only_file(c"capabilities", CapabilitiesFile),
            _domains <- dir.read_only_file(c"domains", DomainsFile),
        }),
        GFP_KERNEL,
    )?;
    FILES.populate(files);
    Ok(())
}

/// `capabilities`: what the host reports, and what the driver uses of it.
struct CapabilitiesFile;

impl Writer for CapabilitiesFile {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(instance) = Instance::get() else {
            return Ok(());
        };
        let offer = instance.offer();
        let report = offer.report();
        writeln!(f, "reported flags: {:#x}", report.flags)?;
        writeln!(f, "reported iova width: {}", report.max_iova_width)?;
        writeln!(f, "reported page sizes: {:#x}", report.page_sizes)?;
        let aperture = offer.aperture();
        writeln!(f, "used aperture: 0x0-{:#x}", aperture.last())?;
        writeln!(f, "used levels: {}", aperture.levels.count())?;
        writeln!(f, "used page sizes: {:#x}", offer.page_sizes())?;
        let list_flush = if instance.list_flush().is_known() {
            "used"
        } else {
            "unknown to the host"
        };
        writeln!(f, "list flush: {list_flush}")?;
        let ats = match offer.ats() {
            AtsSupport::Offered => "offered",
            AtsSupport::NotOffered => "not offered",
        };
        writeln!(f, "ats: {ats}")
    }
}

/// `domains`: a line for each domain, and a line for each other place where devices can be.
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
        let blocking = instance.domains().blocking();
        if let Some(id) = blocking {
            write!(f, "{} blocking - - - - - -", id.as_u32())?;
            write_devices(f, instance, |place| {
                place == Place::Blocked(Blocked::Attached)
            })?;
        }
        if let Some(id) = instance.domains().identity() {
            write!(f, "{} identity - - - - - -", id.as_u32())?;
            write_devices(f, instance, |place| place == Place::In(id))?;
        }
        instance
            .list()
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

/// Writes the devices that are at certain places, and ends the line.
fn write_devices(
    f: &mut fmt::Formatter<'_>,
    instance: &Instance,
    is_there: impl Fn(Place) -> bool,
) -> fmt::Result {
    let mut separator = ' ';
    instance.devices().each_endpoint(|endpoint: &Endpoint| {
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
