// SPDX-License-Identifier: GPL-2.0
//! The kernel's benchmark of the DMA API (CONFIG_DMA_MAP_BENCHMARK), for the device that its driver has.

use std::path::Path;

use anyhow::{Context, Result};

use crate::vfio::open;

/// The driver that a device must be bound to.
pub const DRIVER: &str = "dma_map_benchmark";

/// How the benchmark is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Threads that map and unmap.
    pub threads: u32,
    /// Pages of each mapping.
    pub pages: u32,
}

/// `struct map_benchmark` (include/uapi/linux/map_benchmark.h).
#[repr(C)]
struct Request {
    map_and_unmap_times: [u64; 4],
    threads: u32,
    seconds: u32,
    node: i32,
    dma_bits: u32,
    direction: u32,
    transfer_nanoseconds: u32,
    granule: u32,
    mode: u8,
    expansion: [u8; 75],
}

const _: () = assert!(size_of::<Request>() == 136);

nix::ioctl_readwrite!(dma_map_benchmark, b'd', 1, Request);

/// Maps and unmaps for a second, both directions.
///
/// # Errors
/// When the kernel has no benchmark, no device is bound to it, or it fails.
pub fn run(load: Load) -> Result<()> {
    use std::os::fd::AsRawFd;
    const ANY_NODE: i32 = -1;
    let file = open(Path::new("/sys/kernel/debug/dma_map_benchmark"))?;
    let mut request = Request {
        map_and_unmap_times: [0; 4],
        threads: load.threads,
        seconds: 1,
        node: ANY_NODE,
        dma_bits: 32,
        direction: 0,
        transfer_nanoseconds: 0,
        granule: load.pages,
        mode: 0,
        expansion: [0; 75],
    };
    // SAFETY: the request's structure, of the size that its number carries, without addresses.
    unsafe { dma_map_benchmark(file.as_raw_fd(), &mut request) }.context("dma_map_benchmark")?;
    Ok(())
}
