// SPDX-License-Identifier: GPL-2.0
//! Invalidation descriptors, in their 256-bit form (IQA.DW = 1).

use super::did::Did;
use super::PhysAddr;
use crate::ids::{Iova, Rid};
use crate::platform::RemapHandle;

/// Bytes of a descriptor.
pub const DESCRIPTOR_BYTES: usize = 32;

const CONTEXT: u64 = 1;
const IOTLB: u64 = 2;
const DEVICE_TLB: u64 = 3;
const INTERRUPT_ENTRY: u64 = 4;
const WAIT: u64 = 5;
const PASID_IOTLB: u64 = 6;
const PASID_CACHE: u64 = 7;

/// Pages in the whole 64-bit address space, as a power of two.
const EVERYTHING: u8 = 52;

const fn granularity(g: u64) -> u64 {
    g << 4
}

fn domain(did: Did) -> u64 {
    u64::from(did.0) << 16
}

fn source(rid: Rid) -> u64 {
    u64::from(rid.0) << 32
}

/// Whose translations an invalidation is about: each kind of table has descriptors of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// First-stage tables, for PASID 0.
    First,
    /// Second-stage tables.
    Second,
}

/// A descriptor: four 64-bit words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor;

impl Descriptor {
    /// All context entries.
    pub const CONTEXT_GLOBAL: [u64; 4] = [CONTEXT | granularity(1), 0, 0, 0];
    /// All PASID entries.
    pub const PASID_GLOBAL: [u64; 4] = [PASID_CACHE | granularity(3), 0, 0, 0];
    /// All translations.
    pub const IOTLB_GLOBAL: [u64; 4] = [IOTLB | granularity(1), 0, 0, 0];
    /// All interrupt-remapping entries.
    pub const IEC_GLOBAL: [u64; 4] = [INTERRUPT_ENTRY, 0, 0, 0];

    /// The context entry of one device, which was used under `did`.
    pub fn context_device(did: Did, rid: Rid) -> [u64; 4] {
        [CONTEXT | granularity(3) | domain(did) | source(rid), 0, 0, 0]
    }

    /// PASID entries for PASID 0 under `did`.
    pub fn pasid_selective(did: Did) -> [u64; 4] {
        [PASID_CACHE | granularity(1) | domain(did), 0, 0, 0]
    }

    /// All first-stage translations for PASID 0 under `did`, paging structures included.
    pub fn iotlb_pasid(did: Did) -> [u64; 4] {
        [PASID_IOTLB | granularity(2) | domain(did), 0, 0, 0]
    }

    /// The aligned block of `1 << am` 4-KiB pages around `iova` for PASID 0 under `did`, paging structures included.
    /// `am` must not exceed the IOMMU's limit ([`super::registers::Capabilities::max_address_mask`]) and 63.
    pub fn iotlb_pages(did: Did, iova: Iova, am: u8) -> [u64; 4] {
        [PASID_IOTLB | granularity(3) | domain(did), block_base(iova, am) | u64::from(am & 0x3f), 0, 0]
    }

    /// All second-stage translations under `did`, paging structures included.
    pub fn iotlb_domain(did: Did) -> [u64; 4] {
        [IOTLB | granularity(2) | domain(did), 0, 0, 0]
    }

    /// Second-stage translations of the aligned block of `1 << am` 4-KiB pages around `iova` under `did`, paging structures
    /// included. Limits as for [`Descriptor::iotlb_pages`].
    pub fn iotlb_domain_pages(did: Did, iova: Iova, am: u8) -> [u64; 4] {
        [IOTLB | granularity(3) | domain(did), block_base(iova, am) | u64::from(am & 0x3f), 0, 0]
    }

    /// The device TLB's copies for the aligned block of `1 << shift` 4-KiB pages around `iova`; 52 and more: everything.
    pub fn device_tlb(rid: Rid, iova: Iova, shift: u8) -> [u64; 4] {
        [DEVICE_TLB | source(rid), device_tlb_range(iova, shift), 0, 0]
    }

    /// One interrupt-remapping entry.
    pub fn iec_index(handle: RemapHandle) -> [u64; 4] {
        [INTERRUPT_ENTRY | granularity(1) | u64::from(handle.0) << 32, 0, 0, 0]
    }

    /// Writes `value` to the aligned 32-bit word at `status_address` once everything before it is complete.
    pub fn wait(status_address: PhysAddr, value: u32) -> [u64; 4] {
        const STATUS_WRITE: u64 = 1 << 5;
        const FENCE: u64 = 1 << 6;
        [WAIT | STATUS_WRITE | FENCE | u64::from(value) << 32, status_address.0 & !3, 0, 0]
    }
}

/// First byte of the aligned block of `1 << shift` pages around `iova`.
fn block_base(iova: Iova, shift: u8) -> u64 {
    match u64::MAX.checked_shl(12 + u32::from(shift)) {
        Some(mask) => iova.0 & mask,
        None => 0,
    }
}

/// Address and size of a device-TLB invalidation: S (bit 0) says that the lowest clear address bit from 12 on gives
/// the size. One page has S clear; two pages have bit 12 clear, four have 12 set and 13 clear, and so on.
fn device_tlb_range(iova: Iova, shift: u8) -> u64 {
    let shift = shift.min(EVERYTHING);
    let base = block_base(iova, shift);
    if shift == 0 {
        return base;
    }
    // Bits 12..12+shift-1 set; the top one of the block's own bits stays clear.
    let size_marker = ((1u64 << (shift - 1)) - 1) << 12;
    base | size_marker | 1
}

/// The descriptors that invalidate exactly the aligned block of `1 << page_shift` pages at `iova`, when one can cover
/// no more than `1 << max_am` pages.
///
/// A block that spans the whole of a 48-bit address space (`page_shift` 36 and more) is one descriptor for everything
/// under `did`.
pub fn iotlb_block(stage: Stage, did: Did, iova: Iova, page_shift: u8, max_am: u8) -> impl Iterator<Item = [u64; 4]> {
    const WHOLE_SPACE: u8 = 36;
    let am = page_shift.min(max_am);
    let base = block_base(iova, page_shift);
    let whole = page_shift >= WHOLE_SPACE;
    let count = if whole { 1 } else { 1u64 << (page_shift - am) };
    // In range: i < 1 << (page_shift - am), so the sum stays in the block.
    let block = move |i: u64| Iova(base + (i << (12 + am)));
    (0..count).map(move |i| match (stage, whole) {
        (Stage::First, true) => Descriptor::iotlb_pasid(did),
        (Stage::First, false) => Descriptor::iotlb_pages(did, block(i), am),
        (Stage::Second, true) => Descriptor::iotlb_domain(did),
        (Stage::Second, false) => Descriptor::iotlb_domain_pages(did, block(i), am),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DID: Did = Did(0x1234);
    const RID: Rid = Rid(0x00f8);

    #[test]
    fn layout() {
        assert_eq!(Descriptor::CONTEXT_GLOBAL[0], 0x11);
        assert_eq!(Descriptor::PASID_GLOBAL[0], 0x37);
        assert_eq!(Descriptor::IOTLB_GLOBAL[0], 0x12);
        assert_eq!(Descriptor::IEC_GLOBAL[0], 0x04);
        assert_eq!(Descriptor::context_device(DID, RID), [0x0000_00f8_1234_0031, 0, 0, 0]);
        assert_eq!(Descriptor::pasid_selective(DID), [0x1234_0017, 0, 0, 0]);
        assert_eq!(Descriptor::iotlb_pasid(DID), [0x1234_0026, 0, 0, 0]);
        assert_eq!(Descriptor::iotlb_pages(DID, Iova(0x1234_5fff), 0), [0x1234_0036, 0x1234_5000, 0, 0]);
        assert_eq!(Descriptor::iotlb_pages(DID, Iova(0x1234_5000), 9), [0x1234_0036, 0x1220_0009, 0, 0]);
        assert_eq!(Descriptor::iec_index(RemapHandle(5)), [0x0000_0005_0000_0014, 0, 0, 0]);
        assert_eq!(Descriptor::wait(PhysAddr(0x8004), 7), [0x0000_0007_0000_0065, 0x8004, 0, 0]);
        assert_eq!(Descriptor::device_tlb(RID, Iova(0x5000), 0), [0x0000_00f8_0000_0003, 0x5000, 0, 0]);
    }

    #[test]
    fn device_tlb_sizes() {
        let range = |iova, shift| Descriptor::device_tlb(RID, Iova(iova), shift)[1];
        assert_eq!(range(0x4000, 1), 0x4001);
        assert_eq!(range(0x4000, 2), 0x5001);
        assert_eq!(range(0x20_0000, 9), 0x2f_f001);
        assert_eq!(range(0xdead_b000, 52), 0x7fff_ffff_ffff_f001);
        assert_eq!(range(0xdead_b000, 255), 0x7fff_ffff_ffff_f001);
    }

    /// Reads an address and size back the way the specification describes it.
    fn decode_device_tlb(word: u64) -> (u64, u32) {
        if word & 1 == 0 {
            return (word, 0);
        }
        let shift = (!(word >> 12)).trailing_zeros() + 1;
        (word & u64::MAX.checked_shl(12 + shift).unwrap_or(0), shift)
    }

    #[test]
    fn second_stage() {
        assert_eq!(Descriptor::iotlb_domain(Did(0x1234)), [0x1234_0022, 0, 0, 0]);
        assert_eq!(Descriptor::iotlb_domain_pages(Did(5), Iova(0x7_5fff), 2), [0x0005_0032, 0x7_4002, 0, 0]);
        let all: Vec<_> = iotlb_block(Stage::Second, Did(5), Iova(0x5000), 0, 18).collect();
        assert_eq!(all, [[0x0005_0032, 0x5000, 0, 0]]);
        let all: Vec<_> = iotlb_block(Stage::Second, Did(5), Iova(0), 52, 18).collect();
        assert_eq!(all, [[0x0005_0022, 0, 0, 0]]);
    }

    proptest! {
        #[test]
        fn device_tlb_range_decodes_to_itself(iova: u64, shift in 0u8..=52) {
            let (base, decoded) = decode_device_tlb(Descriptor::device_tlb(RID, Iova(iova), shift)[1]);
            prop_assert_eq!(decoded, u32::from(shift));
            prop_assert_eq!(base, block_base(Iova(iova), shift));
        }

        #[test]
        fn a_split_block_is_covered_exactly(page in 0u64..1 << 36, shift in 0u8..=26, max_am in 9u8..=18) {
            let base = (page << 12) & (u64::MAX << (12 + shift));
            for (stage, kind) in [(Stage::First, 0x1234_0036), (Stage::Second, 0x1234_0032)] {
                let mut next = base;
                for words in iotlb_block(stage, DID, Iova(base), shift, max_am) {
                    prop_assert_eq!(words[0], kind);
                    let am = words[1] & 0x3f;
                    prop_assert!(am <= u64::from(max_am));
                    prop_assert_eq!(words[1] & !0xfff, next);
                    next += 1 << (12 + am);
                }
                prop_assert_eq!(next, base + (1 << (12 + shift)));
            }
        }

        #[test]
        fn arbitrary_values_never_panic(did: u16, iova: u64, am: u8) {
            Descriptor::iotlb_pages(Did(did), Iova(iova), am);
            prop_assert!(iotlb_block(Stage::First, Did(did), Iova(iova), am, 18).next().is_some());
        }
    }

    #[test]
    fn the_whole_space_is_one_descriptor() {
        for shift in [36, 52, 255] {
            let words: Vec<_> = iotlb_block(Stage::First, DID, Iova(0), shift, 18).collect();
            assert_eq!(words, [Descriptor::iotlb_pasid(DID)]);
        }
    }
}
