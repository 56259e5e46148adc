// SPDX-License-Identifier: GPL-2.0
//! What a function's configuration space shows of the physical one.
//!
//! Most of it is passed through. Hidden are the BARs that the guest cannot have (I/O BARs and whatever was not
//! announced to it), the expansion ROM and the interrupt line and pin, as there are only message interrupts. The
//! header type tells how many functions the virtual device has, not the physical one.

use crate::platform::AccessSize;

const HEADER_TYPE: u16 = 0x0e;
const MULTI_FUNCTION: u8 = 0x80;
const BARS: core::ops::Range<u16> = 0x10..0x28;
const ROM: core::ops::Range<u16> = 0x30..0x34;
const INTERRUPT_LINE_AND_PIN: core::ops::Range<u16> = 0x3c..0x3e;

const BAR_IO: u32 = 1;
const BAR_TYPE: u32 = 7;
const BAR_MEMORY_64: u32 = 4;

/// Whether a virtual device has one function or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceKind {
    SingleFunction,
    MultiFunction,
}

/// A function's BARs as they read after all ones were written, without those that a guest cannot have.
///
/// I/O BARs become zero. The upper half of a 64-bit BAR is kept: it may have bit 0 set and is no I/O BAR for that.
pub fn visible_bars(raw: [u32; 6]) -> [u32; 6] {
    let mut bars = raw;
    let mut index = 0;
    while let Some(bar) = bars.get_mut(index) {
        let is_io = *bar & BAR_IO != 0;
        let has_upper_half = *bar & BAR_TYPE == BAR_MEMORY_64;
        if is_io {
            *bar = 0;
        }
        index += if has_upper_half { 2 } else { 1 };
    }
    bars
}

/// Number of bytes of an access.
pub(super) fn bytes_of(size: AccessSize) -> u16 {
    match size {
        AccessSize::Byte => 1,
        AccessSize::Word => 2,
        AccessSize::Dword => 4,
    }
}

/// All ones in an access's width: what nobody answers reads as.
pub(super) fn all_ones(size: AccessSize) -> u32 {
    match size {
        AccessSize::Byte => 0xff,
        AccessSize::Word => 0xffff,
        AccessSize::Dword => 0xffff_ffff,
    }
}

/// Whether the guest sees nothing at a byte of configuration space.
fn is_hidden(bars: &[u32; 6], offset: u16) -> bool {
    if BARS.contains(&offset) {
        // A BAR that was announced as zero, the upper halves of announced ones aside, does not exist.
        let index = usize::from((offset - BARS.start) / 4);
        return bars.get(index).is_none_or(|&bar| bar == 0) && !is_upper_half(bars, index);
    }
    ROM.contains(&offset) || INTERRUPT_LINE_AND_PIN.contains(&offset)
}

fn is_upper_half(bars: &[u32; 6], index: usize) -> bool {
    let mut low = 0;
    while low < index {
        let has_upper_half = bars[low] & BAR_TYPE == BAR_MEMORY_64;
        if has_upper_half && low + 1 == index {
            return true;
        }
        low += if has_upper_half { 2 } else { 1 };
    }
    false
}

/// What the guest reads where the physical function reads `value`. `bars` are the [`visible_bars`].
pub(super) fn filter_read(bars: &[u32; 6], kind: DeviceKind, offset: u16, size: AccessSize, value: u32) -> u32 {
    let mut bytes = value.to_le_bytes();
    for (byte, at) in bytes.iter_mut().zip(offset..offset.saturating_add(bytes_of(size))) {
        if is_hidden(bars, at) {
            *byte = 0;
        }
        if at == HEADER_TYPE {
            *byte = match kind {
                DeviceKind::SingleFunction => *byte & !MULTI_FUNCTION,
                DeviceKind::MultiFunction => *byte | MULTI_FUNCTION,
            };
        }
    }
    u32::from_le_bytes(bytes) & all_ones(size)
}

/// Whether a write at `offset` reaches the physical function. `bars` are the [`visible_bars`].
pub(super) fn lets_write_through(bars: &[u32; 6], offset: u16) -> bool {
    !is_hidden(bars, offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NVME: [u32; 6] = [0xffff_c004, 0xffff_ffff, 0, 0, 0, 0];

    #[test]
    fn upper_half_of_a_64_bit_bar_is_no_io_bar() {
        assert_eq!(visible_bars(NVME), NVME);
    }

    #[test]
    fn io_bars_disappear() {
        let raw = [0xffff_ff01, 0xffff_f000, 0xffff_ffe1, 0xfff0_000c, 0xffff_ffff, 0xffff_ffc1];
        assert_eq!(visible_bars(raw), [0, 0xffff_f000, 0, 0xfff0_000c, 0xffff_ffff, 0]);
    }

    #[test]
    fn hidden_registers_read_zero_and_ignore_writes() {
        for (offset, size) in [(0x18, AccessSize::Dword), (0x30, AccessSize::Dword), (0x3c, AccessSize::Word)] {
            assert_eq!(filter_read(&NVME, DeviceKind::SingleFunction, offset, size, 0xffff_ffff), 0, "{offset:#x}");
            assert!(!lets_write_through(&NVME, offset));
        }
        for offset in [0x04, 0x10, 0x14, 0x2c, 0x34, 0x3e, 0x40] {
            let value = filter_read(&NVME, DeviceKind::SingleFunction, offset, AccessSize::Word, 0x1234);
            assert_eq!(value, 0x1234, "{offset:#x}");
            assert!(lets_write_through(&NVME, offset));
        }
        let line_to_latency = filter_read(&NVME, DeviceKind::SingleFunction, 0x3c, AccessSize::Dword, 0x1122_010b);
        assert_eq!(line_to_latency, 0x1122_0000);
    }

    #[test]
    fn header_type_tells_of_the_virtual_device() {
        let read = |kind, value| filter_read(&NVME, kind, 0x0e, AccessSize::Byte, value);
        assert_eq!(read(DeviceKind::MultiFunction, 0x00), 0x80);
        assert_eq!(read(DeviceKind::SingleFunction, 0x80), 0x00);
        let dword = filter_read(&NVME, DeviceKind::MultiFunction, 0x0c, AccessSize::Dword, 0x1100_2010);
        assert_eq!(dword, 0x1180_2010);
    }

    proptest! {
        #[test]
        fn visible_bars_are_stable(raw: [u32; 6]) {
            let once = visible_bars(raw);
            prop_assert_eq!(visible_bars(once), once);
        }

        #[test]
        fn reads_fit_their_width(bars: [u32; 6], offset in 0_u16..4096, value: u32) {
            for size in [AccessSize::Byte, AccessSize::Word, AccessSize::Dword] {
                let read = filter_read(&visible_bars(bars), DeviceKind::MultiFunction, offset, size, value);
                prop_assert!(read <= all_ones(size));
            }
        }
    }
}
