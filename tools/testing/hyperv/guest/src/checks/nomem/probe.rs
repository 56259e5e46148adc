// SPDX-License-Identifier: GPL-2.0
//! The driver's file that has it look for its IOMMU once more, and sets up one that nobody uses.

use std::fs;
use std::io;

use anyhow::{bail, Context as _, Result};

use super::Work;
use crate::control::Minihv;

/// Whether the kernel said `ENOMEM`.
pub fn says_no_memory(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        let nix = cause.downcast_ref::<nix::errno::Errno>().map(|errno| *errno as i32);
        io.or(nix) == Some(libc::ENOMEM)
    })
}

const PROBE: &str = "/sys/kernel/debug/iommu/hv-pviommu/probe";

/// Sets an IOMMU up.
#[derive(Default)]
pub struct Probe {
    /// What came of it with all the memory that there is.
    full: Option<String>,
}

impl Work for Probe {
    fn act(&mut self) -> Result<()> {
        let text = fs::read_to_string(PROBE).context(PROBE)?;
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
        refused || lacking || says_no_memory(error)
    }

    fn judge(&mut self, _: Minihv, _: &[String]) -> Result<()> {
        Ok(())
    }

    fn undo(&mut self) -> Result<()> {
        Ok(())
    }
}
