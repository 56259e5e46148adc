// SPDX-License-Identifier: GPL-2.0
//! Hibernation, which must be refused while the IOMMU is in use, and suspension, which must not disturb it.

use std::path::Path;

use anyhow::{bail, Context as _, Result};
use hvcore::ids::Iova;
use nix::errno::Errno;

use super::nvme;
use crate::memory::PAGE;
use crate::pci::write_sysfs;
use crate::report::Outcome;
use crate::scenario::Context;
use crate::testbench::{Bench, FROM_DEVICE};

const STATE: &str = "/sys/power/state";
/// How far a transition goes before it turns back.
const TEST_LEVEL: &str = "/sys/power/pm_test";
const NO_TEST: &str = "none";

/// Where the mapping lies that must survive.
const KEPT: Iova = Iova(0x20_c000_0000);
/// An address that is not mapped.
const NEVER: Iova = Iova(KEPT.0 + PAGE as u64);

/// Goes to sleep as far as `level` and comes back.
fn transition(level: &str, state: &str) -> Result<()> {
    write_sysfs(Path::new(TEST_LEVEL), level)?;
    let result = std::fs::write(STATE, state).with_context(|| format!("{state} as far as {level}"));
    write_sysfs(Path::new(TEST_LEVEL), NO_TEST)?;
    result
}

/// Hibernation is refused before anything is frozen, and the devices go on working.
pub fn hibernation_refused(context: &mut Context<'_>) -> Result<Outcome> {
    // If it is not refused, it must not happen either.
    match transition("freezer", "disk") {
        Ok(()) => bail!("hibernation was not refused"),
        Err(error) => {
            let errno = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
            if errno != Some(Errno::EOPNOTSUPP as i32) {
                return Err(error.context("expected EOPNOTSUPP"));
            }
        }
    }
    nvme::quick_io(context)
}

/// Without the IOMMU nothing stands against hibernation: it goes on until the test stops it.
pub fn hibernation_allowed(context: &mut Context<'_>) -> Result<Outcome> {
    transition("freezer", "disk")?;
    nvme::quick_io(context)
}

/// Suspend-to-idle: attachments and mappings outlive it, and so does what is not mapped.
pub fn suspend(context: &mut Context<'_>) -> Result<Outcome> {
    let mut bench = Bench::open(context, 2)?;
    bench.session.map(KEPT, &bench.buffer, 0, 1)?;
    for level in ["devices", "platform"] {
        bench.arm(KEPT, 0, FROM_DEVICE)?;
        transition(level, "freeze")?;
        // The device's state is the guest's business: its driver here is this program.
        bench.session.enable_bus_master()?;
        bench.buffer.fill(0, 0);
        bench.edu.store(KEPT)?;
        bench.buffer.expect(0, FROM_DEVICE, &format!("the mapped page after {level}"))?;
        bench.blocked_write(NEVER, 1, &format!("a page that is not mapped, after {level}"))?;
        nvme::quick_io(context)?;
    }
    Ok(Outcome::Pass("as far as devices and platform".to_owned()))
}
