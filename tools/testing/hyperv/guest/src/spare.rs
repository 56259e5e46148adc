// SPDX-License-Identifier: GPL-2.0
//! Memory that the kernel was told to leave alone, so that it can be mapped for devices and is used by nobody:
//! `memmap=SIZE$START` on its command line.

use std::fs;

use anyhow::{Context, Result};

use crate::memory::PAGE;

const COMMAND_LINE: &str = "/proc/cmdline";

/// Pages that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spare {
    /// Number of the first page.
    pub first: u64,
    /// How many there are.
    pub pages: u64,
}

impl Spare {
    /// What the kernel of this boot leaves alone.
    ///
    /// # Errors
    /// When it was not told to.
    pub fn find() -> Result<Spare> {
        let text = fs::read_to_string(COMMAND_LINE).context(COMMAND_LINE)?;
        parse(&text).context("no memmap=SIZE$START on the command line")
    }

    /// The pages from the first boundary on that is behind at least one page.
    pub fn aligned_to(self, pages: u64) -> Option<Spare> {
        let first = (self.first + 1).checked_next_multiple_of(pages)?;
        let left = (self.first + self.pages).checked_sub(first)?;
        (left > 0).then_some(Spare { first, pages: left })
    }
}

/// A number of bytes, with the kernel's suffix.
fn bytes(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

fn parse(command_line: &str) -> Option<Spare> {
    let word = command_line.split_whitespace().find_map(|word| word.strip_prefix("memmap="))?;
    let (size, start) = word.split_once('$')?;
    let page = PAGE as u64;
    Some(Spare { first: bytes(start)? / page, pages: bytes(size)? / page })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_word_is_read() {
        let found = |text: &str| parse(text).map(|spare| (spare.first, spare.pages));
        assert_eq!(found("quiet memmap=1026M$5118M tsc=reliable"), Some((5118 * 256, 1026 * 256)));
        assert_eq!(found("memmap=4096$1G"), Some((1 << 18, 1)));
        for bad in
            ["", "memmap=1G", "memmap=1G@1G", "memmap=x$1G", "memmap=$1G", "memmap=1T$1G", "memmap=1M$99999999999G"]
        {
            assert_eq!(found(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_boundary_has_a_page_before_it() {
        let spare = |first, pages| Spare { first, pages };
        assert_eq!(spare(100, 1000).aligned_to(512), Some(spare(512, 588)));
        assert_eq!(spare(512, 1000).aligned_to(512), Some(spare(1024, 488)));
        assert_eq!(spare(100, 400).aligned_to(512), None);
        assert_eq!(spare(100, 412).aligned_to(512), None);
    }
}
