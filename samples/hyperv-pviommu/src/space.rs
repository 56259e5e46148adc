// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
//! I/O address spaces of iommufd.

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{bail, ensure, Context, Result};
use iommufd_bindings::iommufd::{
    iommu_ioas_alloc, iommu_ioas_iova_ranges, iommu_ioas_map, iommu_ioas_unmap, iommu_iova_range,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE,
    iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE, IOMMUFD_CMD_IOAS_IOVA_RANGES, IOMMUFD_TYPE,
};
use iommufd_ioctls::IommuFd;
use vmm_sys_util::ioctl::ioctl_with_mut_ref;
use vmm_sys_util::ioctl_io_nr;

use crate::Memory;

ioctl_io_nr!(
    IOMMU_IOAS_IOVA_RANGES,
    IOMMUFD_TYPE as u32,
    IOMMUFD_CMD_IOAS_IOVA_RANGES
);

/// An address as a device uses it, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Iova(pub u64);

impl fmt::Display for Iova {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl std::ops::Add<u64> for Iova {
    type Output = Iova;

    fn add(self, bytes: u64) -> Iova {
        Iova(self.0 + bytes)
    }
}

/// Size of a request structure, for its `size` or `argsz` field.
pub(crate) fn size<T>() -> u32 {
    size_of::<T>() as u32
}

/// An I/O address space: what the devices attached to it see instead of the machine's memory.
pub struct Space {
    iommufd: IommuFd,
    ioas: u32,
}

impl Space {
    /// Makes an empty one, in an iommufd context of its own.
    ///
    /// # Errors
    /// When the kernel has no iommufd, or this user may not open it.
    pub fn new() -> Result<Space> {
        let iommufd = IommuFd::new()?;
        let mut request = iommu_ioas_alloc {
            size: size::<iommu_ioas_alloc>(),
            ..Default::default()
        };
        iommufd.alloc_iommu_ioas(&mut request)?;
        Ok(Space {
            iommufd,
            ioas: request.out_ioas_id,
        })
    }

    /// Number of the address space in its context.
    pub fn id(&self) -> u32 {
        self.ioas
    }

    /// The context's file descriptor.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.iommufd.as_raw_fd()
    }

    /// Maps all of `memory` at `iova`: attached devices can read and write it from now on.
    ///
    /// The kernel keeps the pages where they are until they are unmapped or the space is dropped.
    /// It uses the largest pages of the IOMMU that fit: for a huge page, `iova` should be a multiple
    /// of its size.
    ///
    /// # Errors
    /// When `iova` is outside of [`Space::ranges`] or in use.
    pub fn map(&self, iova: Iova, memory: &Memory) -> Result<()> {
        let request = iommu_ioas_map {
            size: size::<iommu_ioas_map>(),
            flags: iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA
                | iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE
                | iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE,
            ioas_id: self.ioas,
            user_va: memory.address(),
            length: memory.bytes() as u64,
            iova: iova.0,
            ..Default::default()
        };
        self.iommufd
            .map_iommu_ioas(&request)
            .with_context(|| format!("mapping {} bytes at IOVA {iova}", memory.bytes()))
    }

    /// Takes `memory` away from `iova`. When this returns, no device reaches it any more.
    ///
    /// # Errors
    /// When it was not mapped there.
    pub fn unmap(&self, iova: Iova, memory: &Memory) -> Result<()> {
        let mut request = iommu_ioas_unmap {
            size: size::<iommu_ioas_unmap>(),
            ioas_id: self.ioas,
            iova: iova.0,
            length: memory.bytes() as u64,
        };
        self.iommufd
            .unmap_iommu_ioas(&mut request)
            .with_context(|| format!("unmapping {} bytes at IOVA {iova}", memory.bytes()))?;
        ensure!(
            request.length == memory.bytes() as u64,
            "{} bytes were mapped at IOVA {iova} instead of {}",
            request.length,
            memory.bytes()
        );
        Ok(())
    }

    /// The ranges of addresses that the attached devices can use, both ends included.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ranges(&self) -> Result<Vec<(Iova, Iova)>> {
        let mut found = [iommu_iova_range::default(); 64];
        let mut request = iommu_ioas_iova_ranges {
            size: size::<iommu_ioas_iova_ranges>(),
            ioas_id: self.ioas,
            num_iovas: found.len() as u32,
            allowed_iovas: found.as_mut_ptr() as u64,
            ..Default::default()
        };
        // SAFETY: the request's structure; its one address is that of an array with as many elements
        // as it says, which the kernel fills before the call returns.
        let code =
            unsafe { ioctl_with_mut_ref(&self.iommufd, IOMMU_IOAS_IOVA_RANGES(), &mut request) };
        if code != 0 {
            bail!(
                "reading the IOVA ranges: {}",
                std::io::Error::last_os_error()
            );
        }
        let found = found.iter().take(request.num_iovas as usize);
        Ok(found
            .map(|range| (Iova(range.start), Iova(range.last)))
            .collect())
    }
}
