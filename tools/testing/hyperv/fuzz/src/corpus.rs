// SPDX-License-Identifier: GPL-2.0
//! Inputs that are kept: a text file for each target, a line of hexadecimal digits for each input.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The licence of the files. In two pieces, or checkers take it for this file's.
const HEADER: &str = concat!("# SPD", "X-License-Identifier: GPL-2.0\n");

/// The line of an input.
pub fn to_hex(input: &[u8]) -> String {
    input.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An input's bytes; `None` for a line that is none.
pub fn from_hex(line: &str) -> Option<Vec<u8>> {
    let digits = line.trim();
    if digits.len() % 2 != 0 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

/// Reads a file; no inputs when there is none.
pub fn read(path: &Path) -> io::Result<Vec<Vec<u8>>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text?,
    };
    let bad = || io::Error::new(ErrorKind::InvalidData, format!("{}: not a corpus", path.display()));
    text.lines().filter(|line| !line.starts_with('#')).map(|line| from_hex(line).ok_or_else(bad)).collect()
}

/// Writes a file, shortest inputs first.
pub fn write(path: &Path, inputs: &[Vec<u8>]) -> io::Result<()> {
    let mut lines: Vec<String> = inputs.iter().map(|input| to_hex(input)).collect();
    lines.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    lines.dedup();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, lines.iter().fold(HEADER.to_owned(), |text, line| text + line + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_survives_the_round_trip() {
        for input in [vec![], vec![0, 0xff, 0x1a]] {
            assert_eq!(from_hex(&to_hex(&input)), Some(input));
        }
        for line in ["1", "zz", "+1"] {
            assert_eq!(from_hex(line), None);
        }
    }

    /// What was found once stays right. Inputs of targets that are gone would be read by nobody.
    #[test]
    fn the_kept_inputs_pass() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
        let mut files = 0;
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let target = fuzz_targets::find(&name).unwrap_or_else(|| panic!("no target {name}"));
            for input in read(&path).unwrap() {
                (target.run)(&input);
            }
            files += 1;
        }
        assert_eq!(files, fuzz_targets::TARGETS.len());
    }
}
