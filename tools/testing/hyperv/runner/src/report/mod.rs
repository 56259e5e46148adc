// SPDX-License-Identifier: GPL-2.0
//! `hvrun report`: what the tests left behind, as one page that needs nothing else.

mod input;
mod page;
mod window;

use anyhow::{Context, Result};

use self::input::Input;
use crate::cli::ReportArgs;
use crate::job::Outcome;

/// Writes the page.
///
/// # Errors
/// When a file cannot be read, is not what it should be, or cannot be written, and when there is nothing to report.
pub fn run(args: &ReportArgs) -> Result<Outcome> {
    let input = Input::read(args)?;
    let page = page::page(&input).into_string();
    std::fs::write(&args.output, page).with_context(|| args.output.display().to_string())?;
    println!("{}: {}", args.output.display(), input.summary());
    Ok(Outcome::Passed)
}
