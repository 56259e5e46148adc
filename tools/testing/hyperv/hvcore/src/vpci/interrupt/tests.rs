// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::testing::{function, MockPlatform};
use proptest::prelude::*;

const DEVICE: DeviceIndex = DeviceIndex(0);

fn slot() -> Slot {
    Slot::new(0, 0).unwrap()
}

fn platform() -> MockPlatform {
    MockPlatform::new(vec![function(3)])
}

fn request(vector: u32, count: u16, vp: u16) -> InterruptRequest {
    InterruptRequest { vector, delivery_mode: 0, count, targets: Targets::List(vec![vp]) }
}

fn targets(platform: &MockPlatform) -> Vec<(u16, u32, u8)> {
    platform.remap.iter().map(|(handle, (_, vp, vector))| (handle.0, vp.0, *vector)).collect()
}

#[test]
fn one_vector_one_handle() {
    let (mut platform, mut table) = (platform(), InterruptTable::default());
    let first = table.create(&mut platform, DEVICE, slot(), &request(0xef, 1, 1)).unwrap();
    let second = table.create(&mut platform, DEVICE, slot(), &request(0x31, 1, 0)).unwrap();
    assert_eq!(first, InterruptMessage { address: 0xfee0_0010, data: 0 });
    assert_eq!(second, InterruptMessage { address: 0xfee0_0030, data: 0 });
    assert_eq!(targets(&platform), [(0, 1, 0xef), (1, 0, 0x31)]);
    assert!(table.delete(&mut platform, slot(), first, 1));
    assert_eq!(targets(&platform), [(1, 0, 0x31)]);
    assert!(!table.delete(&mut platform, slot(), first, 1));
    assert_eq!(table.find(slot(), second), Some(RemapHandle(1)));
    assert_eq!(table.find(slot(), first), None);
    assert_eq!(table.find(Slot::new(0, 1).unwrap(), second), None);
}

#[test]
fn several_vectors_are_a_run_of_handles() {
    let (mut platform, mut table) = (platform(), InterruptTable::default());
    let in_the_way = table.create(&mut platform, DEVICE, slot(), &request(0x31, 1, 0)).unwrap();
    table.create(&mut platform, DEVICE, slot(), &request(0x32, 1, 0)).unwrap();
    table.delete(&mut platform, slot(), in_the_way, 1);
    // Handle 0 is free, 1 is not: the run starts at 2, and 0 is given back.
    let multi = table.create(&mut platform, DEVICE, slot(), &request(32, 4, 1)).unwrap();
    assert_eq!(multi, InterruptMessage { address: 0xfee0_0058, data: 0 });
    assert_eq!(targets(&platform), [(1, 0, 0x32), (2, 1, 32), (3, 1, 33), (4, 1, 34), (5, 1, 35)]);
    let vector = |data| table.find(slot(), InterruptMessage { data, ..multi });
    assert_eq!((vector(0), vector(3), vector(4)), (Some(RemapHandle(2)), Some(RemapHandle(5)), None));
    assert_eq!(vector(u32::MAX), None);
    assert!(!table.delete(&mut platform, slot(), multi, 1));
    assert!(table.delete(&mut platform, slot(), multi, 4));
    assert_eq!(targets(&platform), [(1, 0, 0x32)]);
}

#[test]
fn no_run_no_interrupt() {
    let (mut platform, mut table) = (platform(), InterruptTable::default());
    platform.remap_limit = 5;
    let all: Vec<_> =
        (0..5).map(|_| table.create(&mut platform, DEVICE, slot(), &request(0x31, 1, 0)).unwrap()).collect();
    for &message in all.iter().step_by(2) {
        table.delete(&mut platform, slot(), message, 1);
    }
    let refused = table.create(&mut platform, DEVICE, slot(), &request(32, 2, 0));
    assert_eq!(refused, Err(NtStatus::INSUFFICIENT_RESOURCES));
    assert_eq!(targets(&platform), [(1, 0, 0x31), (3, 0, 0x31)]);
}

#[test]
fn requests_that_make_no_sense() {
    let (mut platform, mut table) = (platform(), InterruptTable::default());
    let sound = request(0x31, 1, 0);
    for bad in [
        request(15, 1, 0),
        request(256, 1, 0),
        request(u32::MAX, 1, 0),
        request(255, 2, 0),
        request(0x31, 0, 0),
        request(0x31, 33, 0),
        request(0x31, 1, 2),
        InterruptRequest { delivery_mode: 1, ..sound.clone() },
        InterruptRequest { targets: Targets::List(vec![]), ..sound.clone() },
        InterruptRequest { targets: Targets::Mask(0), ..sound.clone() },
        InterruptRequest { targets: Targets::Mask(4), ..sound.clone() },
    ] {
        let refused = table.create(&mut platform, DEVICE, slot(), &bad);
        assert_eq!(refused, Err(NtStatus::INVALID_PARAMETER), "{bad:?}");
    }
    let everybody = InterruptRequest { targets: Targets::Mask(u64::MAX), ..sound };
    assert!(table.create(&mut platform, DEVICE, slot(), &everybody).is_ok());
    assert_eq!(targets(&platform), [(0, 0, 0x31)]);
}

#[test]
fn stale_interrupts_keep_their_handles_until_deleted_or_needed() {
    let (mut platform, mut table) = (platform(), InterruptTable::default());
    platform.remap_limit = 2000;
    let old = table.create(&mut platform, DEVICE, slot(), &request(0x31, 1, 0)).unwrap();
    table.make_stale();
    assert_eq!(table.find(slot(), old), None);
    let new = table.create(&mut platform, DEVICE, slot(), &request(0x31, 1, 0)).unwrap();
    assert_ne!(new, old);
    assert!(table.delete(&mut platform, slot(), old, 1));
    assert_eq!(table.find(slot(), new), Some(RemapHandle(1)));
    table.make_stale();
    for _ in 0..1024 {
        assert!(table.create(&mut platform, DEVICE, slot(), &request(0x31, 1, 0)).is_ok());
    }
    assert_eq!(platform.remap.len(), 1024);
    let refused = table.create(&mut platform, DEVICE, slot(), &request(0x31, 1, 0));
    assert_eq!(refused, Err(NtStatus::INSUFFICIENT_RESOURCES));
    table.release_all(&mut platform);
    assert_eq!(platform.remap.len(), 0);
}

proptest! {
    #[test]
    fn every_handle_is_freed_exactly_once(
        steps in proptest::collection::vec((any::<bool>(), 1_u16..6, any::<prop::sample::Index>()), 1..80),
        limit in 1_u16..24,
    ) {
        let (mut platform, mut table) = (platform(), InterruptTable::default());
        platform.remap_limit = limit;
        let mut live: Vec<(InterruptMessage, u16)> = Vec::new();
        for (create, count, index) in steps {
            if create {
                if let Ok(message) = table.create(&mut platform, DEVICE, slot(), &request(0x30, count, 0)) {
                    live.push((message, count));
                }
            } else if !live.is_empty() {
                let (message, count) = live.swap_remove(index.index(live.len()));
                prop_assert!(table.delete(&mut platform, slot(), message, count));
            }
            let held: usize = live.iter().map(|(_, count)| usize::from(*count)).sum();
            prop_assert_eq!(platform.remap.len(), held);
            for &(message, count) in &live {
                let handles: Vec<_> = (0..u32::from(count))
                    .filter_map(|data| table.find(slot(), InterruptMessage { data, ..message }))
                    .collect();
                prop_assert_eq!(handles.len(), usize::from(count));
                prop_assert!(handles.iter().all(|handle| platform.remap.contains_key(handle)));
            }
        }
        table.release_all(&mut platform);
        prop_assert!(platform.remap.is_empty());
    }
}
