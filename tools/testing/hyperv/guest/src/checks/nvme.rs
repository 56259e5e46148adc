// SPDX-License-Identifier: GPL-2.0
//! NVMe: verified I/O, and the addresses that the controller was given.

use std::path::Path;

use anyhow::{bail, Context as _, Result};
use hvcore::ids::{Gpa, Iova};

use crate::check::{Check, Context};
use crate::memory::PAGE;
use crate::minihv::DeviceTranslation;
use crate::report::Outcome;
use crate::{disk, fio};

/// NVMe controller registers: base addresses of the admin submission and completion queues.
const ADMIN_QUEUES: [(&str, usize); 2] = [("ASQ", 0x28), ("ACQ", 0x30)];

/// Writes and reads every namespace, comparing every byte.
pub fn quick_io(context: &mut Context<'_>) -> Result<Outcome> {
    let mut compared = 0;
    for controller in context.nvme()? {
        compared += disk::verify(&controller.nvme_namespace()?)?;
    }
    Ok(Outcome::Pass(format!("{} KiB compared", compared >> 10)))
}

pub const NVME_QUICK: Check = Check::new("nvme-verified-io", quick_io);

/// Runs the fio jobs on every namespace.
fn fio_jobs(context: &mut Context<'_>) -> Result<Outcome> {
    if !Path::new("/usr/bin/fio").exists() {
        bail!("the initramfs carries no fio");
    }
    let (mut written, mut read) = (0, 0);
    for controller in context.nvme()? {
        for job in fio::run(&controller.nvme_namespace()?)? {
            let (w, r) = (job.written_bytes >> 10, job.read_bytes >> 10);
            context.reporter.note(&format!("fio {}: {w} KiB written, {r} KiB read, 0 verify errors", job.name));
            written += w;
            read += r;
        }
    }
    Ok(Outcome::Pass(format!("{written} KiB written, {read} KiB read, 0 verify errors")))
}

pub const NVME_FIO: Check = Check::new("nvme-fio-verified", fio_jobs);

/// The admin queues' addresses, as the controller has them, are IOVAs: the guest's own table sends them elsewhere.
fn queue_addresses(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip("needs minihv to walk the table".to_owned())) };
    let mut seen = Vec::new();
    for controller in context.nvme()? {
        let id = controller.logical_id().context("the controller has no logical id")?;
        let translation = minihv.device_translation(id)?;
        if translation != DeviceTranslation::Stage1(context.options.levels) {
            bail!("{}: translation is {translation:?}", controller.address);
        }
        let domain = minihv.device_domain(id)?.context("the controller is in no domain")?;
        let root = minihv.domain_root(domain)?;
        let bar = controller.map_bar0(PAGE)?;
        for (name, register) in ADMIN_QUEUES {
            let iova = Iova(bar.read64(register));
            let leaf = minihv.walk(domain, iova)?.with_context(|| format!("{name} {:#x} is not mapped", iova.0))?;
            let note = format!(
                "{} {name}: IOVA {:#x} -> physical {:#x} (domain {}, root {:#x})",
                controller.address,
                iova.0,
                leaf.address().0,
                domain.0,
                root.0
            );
            context.reporter.note(&note);
            if leaf.sends(iova, Gpa(iova.0)) {
                bail!("{name}: the address {:#x} is a physical address", iova.0);
            }
            if context.options.force_dac && iova.0 < 1 << 32 {
                bail!("{name}: the address {:#x} is not from the top of the aperture", iova.0);
            }
            seen.push(format!("{name} {:#x}", iova.0));
        }
    }
    Ok(Outcome::Pass(seen.join(", ")))
}

pub const NVME_IOVA: Check = Check::new("nvme-queue-addresses-are-iovas", queue_addresses);
