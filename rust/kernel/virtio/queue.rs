// SPDX-License-Identifier: GPL-2.0

//! Queues of virtio devices.
//!
//! A [`Queue`] has a lock. It protects the queue itself, and the state that the driver keeps for
//! it. Buffers that the device has not given back are dropped when the queue is deleted.

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
    /// What the driver keeps with each buffer.
    type Context: Send + 'static;

    /// Called when the device may have given buffers back.
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
/// `raw` is null, or points to a queue that is not deleted.
struct Inner<S> {
    raw: *mut bindings::virtqueue,
    own: S,
}

// SAFETY: A `struct virtqueue` is not bound to a thread.
unsafe impl<S: Send> Send for Inner<S> {}

/// A queue.
///
/// # Examples
///
/// ```
/// use kernel::virtio::{
///     buffer::Buffer,
///     queue::{
///         Queue,
///         State, //
///     }, //
/// };
///
/// /// How many requests are under way.
/// struct Requests(usize);
///
/// #[vtable]
/// impl State for Requests {
///     type Context = ();
/// }
///
/// let queue = Queue::new(c"requests", Requests(0))?;
/// let mut buffer = Buffer::new(16, (), GFP_KERNEL)?;
/// buffer.prepare(&[0_u8; 8], 8)?;
///
/// let mut locked = queue.lock();
/// match locked.add(buffer) {
///     Ok(()) => {
///         locked.state().0 += 1;
///         locked.kick();
///     }
///     // No device has opened the queue. The buffer comes back.
///     Err(refused) => {
///         assert!(refused.error == ENODEV);
///         assert_eq!(refused.buffer.readable().len(), 8);
///     }
/// }
/// assert_eq!(locked.state().0, 0);
/// # drop(locked);
/// # Ok::<(), Error>(())
/// ```
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

    /// Locks the queue.
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
    /// To be called by the virtio core only, as the callback of a queue.
    unsafe extern "C" fn callback(raw: *mut bindings::virtqueue) {
        // SAFETY: The core passes a queue that is not deleted. So the device is valid, and its
        // pointer is to the set that holds the queue.
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

/// A buffer that a queue has refused, and the reason.
pub struct Refused<C> {
    /// [`ENOSPC`]: the queue is full. [`ENODEV`]: the queue is not open. [`EIO`]: the device is
    /// broken.
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
    /// The bytes that the device says that it has written.
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

    /// Gives a buffer to the device. The device notices it after [`Self::kick`].
    ///
    /// # Errors
    ///
    /// Those of [`Refused`]; [`EINVAL`] if both parts of the buffer are empty.
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
        // SAFETY: By the type invariant, the queue is not deleted. The lock is held, which
        // serialises its use. The memory is the buffer's, and nobody uses it until the queue gives
        // the token back.
        let added = to_result(unsafe {
            bindings::virtqueue_add_buffer(raw, memory.cast(), readable, writable, token.cast())
        });
        added.map_err(|error| Refused {
            error,
            // SAFETY: The token comes from a box, and the queue has not taken it.
            buffer: unsafe { KBox::from_raw(token) },
        })
    }

    /// Tells the device that there are buffers.
    #[inline]
    pub fn kick(&mut self) {
        if !self.inner.raw.is_null() {
            // If the device cannot be told, it is broken, as `is_broken` says.
            // SAFETY: By the type invariant, the queue is not deleted. The lock is held.
            unsafe { bindings::virtqueue_kick(self.inner.raw) };
        }
    }

    /// Takes a buffer that the device has given back, if there is one.
    #[inline]
    pub fn take(&mut self) -> Option<Answer<S::Context>> {
        if self.inner.raw.is_null() {
            return None;
        }
        let mut written = 0;
        // SAFETY: By the type invariant, the queue is not deleted. The lock is held.
        let token = unsafe { bindings::virtqueue_get_buf(self.inner.raw, &mut written) };
        (!token.is_null()).then(|| Answer {
            // SAFETY: The token is one that `add` has given to the queue, which gives it back once.
            // The device no longer uses the buffer.
            buffer: unsafe { KBox::from_raw(token.cast()) },
            written: written as usize,
        })
    }

    /// Marks the queue as broken, so that nobody expects anything of the device.
    pub fn give_up(&mut self) {
        if !self.inner.raw.is_null() {
            // SAFETY: By the type invariant, the queue is not deleted. The lock is held.
            unsafe { bindings::__virtqueue_break(self.inner.raw) };
        }
    }

    /// Whether the device will give nothing back: the device is broken, or the queue is not open.
    pub fn is_broken(&self) -> bool {
        let raw = self.inner.raw;
        // SAFETY: By the type invariant, the queue is not deleted.
        raw.is_null() || unsafe { bindings::virtqueue_is_broken(raw) }
    }

    /// How many descriptors are free. A buffer takes one for each part that is not empty. A buffer
    /// with two such parts takes only one if the device supports indirect descriptors and there is
    /// memory for them.
    pub fn room(&self) -> usize {
        let raw = self.inner.raw;
        if raw.is_null() {
            return 0;
        }
        // SAFETY: By the type invariant, the queue is not deleted. The lock is held.
        unsafe { (*raw).num_free as usize }
    }
}

/// A queue of any type, which is to be opened.
pub struct QueueRef(Arc<dyn Openable>);

impl<S: State> From<Arc<Queue<S>>> for QueueRef {
    fn from(queue: Arc<Queue<S>>) -> QueueRef {
        QueueRef(queue)
    }
}

/// What a [`Set`] does with its queues.
trait Openable: Send + Sync {
    /// The queue's name and callback, for the transport.
    fn info(&self) -> bindings::virtqueue_info;

    /// Opens the queue with a C queue, or closes it with null.
    ///
    /// # Safety
    ///
    /// A C queue must be valid, must not be used by anybody else, and must be one that the
    /// transport has made from [`Self::info`]. It must not be deleted before the queue is closed.
    unsafe fn set(&self, raw: *mut bindings::virtqueue);

    /// Drops the buffers that the device has not given back.
    ///
    /// # Safety
    ///
    /// `raw` must be the C queue that was set before the queue was closed. The device must have
    /// been reset.
    unsafe fn drain(&self, raw: *mut bindings::virtqueue);

    /// Calls [`State::notified`].
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
        // INVARIANT: The caller promises that the queue is closed before `raw` is deleted.
        self.inner.lock().raw = raw;
    }

    unsafe fn drain(&self, raw: *mut bindings::virtqueue) {
        loop {
            // SAFETY: The caller promises a queue that is not deleted, and that nobody else uses.
            let token = unsafe { bindings::virtqueue_detach_unused_buf(raw) };
            if token.is_null() {
                return;
            }
            // SAFETY: The token is one that `add` has given to the queue, which gives it back once.
            // The device was reset, so it does not use the buffer.
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
    /// The queues that the transport has made; null before. They are atomic because callbacks may
    /// use the set while it is opened.
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

    /// Lets the transport make the queues, and opens them.
    ///
    /// # Safety
    ///
    /// `device` must be valid, and must have a driver and no queues. Its pointer must be to the
    /// set. The set must not move until the queues are deleted.
    pub(super) unsafe fn open(&self, device: *mut bindings::virtio_device) -> Result {
        let mut infos = KVec::with_capacity(self.queues.len(), GFP_KERNEL)?;
        let mut found = KVec::from_elem(ptr::null_mut(), self.queues.len(), GFP_KERNEL)?;
        for queue in &self.queues {
            infos.push(queue.0.info(), GFP_KERNEL)?;
        }
        // SAFETY: The caller promises a valid device without queues. Both arrays have an element
        // for each queue.
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
            // SAFETY: The transport has just made the queue for this device. `close` runs before
            // `delete`.
            unsafe { queue.0.set(*raw) };
        }
        Ok(())
    }

    /// Closes all queues.
    pub(super) fn close(&self) {
        for queue in &self.queues {
            // SAFETY: Null only closes the queue.
            unsafe { queue.0.set(ptr::null_mut()) };
        }
    }

    /// Drops all buffers in the queues, and lets the transport delete the queues.
    ///
    /// # Safety
    ///
    /// The queues must be closed, and their device, `device`, must have been reset.
    pub(super) unsafe fn delete(&self, device: *mut bindings::virtio_device) {
        let mut is_open = false;
        for (queue, slot) in self.queues.iter().zip(&self.raw) {
            let raw = slot.load(Relaxed);
            if raw.is_null() {
                continue;
            }
            is_open = true;
            // SAFETY: `open` has set this C queue. The caller promises that it is closed, and the
            // device reset.
            unsafe { queue.0.drain(raw) };
        }
        if is_open {
            // SAFETY: The transport has made the device's queues. They are closed, so nobody uses
            // them.
            unsafe { bindings::virtio_del_vqs(device) };
        }
    }
}
