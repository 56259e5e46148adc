// SPDX-License-Identifier: GPL-2.0
//! Arbitrary input: no panic, and an answer of sound form.

use proptest::prelude::*;

use super::*;
use crate::hypercall::table::GUEST_TABLE;

fn sound(result: u64) -> bool {
    result & 0xffff_f000_ffff_0000 == 0
}

/// Control words that get past the first checks more often than random ones.
fn any_control() -> impl Strategy<Value = u64> {
    let known = (prop::sample::select(GUEST_TABLE), 0u64..4, 0u64..4, prop::bool::ANY, 0u64..3).prop_map(
        |(spec, count, start, fast, variable)| {
            u64::from(spec.code.0) | u64::from(fast) << 16 | variable << 17 | count << 32 | start << 48
        },
    );
    let plain = prop::sample::select(GUEST_TABLE).prop_map(|spec| u64::from(spec.code.0));
    prop_oneof![2 => known, 4 => plain, 1 => any::<u64>()]
}

/// Words that mean something more often than random ones.
fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => Just(SELF),
        4 => Just(0u64),
        4 => (0u32..4).prop_map(domain),
        2 => Just(DEVICE_0),
        2 => Just(ROOT),
        2 => 0u64..16,
        2 => (0u64..64, 0u64..64).prop_map(|(page, shift)| page << 12 | shift),
        2 => any::<u64>(),
    ]
}

proptest! {
    #[test]
    fn hypercalls(calls in prop::collection::vec(
        (any_control(), prop::collection::vec(any_word(), 0..12), prop_oneof![3 => Just(OUTPUT), 1 => any::<u64>()]),
        1..60,
    )) {
        let mut guest = Guest::new("inject=d1:0:3:2:reps=1 inject=d1:0:9:all:resume=1 inject=127:5:2:3:garbage interleave=5");
        for (control, words, output) in calls {
            for (index, word) in words.iter().enumerate() {
                guest.platform.put_u64(INPUT + 8 * index as u64, *word);
            }
            let result = guest.partition.hypercall(&mut guest.platform, VpIndex(1), control, INPUT, output);
            prop_assert!(sound(result), "{:#x} -> {:#x}", control, result);
            let (count, reps) = (control >> 32 & 0xfff, result >> 32);
            prop_assert!(reps <= count);
            // Success without progress would hang the guest.
            prop_assert!(control as u16 != 0xd1 || result as u16 != 0 || reps > control >> 48 & 0xfff);
        }
    }

    #[test]
    fn hypercalls_with_addresses_anywhere(control in any_control(), rdx: u64, r8: u64, vp: u32) {
        let mut guest = Guest::new("interleave=1");
        let result = guest.partition.hypercall(&mut guest.platform, VpIndex(vp), control, rdx, r8);
        prop_assert!(sound(result));
    }

    #[test]
    fn test_interface(commands in prop::collection::vec((0u32..17, any::<u32>(), any::<u32>(), 0u32..4), 1..40)) {
        let mut guest = Guest::new("");
        guest.domain(1, PAGING);
        for (command, ebx, edx, small) in commands {
            for (ebx, edx) in [(ebx, edx), (small, edx), (ebx, small), (small, small)] {
                let (reply, value) = guest.partition.control(&mut guest.platform, command, ebx, edx);
                prop_assert!(reply <= 3);
                prop_assert!(reply == 0 || value == 0);
            }
        }
    }

    #[test]
    fn registers(writes in prop::collection::vec((0u32..2, 0x4000_0070u32..0x4000_00b0, any::<u64>()), 1..30)) {
        let mut guest = Guest::new("");
        for (vp, msr, value) in writes {
            guest.partition.msr_write(&mut guest.platform, VpIndex(vp), msr, value);
            let mine = matches!(msr, 0x4000_0080..=0x4000_0085 | 0x4000_0090..=0x4000_009f);
            prop_assert_eq!(guest.partition.msr_read(VpIndex(vp), msr).is_some(), mine);
        }
    }
}
