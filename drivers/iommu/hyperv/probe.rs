// SPDX-License-Identifier: GPL-2.0

//! Looks for the IOMMU at boot, decides whether the driver can serve it, and registers it.

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
        message::{
            say,
            Level,
            Word, //
        },
        readings, //
    },
    instance::Instance,
    ops::OPS,
    show::attributes::ATTRIBUTES, //
};
use kernel::{
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
/// Context: may sleep; called once.
///
/// # Errors
///
/// [`ENODEV`]: there is no IOMMU (silently), or none that the driver can serve (with a message).
/// Any other error kept the IOMMU from being set up or registered, with a message.
pub(crate) fn probe() -> Result {
    let kind = partition::kind();
    match kind {
        partition::Kind::Guest | partition::Kind::ConfidentialGuest => {}
        // A root or L1VH partition has another interface; without a hypervisor there is nobody to
        // ask.
        partition::Kind::None | partition::Kind::Root | partition::Kind::L1vh => {
            return Err(ENODEV)
        }
    }
    let (report, capabilities) = examine().inspect_err(|_| {
        #[cfg(CONFIG_HIBERNATION)]
        if kind == partition::Kind::Guest {
            super::sleep::passage::looked_in_vain();
        }
    })?;
    if kind == partition::Kind::ConfidentialGuest {
        let text = "not used: the host cannot read the page tables of a confidential guest";
        say(Level::Info, None, text, &[]);
        return Err(ENODEV);
    }
    let instance = Instance::set_up(report, capabilities).inspect_err(|error| {
        let words = [Word::Errno(*error)];
        say(Level::Err, None, "cannot be set up: errno %", &words);
    })?;
    let settings = Settings {
        name: driver::NAME,
        parent: None,
        attributes: Some(ATTRIBUTES),
        max_pasids: 0,
    };
    let registration =
        Registration::<PvIommu>::new(&OPS, settings, instance).inspect_err(|error| {
            let words = [Word::Errno(*error)];
            say(Level::Err, None, "cannot be registered: errno %", &words);
        })?;
    // The partition's IOMMU never goes away.
    core::mem::forget(registration);
    announce(&report, &capabilities);
    Ok(())
}

/// Asks the host about its IOMMU, and judges the answer.
///
/// # Errors
///
/// As [`probe`].
pub(crate) fn examine() -> Result<(HostReport, Capabilities)> {
    let report = match calls::get_capabilities() {
        Ok(report) => report,
        // The host is older than this interface.
        Err(failure) if readings::is_unknown_call(failure) => return Err(ENODEV),
        Err(failure) => {
            let words = [
                Word::Text(&GetIommuCapabilities::NAME),
                Word::Failure(failure),
            ];
            say(Level::Err, None, "%: %", &words);
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
            Unusable::NoStage1 => {
                let text = "not used: the host offers no stage 1";
                say(Level::Err, None, text, &[]);
            }
            Unusable::NoBasePage => {
                let text = "not used: the host offers no 4K pages (page sizes %)";
                say(Level::Err, None, text, &[Word::Hex(report.page_sizes)]);
            }
            Unusable::TooNarrow => {
                let words = [
                    Word::Number(report.max_iova_width.into()),
                    Word::Number(MIN_WIDTH.into()),
                ];
                let text = "not used: the host offers an IOVA width of % bits, % are needed";
                say(Level::Err, None, text, &words);
            }
        }
        ENODEV
    })
}

fn announce(report: &HostReport, capabilities: &Capabilities) {
    let aperture = capabilities.aperture;
    if report.max_iova_width != aperture.width {
        let words = [
            Word::Number(report.max_iova_width.into()),
            Word::Number(aperture.width.into()),
        ];
        say(Level::Info, None, "IOVA width % bits limited to %", &words);
    }
    let sizes = capabilities.page_sizes;
    let size = |bytes, name| if sizes & bytes != 0 { name } else { "" };
    let (small, large, huge) = (
        size(1 << 12, " 4K"),
        size(1 << 21, " 2M"),
        size(1 << 30, " 1G"),
    );
    let words = [
        Word::Hex(aperture.last()),
        Word::Number(aperture.width.into()),
        Word::Text(&small),
        Word::Text(&large),
        Word::Text(&huge),
        Word::Number(aperture.levels.count().into()),
    ];
    let text = "aperture 0x0-% (% bits), page sizes%%%, %-level tables";
    say(Level::Info, None, text, &words);
}
