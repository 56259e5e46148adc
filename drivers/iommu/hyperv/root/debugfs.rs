// SPDX-License-Identifier: GPL-2.0

//! The files below `/sys/kernel/debug/iommu/hv_root_iommu`.
//!
//! These files are for people and for tests of the driver. They may change at any time. See
//! `Documentation/virt/hyperv/host-iommu.rst`.

use super::{
    driver::NAME,
    instance::Instance,
    places::{
        Doubt,
        Place, //
    },
    record::Record, //
};
use kernel::{
    debugfs::{
        File,
        Writer, //
    },
    fmt::{
        self,
        Display, //
    },
    iommu::debugfs,
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        SetOnce, //
    },
};

/// The files. Dropping one of them removes it.
#[pin_data]
struct Files {
    #[pin]
    _capabilities: File<CapabilitiesFile>,
    #[pin]
    _domains: File<DomainsFile>,
    #[pin]
    _requesters: File<RequestersFile>,
}

/// The files stay as long as the IOMMU, which is for ever.
static FILES: SetOnce<Pin<KBox<Files>>> = SetOnce::new();

/// Makes the files.
///
/// Context: may sleep; called once, when the IOMMU is in service.
pub(crate) fn publish() {
    // The driver works without these files, so a failure is only reported.
    let _ = make().inspect_err(|error| {
        pr_info!("no files in debugfs: errno {}\n", error.to_errno());
    });
}

fn make() -> Result {
    let dir = debugfs::dir(NAME);
    let files = KBox::pin_init(
        try_pin_init!(Files {
            _capabilities <- dir.read_only_file(c"capabilities", CapabilitiesFile),
            _domains <- dir.read_only_file(c"domains", DomainsFile),
            _requesters <- dir.read_only_file(c"requesters", RequestersFile),
        }),
        GFP_KERNEL,
    )?;
    FILES.populate(files);
    Ok(())
}

/// `capabilities`: what the hypervisor reports, and what the driver uses of it.
struct CapabilitiesFile;

impl Writer for CapabilitiesFile {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(instance) = Instance::get() else {
            return Ok(());
        };
        let (report, used) = (instance.report(), instance.capabilities());
        writeln!(f, "reported flags: {:#x}", report.flags)?;
        writeln!(f, "reported iova width: {}", report.width)?;
        writeln!(f, "reported page sizes: {:#x}", report.page_sizes)?;
        writeln!(f, "used aperture: 0x0-{:#x}", used.last)?;
        writeln!(f, "used page sizes: {:#x}", used.page_sizes)
    }
}

/// `domains`: a line for each domain that was created.
struct DomainsFile;

impl Writer for DomainsFile {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "id state pages stale leaves tables maps unmaps deposits failures"
        )?;
        let Ok(instance) = Instance::get() else {
            return Ok(());
        };
        instance.each_domain(|record| write_domain(f, record))
    }
}

fn write_domain(f: &mut fmt::Formatter<'_>, record: &Record) -> fmt::Result {
    let state = if record.is_retired() {
        "retired"
    } else if record.is_closed() {
        "closed"
    } else {
        "open"
    };
    let (sums, counts) = (record.mappings().sums(), record.counts());
    record.name().fmt(f)?;
    writeln!(
        f,
        " {state} {} {} {} {} {} {} {} {}",
        sums.present,
        sums.stale,
        sums.leaves,
        sums.tables,
        counts.maps.load(Relaxed),
        counts.unmaps.load(Relaxed),
        counts.deposits.load(Relaxed),
        counts.failures.load(Relaxed)
    )
}

/// `requesters`: a line for each requester id of a device.
struct RequestersFile;

impl Writer for RequestersFile {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "id users place doubt")?;
        let Ok(instance) = Instance::get() else {
            return Ok(());
        };
        let mut index = 0;
        while let Some(requester) = instance.requester(index) {
            index += 1;
            requester.id.fmt(f)?;
            write!(f, " {} ", requester.users)?;
            match requester.place {
                Place::Initial => f.write_str("initial")?,
                Place::In(name) => name.fmt(f)?,
                Place::Detached => f.write_str("detached")?,
                Place::Gone => f.write_str("gone")?,
            }
            f.write_str(" ")?;
            match requester.doubt {
                Doubt::None => f.write_str("-")?,
                Doubt::In(name) => name.fmt(f)?,
                Doubt::Anywhere => f.write_str("any")?,
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}
