// SPDX-License-Identifier: GPL-2.0

//! Allocation of small integers, by the kernel's ID allocator.
//!
//! C header: [`include/linux/idr.h`](srctree/include/linux/idr.h)

use crate::{
    alloc::Flags,
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};
use core::ops::RangeInclusive;

/// A set of numbers in use.
///
/// It has a lock of its own. The highest number is [`Ida::LAST`].
///
/// # Examples
///
/// ```
/// use kernel::ida::Ida;
///
/// let ida = KBox::pin_init(Ida::new(), GFP_KERNEL)?;
/// assert_eq!(ida.take(1..=2, GFP_KERNEL)?, 1);
/// ida.give_back(1);
/// assert_eq!(ida.first_taken(0..=Ida::LAST), None);
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
pub struct Ida {
    #[pin]
    ida: Opaque<bindings::ida>,
}

// SAFETY: A `struct ida` is not bound to a thread.
unsafe impl Send for Ida {}
// SAFETY: The functions of a `struct ida` take its lock.
unsafe impl Sync for Ida {}

impl Ida {
    /// The highest number, `INT_MAX`.
    pub const LAST: u32 = i32::MAX as u32;

    /// An empty set.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The pointer is valid for a `struct ida`, which does not move afterwards.
            ida <- Opaque::ffi_init(|slot| unsafe { bindings::ida_init(slot) }),
        })
    }

    /// Takes the lowest number of `range` that is not in use.
    ///
    /// Context: any but NMI; may sleep if `flags` say so.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENOSPC`] if all of `range` is in use, or `range` is empty.
    pub fn take(&self, range: RangeInclusive<u32>, flags: Flags) -> Result<u32> {
        let (first, last) = Ida::bounds(&range).ok_or(ENOSPC)?;
        // SAFETY: The `struct ida` was initialised, and was not destroyed.
        let number =
            unsafe { bindings::ida_alloc_range(self.ida.get(), first, last, flags.as_raw()) };
        to_result(number)?;
        // `to_result` has refused negative numbers.
        Ok(number as u32)
    }

    /// Gives a number back. The kernel warns if the number is not in use.
    ///
    /// Context: any but NMI.
    pub fn give_back(&self, number: u32) {
        // SAFETY: The `struct ida` was initialised, and was not destroyed.
        unsafe { bindings::ida_free(self.ida.get(), number) }
    }

    /// The lowest number of `range` that is in use.
    ///
    /// Context: any but NMI.
    pub fn first_taken(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let (first, last) = Ida::bounds(&range)?;
        // SAFETY: The `struct ida` was initialised, and was not destroyed.
        let number = unsafe { bindings::ida_find_first_range(self.ida.get(), first, last) };
        u32::try_from(number).ok()
    }

    /// The first and the last number of `range`; [`None`] if there is none.
    fn bounds(range: &RangeInclusive<u32>) -> Option<(u32, u32)> {
        let (first, last) = (*range.start(), (*range.end()).min(Ida::LAST));
        (first <= last).then_some((first, last))
    }
}

#[pinned_drop]
impl PinnedDrop for Ida {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The `struct ida` was initialised, and nobody uses it after this.
        unsafe { bindings::ida_destroy(self.ida.get()) }
    }
}

#[macros::kunit_tests(rust_kernel_ida)]
mod tests {
    use super::*;

    /// How many numbers the allocator keeps in one chunk.
    const CHUNK: u32 = bindings::IDA_CHUNK_SIZE * u8::BITS;

    #[test]
    fn the_lowest_free_number_is_taken() -> Result {
        let ida = KBox::pin_init(Ida::new(), GFP_KERNEL)?;
        assert_eq!(ida.take(1..=2, GFP_KERNEL)?, 1);
        assert_eq!(ida.take(1..=2, GFP_KERNEL)?, 2);
        assert!(ida.take(1..=2, GFP_KERNEL) == Err(ENOSPC));
        assert!(ida.take(Ida::LAST + 1..=u32::MAX, GFP_KERNEL) == Err(ENOSPC));
        ida.give_back(1);
        assert_eq!(ida.take(1..=2, GFP_KERNEL)?, 1);
        Ok(())
    }

    #[test]
    fn taken_numbers_are_found_in_any_chunk() -> Result {
        let ida = KBox::pin_init(Ida::new(), GFP_KERNEL)?;
        for number in [2, CHUNK - 1, CHUNK, 5 * CHUNK + 7] {
            assert_eq!(ida.take(number..=number, GFP_KERNEL)?, number);
        }
        assert_eq!(ida.first_taken(0..=Ida::LAST), Some(2));
        assert_eq!(ida.first_taken(3..=Ida::LAST), Some(CHUNK - 1));
        assert_eq!(ida.first_taken(CHUNK..=u32::MAX), Some(CHUNK));
        assert_eq!(ida.first_taken(CHUNK + 1..=Ida::LAST), Some(5 * CHUNK + 7));
        assert_eq!(ida.first_taken(CHUNK + 1..=5 * CHUNK), None);
        assert_eq!(ida.first_taken(5 * CHUNK + 8..=Ida::LAST), None);
        Ok(())
    }
}
