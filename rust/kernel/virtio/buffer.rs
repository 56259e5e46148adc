// SPDX-License-Identifier: GPL-2.0

//! Memory that a device reads and writes.

use crate::{
    alloc::Flags,
    prelude::*, //
};
use zerocopy::Immutable;

/// Memory of which the device reads the first part and writes the second, and what the driver keeps
/// with it.
///
/// The memory is an allocation of its own, so it shares no cache line with anything else. A queue
/// owns the whole buffer as long as the device may use it.
///
/// # Examples
///
/// ```
/// use kernel::virtio::buffer::Buffer;
///
/// // The context is what the driver wants to know when the buffer comes back.
/// let mut buffer = Buffer::new(16, "request 1", GFP_KERNEL)?;
/// buffer.prepare(&[1_u8, 2, 3, 4], 8)?;
/// assert_eq!(buffer.readable(), &[1, 2, 3, 4]);
/// assert_eq!(buffer.writable().len(), 8);
/// assert!(buffer.prepare(&[0_u8; 9], 8) == Err(ENOSPC));
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `readable + writable` is at most the length of `memory`, and at most `u32::MAX`.
pub struct Buffer<C> {
    memory: KVec<u8>,
    readable: usize,
    writable: usize,
    /// What the driver keeps with the memory.
    pub context: C,
}

impl<C> Buffer<C> {
    /// A buffer of `bytes` zero bytes. Both parts are empty.
    ///
    /// Context: may sleep if `flags` say so.
    ///
    /// # Errors
    ///
    /// [`ENOMEM`].
    pub fn new(bytes: usize, context: C, flags: Flags) -> Result<KBox<Buffer<C>>> {
        // INVARIANT: Both parts are empty.
        let buffer = Buffer {
            memory: KVec::from_elem(0, bytes, flags)?,
            readable: 0,
            writable: 0,
            context,
        };
        Ok(KBox::new(buffer, flags)?)
    }

    /// Lets the device read `message`, and write the `reply` bytes behind it.
    ///
    /// # Errors
    ///
    /// [`ENOSPC`]: the buffer is too small.
    pub fn prepare<M>(&mut self, message: &M, reply: usize) -> Result
    where
        M: IntoBytes + Immutable + ?Sized,
    {
        let message = message.as_bytes();
        let end = message.len().checked_add(reply).ok_or(ENOSPC)?;
        if end > self.memory.len() || u32::try_from(end).is_err() {
            return Err(ENOSPC);
        }
        self.memory
            .get_mut(..message.len())
            .ok_or(ENOSPC)?
            .copy_from_slice(message);
        // INVARIANT: The sum was compared with the memory's length and with `u32::MAX` above.
        self.readable = message.len();
        self.writable = reply;
        Ok(())
    }

    /// The part that the device reads.
    pub fn readable(&self) -> &[u8] {
        self.memory.get(..self.readable).unwrap_or(&[])
    }

    /// The part that the device writes.
    pub fn writable(&self) -> &[u8] {
        self.memory
            .get(self.readable..self.readable + self.writable)
            .unwrap_or(&[])
    }

    /// The start of the memory and the lengths of the two parts, as the C side takes them.
    pub(super) fn as_raw_parts(&mut self) -> (*mut u8, u32, u32) {
        // By the type invariant, both lengths fit into a `u32`.
        (
            self.memory.as_mut_ptr(),
            self.readable as u32,
            self.writable as u32,
        )
    }
}
