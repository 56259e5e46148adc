// SPDX-License-Identifier: GPL-2.0
//! What the user sees: one line per stage with the time since the start, and tables.

use std::time::{Duration, Instant};

/// A clock that starts with the program, and the lines that carry its time.
pub struct Progress {
    start: Instant,
}

impl Progress {
    /// Starts the clock.
    pub fn new() -> Progress {
        Progress { start: Instant::now() }
    }

    /// Prints a line about a stage.
    pub fn stage(&self, stage: &str, text: &str) {
        println!("[{:7.1}s] {stage:9} {text}", self.start.elapsed().as_secs_f64());
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Prints rows with their columns aligned; the last column may be of any length.
pub fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|r| r.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        println!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// The last `count` lines.
pub fn tail(lines: &[String], count: usize) -> &[String] {
    &lines[lines.len().saturating_sub(count)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_of_short_and_long() {
        let lines: Vec<String> = (0..5).map(|i| i.to_string()).collect();
        assert_eq!(tail(&lines, 2), ["3", "4"]);
        assert_eq!(tail(&lines, 9).len(), 5);
    }
}
