// SPDX-License-Identifier: GPL-2.0
//! Register offsets (in bytes), their bits, and the capability registers.

/// Version, 32 bits.
pub const VER: usize = 0x00;
/// Capabilities, 64 bits; see [`Capabilities`].
pub const CAP: usize = 0x08;
/// Extended capabilities, 64 bits; see [`Capabilities`].
pub const ECAP: usize = 0x10;
/// Global command, 32 bits.
pub const GCMD: usize = 0x18;
/// Global status, 32 bits; same bit positions as [`GCMD`].
pub const GSTS: usize = 0x1c;
/// Root table address, 64 bits.
pub const RTADDR: usize = 0x20;
/// Fault status, 32 bits.
pub const FSTS: usize = 0x34;
/// Fault event control, 32 bits.
pub const FECTL: usize = 0x38;
/// Invalidation queue head, 64 bits.
pub const IQH: usize = 0x80;
/// Invalidation queue tail, 64 bits.
pub const IQT: usize = 0x88;
/// Invalidation queue address, 64 bits.
pub const IQA: usize = 0x90;
/// Invalidation queue error record, 64 bits.
pub const IQERCD: usize = 0xb0;
/// Interrupt remapping table address, 64 bits.
pub const IRTA: usize = 0xb8;

/// GCMD, GSTS: translation enable.
pub const GCMD_TE: u32 = 1 << 31;
/// GCMD, GSTS: set root table pointer (one-shot).
pub const GCMD_SRTP: u32 = 1 << 30;
/// GCMD, GSTS: queued invalidation enable.
pub const GCMD_QIE: u32 = 1 << 26;
/// GCMD, GSTS: interrupt remapping enable.
pub const GCMD_IRE: u32 = 1 << 25;
/// GCMD, GSTS: set interrupt remapping table pointer (one-shot).
pub const GCMD_SIRTP: u32 = 1 << 24;
/// GCMD, GSTS: compatibility format interrupts pass.
pub const GCMD_CFI: u32 = 1 << 23;
/// The bits of GSTS that a write to GCMD must repeat to keep; the others are one-shot commands.
pub const GSTS_PERSISTENT: u32 = GCMD_TE | GCMD_QIE | GCMD_IRE | GCMD_CFI;

/// RTADDR: translation table mode scalable (TTM = 01b).
pub const RTADDR_TTM_SCALABLE: u64 = 1 << 10;

/// FSTS: a fault came while all records were taken.
pub const FSTS_PFO: u32 = 1 << 0;
/// FSTS: a record is taken.
pub const FSTS_PPF: u32 = 1 << 1;
/// FSTS: the queue's head stands on a descriptor that is not understood.
pub const FSTS_IQE: u32 = 1 << 4;
/// FSTS: a device sent an unexpected device-TLB completion.
pub const FSTS_ICE: u32 = 1 << 5;
/// FSTS: a device did not complete a device-TLB invalidation in time.
pub const FSTS_ITE: u32 = 1 << 6;
/// FSTS: every bit that a write of 1 clears.
pub const FSTS_CLEAR: u32 = FSTS_PFO | FSTS_IQE | FSTS_ICE | FSTS_ITE;

/// FECTL: fault events raise no interrupt.
pub const FECTL_IM: u32 = 1 << 31;

/// IRTA: table of 256 entries (one page), xAPIC destinations.
pub const IRTA_256_ENTRIES: u64 = 7;
/// Entries of the table that [`IRTA_256_ENTRIES`] describes.
pub const IRTA_ENTRIES: usize = 256;

/// What an IOMMU can do, as its CAP and ECAP registers tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    cap: u64,
    ecap: u64,
}

impl Capabilities {
    /// Wraps the content of CAP and ECAP; `None` when nothing answers at the address (all ones or zero).
    pub const fn new(cap: u64, ecap: u64) -> Option<Capabilities> {
        if cap == 0 || cap == u64::MAX {
            return None;
        }
        Some(Capabilities { cap, ecap })
    }

    /// Offset of the first fault recording register, in bytes.
    pub const fn fault_offset(self) -> usize {
        (self.cap >> 24 & 0x3ff) as usize * 16
    }

    /// Number of fault recording registers, 1..=256; 16 bytes each.
    pub const fn fault_count(self) -> usize {
        (self.cap >> 40 & 0xff) as usize + 1
    }

    /// Largest address mask of a page-selective invalidation: it covers at most `1 << mask` pages.
    pub const fn max_address_mask(self) -> u8 {
        (self.cap >> 48 & 0x3f) as u8
    }

    /// Number of domain ids (cache tags), `16..=65536`.
    pub const fn domain_count(self) -> u32 {
        let n = (self.cap & 7) as u32;
        1 << (4 + 2 * if n > 6 { 6 } else { n })
    }

    /// Whether 1-GiB leaves work in first-stage tables.
    pub const fn first_stage_1g(self) -> bool {
        self.cap >> 56 & 1 == 1
    }

    /// Whether first-stage tables may have five levels.
    pub const fn first_stage_5_levels(self) -> bool {
        self.cap >> 60 & 1 == 1
    }

    /// Whether queued invalidation exists.
    pub const fn queued_invalidation(self) -> bool {
        self.ecap >> 1 & 1 == 1
    }

    /// Whether device TLBs (ATS) are supported.
    pub const fn device_tlb(self) -> bool {
        self.ecap >> 2 & 1 == 1
    }

    /// Whether interrupt remapping exists.
    pub const fn interrupt_remapping(self) -> bool {
        self.ecap >> 3 & 1 == 1
    }

    /// Whether scalable mode with second-stage translation exists.
    pub const fn scalable_second_stage(self) -> bool {
        const SMTS: u64 = 1 << 43;
        const SSTS: u64 = 1 << 46;
        self.ecap & (SMTS | SSTS) == SMTS | SSTS
    }

    /// Whether second-stage tables may have four levels.
    pub const fn second_stage_4_levels(self) -> bool {
        self.cap >> 10 & 1 == 1
    }

    /// Whether 2-MiB leaves work in second-stage tables.
    pub const fn second_stage_2m(self) -> bool {
        self.cap >> 34 & 1 == 1
    }

    /// Whether 1-GiB leaves work in second-stage tables.
    pub const fn second_stage_1g(self) -> bool {
        self.cap >> 35 & 1 == 1
    }

    /// Whether scalable mode with first-stage translation exists.
    pub const fn scalable_first_stage(self) -> bool {
        const SMTS: u64 = 1 << 43;
        const FSTS: u64 = 1 << 47;
        self.ecap & (SMTS | FSTS) == SMTS | FSTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The registers of QEMU 10.0.2 with x-scalable-mode, x-flts and interrupt remapping.
    #[test]
    fn capabilities_of_qemu() {
        let caps = Capabilities::new(0x01d2_008c_222f_0606, 0x0000_8800_00f0_0f4a).unwrap();
        assert_eq!(caps.fault_offset(), 0x220);
        assert_eq!(caps.fault_count(), 1);
        assert_eq!(caps.max_address_mask(), 18);
        assert_eq!(caps.domain_count(), 65536);
        assert!(caps.first_stage_1g() && !caps.first_stage_5_levels());
        assert!(caps.queued_invalidation() && caps.interrupt_remapping() && !caps.device_tlb());
        assert!(caps.scalable_first_stage() && !caps.scalable_second_stage());
        let second = Capabilities::new(0x00d2_008c_222f_0686, 0x0000_4800_00f0_0f4a).unwrap();
        assert!(second.scalable_second_stage() && !second.scalable_first_stage());
        assert!(caps.second_stage_4_levels() && caps.second_stage_2m() && caps.second_stage_1g());
        assert_eq!(Capabilities::new(u64::MAX, u64::MAX), None);
        assert_eq!(Capabilities::new(0, 0), None);
    }

    #[test]
    fn bits() {
        assert_eq!(GSTS_PERSISTENT, 0x8680_0000);
        assert_eq!(FSTS_CLEAR, 0x71);
        assert_eq!(RTADDR_TTM_SCALABLE, 0x400);
    }
}
