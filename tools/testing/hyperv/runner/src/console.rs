// SPDX-License-Identifier: GPL-2.0
//! Lines of a log that somebody else is still writing.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Reads a growing text file line by line.
pub struct Follower {
    path: PathBuf,
    offset: u64,
    partial: Vec<u8>,
}

impl Follower {
    /// Follows a file, which need not exist yet.
    pub fn new(path: &Path) -> Follower {
        Follower { path: path.to_owned(), offset: 0, partial: Vec::new() }
    }

    /// Bytes seen so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The complete lines that were added since the last call.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn poll(&mut self) -> Result<Vec<String>> {
        let name = || self.path.display().to_string();
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(name),
        };
        file.seek(SeekFrom::Start(self.offset)).with_context(name)?;
        let mut fresh = Vec::new();
        self.offset += file.read_to_end(&mut fresh).with_context(name)? as u64;
        self.partial.extend_from_slice(&fresh);
        let mut lines = Vec::new();
        while let Some(end) = self.partial.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            lines.push(clean(&line));
        }
        Ok(lines)
    }

    /// What is left without a line end.
    pub fn finish(self) -> Option<String> {
        (!self.partial.is_empty()).then(|| clean(&self.partial))
    }
}

/// Text of a line, without line end and control characters.
fn clean(line: &[u8]) -> String {
    String::from_utf8_lossy(line).chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// A console line without the kernel's time stamp (`[    1.234567] `) and caller (`[    T1] `).
///
/// Spaces behind them are kept: they are KTAP's indentation.
pub fn message(line: &str) -> &str {
    let mut rest = line;
    for _ in 0..2 {
        let Some(inner) = rest.strip_prefix('[') else { break };
        let Some((field, tail)) = inner.split_once(']') else { break };
        let field = field.trim();
        let is_stamp = field.contains('.') && field.chars().all(|c| c.is_ascii_digit() || c == '.');
        let is_caller =
            field.len() > 1 && field.starts_with(['T', 'C']) && field.chars().skip(1).all(|c| c.is_ascii_digit());
        if !is_stamp && !is_caller {
            break;
        }
        rest = if is_stamp && tail.starts_with('[') { tail } else { tail.strip_prefix(' ').unwrap_or(tail) };
    }
    rest
}

/// The messages of console lines. A line that the kernel broke off and printed again counts once.
pub fn messages(lines: &[String]) -> Vec<&str> {
    /// What the kernel prints before it starts a line again that something urgent had interrupted.
    const AGAIN: &str = "** replaying previous printk message **";
    let mut messages = Vec::with_capacity(lines.len());
    for line in lines {
        match message(line) {
            AGAIN => {
                messages.pop();
            }
            text => messages.push(text),
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_line_that_was_broken_off_counts_once() {
        let lines = [
            "[   30.103518] ---[ end trace ]---",
            "[   30.105660] hv_pviommu: domain 31 cannot be flu",
            "** replaying previous printk message **",
            "[   30.105660] hv_pviommu: domain 31 cannot be flushed",
            "[   30.108776] next",
        ]
        .map(str::to_owned);
        assert_eq!(messages(&lines), ["---[ end trace ]---", "hv_pviommu: domain 31 cannot be flushed", "next"]);
        assert_eq!(messages(&lines[2..]), ["hv_pviommu: domain 31 cannot be flushed", "next"]);
    }

    #[test]
    fn stamps_are_removed_and_indentation_kept() {
        assert_eq!(message("[    1.234567]     ok 1 test"), "    ok 1 test");
        assert_eq!(message("[    1.234567][    T1]  # note"), " # note");
        assert_eq!(message("[    1.234567] [drm] hello"), "[drm] hello");
        assert_eq!(message("plain"), "plain");
        assert_eq!(message("[oops"), "[oops");
    }

    #[test]
    fn lines_come_once_and_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut follower = Follower::new(&path);
        assert_eq!(follower.poll().unwrap(), Vec::<String>::new());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"one\r\ntwo").unwrap();
        assert_eq!(follower.poll().unwrap(), ["one"]);
        file.write_all(b"!\nthr\x1b[0mee").unwrap();
        assert_eq!(follower.poll().unwrap(), ["two!"]);
        assert_eq!(follower.finish().as_deref(), Some("thr[0mee"));
    }
}
