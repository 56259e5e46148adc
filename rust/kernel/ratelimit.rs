// SPDX-License-Identifier: GPL-2.0

//! A limit to how often something happens, messages mostly.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use crate::{
    bindings,
    prelude::*,
    types::Opaque, //
};

/// A limit of the kernel's default: 10 in 5 seconds.
///
/// # Examples
///
/// ```
/// use kernel::ratelimit::RateLimit;
///
/// let limit = KBox::pin_init(RateLimit::new(), GFP_KERNEL)?;
/// if limit.allows(c"example") {
///     pr_info!("this is not said too often\n");
/// }
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct RateLimit {
    #[pin]
    state: Opaque<bindings::ratelimit_state>,
}

// SAFETY: The state belongs to no thread.
unsafe impl Send for RateLimit {}
// SAFETY: The state has a lock of its own, which the C function takes.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// A limit that nothing has come near to yet.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- Opaque::ffi_init(|slot| {
                // SAFETY: The pointer is to memory for the state, which stays where it is.
                unsafe { bindings::ratelimit_default_init(slot) }
            }),
        })
    }

    /// Whether it may happen once more. `name` is what the kernel calls those that may not, when it
    /// reports how many there were.
    ///
    /// Context: any.
    pub fn allows(&self, name: &'static CStr) -> bool {
        // SAFETY: The state was initialised, and stays where it is; the name is a string.
        unsafe { bindings::___ratelimit(self.state.get(), name.as_char_ptr()) != 0 }
    }
}
