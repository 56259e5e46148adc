// SPDX-License-Identifier: GPL-2.0
//! A number for the code that judges: what a result of an earlier runner is worth depends on it.

use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// What does not judge test boots: the cases, whose definitions are looked at by themselves, and what shows or measures.
const OTHERS: [&str; 6] =
    ["src/bench", "src/cases", "src/conformance", "src/report", "src/ledger.rs", "src/fingerprint.rs"];

fn is_judging(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs") && !OTHERS.iter().any(|other| path.starts_with(other))
}

/// Every file below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut found = Vec::new();
    // The form of reports is the protocol's.
    for directory in ["src", "../protocol/src"] {
        println!("cargo::rerun-if-changed={directory}");
        files(Path::new(directory), &mut found)?;
    }
    found.retain(|path| is_judging(path));
    found.sort();
    let mut hasher = DefaultHasher::new();
    for path in &found {
        path.hash(&mut hasher);
        std::fs::read(path)?.hash(&mut hasher);
    }
    println!("cargo::rustc-env=HVRUN_JUDGE={:016x}", hasher.finish());
    Ok(())
}
