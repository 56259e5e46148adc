// SPDX-License-Identifier: GPL-2.0
//! What is fuzzed: each target makes of any bytes what a guest, a host or a user could send.
//!
//! A target panics when something is wrong, and only then.
#![forbid(unsafe_code)]

mod source;

mod driver;
mod dump;
mod hypercall;
mod machine;
mod planted;
mod test_interface;
mod text;
mod vmbus;
mod vpci;

// The driver's own files, from where the kernel is built.
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/host/aperture.rs"]
#[allow(dead_code, missing_docs)]
mod aperture;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/host/capabilities.rs"]
#[allow(dead_code, missing_docs)]
mod capabilities;
#[rustfmt::skip] // The kernel's style.
#[path = "../../../../../drivers/iommu/hyperv/domain/flush_range.rs"]
#[allow(dead_code, missing_docs)]
mod flush_range;

/// Something that takes any bytes.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What it reads, in words.
    pub summary: &'static str,
    /// Longest input that makes sense, in bytes.
    pub longest: usize,
    /// Feeds it.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "hypercall",
        summary: "control words, fixed and rep inputs of every call, result words of a hostile host",
        longest: 1024,
        run: hypercall::run,
    },
    Target {
        name: "vmbus",
        summary: "SynIC registers, channel messages, address lists (GPADL)",
        longest: 1024,
        run: vmbus::run,
    },
    Target {
        name: "vpci",
        summary: "ring indices and packets, vPCI messages, configuration windows, retargeted interrupts",
        longest: 1024,
        run: vpci::run,
    },
    Target {
        name: "test-interface",
        summary: "the test interface, with tables of a guest to walk",
        longest: 768,
        run: test_interface::run,
    },
    Target { name: "dump", summary: "the memory of a crashed root partition, damaged", longest: 384, run: dump::run },
    Target { name: "bundle", summary: "the header of minihv's bundle", longest: 160, run: text::bundle },
    Target { name: "options", summary: "minihv's command line", longest: 384, run: text::options },
    Target {
        name: "capabilities",
        summary: "the driver: what a host says that its IOMMU can do",
        longest: 24,
        run: driver::capabilities,
    },
    Target { name: "flush-range", summary: "the driver: ranges to flush", longest: 24, run: driver::flush_range },
];

/// A target with a bug, which the fuzzer must find before its silence about the others means anything.
pub const PLANTED: Target =
    Target { name: "planted", summary: "a bug that is there on purpose", longest: 64, run: planted::run };

/// Looks a target up, the planted one among them.
pub fn find(name: &str) -> Option<Target> {
    TARGETS.iter().chain([&PLANTED]).find(|target| target.name == name).copied()
}
