// SPDX-License-Identifier: GPL-2.0
//! Each allocation of a piece of work fails once.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::test_interface::Counter;
use hvprotocol::report::Accounted;

use super::injection::{Injection, Part, Shot};
use crate::check::Context;
use crate::checks::leaks::io_page_table_bytes;
use crate::kernel_log::{is_drivers, KernelLog};
use crate::minihv::Minihv;
use crate::report::{remark, Outcome};

/// More allocations than any of these makes: a loop that does not end is a failure.
const MOST: u32 = 200;

/// What each of the driver's lines about it says.
const MESSAGE: &str = "no memory";

/// Something that allocates, and can be done as often as one likes.
pub trait Work {
    /// Up to where it begins. With all the memory that there is.
    ///
    /// # Errors
    /// When it cannot be prepared.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Does it.
    ///
    /// # Errors
    /// When the kernel does not do all of it.
    fn act(&mut self) -> Result<()>;

    /// Whether an error is what the kernel says when there is no memory.
    fn is_no_memory(&self, error: &anyhow::Error) -> bool;

    /// What must be true after it was done or not. `lines` are those that the kernel logged meanwhile.
    ///
    /// # Errors
    /// When it is not.
    fn judge(&mut self, minihv: Minihv, lines: &[String]) -> Result<()>;

    /// Back to before it began.
    ///
    /// # Errors
    /// When there is no way back.
    fn undo(&mut self) -> Result<()>;
}

/// What must not become more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    /// Domains at the hypervisor.
    domains: u64,
    /// Memory of I/O page tables, in bytes.
    tables: u64,
}

impl Held {
    fn now(minihv: Minihv) -> Result<Held> {
        Ok(Held { domains: minihv.counter(Counter::LiveDomains, 0)?, tables: io_page_table_bytes()? })
    }
}

fn whole(work: &mut dyn Work) -> Result<()> {
    work.prepare().context("before it")?;
    work.act().context("with all the memory that there is")?;
    work.undo().context("after it")
}

/// One time; whether the allocation was made.
fn once(work: &mut dyn Work, minihv: Minihv, injection: &Injection, nth: u32, log: &mut KernelLog) -> Result<Shot> {
    work.prepare().context("before it")?;
    log.take()?;
    let (result, shot) = injection.during(nth, || work.act())?;
    let lines = log.take()?;
    match (&result, shot) {
        (Err(error), Shot::Missed) => bail!("no allocation failed, and still: {error:#}"),
        (Err(error), Shot::Hit) => {
            ensure!(work.is_no_memory(error), "the kernel has another reason: {error:#}");
            remark(&format!("allocation {nth}: {error:#}"));
        }
        (Ok(()), Shot::Hit) => remark(&format!("allocation {nth}: done without it")),
        (Ok(()), Shot::Missed) => {}
    }
    for line in lines.iter().filter(|line| is_drivers(line) && line.contains(MESSAGE)) {
        remark(&Accounted(line).to_string());
    }
    work.judge(minihv, &lines)?;
    work.undo().context("after it")?;
    Ok(shot)
}

/// Fails every allocation of a part of the kernel in a piece of work.
pub fn each(context: &mut Context<'_>, part: Part, work: &mut dyn Work) -> Result<Outcome> {
    let minihv = context.minihv()?;
    // What is allocated at the first time only is no loss.
    whole(work)?;
    let before = Held::now(minihv)?;
    let injection = Injection::new(part)?;
    let mut log = KernelLog::follow()?;
    let mut nth = 0;
    loop {
        nth += 1;
        ensure!(nth <= MOST, "{MOST} allocations, and no end");
        let named = || format!("allocation {nth} of {}", part.name());
        let shot = once(work, minihv, &injection, nth, &mut log).with_context(named)?;
        let after = Held::now(minihv)?;
        ensure!(after == before, "{}: {after:?} are held, {before:?} before", named());
        if shot == Shot::Missed {
            break;
        }
    }
    ensure!(nth > 1, "{} allocated nothing", part.name());
    whole(work)?;
    Ok(Outcome::Pass(format!("{} allocations of {} failed", nth - 1, part.name())))
}
