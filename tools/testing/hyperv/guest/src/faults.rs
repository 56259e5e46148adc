// SPDX-License-Identifier: GPL-2.0
//! DMA faults, from whoever reports them: minihv, or the kernel's driver of the machine's own IOMMU.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use hvcore::ids::Iova;
use hvprotocol::faults::{Access, Provoked};

use crate::minihv::Minihv;
use crate::pci::PciFunction;
use crate::report::{remark, remark_wait};
use crate::virtio_faults;

/// Announces faults that a check provokes to the runner, before or after the device tries.
///
/// The runner fails a boot in which minihv logs a fault that was not announced, or less of them than were announced.
pub fn announce(faults: &Provoked) {
    remark(&faults.to_string());
}

/// Where faults are read from.
pub enum Faults {
    /// minihv's queue.
    Minihv(Minihv),
    /// Lines of the kernel log: `DMAR:`, or those of virtio-iommu.
    KernelLog(Printed),
}

/// The Intel driver prints about three faults in 5 seconds and drops the others.
const KERNEL_LOG_PAUSE: Duration = Duration::from_secs(2);
/// That of virtio-iommu prints ten in 5 seconds, and one transfer may cause more than that.
const VIRTIO_PAUSE: Duration = Duration::from_millis(5500);
/// What the machine's IOMMU is called where it is virtio-iommu.
const VIRTIO_DRIVER: &str = "/sys/bus/virtio/drivers/virtio_iommu_rust";

/// How long a fault may take to show up after the transfer ended.
const PATIENCE: Duration = Duration::from_secs(5);

impl Faults {
    /// Starts listening; older faults are passed over. The runner sees them all the same, in minihv's log.
    ///
    /// # Errors
    /// When there is no source.
    pub fn listen(minihv: Option<Minihv>) -> Result<Faults> {
        let mut faults = match minihv {
            Some(minihv) => Faults::Minihv(minihv),
            None => {
                let mut options = OpenOptions::new();
                let log = options.read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").context("/dev/kmsg")?;
                Faults::KernelLog(Printed { log, last: None, ahead: None })
            }
        };
        faults.take_all()?;
        Ok(faults)
    }

    fn next(&mut self) -> Result<Option<Report>> {
        match self {
            Faults::Minihv(minihv) => Ok(minihv.next_fault()?.map(|fault| Report {
                iova: fault.iova,
                access: Some(if fault.is_read { Access::Read } else { Access::Write }),
                source: fault.device.map(|id| format!("{:#x}", id.0)),
            })),
            Faults::KernelLog(printed) => printed.next(),
        }
    }

    /// To be called before a fault is provoked, so that its source will not leave it out.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn prepare(&mut self) -> Result<()> {
        match self {
            Faults::Minihv(_) => Ok(()),
            Faults::KernelLog(printed) => printed.prepare(),
        }
    }

    /// Waits for the fault that `function`'s access to the page at `iova` must have caused.
    ///
    /// # Errors
    /// When none comes, or another one does.
    pub fn expect(&mut self, function: &PciFunction, iova: Iova, access: Access) -> Result<()> {
        if let (Faults::Minihv(_), Some(device)) = (&*self, function.logical_id()) {
            announce(&Provoked::one(device, iova, access));
        }
        let start = Instant::now();
        let report = loop {
            if let Some(report) = self.next()? {
                break report;
            }
            if start.elapsed() > PATIENCE {
                bail!("no fault was reported for the {access:?} at {:#x}", iova.0);
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        remark_wait(start, "the report of a DMA fault");
        let expected = Report { iova, access: report.access.and(Some(access)), source: Some(self.name(function)) };
        if report != expected {
            bail!("wrong fault reported: {report:x?}, expected {expected:x?}");
        }
        Ok(())
    }

    /// Takes what was reported since the last call; returns the number.
    ///
    /// # Errors
    /// When the source cannot be read.
    pub fn take_all(&mut self) -> Result<usize> {
        let mut count = 0;
        while self.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Takes what was reported since the last call; returns how many of it `function` caused. They are announced to the
    /// runner: the caller judges them.
    ///
    /// # Errors
    /// When the source cannot be read, or another device caused one.
    pub fn take_of(&mut self, function: &PciFunction) -> Result<usize> {
        let name = Some(self.name(function));
        let mut count = 0;
        while let Some(report) = self.next()? {
            if report.source != name {
                bail!("another device's DMA fault: {report:x?}");
            }
            if let (Faults::Minihv(_), Some(device)) = (&*self, function.logical_id()) {
                let access = report.access.context("minihv did not say what the device tried")?;
                announce(&Provoked::one(device, report.iova, access));
            }
            count += 1;
        }
        Ok(count)
    }

    /// Checks that nothing was reported since the last call.
    ///
    /// # Errors
    /// Names the fault.
    pub fn expect_none(&mut self) -> Result<()> {
        match self.next()? {
            None => Ok(()),
            Some(report) => bail!("unexpected DMA fault: {report:x?}"),
        }
    }

    /// How this source names a function.
    fn name(&self, function: &PciFunction) -> String {
        match self {
            Faults::Minihv(_) => function.logical_id().map_or_else(String::new, |id| format!("{:#x}", id.0)),
            Faults::KernelLog(..) => function.address.trim_start_matches("0000:").to_owned(),
        }
    }
}

/// Faults in the kernel log.
pub struct Printed {
    log: File,
    /// The last one: virtio-iommu reports each part of a transfer, which is one fault here.
    last: Option<Report>,
    /// One that was read already.
    ahead: Option<Report>,
}

impl Printed {
    fn next(&mut self) -> Result<Option<Report>> {
        if let Some(report) = self.ahead.take() {
            return Ok(Some(report));
        }
        loop {
            let mut record = [0; 8192];
            let text = match self.log.read(&mut record) {
                Ok(length) => String::from_utf8_lossy(&record[..length]).into_owned(),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
                // The reader was overtaken: the next read goes on with what is left.
                Err(e) if e.raw_os_error() == Some(libc::EPIPE) => continue,
                Err(e) => return Err(e).context("/dev/kmsg"),
            };
            let report = parse_dmar(&text).or_else(|| virtio_faults::parse(&text).map(Report::from));
            if report.is_some() && report != self.last {
                self.last.clone_from(&report);
                return Ok(report);
            }
        }
    }

    /// Waits until the driver prints everything again, and passes over what is left of the last fault: the same transfer
    /// once more is another one.
    fn prepare(&mut self) -> Result<()> {
        let is_virtio = Path::new(VIRTIO_DRIVER).exists();
        std::thread::sleep(if is_virtio { VIRTIO_PAUSE } else { KERNEL_LOG_PAUSE });
        self.ahead = self.next()?;
        self.last = None;
        Ok(())
    }
}

/// A fault that was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    iova: Iova,
    /// What the device tried, if the source says so.
    access: Option<Access>,
    source: Option<String>,
}

impl From<virtio_faults::Printed> for Report {
    fn from(printed: virtio_faults::Printed) -> Report {
        Report { iova: printed.iova, access: printed.access, source: Some(printed.source) }
    }
}

/// Reads `DMAR: [DMA Write NO_PASID] Request device [00:04.0] fault addr 0x12345000 [fault reason ...`.
fn parse_dmar(line: &str) -> Option<Report> {
    let rest = line.split_once("DMAR: [DMA ")?.1;
    let access = if rest.starts_with("Read") { Access::Read } else { Access::Write };
    // Some kernels leave the PCI domain out.
    let source = rest.split_once("device [")?.1.split_once(']')?.0.trim_start_matches("0000:").to_owned();
    let digits = rest.split_once("fault addr 0x")?.1;
    let digits = digits.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    let iova = Iova(u64::from_str_radix(digits, 16).ok()? & !0xfff);
    Some(Report { iova, access: Some(access), source: Some(source) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dmar_lines_are_read() {
        let line =
            "3,500,1000,-;DMAR: [DMA Write NO_PASID] Request device [00:05.0] fault addr 0x40001000 [fault reason \
                    0x71] SM: Present bit in first-level paging entry is clear";
        let expected =
            Report { iova: Iova(0x4000_1000), access: Some(Access::Write), source: Some("00:05.0".to_owned()) };
        assert_eq!(parse_dmar(line), Some(expected));
        assert_eq!(parse_dmar("6,1,1,-;DMAR: Enabled IRQ remapping"), None);
    }
}
