// SPDX-License-Identifier: GPL-2.0

//! Small integers to be handed out: the kernel's ID allocator.
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
/// It has a lock of its own. Numbers are at most [`Ida::LAST`].
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

// SAFETY: A `struct ida` belongs to no thread.
unsafe impl Send for Ida {}
// SAFETY: Its functions take its lock.
unsafe impl Sync for Ida {}

impl Ida {
    /// The highest number there can be: `INT_MAX`.
    pub const LAST: u32 = i32::MAX as u32;

    /// An empty set.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: The pointer is to memory for a `struct ida`, which stays where it is.
            ida <- Opaque::ffi_init(|slot| unsafe { bindings::ida_init(slot) }),
        })
    }

    /// Takes the lowest number of `range` that is not in use.
    ///
    /// Context: any but NMI; `flags` decide whether it may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`]; [`ENOSPC`] when all of `range` is in use, or it is empty.
    pub fn take(&self, range: RangeInclusive<u32>, flags: Flags) -> Result<u32> {
        let (first, last) = Ida::bounds(&range).ok_or(ENOSPC)?;
        // SAFETY: The `struct ida` was initialised.
        let number =
            unsafe { bindings::ida_alloc_range(self.ida.get(), first, last, flags.as_raw()) };
        to_result(number)?;
        // Not negative.
        Ok(number as u32)
    }

    /// Gives a number back. One that is not in use makes the kernel warn.
    ///
    /// Context: any but NMI.
    pub fn give_back(&self, number: u32) {
        // SAFETY: The `struct ida` was initialised.
        unsafe { bindings::ida_free(self.ida.get(), number) }
    }

    /// The lowest number of `range` that is in use.
    ///
    /// Context: any but NMI.
    pub fn first_taken(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let (first, last) = Ida::bounds(&range)?;
        // SAFETY: The `struct ida` was initialised.
        let number = unsafe { bindings::ida_find_first_range(self.ida.get(), first, last) };
        u32::try_from(number).ok()
    }

    /// First and last number of `range`, unless there is none.
    fn bounds(range: &RangeInclusive<u32>) -> Option<(u32, u32)> {
        let (first, last) = (*range.start(), (*range.end()).min(Ida::LAST));
        (first <= last).then_some((first, last))
    }
}

#[pinned_drop]
impl PinnedDrop for Ida {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The `struct ida` was initialised, and nobody uses it any more.
        unsafe { bindings::ida_destroy(self.ida.get()) }
    }
}

#[macros::kunit_tests(rust_kernel_ida)]
mod tests {
    use super::*;

    /// Numbers that the allocator keeps together.
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
