// SPDX-License-Identifier: GPL-2.0

//! Kernels that run after a crash, to save what is left of the crashed one.
//!
//! C header: [`include/linux/crash_dump.h`](srctree/include/linux/crash_dump.h)

use crate::bindings;

/// Whether this kernel was started by the crash of another one, whose memory and devices are as the
/// crash left them. Other than a kernel that was started by a plain kexec.
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
    // SAFETY: The function reads a number that is set before any driver runs.
    unsafe { bindings::is_kdump_kernel() }
}
