// SPDX-License-Identifier: GPL-2.0
//! The heap: a fixed part of the hypervisor's own memory.

use core::cell::UnsafeCell;

use linked_list_allocator::LockedHeap;

const HEAP_BYTES: usize = 5 << 20;

#[repr(align(4096))]
struct Arena(UnsafeCell<[u8; HEAP_BYTES]>);

// SAFETY: only the allocator touches the arena, under its lock.
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; HEAP_BYTES]));

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

/// Makes allocation possible. Called once, before anything allocates.
pub fn init() {
    // SAFETY: the arena is static, used by nothing else, and handed over once.
    unsafe { HEAP.lock().init(ARENA.0.get().cast(), HEAP_BYTES) }
}
