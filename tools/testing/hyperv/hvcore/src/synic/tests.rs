// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::testing::{Event, MockPlatform, RAM_BYTES};
use proptest::prelude::*;

const VP: VpIndex = VpIndex(1);
const MESSAGES: u64 = 0x3000;
const EVENTS: u64 = 0x4000;
const SLOT: u64 = MESSAGES + 2 * 256;
const VECTOR: u8 = 0xf3;

fn message(byte: u8) -> Message {
    Message::new(vec![byte; 12]).unwrap()
}

/// A controller of two processors, the second set up as a kernel does.
fn running() -> (MockPlatform, Synic) {
    let mut platform = MockPlatform::new(vec![]);
    let mut synic = Synic::new(2);
    for (msr, value) in
        [(MSR_SIMP, MESSAGES | 1), (MSR_SIEFP, EVENTS | 1), (MSR_SINT_FIRST + 2, u64::from(VECTOR)), (MSR_SCONTROL, 1)]
    {
        assert_eq!(synic.msr_write(&mut platform, VP, msr, value), MsrOutcome::Handled);
    }
    (platform, synic)
}

/// What the guest does in its interrupt: copies the payload, frees the slot; true when it has to write EOM.
fn take(platform: &mut MockPlatform) -> Option<(u8, bool)> {
    let slot = SLOT as usize;
    if platform.load_u32(Gpa(SLOT)) != Ok(1) {
        return None;
    }
    assert_eq!(platform.ram[slot + 4], 12, "payload size");
    let byte = platform.ram[slot + 16];
    platform.store_u32(Gpa(SLOT), 0).unwrap();
    Some((byte, platform.ram[slot + 5] & 1 != 0))
}

#[test]
fn registers_after_reset() {
    let synic = Synic::new(1);
    let read = |msr| synic.msr_read(VpIndex(0), msr);
    assert_eq!(read(MSR_SCONTROL), Some(0));
    assert_eq!((read(MSR_SVERSION), read(MSR_SIRBP)), (Some(1), Some(0)));
    assert_eq!((read(MSR_SIEFP), read(MSR_SIMP), read(MSR_EOM)), (Some(0), Some(0), Some(0)));
    for msr in 0x4000_0090..=0x4000_009f {
        assert_eq!(read(msr), Some(0x10000));
    }
    for msr in [0x4000_007f, 0x4000_0086, 0x4000_008f, 0x4000_00a0] {
        assert_eq!(read(msr), None);
    }
    assert_eq!(synic.msr_read(VpIndex(1), MSR_SCONTROL), None);
}

#[test]
fn values_that_fault_change_nothing() {
    let mut platform = MockPlatform::new(vec![]);
    let mut synic = Synic::new(1);
    let outside = RAM_BYTES as u64;
    for (msr, value) in [
        (MSR_SCONTROL, 2),
        (MSR_SCONTROL, 1 << 63),
        (MSR_SVERSION, 1),
        (MSR_SIMP, 0x3003),
        (MSR_SIMP, outside | 1),
        (MSR_SIEFP, u64::MAX),
        (MSR_SIEFP, outside | 1),
        (MSR_SIRBP, outside | 1),
        (MSR_SINT_FIRST, 15),
        (MSR_SINT_FIRST, 0x2_00f3),
        (MSR_SINT_FIRST, 0x10_00f3),
        (MSR_SINT_FIRST, 0x1f3),
        (MSR_SINT_LAST, (1 << 32) | 0xf3),
    ] {
        let before = synic.msr_read(VpIndex(0), msr);
        assert_eq!(synic.msr_write(&mut platform, VpIndex(0), msr, value), MsrOutcome::Fault, "{msr:#x} {value:#x}");
        assert_eq!(synic.msr_read(VpIndex(0), msr), before);
    }
    assert_eq!(synic.msr_write(&mut platform, VpIndex(0), 0x4000_0086, 0), MsrOutcome::NotMine);
    assert_eq!(synic.msr_write(&mut platform, VpIndex(0), MSR_SIRBP, 0x3001), MsrOutcome::Handled);
    assert_eq!(synic.msr_read(VpIndex(0), MSR_SIRBP), Some(0x3001));
    assert_eq!(synic.msr_write(&mut platform, VpIndex(1), MSR_SCONTROL, 0), MsrOutcome::NotMine);
}

#[test]
fn pages_may_be_set_while_disabled_and_masked_sources_take_any_vector() {
    let mut platform = MockPlatform::new(vec![]);
    let mut synic = Synic::new(1);
    let outside = RAM_BYTES as u64;
    assert_eq!(synic.msr_write(&mut platform, VpIndex(0), MSR_SIMP, outside), MsrOutcome::Handled);
    assert_eq!(synic.msr_write(&mut platform, VpIndex(0), MSR_SINT_FIRST, 0x10000), MsrOutcome::Handled);
}

#[test]
fn a_message_in_its_slot() {
    let (mut platform, mut synic) = running();
    synic.post_message(&mut platform, VP, Sint::VMBUS, message(7)).unwrap();
    assert_eq!(platform.take_events(), [Event::Interrupt(VP, VECTOR)]);
    let slot = &platform.ram[SLOT as usize..SLOT as usize + 256];
    assert_eq!(slot[..16], [1, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((&slot[16..28], &slot[28..]), (&[7; 12][..], &[0; 228][..]));
    assert_eq!(take(&mut platform), Some((7, false)));
}

#[test]
fn messages_wait_for_the_slot_and_come_in_order() {
    let (mut platform, mut synic) = running();
    for byte in 1..=4 {
        synic.post_message(&mut platform, VP, Sint::VMBUS, message(byte)).unwrap();
    }
    assert_eq!(platform.take_events(), [Event::Interrupt(VP, VECTOR)]);
    for byte in 1..=4 {
        assert_eq!(take(&mut platform), Some((byte, byte != 4)));
        assert_eq!(synic.msr_write(&mut platform, VP, MSR_EOM, 0), MsrOutcome::Handled);
        let expected: &[Event] = if byte == 4 { &[] } else { &[Event::Interrupt(VP, VECTOR)] };
        assert_eq!(platform.take_events(), expected);
    }
    assert_eq!(take(&mut platform), None);
}

/// Frees the slot at the moment when the host sets the "more pending" flag, as a guest on another processor can.
struct FreesSlotUnderWay(MockPlatform);

#[test]
fn a_slot_that_is_freed_under_way_is_used_at_once() {
    let (mut platform, mut synic) = running();
    synic.post_message(&mut platform, VP, Sint::VMBUS, message(1)).unwrap();
    let mut racing = FreesSlotUnderWay(platform);
    synic.post_message(&mut racing, VP, Sint::VMBUS, message(2)).unwrap();
    // The guest has seen no flag and will write no EOM: the second message must be there all the same.
    assert_eq!(take(&mut racing.0), Some((2, false)));
    assert_eq!(racing.0.take_events(), [Event::Interrupt(VP, VECTOR); 2]);
}

#[test]
fn messages_wait_until_everything_is_on() {
    let mut platform = MockPlatform::new(vec![]);
    let mut synic = Synic::new(2);
    synic.post_message(&mut platform, VP, Sint::VMBUS, message(9)).unwrap();
    for (msr, value) in [(MSR_SIMP, MESSAGES | 1), (MSR_SCONTROL, 1)] {
        synic.msr_write(&mut platform, VP, msr, value);
        assert_eq!((platform.take_events(), platform.load_u32(Gpa(SLOT))), (vec![], Ok(0)));
    }
    synic.msr_write(&mut platform, VP, MSR_SINT_FIRST + 2, u64::from(VECTOR));
    assert_eq!(platform.take_events(), [Event::Interrupt(VP, VECTOR)]);
    assert_eq!(take(&mut platform), Some((9, false)));
}

#[test]
fn a_polled_source_gets_no_interrupt() {
    let (mut platform, mut synic) = running();
    synic.msr_write(&mut platform, VP, MSR_SINT_FIRST + 2, SINT_POLLING);
    synic.post_message(&mut platform, VP, Sint::VMBUS, message(5)).unwrap();
    assert_eq!((take(&mut platform), platform.take_events()), (Some((5, false)), vec![]));
}

#[test]
fn the_queue_is_bounded_and_can_be_discarded() {
    let (mut platform, mut synic) = running();
    assert_eq!(synic.room(VP, Sint::VMBUS), QUEUE_DEPTH);
    for _ in 0..=QUEUE_DEPTH {
        synic.post_message(&mut platform, VP, Sint::VMBUS, message(1)).unwrap();
    }
    assert_eq!(synic.room(VP, Sint::VMBUS), 0);
    assert_eq!(synic.post_message(&mut platform, VP, Sint::VMBUS, message(2)), Err(PostError::QueueFull));
    assert_eq!(synic.post_message(&mut platform, VpIndex(2), Sint::VMBUS, message(2)), Err(PostError::NoSuchVp));
    assert_eq!(synic.room(VpIndex(2), Sint::VMBUS), 0);
    synic.discard_messages(VP, Sint::VMBUS);
    assert_eq!(synic.room(VP, Sint::VMBUS), QUEUE_DEPTH);
    assert_eq!(take(&mut platform), Some((1, true)));
    synic.msr_write(&mut platform, VP, MSR_EOM, 0);
    assert_eq!(take(&mut platform), None);
}

#[test]
fn event_flags() {
    let (mut platform, mut synic) = running();
    for flag in [0, 33, 2047] {
        synic.signal_event(&mut platform, VP, Sint::VMBUS, EventFlag::new(flag).unwrap());
    }
    assert_eq!(platform.take_events(), [Event::Interrupt(VP, VECTOR); 3]);
    let flags = &platform.ram[EVENTS as usize + 512..EVENTS as usize + 768];
    let set: Vec<usize> = (0..2048).filter(|bit| (flags[bit / 8] >> (bit % 8)) & 1 != 0).collect();
    assert_eq!(set, [0, 33, 2047]);
    assert_eq!((EventFlag::new(2048), EventFlag::new(u32::MAX)), (None, None));
    // Nothing is on for the first processor, and there is no third.
    for vp in [0, 2] {
        synic.signal_event(&mut platform, VpIndex(vp), Sint::VMBUS, EventFlag::new(1).unwrap());
    }
    assert_eq!(platform.take_events(), []);
}

#[test]
fn limits_of_the_types() {
    assert_eq!(Sint::new(15).map(Sint::page_offset), Some(0xf00));
    assert_eq!(Sint::new(16), None);
    assert!(Message::new(vec![0; 240]).is_some() && Message::new(vec![0; 241]).is_none());
}

proptest! {
    /// Whatever the guest does, every accepted message arrives once, in order, unless the guest itself overwrote it.
    #[test]
    fn accepted_messages_arrive_in_order(steps in proptest::collection::vec(0_u8..3, 0..400)) {
        let (mut platform, mut synic) = running();
        let (mut posted, mut taken) = (0_u8, 0_u8);
        let mut eom_owed = false;
        for step in steps {
            match step {
                0 => if synic.post_message(&mut platform, VP, Sint::VMBUS, message(posted)).is_ok() {
                    posted = posted.wrapping_add(1);
                }
                1 => if let Some((byte, more)) = take(&mut platform) {
                    prop_assert_eq!(byte, taken);
                    taken = taken.wrapping_add(1);
                    eom_owed |= more;
                }
                _ => if eom_owed {
                    synic.msr_write(&mut platform, VP, MSR_EOM, 0);
                    eom_owed = false;
                }
            }
        }
        while let Some((byte, more)) = take(&mut platform).or_else(|| {
            eom_owed.then(|| synic.msr_write(&mut platform, VP, MSR_EOM, 0))?;
            take(&mut platform)
        }) {
            prop_assert_eq!(byte, taken);
            taken = taken.wrapping_add(1);
            eom_owed = more;
        }
        prop_assert_eq!(taken, posted);
    }

    #[test]
    fn msrs_never_panic(writes in proptest::collection::vec((0_u32..3, 0x70_u32..0xb0, any::<u64>()), 0..40)) {
        let (mut platform, mut synic) = running();
        for (vp, msr, value) in writes {
            let msr = 0x4000_0000 + msr;
            let before = synic.msr_read(VpIndex(vp), msr);
            let outcome = synic.msr_write(&mut platform, VpIndex(vp), msr, value);
            prop_assert_eq!(outcome == MsrOutcome::NotMine, before.is_none());
            if outcome == MsrOutcome::Handled && msr != MSR_EOM {
                prop_assert_eq!(synic.msr_read(VpIndex(vp), msr), Some(value));
            }
            let _ = synic.post_message(&mut platform, VpIndex(vp), Sint::VMBUS, message(1));
            synic.signal_event(&mut platform, VpIndex(vp), Sint::VMBUS, EventFlag::new(vp).unwrap());
        }
    }
}

/// Everything but the race is the mock's.
mod racing {
    use super::{FreesSlotUnderWay, SLOT};
    use crate::ids::{DeviceIndex, Gpa, Iova, Rid, VpIndex};
    use crate::platform::{
        AccessSize, BadGpa, CannotWatch, DeviceTlb, DmaFault, Effort, FunctionInfo, LogLevel, PageOwner, Platform,
        RemapHandle, RequesterTranslation, Translation, Trigger,
    };
    use crate::vtd::did::Did;

    impl Platform for FreesSlotUnderWay {
        fn fetch_or_u32(&mut self, gpa: Gpa, bits: u32) -> Result<u32, BadGpa> {
            self.0.store_u32(Gpa(SLOT), 0)?;
            self.0.fetch_or_u32(gpa, bits)
        }
        fn read(&self, gpa: Gpa, buf: &mut [u8]) -> Result<(), BadGpa> {
            self.0.read(gpa, buf)
        }
        fn write(&mut self, gpa: Gpa, buf: &[u8]) -> Result<(), BadGpa> {
            self.0.write(gpa, buf)
        }
        fn load_u32(&self, gpa: Gpa) -> Result<u32, BadGpa> {
            self.0.load_u32(gpa)
        }
        fn store_u32(&mut self, gpa: Gpa, value: u32) -> Result<(), BadGpa> {
            self.0.store_u32(gpa, value)
        }
        fn exchange_u64(&mut self, gpa: Gpa, value: u64) -> Result<u64, BadGpa> {
            self.0.exchange_u64(gpa, value)
        }
        fn compare_exchange_u64(&mut self, gpa: Gpa, expected: u64, value: u64) -> Result<u64, BadGpa> {
            self.0.compare_exchange_u64(gpa, expected, value)
        }
        fn watch(&mut self, page: Gpa) -> Result<(), CannotWatch> {
            self.0.watch(page)
        }
        fn unwatch(&mut self, page: Gpa) {
            self.0.unwatch(page)
        }
        fn set_owner(&mut self, page: Gpa, owner: PageOwner) -> Result<(), CannotWatch> {
            self.0.set_owner(page, owner)
        }
        fn is_mappable(&self, gpa: Gpa, len: u64) -> bool {
            self.0.is_mappable(gpa, len)
        }
        fn set_requester(&mut self, rid: Rid, translation: RequesterTranslation, did: Did) {
            self.0.set_requester(rid, translation, did)
        }
        fn flush_did(&mut self, did: Did) {
            self.0.flush_did(did)
        }
        fn flush_did_pages(&mut self, did: Did, iova: Iova, page_shift: u8) {
            self.0.flush_did_pages(did, iova, page_shift)
        }
        fn is_guest_ram(&self, gpa: Gpa, len: u64) -> bool {
            self.0.is_guest_ram(gpa, len)
        }
        fn raise_interrupt(&mut self, vp: VpIndex, vector: u8) {
            self.0.raise_interrupt(vp, vector)
        }
        fn vp_count(&self) -> u32 {
            self.0.vp_count()
        }
        fn function_info(&self, device: DeviceIndex) -> FunctionInfo {
            self.0.function_info(device)
        }
        fn config_read(&self, device: DeviceIndex, offset: u16, size: AccessSize) -> u32 {
            self.0.config_read(device, offset, size)
        }
        fn config_write(&mut self, device: DeviceIndex, offset: u16, size: AccessSize, value: u32) {
            self.0.config_write(device, offset, size, value)
        }
        fn reset_function(&mut self, device: DeviceIndex) {
            self.0.reset_function(device)
        }
        fn remap_alloc(&mut self, device: DeviceIndex, vp: VpIndex, vector: u8) -> Option<RemapHandle> {
            self.0.remap_alloc(device, vp, vector)
        }
        fn remap_requester(&mut self, source: Rid, trigger: Trigger, vp: VpIndex, vector: u8) -> Option<RemapHandle> {
            self.0.remap_requester(source, trigger, vp, vector)
        }
        fn remap_retarget(&mut self, handle: RemapHandle, vp: VpIndex, vector: u8) {
            self.0.remap_retarget(handle, vp, vector)
        }
        fn remap_free(&mut self, handle: RemapHandle) {
            self.0.remap_free(handle)
        }
        fn set_translation(&mut self, device: DeviceIndex, new: Translation) {
            self.0.set_translation(device, new)
        }
        fn flush_device(&mut self, device: DeviceIndex) {
            self.0.flush_device(device)
        }
        fn flush_device_pages(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8) {
            self.0.flush_device_pages(device, iova, page_shift)
        }
        fn device_tlb(&self, device: DeviceIndex) -> DeviceTlb {
            self.0.device_tlb(device)
        }
        fn flush_device_tlb(&mut self, device: DeviceIndex, iova: Iova, page_shift: u8) {
            self.0.flush_device_tlb(device, iova, page_shift)
        }
        fn take_fault(&mut self) -> Option<DmaFault> {
            self.0.take_fault()
        }
        fn effort(&self) -> Effort {
            self.0.effort()
        }
        fn shows(&self, level: LogLevel) -> bool {
            self.0.shows(level)
        }
        fn log(&mut self, level: LogLevel, args: core::fmt::Arguments<'_>) {
            self.0.log(level, args)
        }
    }
}
