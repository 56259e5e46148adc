// SPDX-License-Identifier: GPL-2.0

//! Memory with a part for each CPU.
//!
//! C header: [`include/linux/percpu.h`](srctree/include/linux/percpu.h)

use crate::{
    bindings,
    prelude::*,
    types::NotThreadSafe, //
};
use core::{
    marker::PhantomData,
    mem::{
        align_of,
        size_of, //
    },
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};
use zerocopy::FromBytes;

pub mod counters;

/// A `T` for each possible CPU. All bytes are zero at first.
///
/// # Invariants
///
/// `parts` comes from `hv_percpu_alloc` for the layout of `T`, and each part is a valid `T`.
pub struct PerCpu<T: FromBytes> {
    parts: NonNull<T>,
}

// SAFETY: By the contract of `local`, there is only one reference to a part at a time.
unsafe impl<T: FromBytes + Send> Send for PerCpu<T> {}
// SAFETY: As for `Send`.
unsafe impl<T: FromBytes + Send> Sync for PerCpu<T> {}

impl<T: FromBytes> PerCpu<T> {
    /// Allocates the parts. The alignment of `T` is at most a page.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new_zeroed() -> Result<Self> {
        // SAFETY: The function takes any size and an alignment that is a power of two.
        let parts = unsafe { bindings::hv_percpu_alloc(size_of::<T>(), align_of::<T>()) };
        // INVARIANT: The memory is zeroed, and `FromBytes` says that such bytes are a valid `T`.
        Ok(PerCpu {
            parts: NonNull::new(parts.cast()).ok_or(ENOMEM)?,
        })
    }

    /// Calls `f` with the address of each CPU's part.
    pub(crate) fn each(&self, mut f: impl FnMut(*mut T)) {
        // SAFETY: The function takes -1, and any CPU number.
        let mut cpu = unsafe { bindings::hv_next_possible_cpu(-1) };
        while cpu >= 0 {
            // SAFETY: By the type invariant, `parts` is a per-CPU allocation. The CPU is a possible
            // one.
            f(unsafe { bindings::hv_percpu_of(self.parts.as_ptr().cast(), cpu) }.cast());
            // SAFETY: The function takes any CPU number.
            cpu = unsafe { bindings::hv_next_possible_cpu(cpu) };
        }
    }

    /// Borrows this CPU's part, and turns interrupts off for as long.
    ///
    /// Context: any but NMI.
    ///
    /// # Safety
    ///
    /// The caller must not hold another [`Local`] of `self` on this CPU.
    #[inline]
    pub(crate) unsafe fn local(&self) -> Local<'_, T> {
        let mut irq_flags = 0;
        // SAFETY: By the type invariant, `parts` is a per-CPU allocation. `irq_flags` is valid for
        // a write.
        let part = unsafe { bindings::hv_percpu_get(self.parts.as_ptr().cast(), &mut irq_flags) };
        // INVARIANT: With interrupts off nothing else runs on this CPU, and other CPUs have other
        // parts. The caller promises that there is no other reference.
        Local {
            part: part.cast(),
            irq_flags,
            _parts: PhantomData,
            _not_send: NotThreadSafe,
        }
    }
}

impl<T: FromBytes> Drop for PerCpu<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `parts` is a per-CPU allocation. Nobody borrows a part, as
        // the borrow checker sees to.
        unsafe { bindings::free_percpu(self.parts.as_ptr().cast()) };
    }
}

/// A CPU's part of a [`PerCpu`]. Interrupts are off as long as the object lives.
///
/// # Invariants
///
/// `part` is valid, only this object refers to it, and local interrupts are off.
pub(crate) struct Local<'a, T: FromBytes> {
    part: *mut T,
    irq_flags: usize,
    _parts: PhantomData<&'a PerCpu<T>>,
    _not_send: NotThreadSafe,
}

impl<T: FromBytes> Deref for Local<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariant, the part is valid, and only this object refers to it.
        unsafe { &*self.part }
    }
}

impl<T: FromBytes> DerefMut for Local<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariant, the part is valid, and only this object refers to it.
        unsafe { &mut *self.part }
    }
}

impl<T: FromBytes> Drop for Local<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: `local` has saved the flags on this CPU, and the object cannot have left the CPU.
        unsafe { bindings::hv_local_irq_restore(self.irq_flags) };
    }
}
