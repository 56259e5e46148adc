// SPDX-License-Identifier: GPL-2.0

//! Counters of events, in memory that no two CPUs share.

use super::PerCpu;
use crate::{
    bindings,
    prelude::*, //
};

/// `N` counters for each CPU. Adding takes one instruction; reading visits all CPUs.
pub struct Counters<const N: usize>(PerCpu<[u64; N]>);

impl<const N: usize> Counters<N> {
    /// Counters that are 0.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new() -> Result<Self> {
        PerCpu::new_zeroed().map(Counters)
    }

    /// Adds `n` to counter `WHICH`.
    ///
    /// Context: any.
    #[inline]
    pub fn add<const WHICH: usize>(&self, n: u64) {
        const { assert!(WHICH < N) };
        let first: *mut u64 = self.0.parts.as_ptr().cast();
        // SAFETY: The counter exists, as `WHICH` is below `N`. Writers use only this one
        // instruction, which acts on the memory of the CPU that executes it. Readers read whole
        // words.
        unsafe { bindings::hv_percpu_add(first.wrapping_add(WHICH), n) };
    }

    /// The sum of counter `WHICH` over all CPUs. Events that happen meanwhile may be missing.
    ///
    /// Context: any.
    pub fn sum<const WHICH: usize>(&self) -> u64 {
        const { assert!(WHICH < N) };
        let mut sum = 0u64;
        self.0.each(|part| {
            let counter = part.cast::<u64>().wrapping_add(WHICH);
            // SAFETY: The counter exists, as `WHICH` is below `N`. A CPU may add to it meanwhile,
            // by one instruction.
            sum = sum.wrapping_add(unsafe { counter.read_volatile() });
        });
        sum
    }
}

#[macros::kunit_tests(rust_kernel_hyperv_per_cpu_counters)]
mod tests {
    use super::*;

    #[test]
    fn counters_start_at_zero_and_add_up() -> Result {
        let counters = Counters::<3>::new()?;
        assert_eq!(counters.sum::<0>(), 0);
        counters.add::<0>(1);
        counters.add::<2>(40);
        counters.add::<2>(2);
        assert_eq!(counters.sum::<0>(), 1);
        assert_eq!(counters.sum::<1>(), 0);
        assert_eq!(counters.sum::<2>(), 42);
        Ok(())
    }
}
