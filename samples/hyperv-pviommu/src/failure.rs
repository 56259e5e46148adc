// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! How a program ends when something is wrong.

use std::process::ExitCode;

/// Why a program does not end with success. Wrong arguments are exit code 2, by clap.
#[derive(Debug)]
pub enum Failure {
    /// Exit code 1: data was not what it should be, or a device reached what it should not.
    Wrong(anyhow::Error),
    /// Exit code 3: the machine is not set up for this, or an operation was refused.
    Setup(anyhow::Error),
    /// Exit code 4: all that was tried worked, but not all could be tried.
    Incomplete(String),
}

/// Whatever fails without a verdict on the data: something is missing or refused.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        Failure::Setup(error)
    }
}

impl Failure {
    /// The text for an exit code list in `--help`.
    pub const HELP: &'static str =
        "Exit codes: 0 all is well; 1 data is wrong, or a device reached what it should not; \
                                    2 wrong arguments; 3 something is missing or was refused; 4 not all could be tried";

    /// Says what happened, and turns it into an exit code.
    pub fn report(result: Result<(), Failure>) -> ExitCode {
        let (text, code) = match result {
            Ok(()) => return ExitCode::SUCCESS,
            Err(Failure::Wrong(error)) => (format!("WRONG: {error:#}"), 1),
            Err(Failure::Setup(error)) => (format!("error: {error:#}"), 3),
            Err(Failure::Incomplete(what)) => (format!("incomplete: {what}"), 4),
        };
        eprintln!("{text}");
        ExitCode::from(code)
    }
}
