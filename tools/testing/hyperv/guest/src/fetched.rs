// SPDX-License-Identifier: GPL-2.0
//! Programs of the distribution. The runner puts each set of them with its libraries into a directory of its own, for cases
//! that ask for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

/// What loads dynamic programs; the root file system has no other.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// A set of programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Set {
    /// kexec and makedumpfile.
    Kdump,
    /// DPDK's testpmd, and what it loads.
    Dpdk,
}

impl Set {
    fn place(self) -> &'static Path {
        Path::new(match self {
            Set::Kdump => "/kdump",
            Set::Dpdk => "/dpdk",
        })
    }

    /// A file of the set.
    pub fn file(self, name: &str) -> PathBuf {
        self.place().join(name)
    }

    /// A program of the set, ready to be given its arguments.
    pub fn program(self, name: &str) -> Command {
        let mut command = Command::new(self.file(LOADER));
        command.arg("--library-path").arg(self.place()).arg(self.file(name));
        command
    }

    /// Runs a program to its end; returns what it printed.
    ///
    /// # Errors
    /// When it is not there or says no; the message carries its words.
    pub fn run(self, name: &str, arguments: &[&str]) -> Result<String> {
        let out = self.program(name).args(arguments).output().with_context(|| self.file(name).display().to_string())?;
        let words = String::from_utf8_lossy(&out.stdout).into_owned();
        if !out.status.success() {
            bail!("{name}: {}: {words}{}", out.status, String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(words)
    }
}
