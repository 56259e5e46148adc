// SPDX-License-Identifier: GPL-2.0
//! The checks, one concern per file.

pub mod counters;
pub mod groups;
pub mod identity;
pub mod nvme;
pub mod protection;
pub mod virtio;
pub mod width;
