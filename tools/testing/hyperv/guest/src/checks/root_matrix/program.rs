// SPDX-License-Identifier: GPL-2.0
//! A program that has a device, and what it notices.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::DomainId;
use nix::errno::Errno;

use super::cells::Notices;
use crate::check::Context;
use crate::memory::{DmaBuffer, HugePage};
use crate::minihv::{DeviceTranslation, Effect, Minihv};
use crate::session::BackEnd;
use crate::vfio::errno;
use crate::witness::{at, Witness, FROM_DEVICE};

/// Pages that the program maps, but for a short look.
const PAGES: usize = 3;
/// A page of its window that it never maps with success.
const NEVER: u64 = 16;

/// In what pieces the program maps its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pieces {
    /// One page alone: a short look.
    One,
    /// Each by itself, wherever it lies.
    Pages,
    /// All at once, and they lie side by side: one call's list.
    Run,
}

impl Pieces {
    /// What a call's effect needs.
    pub fn of(effect: Effect) -> Pieces {
        match effect {
            Effect::Partial(_) | Effect::Slice(_) => Pieces::Run,
            _ => Pieces::Pages,
        }
    }

    fn memory(self) -> Result<DmaBuffer> {
        match self {
            Pieces::One | Pieces::Pages => DmaBuffer::new(self.pages()),
            Pieces::Run => DmaBuffer::huge(HugePage::TwoMiB),
        }
    }

    fn pages(self) -> usize {
        self.ranges().iter().map(|(_, count)| count).sum()
    }

    /// First page and number of pages of each.
    fn ranges(self) -> &'static [(usize, usize)] {
        match self {
            Pieces::One => &[(0, 1)],
            Pieces::Pages => &[(0, 1), (1, 1), (2, 1)],
            Pieces::Run => &[(0, PAGES)],
        }
    }
}

/// What a program noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub notices: Notices,
    /// What it was told when something did not work.
    pub errno: Option<Errno>,
    /// Its domain, if it had one.
    pub domain: Option<DomainId>,
}

/// A program from its start to its end. Rules for calls are over as soon as it notices something.
pub fn run(context: &Context<'_>, minihv: Minihv, back_end: BackEnd, pieces: Pieces) -> Result<Seen> {
    let witness = match Witness::with_buffer(context, back_end, pieces.memory()?) {
        Ok(witness) => witness,
        Err(error) => {
            minihv.clear_injections()?;
            let told = errno(&error);
            ensure!(told.is_some(), "the program does not get the device: {error:#}");
            return Ok(Seen { notices: Notices::NoDevice, errno: told, domain: None });
        }
    };
    let mut program = Program { witness, minihv, pieces };
    ensure!(!program.is_blocked()?, "all seems well, and the device is blocked");
    let domain = program.minihv.device_domain(program.witness.function.logical_id().context("edu has no id")?)?;
    let (notices, errno) = program.live()?;
    program.witness.faults.expect_none()?;
    Ok(Seen { notices, errno, domain })
}

struct Program {
    witness: Witness,
    minihv: Minihv,
    pieces: Pieces,
}

impl Program {
    fn is_blocked(&self) -> Result<bool> {
        let id = self.witness.function.logical_id().context("edu has no id")?;
        Ok(self.minihv.device_translation(id)? == DeviceTranslation::Blocked)
    }

    fn map(&self, (first, count): (usize, usize)) -> nix::Result<()> {
        self.witness.session.map(at(first as u64), &self.witness.buffer, first, count)
    }

    fn reaches_nothing(&mut self, (first, count): (usize, usize), what: &str) -> Result<()> {
        (first..first + count).try_for_each(|page| self.witness.blocked_write(at(page as u64), page, what))
    }

    /// A domain that is closed takes no mappings.
    fn is_closed(&mut self) -> Result<()> {
        self.reaches_nothing((0, self.pieces.pages()), "STALE TRANSLATION: a page of a domain that is closed")?;
        match self.witness.session.map(at(NEVER), &self.witness.buffer, 0, 1) {
            Err(Errno::EIO) => Ok(()),
            other => bail!("a domain that is closed answers {other:?} to a mapping"),
        }
    }

    /// Maps, lets the device try, unmaps, and lets the device try again.
    fn live(&mut self) -> Result<(Notices, Option<Errno>)> {
        let mut noticed = (Notices::Nothing, None);
        for &range in self.pieces.ranges() {
            let Err(errno) = self.map(range) else { continue };
            self.minihv.clear_injections()?;
            if self.is_blocked()? {
                self.is_closed()?;
                return Ok((Notices::Blocked, Some(errno)));
            }
            // Nothing of it was left behind.
            self.reaches_nothing(range, "a page that could not be mapped")?;
            self.map(range).context("mapping once more")?;
            noticed = (Notices::NoMapping, Some(errno));
        }
        for page in 0..self.pieces.pages() {
            self.witness.round_trip(at(page as u64), page, FROM_DEVICE, "a page that is mapped")?;
        }
        for &range in self.pieces.ranges() {
            self.witness.session.unmap(at(range.0 as u64), range.1)?;
            self.reaches_nothing(range, "STALE TRANSLATION: a page after its unmap")?;
        }
        if self.is_blocked()? {
            self.minihv.clear_injections()?;
            self.is_closed()?;
            noticed = (Notices::Blocked, None);
        }
        Ok(noticed)
    }
}
