// SPDX-License-Identifier: GPL-2.0

//! Looks for the IOMMU at boot, decides whether the driver can use it, and registers it.

use super::{
    calls,
    capabilities::{
        Capabilities,
        HostReport,
        Unusable,
        MIN_WIDTH, //
    },
    device_domain::GetIommuCapabilities,
    driver::{
        RootIommu,
        NAME, //
    },
    guide,
    handover,
    instance::Instance,
    ops::OPS,
    readings, //
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
/// Context: may sleep; called once.
///
/// # Errors
///
/// [`ENODEV`]: there is no IOMMU (silently), or none that the driver can use (with a message). Any
/// other error kept the IOMMU from being set up or registered, with a message.
pub(crate) fn probe() -> Result {
    if partition::kind() != partition::Kind::Root || !partition::has_device_domains() {
        return Err(ENODEV);
    }
    let (report, capabilities) = examine()?;
    let instance = set_up(report, capabilities).inspect_err(|error| {
        pr_err!("cannot be set up: errno {}\n", error.to_errno());
    })?;
    let settings = Settings {
        name: NAME,
        parent: None,
        attributes: None,
        max_pasids: 0,
    };
    let registration = Registration::<RootIommu>::new(&OPS, settings, instance)
        .inspect_err(|error| give_up(instance, *error))?;
    // The partition's IOMMU never goes away.
    core::mem::forget(registration);
    instance.enter_service();
    pr_info!(
        "aperture 0x0-{:#x} ({} bits), page sizes{}\n",
        capabilities.last,
        report.width,
        PageSizes(capabilities.page_sizes)
    );
    #[cfg(CONFIG_IOMMU_DEBUGFS)]
    super::debugfs::publish();
    Ok(())
}

/// Ends what could not be registered. The core has released the devices, which blocked them.
fn give_up(instance: &Instance, error: Error) {
    let errno = error.to_errno();
    if readings::follows_a_crash() {
        // They may still do DMA for the crashed kernel, by addresses that are not the machine's.
        pr_err!("cannot be registered: errno {errno}; devices stay blocked\n");
        handover::leave_devices(instance);
    } else {
        pr_err!("cannot be registered: errno {errno}; devices go back to identity\n");
        handover::give_back_devices(instance);
    }
}

/// Sets the instance up, and publishes the guide to it.
fn set_up(report: HostReport, capabilities: Capabilities) -> Result<&'static Instance> {
    let instance = Instance::set_up(report, capabilities)?;
    guide::publish(instance)?;
    Ok(instance)
}

/// Asks what the IOMMU can do, and judges the answer.
fn examine() -> Result<(HostReport, Capabilities)> {
    let report = match calls::get_capabilities() {
        Ok(report) => report,
        // The hypervisor is older than this call.
        Err(failure) if readings::is_unknown_call(failure) => return Err(ENODEV),
        Err(failure) => {
            pr_err!("{}: {failure}\n", GetIommuCapabilities::NAME);
            return Err(ENODEV);
        }
    };
    let capabilities = report.judge().map_err(|unusable| {
        match unusable {
            Unusable::Absent => {}
            Unusable::NoStage2 => pr_err!("not used: the hypervisor keeps no tables\n"),
            Unusable::NoBasePage => pr_err!(
                "not used: the hypervisor takes no 4K pages (page sizes {:#x})\n",
                report.page_sizes
            ),
            Unusable::TooNarrow => pr_err!(
                "not used: addresses have {} bits, {MIN_WIDTH} are needed\n",
                report.width
            ),
        }
        ENODEV
    })?;
    Ok((report, capabilities))
}

/// Formats a bitmap of page sizes for messages.
struct PageSizes(u64);

impl fmt::Display for PageSizes {
    // Kept out of line: one copy, not another one in an adapter.
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
