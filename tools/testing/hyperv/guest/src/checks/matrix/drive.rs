// SPDX-License-Identifier: GPL-2.0
//! Who makes the kernel issue the hypercall of a cell, and what is seen from outside.

use anyhow::Result;
use hvcore::ids::DomainId;
use nix::errno::Errno;

use super::cells::{Operation, Place};

/// How closely a round is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attention {
    /// By what user space and the hypervisor say.
    Glance,
    /// By DMA as well, which takes long.
    Watch,
}

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What user space was told; `None`: success.
    pub errno: Option<Errno>,
    /// Where the device was then.
    pub place: Place,
}

/// Somebody who can do some of the operations, as often as it takes.
pub trait Drive {
    /// Called before the rules of a cell are in force.
    ///
    /// # Errors
    /// When the machine is not fit for it.
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Does the operation once, and undoes it.
    ///
    /// # Errors
    /// When something else than the operation does not work, or the device reaches what it must not reach.
    fn round(&mut self, operation: Operation, attention: Attention) -> Result<Seen>;

    /// Called when the rules are gone: everything works as ever. The number that a new domain gets now.
    ///
    /// # Errors
    /// When it does not.
    fn free_number(&mut self) -> Result<DomainId>;
}
