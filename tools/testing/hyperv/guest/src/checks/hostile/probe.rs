// SPDX-License-Identifier: GPL-2.0
//! The driver looks for its IOMMU, by a file in debugfs that has it do so once more.

use std::str::FromStr;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::LogicalDeviceId;
use hvcore::test_interface::{Counter, ToldField};
use linkme::distributed_slice;

use super::sequence::{each, Hostility};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE};
use crate::debugfs;
use crate::kernel_log::is_drivers;
use crate::minihv::Minihv;
use crate::report::Outcome;

const PRESENT: u64 = 1 << 0;
const STAGE1: u64 = 1 << 2;
const FIVE_LEVELS: u64 = 1 << 3;
const SMALL_PAGES: u64 = 1 << 12;
/// A width that nobody may find too narrow.
const AMPLE: u64 = 39;

/// What the driver made of the host's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It will not serve such an IOMMU.
    Refused,
    /// It serves it.
    Served {
        width: u64,
        levels: u64,
        sizes: u64,
        /// 0, or why there was no table.
        table: i32,
    },
}

fn word<T: FromStr>(text: &str, name: &str) -> Option<T> {
    text.split_whitespace().skip_while(|&word| word != name).nth(1)?.parse().ok()
}

impl Found {
    fn parse(text: &str) -> Option<Found> {
        if text.starts_with("refused: errno ") {
            return Some(Found::Refused);
        }
        let sizes: String = text.strip_prefix("served: ").and_then(|rest| word(rest, "sizes"))?;
        Some(Found::Served {
            width: word(text, "width")?,
            levels: word(text, "levels")?,
            sizes: u64::from_str_radix(sizes.strip_prefix("0x")?, 16).ok()?,
            table: word(text, "table")?,
        })
    }
}

/// What the host answered.
#[derive(Clone, Copy, Debug)]
struct Told {
    result: u64,
    flags: u64,
    width: u64,
    sizes: u64,
}

impl Told {
    fn ask(minihv: Minihv) -> Result<Told> {
        let field = |field| {
            let value = minihv.told(field, LogicalDeviceId(0))?;
            value.context("the driver has not asked for capabilities")
        };
        Ok(Told {
            result: field(ToldField::Result)?,
            flags: field(ToldField::Flags)?,
            width: field(ToldField::Width)?,
            sizes: field(ToldField::PageSizes)?,
        })
    }

    /// Whether the answer says that there is nothing: no reason for a message.
    fn says_absent(self) -> bool {
        const UNKNOWN_CALL: u16 = 2;
        match self.result as u16 {
            0 => self.flags & PRESENT == 0,
            status => status == UNKNOWN_CALL,
        }
    }

    fn has_what_is_needed(self) -> bool {
        self.result as u16 == 0
            && self.flags & PRESENT != 0
            && self.flags & STAGE1 != 0
            && self.sizes & SMALL_PAGES != 0
    }
}

/// The driver must neither serve what cannot be served nor refuse what can, and says once why it refuses.
fn judge(told: Told, found: Found, lines: &[String]) -> Result<()> {
    let said = lines.iter().filter(|line| is_drivers(line)).count();
    match found {
        Found::Refused => {
            ensure!(!(told.has_what_is_needed() && told.width >= AMPLE), "refused for no reason");
            let due = usize::from(!told.says_absent());
            ensure!(said == due, "{said} lines instead of {due}: {lines:?}");
        }
        Found::Served { width, levels, sizes, .. } => {
            ensure!(told.has_what_is_needed(), "nonsense is served");
            let most = match levels {
                4 => 47,
                5 if told.flags & FIVE_LEVELS != 0 => 56,
                _ => bail!("{levels} levels"),
            };
            ensure!(0 < width && width <= told.width && width <= most, "a width of {width} bits");
            ensure!(sizes & !told.sizes == 0 && sizes & SMALL_PAGES != 0, "page sizes {sizes:#x}");
        }
    }
    Ok(())
}

/// Each probe under its own seed.
fn run(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let live = minihv.counter(Counter::LiveDomains, 0)?;
    let (mut refused, mut without_table) = (0, 0);
    let tally = each(context, |_, _, seed, log| {
        let hostility = Hostility::begin(minihv, seed)?;
        let text = debugfs::probe()?;
        let told = Told::ask(minihv)?;
        let wrong = hostility.end()?;
        let found = Found::parse(text.trim()).with_context(|| format!("probe: {text:?}"))?;
        judge(told, found, &log.take()?).with_context(|| format!("{text:?} about {told:x?}"))?;
        match found {
            Found::Refused => refused += 1,
            Found::Served { table: 0, .. } => {}
            Found::Served { .. } => without_table += 1,
        }
        Ok(wrong)
    })?;
    let left = minihv.counter(Counter::LiveDomains, 0)?;
    ensure!(left == live, "{left} domains live, {live} before");
    let (sequences, wrong) = (tally.sequences, tally.wrong);
    Ok(Outcome::Pass(format!(
        "{sequences} sequences, {wrong} wrong answers: {refused} refused, {without_table} served without a table"
    )))
}

const HOSTILE_PROBE: Check = Check::new("hostile-probe", run);

/// The scenarios. In the end the host is honest, and everything works.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "hostile-probe",
    summary: "the driver looks for its IOMMU, again and again",
    checks: &[DEVICES, GROUPS, HOSTILE_PROBE, VFIO_MAPPED, VFIO_STALE],
}];

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: Told = Told { result: 0, flags: 5, width: 48, sizes: 0x20_1000 };
    const SERVED: Found = Found::Served { width: 47, levels: 4, sizes: 0x20_1000, table: 0 };

    #[test]
    fn the_file_is_read() {
        let text = "served: width 47 levels 4 sizes 0x201000 table 0 blocking deleted identity absent";
        assert_eq!(Found::parse(text), Some(SERVED));
        assert_eq!(Found::parse("refused: errno -19"), Some(Found::Refused));
        assert_eq!(Found::parse("served: width 47 levels 4 sizes 0x201000"), None);
        assert_eq!(Found::parse(""), None);
    }

    #[test]
    fn what_is_served_must_be_servable() {
        assert!(judge(SOUND, SERVED, &[]).is_ok());
        for told in [
            Told { result: 5, ..SOUND },
            Told { flags: 1, ..SOUND },
            Told { flags: 4, ..SOUND },
            Told { sizes: 0x20_0000, ..SOUND },
            Told { width: 46, ..SOUND },
        ] {
            assert!(judge(told, SERVED, &[]).is_err(), "{told:?}");
        }
        let five = Found::Served { width: 48, levels: 5, sizes: 0x1000, table: 0 };
        assert!(judge(SOUND, five, &[]).is_err());
        assert!(judge(Told { flags: 0xd, ..SOUND }, five, &[]).is_ok());
    }

    #[test]
    fn a_refusal_has_a_reason_and_a_line() {
        let line = ["hv_pviommu: not used: x".to_owned()];
        assert!(judge(SOUND, Found::Refused, &line).is_err());
        let narrow = Told { width: 20, ..SOUND };
        assert!(judge(narrow, Found::Refused, &line).is_ok());
        assert!(judge(narrow, Found::Refused, &[]).is_err());
        assert!(judge(narrow, Found::Refused, &[line.clone(), line.clone()].concat()).is_err());
        for absent in [Told { flags: 0, ..SOUND }, Told { result: 2, ..SOUND }] {
            assert!(judge(absent, Found::Refused, &[]).is_ok());
            assert!(judge(absent, Found::Refused, &line).is_err());
        }
    }
}
