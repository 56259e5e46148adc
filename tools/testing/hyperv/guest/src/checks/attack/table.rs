// SPDX-License-Identifier: GPL-2.0
//! Attacks: what a device tries to reach, by which mapping it must or must not, and what came of it.
//!
//! edu stands for the hostile device: it reads and writes any address on command. Each row of the tables is a test of
//! its own in the report. The addresses that must be out of reach are, wherever that is possible, the physical addresses
//! of memory that the test watches: a machine without protection lets the device at it, and the row notices.
//!
//! edu transfers at most 4096 bytes at a time. So two pages are tried by transfers of 1 to 4096 bytes across the border
//! between them, which touch both, not by one transfer of 8192 bytes.

use std::fmt;

use anyhow::{bail, Context as _, Result};

use crate::check::Context;
use crate::memory::PAGE;
use crate::report::Outcome;

/// What the device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It reads memory.
    Read,
    /// It writes memory.
    Write,
}

impl Direction {
    /// Both.
    pub const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

    /// For a row's id.
    pub fn word(self) -> &'static str {
        match self {
            Direction::Read => "read",
            Direction::Write => "write",
        }
    }
}

/// What is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No byte gets through, and a fault is reported.
    Blocked,
    /// So many bytes get through, and no fault is reported.
    Reaches(usize),
    /// So many bytes, those that are mapped, get through; the others do not, and a fault is reported.
    Part(usize),
    /// Whole pages get through, or nothing does and a fault is reported; both happen.
    Sometimes,
    /// A fault is reported. Whether bytes got through cannot be looked at.
    Faults,
    /// No memory changes. What else happens is the host's business.
    HostDecides,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Expected::Blocked => "blocked",
            Expected::Reaches(_) => "reaches",
            Expected::Part(_) => "part",
            Expected::Sometimes => "sometimes",
            Expected::Faults => "faults",
            Expected::HostDecides => "host-decides",
        })
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of watched memory that were changed, or that the device got to know.
    pub bytes: usize,
    /// Whether a DMA fault was reported.
    pub fault: bool,
    /// What happened besides that no row allows; empty when nothing did.
    pub stray: String,
    /// Anything else worth telling.
    pub note: String,
}

impl Seen {
    /// So many bytes, and whether there was a fault.
    pub fn new(bytes: usize, fault: bool) -> Seen {
        Seen { bytes, fault, ..Seen::default() }
    }

    /// The same with a note.
    pub fn noted(self, note: impl Into<String>) -> Seen {
        Seen { note: note.into(), ..self }
    }

    /// The same with what no row allows.
    pub fn strayed(self, stray: impl Into<String>) -> Seen {
        Seen { stray: stray.into(), ..self }
    }

    /// How the outcome is called.
    fn word(&self) -> &'static str {
        match (self.bytes, self.fault) {
            (0, true) => "blocked",
            (0, false) => "nothing",
            (_, false) => "reaches",
            (_, true) => "part",
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bytes={} fault={}", self.bytes, if self.fault { "yes" } else { "no" })
    }
}

impl Expected {
    /// Whether it came out right.
    pub fn fits(self, seen: &Seen) -> bool {
        if !seen.stray.is_empty() {
            return false;
        }
        match self {
            Expected::Blocked => seen.bytes == 0 && seen.fault,
            Expected::Reaches(bytes) => seen.bytes == bytes && !seen.fault,
            Expected::Part(bytes) => seen.bytes == bytes && seen.fault,
            Expected::Sometimes => seen.bytes > 0 && seen.bytes % PAGE == 0 && seen.fault,
            Expected::Faults => seen.fault,
            Expected::HostDecides => seen.bytes == 0,
        }
    }

    /// Whether it says that something is out of reach.
    fn forbids(self) -> bool {
        matches!(self, Expected::Blocked | Expected::Part(_) | Expected::Sometimes | Expected::Faults)
    }
}

/// What happens to a row where there is no protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unprotected {
    /// It fails: what it forbids happens.
    Fails,
    /// It passes all the same, for this reason.
    Passes(&'static str),
    /// It is not tried, for this reason.
    Untried(&'static str),
}

/// Whether a row forbids anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forbids {
    /// If what is expected says so.
    AsExpected,
    /// That anything is reached but what is expected.
    AllElse,
}

/// A row of a table.
pub struct Row<E> {
    /// Its name in the report.
    pub id: String,
    expected: Expected,
    forbids: Forbids,
    unprotected: Unprotected,
    attack: Box<Attack<E>>,
}

type Attack<E> = dyn Fn(&mut E) -> Result<Seen>;

impl<E> Row<E> {
    /// A row that fails without protection.
    pub fn new(id: impl Into<String>, expected: Expected, attack: impl Fn(&mut E) -> Result<Seen> + 'static) -> Row<E> {
        let forbids = Forbids::AsExpected;
        Row { id: id.into(), expected, forbids, unprotected: Unprotected::Fails, attack: Box::new(attack) }
    }

    /// The same row, which fails without protection although it only says what is reached.
    pub fn and_nothing_else(self) -> Row<E> {
        Row { forbids: Forbids::AllElse, ..self }
    }

    /// Whether it says that something is out of reach.
    fn forbids(&self) -> bool {
        self.forbids == Forbids::AllElse || self.expected.forbids()
    }

    /// The same row as one of the table of this name.
    pub fn of(self, table: &str) -> Row<E> {
        Row { id: format!("{table}-{}", self.id), ..self }
    }

    /// A row that is no evidence without protection.
    pub fn unless(self, unprotected: Unprotected) -> Row<E> {
        Row { unprotected, ..self }
    }
}

/// What the machine is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// It protects its memory: every row must come out as stated.
    Protected,
    /// Nothing protects its memory: every row that forbids something must fail, but for those that say why not.
    Unprotected,
}

fn judge<E>(row: &Row<E>, machine: Machine, seen: &Seen) -> Result<Outcome> {
    let words = [seen.word(), &seen.to_string(), &seen.note, &seen.stray];
    let words = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let fits = row.expected.fits(seen);
    match (machine, row.unprotected) {
        (Machine::Protected, _) if fits => Ok(Outcome::Pass(words)),
        (Machine::Protected, _) => bail!("expected {:?}: {words}", row.expected),
        (Machine::Unprotected, Unprotected::Passes(reason)) if fits => {
            Ok(Outcome::Pass(format!("no evidence: {reason}: {words}")))
        }
        (Machine::Unprotected, Unprotected::Passes(_)) => bail!("is evidence although the table denies it: {words}"),
        (Machine::Unprotected, _) if fits => bail!("passes without protection: {words}"),
        (Machine::Unprotected, _) => Ok(Outcome::Pass(format!("fails without protection: {words}"))),
    }
}

/// Tries every row, each a test below `name`.
///
/// # Errors
/// When a row comes out wrong; names the first ones.
pub fn run<E>(
    context: &mut Context<'_>,
    name: &str,
    machine: Machine,
    environment: &mut E,
    rows: &[Row<E>],
) -> Result<Outcome> {
    let tried = |row: &&Row<E>| {
        machine == Machine::Protected || row.forbids() && !matches!(row.unprotected, Unprotected::Untried(_))
    };
    let chosen: Vec<&Row<E>> = rows.iter().filter(tried).collect();
    if machine == Machine::Unprotected {
        for row in rows.iter().filter(|row| row.forbids()) {
            if let Unprotected::Untried(reason) = row.unprotected {
                context.reporter.note(&format!("not tried: {}: {reason}", row.id));
            }
        }
    }
    let depth = context.reporter.depth();
    context.reporter.enter(name, chosen.len());
    let mut failed = Vec::new();
    for (index, row) in chosen.iter().enumerate() {
        let seen = (row.attack)(environment);
        let (word, detail) = match &seen {
            Ok(seen) => (seen.word(), seen.to_string()),
            Err(_) => ("untried", String::new()),
        };
        let result = seen.context("not tried").and_then(|seen| judge(row, machine, &seen));
        let verdict = if result.is_ok() { "right" } else { "wrong" };
        let line = format!("attack {} {} {word} {verdict} {detail}", row.id, row.expected);
        context.reporter.note(line.trim_end());
        if result.is_err() {
            failed.push(row.id.as_str());
        }
        context.reporter.result(index + 1, &row.id, &result);
    }
    context.reporter.leave(depth);
    match failed.len() {
        0 => Ok(Outcome::Pass(format!("{} rows", chosen.len()))),
        count => bail!("{count} of {} rows: {}", chosen.len(), failed[..count.min(8)].join(" ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(expected: Expected, unprotected: Unprotected, machine: Machine, bytes: usize, fault: bool) -> bool {
        let row = Row::<()>::new("x", expected, |_| Ok(Seen::default())).unless(unprotected);
        judge(&row, machine, &Seen::new(bytes, fault)).is_ok()
    }

    #[test]
    fn a_row_passes_for_what_it_states_only() {
        let protected =
            |expected, bytes, fault| verdict(expected, Unprotected::Fails, Machine::Protected, bytes, fault);
        assert!(protected(Expected::Blocked, 0, true));
        assert!(!protected(Expected::Blocked, 0, false) && !protected(Expected::Blocked, 1, true));
        assert!(protected(Expected::Reaches(4), 4, false));
        assert!(!protected(Expected::Reaches(4), 3, false) && !protected(Expected::Reaches(4), 4, true));
        assert!(protected(Expected::Part(2), 2, true) && !protected(Expected::Part(2), 4, false));
        assert!(protected(Expected::HostDecides, 0, false) && !protected(Expected::HostDecides, 1, false));
        assert!(protected(Expected::Sometimes, PAGE, true) && !protected(Expected::Sometimes, PAGE, false));
        assert!(!protected(Expected::Sometimes, 0, true) && !protected(Expected::Sometimes, PAGE + 1, true));
        assert!(protected(Expected::Faults, 0, true) && !protected(Expected::Faults, 0, false));
    }

    #[test]
    fn what_no_row_allows_fits_none() {
        for (expected, seen) in [(Expected::Blocked, Seen::new(0, true)), (Expected::HostDecides, Seen::new(0, false))]
        {
            assert!(expected.fits(&seen) && !expected.fits(&seen.strayed("an interrupt")));
        }
    }

    #[test]
    fn a_row_of_what_is_reached_may_forbid_the_rest() {
        let row = || Row::<()>::new("x", Expected::Reaches(8), |_| Ok(Seen::default()));
        assert!(!row().forbids() && row().and_nothing_else().forbids());
    }

    #[test]
    fn without_protection_a_row_must_fail() {
        let bare =
            |unprotected, bytes, fault| verdict(Expected::Blocked, unprotected, Machine::Unprotected, bytes, fault);
        assert!(bare(Unprotected::Fails, 4, false) && !bare(Unprotected::Fails, 0, true));
        assert!(bare(Unprotected::Passes("hole"), 0, true) && !bare(Unprotected::Passes("hole"), 4, false));
    }
}
