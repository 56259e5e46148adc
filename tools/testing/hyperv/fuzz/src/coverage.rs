// SPDX-License-Identifier: GPL-2.0
//! What the compiler's coverage instrumentation calls (SanitizerCoverage), and what it counted.
//!
//! This crate is not instrumented itself: what is here would call itself otherwise.

use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Most instrumented crates.
const REGIONS: usize = 16;
/// Operands of comparisons that are remembered of one run.
const OPERANDS: usize = 1024;

struct Region {
    start: AtomicPtr<u8>,
    bytes: AtomicUsize,
}

static COUNTERS: [Region; REGIONS] =
    [const { Region { start: AtomicPtr::new(std::ptr::null_mut()), bytes: AtomicUsize::new(0) } }; REGIONS];
static REGION_COUNT: AtomicUsize = AtomicUsize::new(0);

static PAIRS: [[AtomicU64; 2]; OPERANDS] = [const { [const { AtomicU64::new(0) }; 2] }; OPERANDS];
static PAIR_COUNT: AtomicUsize = AtomicUsize::new(0);

/// Called once for each instrumented crate, before `main`.
///
/// # Safety
/// `start..end` must be the crate's counters, which live as long as the program.
// SAFETY: the name is the one that the instrumentation calls, and nobody else defines it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    let known = COUNTERS.iter().any(|region| region.start.load(Relaxed) == start);
    if known || start == end {
        return;
    }
    if let Some(region) = COUNTERS.get(REGION_COUNT.fetch_add(1, Relaxed)) {
        region.bytes.store(end as usize - start as usize, Relaxed);
        region.start.store(start, Relaxed);
    }
}

fn note(a: u64, b: u64) {
    if a != b {
        let place = PAIR_COUNT.load(Relaxed);
        PAIR_COUNT.store(place.wrapping_add(1), Relaxed);
        let pair = &PAIRS[place % OPERANDS];
        pair[0].store(a, Relaxed);
        pair[1].store(b, Relaxed);
    }
}

macro_rules! comparisons {
    ($($name:ident $type:ty;)*) => {$(
        /// Called before two numbers are compared.
        // SAFETY: the name is the one that the instrumentation calls, and nobody else defines it.
        #[unsafe(no_mangle)]
        pub extern "C" fn $name(a: $type, b: $type) {
            note(a.into(), b.into());
        }
    )*};
}

comparisons! {
    __sanitizer_cov_trace_cmp1 u8;
    __sanitizer_cov_trace_cmp2 u16;
    __sanitizer_cov_trace_cmp4 u32;
    __sanitizer_cov_trace_cmp8 u64;
    __sanitizer_cov_trace_const_cmp1 u8;
    __sanitizer_cov_trace_const_cmp2 u16;
    __sanitizer_cov_trace_const_cmp4 u32;
    __sanitizer_cov_trace_const_cmp8 u64;
}

/// Called before a number is matched with several.
///
/// # Safety
/// `cases` must point to their number, their width, and as many numbers.
// SAFETY: the name is the one that the instrumentation calls, and nobody else defines it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn __sanitizer_cov_trace_switch(value: u64, cases: *const u64) {
    // SAFETY: by the caller's promise the count comes first.
    let count = unsafe { *cases } as usize;
    for index in 0..count.min(32) {
        // SAFETY: by the caller's promise as many numbers follow the width.
        note(value, unsafe { *cases.add(2 + index) });
    }
}

fn regions() -> impl Iterator<Item = (*mut u8, usize)> {
    COUNTERS
        .iter()
        .map(|region| (region.start.load(Relaxed), region.bytes.load(Relaxed)))
        .filter(|(_, bytes)| *bytes > 0)
}

/// How many places the instrumentation counts at; 0 when nothing is instrumented.
pub fn places() -> usize {
    regions().map(|(_, bytes)| bytes).sum()
}

/// Starts counting from 0.
pub fn reset() {
    for (start, bytes) in regions() {
        // SAFETY: these are the counters, which are plain bytes; no other thread runs instrumented code.
        unsafe { start.write_bytes(0, bytes) };
    }
    PAIR_COUNT.store(0, Relaxed);
}

/// Calls `each` for every place that was passed, with its number and how often it was, by order of magnitude (a bit).
pub fn passed(mut each: impl FnMut(usize, u8)) {
    let mut base = 0;
    for (start, bytes) in regions() {
        // SAFETY: these are the counters, which are plain bytes; no other thread runs instrumented code.
        let counters = unsafe { std::slice::from_raw_parts(start, bytes) };
        for (word, chunk) in counters.chunks(8).enumerate() {
            if chunk.iter().all(|&count| count == 0) {
                continue;
            }
            for (index, &count) in chunk.iter().enumerate().filter(|(_, &count)| count != 0) {
                each(base + 8 * word + index, magnitude(count));
            }
        }
        base += bytes;
    }
}

/// 1, 2, 3, 4..7, 8..15, 16..31, 32..127 or more times.
fn magnitude(count: u8) -> u8 {
    match count {
        0 => 0,
        1..=3 => 1 << (count - 1),
        4..=7 => 1 << 3,
        8..=15 => 1 << 4,
        16..=31 => 1 << 5,
        32..=127 => 1 << 6,
        _ => 1 << 7,
    }
}

/// The operands of a comparison of the last run that did not come out equal; `choice` says which.
pub fn operands(choice: u64) -> Option<(u64, u64)> {
    let count = PAIR_COUNT.load(Relaxed).min(OPERANDS) as u64;
    let pair = PAIRS.get(choice.checked_rem(count)? as usize)?;
    Some((pair[0].load(Relaxed), pair[1].load(Relaxed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_are_distinct_bits() {
        let bits: Vec<u8> = [1, 2, 3, 4, 8, 16, 32, 128].map(magnitude).to_vec();
        assert_eq!(bits.iter().fold(0, |all, bit| all | bit), 0xff);
        assert_eq!([0, 5, 127, 255].map(magnitude), [0, 8, 0x40, 0x80]);
    }
}
