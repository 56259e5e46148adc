// SPDX-License-Identifier: GPL-2.0

//! A limit to how often something may happen. Mostly, that is a message.
//!
//! C header: [`include/linux/ratelimit.h`](srctree/include/linux/ratelimit.h)

use crate::{
    bindings,
    prelude::*,
    types::Opaque, //
};

/// A limit with the kernel's default: 10 times in 5 seconds.
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

// SAFETY: The state is not bound to a thread.
unsafe impl Send for RateLimit {}
// SAFETY: The state has a lock of its own, which the C function takes.
unsafe impl Sync for RateLimit {}

impl RateLimit {
    /// A new limit.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- Opaque::ffi_init(|slot| {
                // SAFETY: The pointer is valid for the state, which does not move afterwards.
                unsafe { bindings::ratelimit_default_init(slot) }
            }),
        })
    }

    /// Whether it may happen once more. The kernel reports from time to time how often it was not
    /// allowed, and calls it `name` then.
    ///
    /// Context: any.
    pub fn allows(&self, name: &'static CStr) -> bool {
        // SAFETY: The state was initialised, and does not move. The name is a C string.
        unsafe { bindings::___ratelimit(self.state.get(), name.as_char_ptr()) != 0 }
    }
}
