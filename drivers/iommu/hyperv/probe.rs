// SPDX-License-Identifier: GPL-2.0

//! Is there an IOMMU, and can it be served?

use super::{
    driver::{
        self,
        PvIommu, //
    },
    host::{
        aperture::MIN_WIDTH,
        calls,
        capabilities::{
            Capabilities,
            HostReport,
            Unusable, //
        },
        layouts::GetIommuCapabilities,
        readings, //
    },
    instance::Instance,
    ops::OPS,
    show::attributes::ATTRIBUTES, //
};
use kernel::{
    fmt,
    hyperv::{
        hypercall::Call,
        partition, //
    },
    iommu::device::{
        Registration,
        Settings, //
    },
    prelude::*, //
};

/// Looks for the IOMMU and takes it into service.
///
/// Context: may sleep; once.
///
/// # Errors
///
/// [`ENODEV`]: there is none, silently, or none that can be served, with a message. Else what kept
/// the IOMMU from being set up or registered, with a message.
pub(crate) fn probe() -> Result {
    let kind = partition::kind();
    match kind {
        partition::Kind::Guest | partition::Kind::ConfidentialGuest => {}
        // A parent partition has other means; elsewhere there is no hypervisor to ask.
        partition::Kind::None | partition::Kind::Parent => return Err(ENODEV),
    }
    let (report, capabilities) = examine().inspect_err(|_| {
        #[cfg(CONFIG_HIBERNATION)]
        if kind == partition::Kind::Guest {
            super::sleep::passage::looked_in_vain();
        }
    })?;
    if kind == partition::Kind::ConfidentialGuest {
        pr_info!("not used: the host cannot read the page tables of a confidential guest\n");
        return Err(ENODEV);
    }
    let instance = Instance::set_up(report, capabilities).inspect_err(|error| {
        pr_err!("cannot be set up: errno {}\n", error.to_errno());
    })?;
    let settings = Settings {
        name: driver::NAME,
        parent: None,
        attributes: Some(ATTRIBUTES),
        max_pasids: 0,
    };
    let registration =
        Registration::<PvIommu>::new(&OPS, settings, instance).inspect_err(|error| {
            pr_err!("cannot be registered: errno {}\n", error.to_errno());
        })?;
    // The partition's IOMMU never goes.
    core::mem::forget(registration);
    announce(&report, &capabilities);
    Ok(())
}

/// Asks the host for an IOMMU, and judges the answer.
///
/// # Errors
///
/// As [`probe`].
pub(crate) fn examine() -> Result<(HostReport, Capabilities)> {
    let report = match calls::get_capabilities() {
        Ok(report) => report,
        // A host from before this interface.
        Err(failure) if readings::is_unknown_call(failure) => return Err(ENODEV),
        Err(failure) => {
            pr_err!("{}: {failure}\n", GetIommuCapabilities::NAME);
            return Err(ENODEV);
        }
    };
    let capabilities = judge(&report)?;
    Ok((report, capabilities))
}

fn judge(report: &HostReport) -> Result<Capabilities> {
    report.judge().map_err(|unusable| {
        match unusable {
            Unusable::Absent => {}
            Unusable::NoStage1 => pr_err!("not used: the host offers no stage 1\n"),
            Unusable::NoBasePage => pr_err!(
                "not used: the host offers no 4K pages (page sizes {:#x})\n",
                report.page_sizes
            ),
            Unusable::TooNarrow => pr_err!(
                "not used: the host offers an IOVA width of {} bits, {} are needed\n",
                report.max_iova_width,
                MIN_WIDTH
            ),
        }
        ENODEV
    })
}

fn announce(report: &HostReport, capabilities: &Capabilities) {
    let aperture = capabilities.aperture;
    if report.max_iova_width != aperture.width {
        pr_info!(
            "IOVA width {} bits limited to {}\n",
            report.max_iova_width,
            aperture.width
        );
    }
    pr_info!(
        "aperture 0x0-{:#x} ({} bits), page sizes{}, {}-level tables\n",
        aperture.last(),
        aperture.width,
        PageSizes(capabilities.page_sizes),
        aperture.levels.count()
    );
}

/// A bitmap of page sizes, to be read by people.
struct PageSizes(u64);

impl fmt::Display for PageSizes {
    // Once, not once more in an adapter.
    #[inline(never)]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (size, name) in [(1 << 12, " 4K"), (1 << 21, " 2M"), (1 << 30, " 1G")] {
            if self.0 & size != 0 {
                f.write_str(name)?;
            }
        }
        Ok(())
    }
}
