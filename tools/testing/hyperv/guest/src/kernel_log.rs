// SPDX-License-Identifier: GPL-2.0
//! What the kernel says while a check runs.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::{Context, Result};
use hvprotocol::report::PREFIX;

/// Longest record that the kernel hands out.
const RECORD_MAX: usize = 8192;

/// Whether the driver, a guest's or a root partition's, said this line.
pub fn is_drivers(line: &str) -> bool {
    ["hv_pviommu: ", "hv_root_iommu: "].iter().any(|name| line.starts_with(name)) || line.contains(" IOMMU: ")
}

/// A reader of the kernel log.
pub struct KernelLog(File);

impl KernelLog {
    /// Starts at the end: older lines are passed over.
    ///
    /// # Errors
    /// When there is no `/dev/kmsg`.
    pub fn follow() -> Result<KernelLog> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg").context("/dev/kmsg")?;
        file.seek(SeekFrom::End(0)).context("/dev/kmsg")?;
        Ok(KernelLog(file))
    }

    /// Everything that the log still holds.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn records() -> Result<Vec<Record>> {
        let mut log = KernelLog::follow()?;
        log.0.seek(SeekFrom::Start(0)).context("/dev/kmsg")?;
        let mut records = Vec::new();
        log.read(|record| records.extend(Record::parse(record)))?;
        Ok(records)
    }

    fn read(&mut self, mut each: impl FnMut(&str)) -> Result<()> {
        let mut record = [0; RECORD_MAX];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => each(&String::from_utf8_lossy(&record[..length])),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("/dev/kmsg"),
            }
        }
    }

    /// Of the lines since the last call, the kernel's own that are warnings or worse.
    ///
    /// # Errors
    /// When the log cannot be read, or lines were lost.
    pub fn warnings(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        self.read(|record| {
            if is_warning(record) {
                lines.extend(message(record).map(str::to_owned));
            }
        })?;
        Ok(lines)
    }

    /// The lines since the last call, without those of this program's report.
    ///
    /// # Errors
    /// When the log cannot be read, or lines were lost.
    pub fn take(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        self.read(|record| {
            lines.extend(message(record).filter(|line| !line.starts_with(PREFIX)).map(str::to_owned));
        })?;
        Ok(lines)
    }
}

/// A line with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Since the kernel started.
    pub microseconds: u64,
    /// The line.
    pub text: String,
}

impl Record {
    fn parse(record: &str) -> Option<Record> {
        let text = message(record)?.to_owned();
        Some(Record { microseconds: record.split(',').nth(2)?.parse().ok()?, text })
    }
}

/// Whether a record is the kernel's own (facility 0), at level 4 or a worse one: its first field is 8 * facility + level.
fn is_warning(record: &str) -> bool {
    record.split(',').next().and_then(|field| field.parse::<u32>().ok()).is_some_and(|priority| priority <= 4)
}

/// The text of a record, `6,1234,5678,-;text` with lines of further fields after it.
fn message(record: &str) -> Option<&str> {
    record.split_once(';')?.1.lines().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_record() {
        let record =
            "3,500,1000,-;vfio-pci 0000:00:05.0: IOMMU: no; really\n SUBSYSTEM=pci\n DEVICE=+pci:0000:00:05.0\n";
        assert_eq!(message(record), Some("vfio-pci 0000:00:05.0: IOMMU: no; really"));
        assert_eq!(message("no record"), None);
        assert_eq!(Record::parse(record).map(|record| record.microseconds), Some(1000));
        assert_eq!(Record::parse("3,500,x,-;text"), None);
    }

    #[test]
    fn warnings_of_the_kernel() {
        for (record, warning) in [("3,1,1,-;x", true), ("4,1,1,-;x", true), ("5,1,1,-;x", false), ("11,1,1,-;x", false)]
        {
            assert_eq!(is_warning(record), warning, "{record}");
        }
        assert!(!is_warning("no record"));
    }
}
