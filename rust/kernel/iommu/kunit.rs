// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of the driver abstractions:
//!
//! - `tables`: domains, by the example of one format of page tables;
//! - `formats`: what each format adds;
//! - `callbacks`: what the core asks of a driver, with a driver that is registered;
//! - `driver`: a driver without hardware, for the first two.

mod callbacks;
mod driver;
mod formats;
mod tables;
