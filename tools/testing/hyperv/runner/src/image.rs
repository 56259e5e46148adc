// SPDX-License-Identifier: GPL-2.0
//! Kernels, and the bundle that carries kernel, initramfs and command line to minihv.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use hvcore::bundle::{Layout, COMMAND_LINE_MAX};

/// Where a kernel build puts its image, below the build directory.
const BZIMAGE: &str = "arch/x86/boot/bzImage";
/// Where this project's build installs a kernel's modules, below the build directory.
const MODULE_ROOT: &str = "modules";

/// A bootable kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// The bzImage.
    pub image: PathBuf,
    /// Root of an installed module tree.
    pub modules: Option<PathBuf>,
}

impl Kernel {
    /// A kernel from its parts.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn from_parts(image: &Path, modules: Option<&Path>) -> Result<Kernel> {
        if !image.is_file() {
            bail!("{} does not exist: the kernel is not built", image.display());
        }
        Ok(Kernel { image: image.to_owned(), modules: modules.map(Path::to_owned) })
    }

    /// A kernel from its build directory, with its modules where they were installed.
    ///
    /// # Errors
    /// When nothing was built there.
    pub fn from_build(directory: &Path) -> Result<Kernel> {
        let image = directory.join(BZIMAGE);
        if !image.is_file() {
            bail!("{} does not exist: the kernel is not built", image.display());
        }
        let modules = directory.join(MODULE_ROOT);
        Ok(Kernel { image, modules: modules.is_dir().then_some(modules) })
    }
}

/// Writes the bundle file.
///
/// # Errors
/// When the command line is too long, a part is missing or too large, or the file cannot be written.
pub fn write_bundle(path: &Path, kernel: &Path, initramfs: &Path, command_line: &str) -> Result<()> {
    let size = |part: &Path| -> Result<u32> {
        let bytes = fs::metadata(part).with_context(|| part.display().to_string())?.len();
        u32::try_from(bytes).with_context(|| format!("{} is too large", part.display()))
    };
    let (kernel_bytes, initramfs_bytes) = (size(kernel)?, size(initramfs)?);
    let header = match Layout::encode(kernel_bytes, initramfs_bytes, command_line.as_bytes()) {
        Ok(header) => header,
        Err(error) => {
            let length = command_line.len();
            bail!("{error:?}: the guest's command line has {length} bytes, at most {COMMAND_LINE_MAX} fit")
        }
    };
    let layout = match Layout::decode(&header) {
        Ok(layout) => layout,
        Err(error) => bail!("the bundle's header does not read back: {error:?}"),
    };
    let write = || -> Result<()> {
        let mut out = File::create(path)?;
        out.write_all(&header)?;
        std::io::copy(&mut File::open(kernel)?, &mut out)?;
        out.seek(SeekFrom::Start(layout.initramfs_offset() as u64))?;
        std::io::copy(&mut File::open(initramfs)?, &mut out)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hvcore::bundle::HEADER_BYTES;

    #[test]
    fn parts_lie_where_the_header_says() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("k"), [1_u8; 5000]).unwrap();
        fs::write(at("i"), [2_u8; 77]).unwrap();
        write_bundle(&at("b"), &at("k"), &at("i"), "console=ttyS0").unwrap();
        let bundle = fs::read(at("b")).unwrap();
        let layout = Layout::decode(&bundle).unwrap();
        assert_eq!(&bundle[HEADER_BYTES..HEADER_BYTES + 5000], [1_u8; 5000]);
        assert_eq!(&bundle[layout.initramfs_offset()..], [2_u8; 77]);
    }

    #[test]
    fn a_long_command_line_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let part = directory.path().join("part");
        fs::write(&part, b"x").unwrap();
        let line = "x".repeat(COMMAND_LINE_MAX + 1);
        assert!(write_bundle(&directory.path().join("b"), &part, &part, &line).is_err());
    }
}
