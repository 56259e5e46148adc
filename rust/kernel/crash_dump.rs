// SPDX-License-Identifier: GPL-2.0

//! Whether a kernel runs after a crash, to save what the crashed one has left.
//!
//! C header: [`include/linux/crash_dump.h`](srctree/include/linux/crash_dump.h)

use crate::bindings;

/// Whether this kernel was started by the crash of another one. Memory and devices are then as the
/// crash has left them. This is false in a kernel that was started by a plain kexec.
///
/// Context: any.
///
/// # Examples
///
/// ```
/// if kernel::crash_dump::is_kdump_kernel() {
///     pr_info!("devices may still be at work for the crashed kernel\n");
/// }
/// ```
pub fn is_kdump_kernel() -> bool {
    // SAFETY: The function reads a number that is set before any driver runs, and does not change.
    unsafe { bindings::is_kdump_kernel() }
}
