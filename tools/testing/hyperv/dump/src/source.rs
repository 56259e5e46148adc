// SPDX-License-Identifier: GPL-2.0
//! A dump as bytes.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::FileExt;

/// Bytes that are read piece by piece: a dump is larger than memory.
pub trait Source {
    /// How many there are.
    ///
    /// # Errors
    /// When that cannot be told.
    fn bytes(&self) -> Result<u64>;

    /// Reads as many as fit into `into`, from `at` on.
    ///
    /// # Errors
    /// When there are not so many, or they cannot be read.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<()>;
}

impl Source for File {
    fn bytes(&self) -> Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        self.read_exact_at(into, at)
    }
}

impl Source for [u8] {
    fn bytes(&self) -> Result<u64> {
        Ok(self.len() as u64)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..));
        let found = rest.and_then(|rest| rest.get(..into.len())).ok_or(Error::from(ErrorKind::UnexpectedEof))?;
        into.copy_from_slice(found);
        Ok(())
    }
}
