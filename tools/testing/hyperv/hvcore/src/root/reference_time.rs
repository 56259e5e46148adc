// SPDX-License-Identifier: GPL-2.0
//! Reference time, in units of 100 ns, from the time-stamp counter.

const PER_SECOND: u128 = 10_000_000;

/// How the counter becomes reference time: `ticks * scale >> 64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferenceTime {
    scale: u64,
}

impl ReferenceTime {
    /// For a counter with so many ticks a second; one that is too slow for the format stands still.
    pub fn new(hertz: u64) -> ReferenceTime {
        let scale = (PER_SECOND << 64) / u128::from(hertz.max(1));
        ReferenceTime { scale: u64::try_from(scale).unwrap_or(0) }
    }

    /// The reference time at a tick.
    pub fn at(self, ticks: u64) -> u64 {
        (u128::from(ticks) * u128::from(self.scale) >> 64) as u64
    }

    /// The reference TSC page, as far as it is not zero: sequence, padding, scale, offset. A sequence of 0 would make the
    /// partition read the time from a register.
    pub fn page(self) -> [u8; 24] {
        const SEQUENCE: u64 = 1;
        let mut page = [0; 24];
        for (word, value) in page.chunks_mut(8).zip([SEQUENCE, self.scale, 0]) {
            word.copy_from_slice(&value.to_le_bytes());
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_ten_million() {
        for hertz in [999_999_937u64, 1_000_000_000, 2_899_998_113] {
            let time = ReferenceTime::new(hertz);
            assert!((9_999_999..=10_000_000).contains(&time.at(hertz)), "{hertz}");
            assert!(time.at(hertz * 3600) >= 36_000_000_000 - 1);
        }
        assert_eq!(ReferenceTime::new(10_000_000).at(5), 0);
        assert_eq!(ReferenceTime::new(0).at(5), 0);
    }

    #[test]
    fn page() {
        let time = ReferenceTime::new(1_000_000_000);
        let page = time.page();
        assert_eq!(page[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(u64::from_le_bytes(page[8..16].try_into().unwrap()), 184_467_440_737_095_516);
        assert_eq!(page[16..], [0; 8]);
    }
}
