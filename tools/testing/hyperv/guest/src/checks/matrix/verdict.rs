// SPDX-License-Identifier: GPL-2.0
//! Runs a cell and compares what came of it with what must.

use super::cells::{expected, undisturbed, Cell, Expected, Leftover};
use super::drive::{Attention, Drive, Seen};
use crate::checks::said::{account_for, compare_lines, is_warning};
use crate::kernel_log::{is_drivers, KernelLog};
use crate::minihv::{Injection, Minihv};
use anyhow::{ensure, Context as _, Result};
use hvcore::ids::DomainId;
use hvcore::test_interface::Counter;

/// What is true before a cell.
pub struct Judge {
    minihv: Minihv,
    log: KernelLog,
    /// Domains that live when nothing is going on.
    live: u64,
    /// The number that a new domain gets.
    number: DomainId,
    /// Higher numbers that other devices' domains have.
    taken: Vec<DomainId>,
}

/// How many numbers above that of a new domain are looked at for other devices' domains.
const NEIGHBOURS: u32 = 64;

/// What is left of the rounds of a cell.
#[derive(Default)]
struct Balance {
    domains: u64,
    numbers: u32,
}

impl Judge {
    /// Takes the present state for sound.
    pub fn new(minihv: Minihv, drive: &mut dyn Drive) -> Result<Judge> {
        drive.begin()?;
        let number = drive.free_number()?;
        let mut taken = Vec::new();
        for id in (number.0 + 1..=number.0 + NEIGHBOURS).map(DomainId) {
            if minihv.domain_exists(id)? {
                taken.push(id);
            }
        }
        Ok(Judge { minihv, log: KernelLog::follow()?, live: minihv.counter(Counter::LiveDomains, 0)?, number, taken })
    }

    /// Runs a cell: so many rounds that the call goes wrong in the last but one. In words, what was seen of it.
    pub fn run(&mut self, drive: &mut dyn Drive, cell: &Cell) -> Result<String> {
        let result = self.rounds(drive, cell);
        // Whatever happened, the next cell starts without rules.
        self.minihv.clear_injections()?;
        let said = result?;
        Ok(said)
    }

    fn rounds(&mut self, drive: &mut dyn Drive, cell: &Cell) -> Result<String> {
        let operation = cell.operation;
        drive.begin()?;
        self.log.take()?;
        let count = |counter| self.minihv.counter(counter, 0);
        let (injected, violations) = (count(Counter::Injected)?, count(Counter::Violations)?);
        let hit = cell.occurrence.number();
        let injection = Injection {
            call: operation.call(),
            status: cell.status,
            first: (hit - 1) * operation.calls_per_round() + operation.call_in_round(),
            times: Some(1),
        };
        self.minihv.inject_effect(injection, cell.effect, None)?;
        let mut balance = Balance::default();
        let mut said = String::new();
        for round in 1..=hit + 1 {
            let (wanted, attention) = match round == hit {
                true => (expected(cell), Attention::Watch),
                false => (undisturbed(operation), Attention::Glance),
            };
            let seen = drive.round(operation, attention).with_context(|| format!("round {round}"))?;
            let lines = self.log.take()?;
            compare(&wanted, seen, &lines).with_context(|| format!("round {round}"))?;
            account_for(&lines);
            balance.add(wanted.leftover);
            if round == hit {
                said = describe(seen, &lines);
            }
        }
        let answered = count(Counter::Injected)? - injected;
        let due = 1 + operation.helpers() * u64::from(hit + 1);
        ensure!(answered == due, "{answered} calls went wrong instead of {due}");
        let broken = count(Counter::Violations)? - violations;
        ensure!(broken == 0, "{broken} violations of the interface");
        self.minihv.clear_injections()?;
        self.settle(drive, &balance)?;
        Ok(said)
    }

    /// Nothing is left but what is documented.
    fn settle(&mut self, drive: &mut dyn Drive, balance: &Balance) -> Result<()> {
        let number = drive.free_number()?;
        let above = (self.number.0..).map(DomainId).filter(|id| !self.taken.contains(id));
        let due = above.take(balance.numbers as usize + 1).last().context("no number is left")?;
        self.number = number;
        ensure!(number == due, "a new domain gets number {} instead of {}", number.0, due.0);
        let (live, due) = (self.minihv.counter(Counter::LiveDomains, 0)?, self.live + balance.domains);
        self.live = live;
        ensure!(live == due, "{live} domains live instead of {due}");
        let lines = self.log.take()?;
        compare_lines(&[], 0, &lines).context("after the cell")
    }
}

impl Balance {
    fn add(&mut self, leftover: Leftover) {
        let (numbers, domains) = match leftover {
            Leftover::Nothing => (0, 0),
            Leftover::Number => (1, 0),
            Leftover::Domain => (1, 1),
        };
        self.numbers += numbers;
        self.domains += domains;
    }
}

/// What was seen, in a few words.
fn describe(seen: Seen, lines: &[String]) -> String {
    let errno = seen.errno.map_or_else(|| "success".to_owned(), |errno| format!("{errno:?}"));
    let messages = lines.iter().filter(|line| is_drivers(line)).count();
    let warnings = lines.iter().filter(|line| is_warning(line)).count();
    format!("{errno}, device: {:?}, {messages} messages, {warnings} warnings", seen.place)
}

fn compare(wanted: &Expected, seen: Seen, lines: &[String]) -> Result<()> {
    ensure!(seen.errno == wanted.errno, "user space was told {:?} instead of {:?}", seen.errno, wanted.errno);
    ensure!(seen.place == wanted.place, "the device is {:?} instead of {:?}", seen.place, wanted.place);
    compare_lines(&wanted.messages, wanted.warnings, lines)
}
