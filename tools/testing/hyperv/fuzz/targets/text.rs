// SPDX-License-Identifier: GPL-2.0
//! What the user or the runner hands to minihv.

use hvcore::bundle::{Layout, COMMAND_LINE_OFFSET, HEADER_BYTES};
use hvcore::options::Options;

/// A header page: the bytes, then zeroes. What is read can be written, and reads the same.
pub fn bundle(bytes: &[u8]) {
    let mut page = bytes.to_vec();
    page.resize(if bytes.first() == Some(&0) { bytes.len() } else { HEADER_BYTES }, 0);
    let Ok(layout) = Layout::decode(&page) else { return };
    assert!(layout.initramfs_offset() % 4096 == 0 && layout.initramfs_offset() >= HEADER_BYTES);
    let line = page.get(COMMAND_LINE_OFFSET..).and_then(|rest| rest.get(..layout.command_line_bytes as usize));
    let line = line.expect("the command line lies within the page");
    let again = Layout::encode(layout.kernel_bytes, layout.initramfs_bytes, line).expect("it was read");
    assert_eq!(Layout::decode(&again), Ok(layout));
}

/// A command line. What is read can be written, and reads the same.
pub fn options(bytes: &[u8]) {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    let Ok(options) = line.parse::<Options>() else { return };
    assert_eq!(options.to_string().parse(), Ok(options));
}
