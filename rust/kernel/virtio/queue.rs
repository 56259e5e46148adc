// SPDX-License-Identifier: GPL-2.0

//! Queues.
//!
//! A [`Queue`] has a lock, under which buffers go in and come out and the driver's own state of the
//! queue lies. What the device has not given back when the queue is deleted is dropped then.

use super::buffer::Buffer;
use crate::{
    bindings,
    error::{
        to_result,
        VTABLE_DEFAULT_ERROR, //
    },
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        SpinLockIrq,
        SpinLockIrqGuard, //
    }, //
};
use core::ptr;

/// What a driver keeps for a queue, under the queue's lock.
#[vtable]
pub trait State: Sized + Send + Unpin + 'static {
    /// What the driver keeps beside each buffer.
    type Context: Send + 'static;

    /// The device has given buffers back, perhaps.
    ///
    /// Context: hard interrupt; the queue is not locked.
    fn notified(_queue: &Queue<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What the lock protects.
///
/// # Invariants
///
/// `raw` is null, or a queue that is not deleted.
struct Inner<S> {
    raw: *mut bindings::virtqueue,
    own: S,
}

// SAFETY: A `struct virtqueue` belongs to no thread.
unsafe impl<S: Send> Send for Inner<S> {}

/// A queue.
#[pin_data]
pub struct Queue<S: State> {
    name: &'static CStr,
    #[pin]
    inner: SpinLockIrq<Inner<S>>,
}

impl<S: State> Queue<S> {
    /// A queue that is not open yet.
    ///
    /// Context: may sleep.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new(name: &'static CStr, state: S) -> Result<Arc<Queue<S>>> {
        Arc::pin_init(
            pin_init!(Queue {
                name,
                // INVARIANT: The pointer is null.
                inner <- new_spinlock_irq!(Inner {
                    raw: ptr::null_mut(),
                    own: state,
                }),
            }),
            GFP_KERNEL,
        )
    }

    /// Takes the lock.
    ///
    /// Context: any but NMI.
    #[inline]
    pub fn lock(&self) -> Locked<'_, S> {
        Locked {
            inner: self.inner.lock(),
        }
    }

    /// # Safety
    ///
    /// To be called by the virtio core as a queue's callback only.
    unsafe extern "C" fn callback(raw: *mut bindings::virtqueue) {
        // SAFETY: The core passes a valid queue, whose device's pointer is to the set that holds
        // it, as long as the queue is not deleted.
        let (set, index) = unsafe {
            (
                (*(*raw).vdev).priv_.cast::<Set>().as_ref(),
                (*raw).index as usize,
            )
        };
        if let Some(queue) = set.and_then(|set| set.queues.get(index)) {
            queue.0.notified();
        }
    }
}

/// A buffer that a queue has refused, and why.
pub struct Refused<C> {
    /// [`ENOSPC`]: the queue is full. [`ENODEV`]: it is not open. [`EIO`]: the device is broken.
    pub error: Error,
    /// The buffer.
    pub buffer: KBox<Buffer<C>>,
}

/// A buffer that the device has given back.
pub struct Answer<C> {
    /// The buffer.
    pub buffer: KBox<Buffer<C>>,
    /// How many bytes the device says that it has written.
    written: usize,
}

impl<C> Answer<C> {
    /// What the device has written, as it says.
    pub fn written(&self) -> &[u8] {
        let writable = self.buffer.writable();
        writable.get(..self.written).unwrap_or(writable)
    }
}

/// A locked queue.
pub struct Locked<'a, S: State> {
    inner: SpinLockIrqGuard<'a, Inner<S>>,
}

impl<S: State> Locked<'_, S> {
    /// What the driver keeps for the queue.
    #[inline]
    pub fn state(&mut self) -> &mut S {
        &mut self.inner.own
    }

    /// Gives a buffer to the device, which learns of it by [`Self::kick`].
    ///
    /// # Errors
    ///
    /// See [`Refused`]; [`EINVAL`] for a buffer of which the device uses nothing.
    pub fn add(&mut self, mut buffer: KBox<Buffer<S::Context>>) -> Result<(), Refused<S::Context>> {
        let raw = self.inner.raw;
        let (memory, readable, writable) = buffer.as_raw_parts();
        let error = match (raw.is_null(), readable | writable) {
            (true, _) => Some(ENODEV),
            (_, 0) => Some(EINVAL),
            _ => None,
        };
        if let Some(error) = error {
            return Err(Refused { error, buffer });
        }
        let token = KBox::into_raw(buffer);
        // SAFETY: By the invariant the queue is not deleted; the lock is held, which serialises its
        // use. The memory is that of the buffer, which nobody touches until the queue gives the
        // token back.
        let added = to_result(unsafe {
            bindings::virtqueue_add_buffer(raw, memory.cast(), readable, writable, token.cast())
        });
        added.map_err(|error| Refused {
            error,
            // SAFETY: The token comes from a box, and the queue did not take it.
            buffer: unsafe { KBox::from_raw(token) },
        })
    }

    /// Tells the device that there are buffers.
    #[inline]
    pub fn kick(&mut self) {
        if !self.inner.raw.is_null() {
            // A device that cannot be told is broken: `is_broken` says so.
            // SAFETY: By the invariant the queue is not deleted; the lock is held.
            unsafe { bindings::virtqueue_kick(self.inner.raw) };
        }
    }

    /// Takes a buffer that the device has given back.
    #[inline]
    pub fn take(&mut self) -> Option<Answer<S::Context>> {
        if self.inner.raw.is_null() {
            return None;
        }
        let mut written = 0;
        // SAFETY: By the invariant the queue is not deleted; the lock is held.
        let token = unsafe { bindings::virtqueue_get_buf(self.inner.raw, &mut written) };
        (!token.is_null()).then(|| Answer {
            // SAFETY: The queue gives back what `add` has given it, once. The device is done with
            // it.
            buffer: unsafe { KBox::from_raw(token.cast()) },
            written: written as usize,
        })
    }

    /// Expects nothing of the device any more: the queue is broken from now on.
    pub fn give_up(&mut self) {
        if !self.inner.raw.is_null() {
            // SAFETY: By the invariant the queue is not deleted; the lock is held.
            unsafe { bindings::__virtqueue_break(self.inner.raw) };
        }
    }

    /// Whether nothing will be given back any more: the device is broken, or the queue is not open.
    pub fn is_broken(&self) -> bool {
        let raw = self.inner.raw;
        // SAFETY: By the invariant the queue is not deleted.
        raw.is_null() || unsafe { bindings::virtqueue_is_broken(raw) }
    }

    /// How many descriptors the queue has left. Each part of a buffer takes one; the parts of a
    /// buffer with two take one together if the device knows indirect descriptors and there is
    /// memory for them.
    pub fn room(&self) -> usize {
        let raw = self.inner.raw;
        if raw.is_null() {
            return 0;
        }
        // SAFETY: By the invariant the queue is not deleted; the lock is held.
        unsafe { (*raw).num_free as usize }
    }
}

/// A queue of any kind, to be opened.
pub struct QueueRef(Arc<dyn Openable>);

impl<S: State> From<Arc<Queue<S>>> for QueueRef {
    fn from(queue: Arc<Queue<S>>) -> QueueRef {
        QueueRef(queue)
    }
}

/// What a [`Set`] does to its queues.
trait Openable: Send + Sync {
    /// Name and callback.
    fn info(&self) -> bindings::virtqueue_info;

    /// Opens the queue, or closes it, with null.
    ///
    /// # Safety
    ///
    /// A queue must be valid, be nobody else's, and be of the device that [`Self::info`] was given
    /// for. It must be closed before it is deleted.
    unsafe fn set(&self, raw: *mut bindings::virtqueue);

    /// Drops what the device has not given back.
    ///
    /// # Safety
    ///
    /// `raw` must be what was set before the queue was closed, and the device be reset.
    unsafe fn drain(&self, raw: *mut bindings::virtqueue);

    /// See [`State::notified`].
    fn notified(&self);
}

impl<S: State> Openable for Queue<S> {
    fn info(&self) -> bindings::virtqueue_info {
        bindings::virtqueue_info {
            name: self.name.as_char_ptr(),
            callback: if S::HAS_NOTIFIED {
                Some(Self::callback)
            } else {
                None
            },
            ctx: false,
        }
    }

    unsafe fn set(&self, raw: *mut bindings::virtqueue) {
        // INVARIANT: By the caller's promise.
        self.inner.lock().raw = raw;
    }

    unsafe fn drain(&self, raw: *mut bindings::virtqueue) {
        loop {
            // SAFETY: By the caller's promise the queue is not deleted, and nobody else uses it.
            let token = unsafe { bindings::virtqueue_detach_unused_buf(raw) };
            if token.is_null() {
                return;
            }
            // SAFETY: The queue gives back what `add` has given it, once; a device that is reset
            // does not use it.
            drop(unsafe { KBox::<Buffer<S::Context>>::from_raw(token.cast()) });
        }
    }

    fn notified(&self) {
        if S::HAS_NOTIFIED {
            S::notified(self);
        }
    }
}

/// The queues of a device.
pub(super) struct Set {
    queues: KVec<QueueRef>,
    /// As the transport has made them; null before. Callbacks have the set meanwhile.
    raw: KVec<Atomic<*mut bindings::virtqueue>>,
}

impl Set {
    pub(super) fn new<const N: usize>(queues: [QueueRef; N]) -> Result<Set> {
        let mut set = Set {
            queues: KVec::with_capacity(N, GFP_KERNEL)?,
            raw: KVec::with_capacity(N, GFP_KERNEL)?,
        };
        for queue in queues {
            set.queues.push(queue, GFP_KERNEL)?;
            set.raw.push(Atomic::new(ptr::null_mut()), GFP_KERNEL)?;
        }
        Ok(set)
    }

    /// Has the transport make the queues, and opens them.
    ///
    /// # Safety
    ///
    /// `device` must be valid, have a driver and no queues; its pointer must be to the set, which
    /// must stay where it is until the queues are deleted.
    pub(super) unsafe fn open(&self, device: *mut bindings::virtio_device) -> Result {
        let mut infos = KVec::with_capacity(self.queues.len(), GFP_KERNEL)?;
        let mut found = KVec::from_elem(ptr::null_mut(), self.queues.len(), GFP_KERNEL)?;
        for queue in &self.queues {
            infos.push(queue.0.info(), GFP_KERNEL)?;
        }
        // SAFETY: By the caller's promise; both arrays have as many elements as there are queues.
        to_result(unsafe {
            bindings::virtio_find_vqs(
                device,
                self.queues.len() as u32,
                found.as_mut_ptr(),
                infos.as_mut_ptr(),
            )
        })?;
        for ((queue, slot), raw) in self.queues.iter().zip(&self.raw).zip(&found) {
            slot.store(*raw, Relaxed);
            // SAFETY: The transport has just made it. `close` comes before `delete`.
            unsafe { queue.0.set(*raw) };
        }
        Ok(())
    }

    /// Closes all queues.
    pub(super) fn close(&self) {
        for queue in &self.queues {
            // SAFETY: Null closes a queue.
            unsafe { queue.0.set(ptr::null_mut()) };
        }
    }

    /// Takes all buffers out of the queues, and has the transport delete these.
    ///
    /// # Safety
    ///
    /// The queues must be closed, and their device, `device`, be reset.
    pub(super) unsafe fn delete(&self, device: *mut bindings::virtio_device) {
        let mut is_open = false;
        for (queue, slot) in self.queues.iter().zip(&self.raw) {
            let raw = slot.load(Relaxed);
            if raw.is_null() {
                continue;
            }
            is_open = true;
            // SAFETY: The transport has made it for that queue; by the caller's promise.
            unsafe { queue.0.drain(raw) };
        }
        if is_open {
            // SAFETY: The device's queues are there, and nobody uses them: they are closed.
            unsafe { bindings::virtio_del_vqs(device) };
        }
    }
}
