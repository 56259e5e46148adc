// SPDX-License-Identifier: GPL-2.0
//! What a program needs besides itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};
use elf::abi::PT_INTERP;
use elf::endian::LittleEndian;
use elf::ElfBytes;

/// Whether a program needs nothing besides itself: no loader is named in it.
///
/// # Errors
/// When there is no such file, or it is no program.
pub fn is_static(program: &Path) -> Result<bool> {
    let name = || program.display().to_string();
    if !program.is_file() {
        bail!("{} does not exist", name());
    }
    let content = fs::read(program).with_context(name)?;
    let parse = || -> Result<bool> {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(&content)?;
        let segments = elf.segments().context("it has no program headers")?;
        Ok(!segments.iter().any(|segment| segment.p_type == PT_INTERP))
    };
    parse().with_context(|| format!("{} is no program", name()))
}

/// The shared libraries and the loader of a program; empty for a static one.
///
/// # Errors
/// When there is no such file, or one of its libraries is missing.
pub fn shared_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    if is_static(program)? {
        return Ok(Vec::new());
    }
    let out = Command::new("ldd").arg(program).env("LC_ALL", "C").output().context("ldd")?;
    if !out.status.success() {
        bail!("ldd {}: {}", program.display(), String::from_utf8_lossy(&out.stderr).trim());
    }
    parse_ldd(&String::from_utf8_lossy(&out.stdout)).with_context(|| program.display().to_string())
}

/// Reads ldd's lines: `libc.so.6 => /lib/libc.so.6 (0x...)`, `/lib64/ld-linux.so (0x...)`, `linux-vdso.so.1 (0x...)`.
fn parse_ldd(text: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        let target = match line.split_once(" => ") {
            Some((name, "not found")) => bail!("shared library {name} is missing"),
            Some((_, target)) => target,
            None => line,
        };
        if target.starts_with('/') {
            let path = target.split(" (").next().unwrap_or(target);
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ldd_lines() {
        let text =
            "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x7f)\n";
        assert_eq!(parse_ldd(text).unwrap(), [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]);
        assert_eq!(parse_ldd("\tstatically linked\n").unwrap(), Vec::<PathBuf>::new());
        assert!(parse_ldd("\tlibx.so => not found\n").is_err());
    }

    /// The smallest program: a header and a program header of that type.
    fn program(segment: u8) -> Vec<u8> {
        let mut bytes = vec![0_u8; 0x40 + 0x38];
        // 64 bits, little endian, version 1; an executable for x86-64.
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        (bytes[0x10], bytes[0x12], bytes[0x14]) = (2, 62, 1);
        // Where the program headers are, and the sizes of this one, of one, and their number.
        (bytes[0x20], bytes[0x34], bytes[0x36], bytes[0x38]) = (0x40, 0x40, 0x38, 1);
        bytes[0x40] = segment;
        bytes
    }

    #[test]
    fn a_loader_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("program");
        for (segment, expected) in [(1, true), (3, false)] {
            fs::write(&file, program(segment)).unwrap();
            assert_eq!(is_static(&file).unwrap(), expected, "{segment}");
        }
        fs::write(&file, "#!/bin/sh\n").unwrap();
        assert!(is_static(&file).unwrap_err().to_string().contains("is no program"));
        assert!(is_static(&directory.path().join("none")).is_err());
    }
}
