// SPDX-License-Identifier: GPL-2.0
//! What the runner (`hvrun`) and the guest program (`hvguest`) say to one another.
//!
//! The runner speaks by words on the kernel's command line ([`options`]). The guest program speaks by lines on the
//! console: its report ([`report`]) with remarks in it, by which it announces DMA faults ([`faults`]), accounts for lines
//! of the driver, tells what it waited for, and asks for something ([`request`]); and figures that it measured
//! ([`figure`]). Both sides of each are here, so that neither can change alone.

pub mod faults;
pub mod figure;
pub mod options;
pub mod report;
pub mod request;
