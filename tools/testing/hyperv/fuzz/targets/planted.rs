// SPDX-License-Identifier: GPL-2.0
//! A bug that is there on purpose, as deep as those that are looked for: behind a magic number, a length that has to
//! agree and a comparison that random bytes do not pass.

/// Panics for a few inputs among very many.
pub fn run(bytes: &[u8]) {
    let Some((magic, rest)) = bytes.split_first_chunk() else { return };
    if u32::from_le_bytes(*magic) != 0x6d48_5642 {
        return;
    }
    let Some((&length, rest)) = rest.split_first() else { return };
    if usize::from(length) != rest.len() || rest.len() < 6 {
        return;
    }
    if rest[0] == b'f' && rest[1] == b'z' && u16::from_le_bytes([rest[2], rest[3]]) > 0xfff0 {
        assert!(rest[4] != rest[5].wrapping_add(7), "the planted bug");
    }
}
