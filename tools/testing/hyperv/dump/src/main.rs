// SPDX-License-Identifier: GPL-2.0
//! `hvdump FILE`: prints what the driver of the root partition's IOMMU knew when the kernel crashed.

use std::fs::File;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, Context as _, Result};
use hvdump::memory::Memory;
use hvdump::{show, state};

fn run() -> Result<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(path), None) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        bail!("usage: hvdump FILE    /proc/vmcore, or a copy of it");
    };
    let file = File::open(&path).with_context(|| path.display().to_string())?;
    let memory = Memory::open(&file)?;
    let state = state::read(&memory)?;
    print!("{}\n{}\n", show::capabilities(&state.capabilities), show::domains(&state.domains));
    print!("{}\n{}", show::requesters(&state.requesters), show::mappings(&state.domains));
    for damage in &state.damage {
        eprintln!("damaged: {damage:#}");
    }
    Ok(ExitCode::from(u8::from(!state.damage.is_empty())))
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("hvdump: {error:#}");
            ExitCode::from(2)
        }
    }
}
