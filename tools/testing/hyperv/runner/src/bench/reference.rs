// SPDX-License-Identifier: GPL-2.0
//! What a driver written in C costs in the same place, relative to intel-iommu: the measure of this one.

/// Sizes of mappings with a target, in pages of 4 KiB.
pub const PAGES: [u32; 5] = [1, 4, 16, 64, 512];

/// How unmapped addresses are flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushing {
    /// Each at once.
    Strict,
    /// Many together.
    Deferred,
}

impl Flushing {
    /// Both.
    pub const ALL: [Flushing; 2] = [Flushing::Strict, Flushing::Deferred];

    /// The word in the names of configurations.
    pub fn name(self) -> &'static str {
        match self {
            Flushing::Strict => "strict",
            Flushing::Deferred => "deferred",
        }
    }

    /// The configuration of this project's driver.
    pub fn own(self) -> &'static str {
        match self {
            Flushing::Strict => "hv-strict",
            Flushing::Deferred => "hv-deferred",
        }
    }

    /// The configuration of the driver that it is compared with.
    pub fn peer(self) -> &'static str {
        match self {
            Flushing::Strict => "intel-strict",
            Flushing::Deferred => "intel-deferred",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// dma_map_single().
    Map,
    /// dma_unmap_single().
    Unmap,
}

impl Operation {
    /// Both.
    pub const ALL: [Operation; 2] = [Operation::Map, Operation::Unmap];

    /// The word in the names of figures.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Map => "map",
            Operation::Unmap => "unmap",
        }
    }
}

/// Instructions of the C driver for an instruction of intel-iommu: same kernel, same device, processor model EPYC.
/// Strict unmap is the guest's share, without the hypervisor's; deferred unmap is all of it.
pub fn ratio(flushing: Flushing, operation: Operation, pages: u32) -> Option<f64> {
    let row: [f64; 5] = match (flushing, operation) {
        (Flushing::Strict, Operation::Map) => [0.546, 0.954, 0.959, 0.967, 0.954],
        (Flushing::Strict, Operation::Unmap) => [0.677, 0.689, 0.723, 0.813, 0.687],
        (Flushing::Deferred, Operation::Map) => [0.547, 0.955, 0.960, 0.969, 0.956],
        (Flushing::Deferred, Operation::Unmap) => [0.963, 0.968, 0.971, 0.972, 0.928],
    };
    PAGES.iter().position(|size| *size == pages).map(|at| row[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_ratio() {
        for flushing in Flushing::ALL {
            for operation in Operation::ALL {
                assert!(PAGES.iter().all(|pages| ratio(flushing, operation, *pages).is_some()));
                assert_eq!(ratio(flushing, operation, 2), None);
            }
        }
        assert_eq!(ratio(Flushing::Strict, Operation::Unmap, 64), Some(0.813));
    }
}
