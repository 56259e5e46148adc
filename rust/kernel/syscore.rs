// SPDX-License-Identifier: GPL-2.0

//! Callbacks when the system shuts down.
//!
//! They run after the drivers' own, in the kernel's last moments before it halts, restarts or jumps
//! into another kernel; not after a crash.
//!
//! C header: [`include/linux/syscore_ops.h`](srctree/include/linux/syscore_ops.h)

use crate::{
    bindings,
    ffi::c_void,
    sync::atomic::{
        ordering::Full,
        AtomicFlag, //
    },
    types::Opaque, //
};
use core::marker::PhantomData;

/// What is to be done when the system shuts down.
pub trait Shutdown: 'static {
    /// The system shuts down.
    ///
    /// Context: may sleep; other CPUs may still run.
    fn shutdown();
}

/// Registration of a [`Shutdown`]; to be the value of a `static`.
pub struct Registration<T: Shutdown> {
    raw: Opaque<bindings::syscore>,
    registered: AtomicFlag,
    _callback: PhantomData<fn() -> T>,
}

// SAFETY: The C side accesses `raw` under its own lock, and we do before it is registered, once.
unsafe impl<T: Shutdown> Sync for Registration<T> {}

impl<T: Shutdown> Registration<T> {
    const OPS: bindings::syscore_ops = bindings::syscore_ops {
        suspend: None,
        resume: None,
        shutdown: Some(Self::shutdown),
    };

    /// A registration that was not made yet.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Registration<T> {
        Registration {
            raw: Opaque::zeroed(),
            registered: AtomicFlag::new(false),
            _callback: PhantomData,
        }
    }

    /// Makes the registration, for ever. A second time nothing happens.
    ///
    /// Context: may sleep.
    pub fn register(&'static self) {
        if self.registered.xchg(true, Full) {
            return;
        }
        // SAFETY: Nobody else has the structure before it is registered.
        unsafe { (*self.raw.get()).ops = const { &Self::OPS } };
        // SAFETY: The structure is initialised, and lives for ever.
        unsafe { bindings::register_syscore(self.raw.get()) };
    }

    /// # Safety
    ///
    /// To be called as `shutdown` of [`Self::OPS`] only.
    unsafe extern "C" fn shutdown(_data: *mut c_void) {
        T::shutdown();
    }
}
