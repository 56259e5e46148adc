// SPDX-License-Identifier: GPL-2.0

//! KUnit tests: the layouts, and the arithmetic as this kernel's compiler builds it.
//!
//! Inputs, offsets and sizes are literal numbers taken from the interface's description. So a
//! mistake in the header cannot hide behind the same mistake here. Inputs are compared byte by
//! byte, which works whatever their fields are called.

use crate::{
    domain::flush_range::{
        self,
        Cover,
        MAX_DESCRIPTORS, //
    },
    host::{
        aperture::{
            Aperture,
            Levels, //
        },
        blocks::{
            self,
            Stage, //
        },
        capabilities::{
            self,
            HostReport,
            Unusable, //
        },
        domain_ids::{
            Base,
            DomainIds, //
        },
        layouts::*,
        message::{
            Message,
            Word, //
        },
        translation::{
            self,
            Translation, //
        },
    },
};
use core::mem::{
    offset_of,
    size_of,
    transmute_copy, //
};
use kernel::{
    hyperv::{
        hypercall::Call,
        rep_call::{
            max_elements,
            RepCall, //
        },
    },
    prelude::*,
    str::CString, //
};

#[allow(unsafe_code)]
#[kunit_tests(hv_pviommu)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_the_documented_ones() {
        assert_eq!(size_of::<hv_input_get_iommu_capabilities>(), 0x10);
        assert_eq!(size_of::<hv_output_get_iommu_capabilities>(), 0x18);
        assert_eq!(offset_of!(hv_output_get_iommu_capabilities, size), 0x00);
        assert_eq!(
            offset_of!(hv_output_get_iommu_capabilities, max_iova_width),
            0x06
        );
        assert_eq!(
            offset_of!(hv_output_get_iommu_capabilities, max_pasid_width),
            0x07
        );
        assert_eq!(
            offset_of!(hv_output_get_iommu_capabilities, iommu_cap),
            0x08
        );
        assert_eq!(
            offset_of!(hv_output_get_iommu_capabilities, pgsize_bitmap),
            0x10
        );

        assert_eq!(size_of::<hv_input_get_logical_device_property>(), 0x18);
        assert_eq!(
            offset_of!(hv_input_get_logical_device_property, logical_device_id),
            0x08
        );
        assert_eq!(offset_of!(hv_input_get_logical_device_property, code), 0x10);
        assert_eq!(size_of::<hv_output_get_logical_device_property>(), 0x10);
        assert_eq!(
            offset_of!(hv_output_get_logical_device_property, device_iommu),
            0x00
        );

        assert_eq!(size_of::<hv_input_delete_device_domain>(), 0x18);
        assert_eq!(size_of::<hv_input_flush_device_domain>(), 0x20);
        assert_eq!(offset_of!(hv_input_flush_device_domain, flags), 0x18);
    }

    /// An input as the hypervisor sees it, in words of 4 bytes. [`None`] if it is not `N` words
    /// long.
    fn words<T, const N: usize>(input: T) -> Option<[u32; N]> {
        if size_of::<T>() != size_of::<[u32; N]>() {
            return None;
        }
        // SAFETY: The sizes are equal, and any bytes are valid integers. Each byte of an input is
        // initialised: its type has no padding, as `Call` and `RepCall` demand.
        Some(unsafe { transmute_copy(&input) })
    }

    #[test]
    fn inputs_are_the_documented_ones() {
        const MAX: u32 = u32::MAX;
        let first = || blocks::domain(Stage::First, 0x1234_5678);
        let device = 0x4000_0009_1ee7_6057;
        assert_eq!(words(first()), Some([MAX, MAX, 0, 0, 1, 0x1234_5678]));
        assert_eq!(
            words(blocks::domain(Stage::Second, 7)),
            Some([MAX, MAX, 0, 0, 0, 7])
        );
        assert_eq!(
            words(blocks::create(first())),
            Some([MAX, MAX, 0, 0, 1, 0x1234_5678, 1, 0])
        );
        assert_eq!(
            words(blocks::configure(first(), 5, 0xd_cba9_8000)),
            Some([MAX, MAX, 0, 0, 1, 0x1234_5678, 5, 0, 0xcba9_8000, 0xd])
        );
        assert_eq!(
            words(blocks::attach(first(), device)),
            Some([MAX, MAX, 0, 0, 1, 0x1234_5678, 0x1ee7_6057, 0x4000_0009])
        );
        assert_eq!(
            words(blocks::detach(device)),
            Some([MAX, MAX, 0x1ee7_6057, 0x4000_0009])
        );
        assert_eq!(
            words(blocks::list_flush(first())),
            Some([MAX, MAX, 0, 0, 1, 0x1234_5678, 1, 0])
        );
        // List flushes put the number of each domain there.
        assert_eq!(FlushDeviceDomainList::KEY_OFFSET, 0x14);
    }

    #[test]
    fn numbers_are_the_documented_ones() {
        assert_eq!(CreateDeviceDomain::CODE, 0x00b1);
        assert_eq!(AttachDeviceDomain::CODE, 0x00b2);
        assert_eq!(DetachDeviceDomain::CODE, 0x00c4);
        assert_eq!(DeleteDeviceDomain::CODE, 0x00c5);
        assert_eq!(ConfigureDeviceDomain::CODE, 0x00ce);
        assert_eq!(FlushDeviceDomain::CODE, 0x00d0);
        assert_eq!(FlushDeviceDomainList::CODE, 0x00d1);
        assert_eq!(GetIommuCapabilities::CODE, 0x0125);
        assert_eq!(GetLogicalDeviceProperty::CODE, 0x0127);
        assert_eq!(HV_PVIOMMU_PARTITION_SELF as u64, u64::MAX);
        assert_eq!(HV_DEVICE_DOMAIN_TYPE_S1, 1);
        assert_eq!(HV_LOGICAL_DEVICE_PROPERTY_PVIOMMU, 10);
        assert_eq!(HV_DEVICE_IOMMU_ENABLED, 1);
        assert!(max_elements::<FlushDeviceDomainList>() >= MAX_DESCRIPTORS);
    }

    /// The modules without kernel types repeat some numbers of the header. Both must be equal.
    #[test]
    fn the_pure_modules_agree_with_the_header() {
        assert_eq!(capabilities::CAP_PRESENT, HV_IOMMU_CAP_PRESENT.into());
        assert_eq!(capabilities::CAP_S1, HV_IOMMU_CAP_S1.into());
        assert_eq!(capabilities::CAP_S1_5LVL, HV_IOMMU_CAP_S1_5LVL.into());
        assert_eq!(capabilities::CAP_ATS, HV_IOMMU_CAP_ATS.into());
        assert_eq!(
            translation::TRANSLATION_ENABLED,
            HV_DEVICE_DOMAIN_TRANSLATION_ENABLED.into()
        );
        assert_eq!(translation::BLOCKED, HV_DEVICE_DOMAIN_BLOCKED.into());
        assert_eq!(translation::FIVE_LEVEL, HV_DEVICE_DOMAIN_5_LEVEL.into());
    }

    #[test]
    fn messages_have_their_words_where_they_belong() -> Result {
        let words = [
            Word::Text(&"HVCALL"),
            Word::Number(3),
            Word::Hex(0x1000),
            Word::Errno(ENOMEM),
        ];
        for (text, words, expected) in [
            ("% of %: % (%)", &words[..], "HVCALL of 3: 0x1000 (-12)"),
            ("%%, no more", &words[..2], "HVCALL3, no more"),
            ("no words", &[], "no words"),
            ("% and %", &words[..1], "HVCALL and %"),
        ] {
            let message = CString::try_from_fmt(fmt!("{}", Message(text, words)))?;
            assert_eq!(message.to_bytes(), expected.as_bytes());
        }
        Ok(())
    }

    #[test]
    fn translations_are_encoded_as_documented() {
        assert_eq!(Translation::Identity.flags_and_root(), (0, 0));
        assert_eq!(Translation::Blocking.flags_and_root(), (3, 0));
        let root = 0x1234_5000;
        let table = |levels| Translation::Table { root, levels }.flags_and_root();
        assert_eq!(table(Levels::Four), (1, root));
        assert_eq!(table(Levels::Five), (5, root));
    }

    #[test]
    fn widths_are_clamped() {
        let choose = |width, deepest| Aperture::choose(width, deepest).ok();
        let aperture = |width, levels| Some(Aperture { width, levels });
        assert_eq!(choose(0, Levels::Five), None);
        assert_eq!(choose(31, Levels::Four), None);
        for (width, four, five) in [
            (32, (32, Levels::Four), (32, Levels::Four)),
            (39, (39, Levels::Four), (39, Levels::Four)),
            (47, (47, Levels::Four), (47, Levels::Four)),
            (48, (47, Levels::Four), (47, Levels::Four)),
            (49, (47, Levels::Four), (49, Levels::Five)),
            (57, (47, Levels::Four), (56, Levels::Five)),
            (64, (47, Levels::Four), (56, Levels::Five)),
            (255, (47, Levels::Four), (56, Levels::Five)),
        ] {
            assert_eq!(choose(width, Levels::Four), aperture(four.0, four.1));
            assert_eq!(choose(width, Levels::Five), aperture(five.0, five.1));
        }
        let widest = Aperture {
            width: 56,
            levels: Levels::Five,
        };
        assert_eq!(widest.last(), 0x00ff_ffff_ffff_ffff);
        assert_eq!(widest.table_width(), 56);
        assert_eq!(widest.with_four_levels().last(), 0x7fff_ffff_ffff);
        let narrowest = Aperture {
            width: 32,
            levels: Levels::Four,
        };
        assert_eq!(narrowest.last(), 0xffff_ffff);
        assert_eq!(narrowest.table_width(), 39);
    }

    #[test]
    fn hosts_are_judged() {
        let report = HostReport {
            flags: 0x5,
            max_iova_width: 48,
            page_sizes: 0x4020_1000,
        };
        assert!(report.judge().is_ok());
        let judge = |flags, max_iova_width, page_sizes| {
            HostReport {
                flags,
                max_iova_width,
                page_sizes,
            }
            .judge()
            .err()
        };
        assert_eq!(judge(0, 48, 0x1000), Some(Unusable::Absent));
        assert_eq!(judge(0x4, 48, 0x1000), Some(Unusable::Absent));
        assert_eq!(judge(0x1, 48, 0x1000), Some(Unusable::NoStage1));
        assert_eq!(judge(0x5, 48, 0x20_0000), Some(Unusable::NoBasePage));
        assert_eq!(judge(0x5, 0, 0x1000), Some(Unusable::TooNarrow));
    }

    #[test]
    fn covers_are_tight() {
        // One page; one byte; an aligned power of two; two pages across a 4 GiB border.
        assert_eq!(Cover::new(0x1000, 0x1fff).as_slice(), [0x1000]);
        assert_eq!(Cover::new(0x1234, 0x1234).as_slice(), [0x1000]);
        assert_eq!(Cover::new(0x20_0000, 0x3f_ffff).as_slice(), [0x20_0009]);
        assert_eq!(
            Cover::new(0xffff_f000, 0x1_0000_0fff).as_slice(),
            [0xffff_f000, 0x1_0000_0000]
        );
        // Everything: by the widest range, and by a range of the wrong order.
        assert_eq!(Cover::new(0, u64::MAX).as_slice(), [52]);
        assert_eq!(Cover::new(0x1000, 0xfff).as_slice(), [52]);
        assert_eq!(flush_range::block(0, u64::MAX), Some(52));
        assert_eq!(flush_range::block(0x20_0000, 0x3f_ffff), Some(0x20_0009));
        assert_eq!(flush_range::block(0x1000, 0x2fff), None);
        // The last page of the address space.
        assert_eq!(
            Cover::new(u64::MAX, u64::MAX).as_slice(),
            [0xffff_ffff_ffff_f000]
        );
    }

    #[test]
    fn covers_cover_all_pages_and_few_others() {
        for pages in [1u64, 2, 3, 5, 33, 63, 64, 65, 512, 513, 4097, 0x4_0001] {
            for start in [0u64, 1, 3, 0x1ff, 0x7_ffff, 0xf_ffff, 0x3_ffff_ffff] {
                let cover = Cover::new(start << 12, ((start + pages) << 12) - 1);
                let (mut next, mut flushed, mut first) = (None, 0, 0);
                for descriptor in cover.as_slice() {
                    let (page, block) = (descriptor >> 12, 1u64 << (descriptor & 0x3f));
                    assert_eq!(descriptor & 0xfc0, 0);
                    assert_eq!(page % block, 0);
                    match next {
                        None => first = page,
                        Some(next) => assert_eq!(page, next),
                    }
                    next = Some(page + block);
                    flushed += block;
                }
                assert!(first <= start);
                assert!(next >= Some(start + pages));
                assert!(flushed - pages <= pages / 16);
            }
        }
    }

    #[test]
    fn numbers_are_distinct_and_reused_only_when_given_back() -> Result {
        let ids = KBox::pin_init(DomainIds::new(Base::Low), GFP_KERNEL)?;
        let first = ids.take()?;
        let second = ids.take()?;
        assert_eq!(first.as_u32(), 1);
        assert_eq!(second.as_u32(), 2);
        for number in 3..200 {
            assert_eq!(ids.take()?.as_u32(), number);
        }
        ids.give_back(second);
        assert_eq!(ids.take()?.as_u32(), 2);
        assert_eq!(ids.take()?.as_u32(), 200);
        Ok(())
    }

    #[test]
    fn numbers_beside_a_crashed_kernels_are_far_from_them() -> Result {
        let ids = KBox::pin_init(DomainIds::new(Base::High), GFP_KERNEL)?;
        let (first, second) = (ids.take()?, ids.take()?);
        assert_eq!(first.as_u32(), 0x10_0000);
        assert_eq!(second.as_u32(), 0x10_0001);
        let mut sum = 0;
        ids.each_taken(|id| sum += id.as_u32());
        assert_eq!(sum, 0x20_0001);
        ids.give_back(first);
        assert_eq!(ids.take()?.as_u32(), 0x10_0000);
        Ok(())
    }

    #[test]
    fn taken_numbers_are_those_that_were_not_given_back() -> Result {
        let ids = KBox::pin_init(DomainIds::new(Base::Low), GFP_KERNEL)?;
        let (mut count, mut sum) = (0, 0);
        ids.each_taken(|_| count += 1);
        assert_eq!(count, 0);
        for _ in 1..=100 {
            ids.take()?;
        }
        let last = ids.take()?;
        ids.give_back(last);
        ids.each_taken(|id| {
            count += 1;
            sum += id.as_u32();
        });
        assert_eq!(count, 100);
        assert_eq!(sum, 5050);
        Ok(())
    }
}
