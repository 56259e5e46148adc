// SPDX-License-Identifier: GPL-2.0
//! The one file that carries the guest's kernel, initramfs and command line to minihv (as QEMU's `-initrd`).
//!
//! Layout, little endian: page 0 is the header: u32 magic, u32 format version, u32 kernel bytes, u32 initramfs bytes,
//! u32 command line bytes (without a final NUL), then at offset 64 the command line. The kernel (a bzImage) starts at
//! offset 4096, the initramfs at the next multiple of 4096 after it.

/// First word of a bundle, "MHVB".
pub const MAGIC: u32 = 0x4256_484d;
/// Format version.
pub const VERSION: u32 = 1;
/// Bytes of the header page.
pub const HEADER_BYTES: usize = 4096;
/// Where the command line starts.
pub const COMMAND_LINE_OFFSET: usize = 64;
/// Longest command line, in bytes.
pub const COMMAND_LINE_MAX: usize = 2047;

/// Where the parts lie, in bytes from the bundle's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Length of the kernel image, which starts at [`HEADER_BYTES`].
    pub kernel_bytes: u32,
    /// Length of the initramfs.
    pub initramfs_bytes: u32,
    /// Length of the command line, which starts at [`COMMAND_LINE_OFFSET`].
    pub command_line_bytes: u32,
}

/// Why a header was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Fewer than [`HEADER_BYTES`] bytes.
    Short,
    /// Wrong magic or version.
    NotABundle,
    /// The command line is too long.
    CommandLine,
}

impl Layout {
    /// Offset of the initramfs from the bundle's start, in bytes; a multiple of 4096.
    pub fn initramfs_offset(&self) -> usize {
        (HEADER_BYTES + self.kernel_bytes as usize).next_multiple_of(4096)
    }

    /// The header page for this layout and command line.
    ///
    /// # Errors
    /// [`Error::CommandLine`] when it is longer than [`COMMAND_LINE_MAX`].
    pub fn encode(kernel_bytes: u32, initramfs_bytes: u32, command_line: &[u8]) -> Result<[u8; HEADER_BYTES], Error> {
        if command_line.len() > COMMAND_LINE_MAX {
            return Err(Error::CommandLine);
        }
        let mut page = [0; HEADER_BYTES];
        let words = [MAGIC, VERSION, kernel_bytes, initramfs_bytes, command_line.len() as u32];
        for (slot, word) in page.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        page[COMMAND_LINE_OFFSET..COMMAND_LINE_OFFSET + command_line.len()].copy_from_slice(command_line);
        Ok(page)
    }

    /// Reads a header page.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn decode(page: &[u8]) -> Result<Layout, Error> {
        let word = |i: usize| page.get(4 * i..4 * i + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if page.len() < HEADER_BYTES {
            return Err(Error::Short);
        }
        if word(0) != Some(MAGIC) || word(1) != Some(VERSION) {
            return Err(Error::NotABundle);
        }
        let field = |i: usize| word(i).ok_or(Error::Short);
        let layout = Layout { kernel_bytes: field(2)?, initramfs_bytes: field(3)?, command_line_bytes: field(4)? };
        if layout.command_line_bytes as usize > COMMAND_LINE_MAX {
            return Err(Error::CommandLine);
        }
        Ok(layout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_survives_the_round_trip() {
        let page = Layout::encode(5000, 77, b"console=ttyS0").unwrap();
        let layout = Layout::decode(&page).unwrap();
        assert_eq!(layout, Layout { kernel_bytes: 5000, initramfs_bytes: 77, command_line_bytes: 13 });
        assert_eq!(layout.initramfs_offset(), 12288);
        assert_eq!(&page[64..77], b"console=ttyS0");
    }

    #[test]
    fn bad_headers_are_refused() {
        assert_eq!(Layout::decode(&[0; 4095]), Err(Error::Short));
        assert_eq!(Layout::decode(&[0; 4096]), Err(Error::NotABundle));
        assert_eq!(Layout::encode(1, 1, &[b'x'; 2048]), Err(Error::CommandLine));
    }
}
