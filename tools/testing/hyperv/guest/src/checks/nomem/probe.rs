// SPDX-License-Identifier: GPL-2.0
//! The driver's file that has it look for its IOMMU once more, and sets up one that nobody uses.

use anyhow::{bail, Result};
use nix::errno::Errno;

use super::work::Work;
use crate::debugfs;
use crate::minihv::Minihv;
use crate::vfio::errno;

/// Sets an IOMMU up.
#[derive(Default)]
pub struct Probe {
    /// What came of it with all the memory that there is.
    full: Option<String>,
}

impl Work for Probe {
    fn act(&mut self) -> Result<()> {
        let text = debugfs::probe()?;
        let full = self.full.get_or_insert_with(|| text.clone());
        if text != *full {
            bail!("{}", text.trim());
        }
        Ok(())
    }

    /// A file that cannot be read, a probe that is refused, or one that goes on without a domain.
    fn is_no_memory(&self, error: &anyhow::Error) -> bool {
        let text = error.to_string();
        let refused = text == format!("refused: errno -{}", libc::ENOMEM);
        let lacking = text.starts_with("served: ")
            && (text.contains(&format!("table -{} ", libc::ENOMEM)) || text.contains(" absent"));
        refused || lacking || errno(error) == Some(Errno::ENOMEM)
    }

    fn judge(&mut self, _: Minihv, _: &[String]) -> Result<()> {
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        Ok(())
    }
}
