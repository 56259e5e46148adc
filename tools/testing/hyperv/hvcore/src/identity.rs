// SPDX-License-Identifier: GPL-2.0
//! What the guest is told that it is: an ordinary guest, an isolated one, or a partition that creates others.

/// The kind of partition that CPUID announces. Only the root partition differs in more than that, see [`crate::root`]: minihv
/// has one guest and isolates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// An ordinary guest.
    Guest,
    /// A guest whose memory the host cannot read (VBS, the kind that needs nothing of the processor).
    Isolated,
    /// The root partition, which manages processors and creates others.
    Root,
    /// A partition that creates others with help of the root (L1VH).
    L1vh,
}

impl Identity {
    /// The privileges that go with it: bits of CPUID 0x40000003 EBX.
    pub const fn privileges(self) -> u32 {
        const CREATE_PARTITIONS: u32 = 1 << 0;
        const ACCESS_PARTITION_ID: u32 = 1 << 1;
        const ACCESS_MEMORY_POOL: u32 = 1 << 2;
        const CPU_MANAGEMENT: u32 = 1 << 12;
        const ISOLATION: u32 = 1 << 22;
        match self {
            Identity::Guest => 0,
            Identity::Isolated => ISOLATION,
            Identity::Root => CREATE_PARTITIONS | ACCESS_PARTITION_ID | ACCESS_MEMORY_POOL | CPU_MANAGEMENT,
            Identity::L1vh => CREATE_PARTITIONS,
        }
    }

    /// How it is isolated: CPUID 0x4000000c EBX.
    pub const fn isolation(self) -> u32 {
        const VBS: u32 = 1;
        match self {
            Identity::Isolated => VBS,
            Identity::Guest | Identity::Root | Identity::L1vh => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_isolated_guest_has_a_type_of_isolation() {
        for identity in [Identity::Guest, Identity::Isolated, Identity::Root, Identity::L1vh] {
            assert_eq!(identity.privileges() >> 22 & 1, identity.isolation(), "{identity:?}");
        }
        assert_eq!(Identity::Root.privileges() & !Identity::L1vh.privileges(), 1 << 12 | 0b110);
    }
}
