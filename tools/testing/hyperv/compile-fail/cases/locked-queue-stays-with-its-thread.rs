// SPDX-License-Identifier: GPL-2.0
//! A locked queue, with interrupts off, does not go to another thread.

use kernel::sync::Arc;
use kernel::virtio::queue::{Queue, State};

fn hand_over<T: Send>(_value: T) {}

pub fn defer<S: State>(queue: Arc<Queue<S>>) {
    #[cfg(misuse)]
    hand_over(queue.lock()); //~ E0277: `*mut ()` cannot be sent between threads safely
    #[cfg(not(misuse))]
    hand_over(queue);
}
