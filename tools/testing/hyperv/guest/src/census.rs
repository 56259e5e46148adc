// SPDX-License-Identifier: GPL-2.0
//! What there is of domains, devices, groups and pinned memory, to be compared before and after something.

use std::fs;

use anyhow::{Context, Result};
use hvcore::test_interface::Counter;

use crate::hotplug::wait_until;
use crate::minihv::Minihv;
use crate::pci;

const GROUPS: &str = "/sys/kernel/iommu_groups";
const STATISTICS: &str = "/proc/vmstat";

/// Numbers that must be the same when everything is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Domains that the hypervisor has.
    pub domains: u64,
    /// Devices that are attached to one.
    pub attached: u64,
    /// PCI functions.
    pub functions: usize,
    /// Groups of the IOMMU core.
    pub groups: usize,
    /// Pages of programs that are pinned for devices.
    pub pinned: u64,
}

/// Pages pinned now. The kernel counts pins and their ends.
fn pinned() -> Result<u64> {
    // Reading this file brings the counts of all processors together.
    let _ = fs::read("/proc/sys/vm/stat_refresh");
    let text = fs::read_to_string(STATISTICS).context(STATISTICS)?;
    let value = |name: &str| -> Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|digits| digits.parse().ok()).with_context(|| format!("{STATISTICS} has no {name}"))
    };
    Ok(value("nr_foll_pin_acquired")?.saturating_sub(value("nr_foll_pin_released")?))
}

impl Census {
    /// Counts.
    ///
    /// # Errors
    /// When minihv or the kernel does not answer.
    pub fn take(minihv: Minihv) -> Result<Census> {
        Ok(Census {
            domains: minihv.counter(Counter::LiveDomains, 0)?,
            attached: minihv.counter(Counter::AttachedDevices, 0)?,
            functions: pci::all()?.len(),
            groups: fs::read_dir(GROUPS).context(GROUPS)?.count(),
            pinned: pinned()?,
        })
    }

    /// Waits until everything is as it was: the kernel lets go of some things with a delay.
    ///
    /// # Errors
    /// When it does not come to that.
    pub fn wait_for_return(self, minihv: Minihv) -> Result<()> {
        wait_until("domains, devices, groups and pinned pages are as before", || Ok(Census::take(minihv)? == self))
            .with_context(|| format!("before: {self:?}, now: {:?}", Census::take(minihv)))
    }
}
