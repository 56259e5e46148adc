// SPDX-License-Identifier: GPL-2.0
//! A program with a device, while the host is hostile.

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hostile::random::{Random, Seed};
use hvcore::ids::Iova;
use hvprotocol::faults::Provoked;
use linkme::distributed_slice;

use super::sequence::{each, Hostility};
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE};
use crate::faults::announce;
use crate::iommufd::{DeviceId, HwptId};
use crate::kernel_log::{is_drivers, KernelLog};
use crate::minihv::{DeviceTranslation, Minihv};
use crate::pci::PciFunction;
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, CANARY};

/// Pages that are mapped and unmapped, each at its own address.
const PAGES: usize = 4;
/// Most domains of one sequence.
const DOMAINS_MAX: usize = 4;
/// Transfers take long: the device is asked to reach an unmapped page in one sequence of so many.
const REACH_EVERY: u64 = 16;

/// Whether a page is mapped, as far as the program was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Page {
    Unmapped,
    Mapped,
    /// It was mapped and is not.
    Gone,
}

/// edu in the hands of a program.
struct Program {
    witness: Witness,
    device: DeviceId,
    domains: Vec<HwptId>,
    pages: [Page; PAGES],
}

impl Program {
    fn start(context: &Context<'_>) -> Result<Program> {
        let witness = Witness::open_by(context, BackEnd::Iommufd, PAGES)?;
        let device = witness.iommufd()?.0.id()?;
        Ok(Program { witness, device, domains: Vec::new(), pages: [Page::Unmapped; PAGES] })
    }

    /// Does something. What the kernel answers is its business: it is not wrong to fail.
    fn act(&mut self, random: &mut Random) -> Result<()> {
        let (cdev, space) = self.witness.iommufd()?;
        let page = random.below(PAGES as u64) as usize;
        let domain = random.below(self.domains.len().max(1) as u64) as usize;
        match (random.below(8), self.domains.get(domain)) {
            (0 | 1, _) if self.domains.len() < DOMAINS_MAX => {
                self.domains.extend(space.iommufd.allocate_hwpt(self.device, space.ioas).ok());
            }
            (0..=2, Some(&hwpt)) => drop(cdev.attach_hwpt(hwpt)),
            (3, _) => drop(cdev.attach(space.ioas)),
            (4, Some(&hwpt)) => {
                if space.iommufd.destroy_hwpt(hwpt).is_ok() {
                    self.domains.remove(domain);
                }
            }
            _ => match self.pages[page] {
                Page::Unmapped | Page::Gone => {
                    if self.witness.session.map(at(page as u64), &self.witness.buffer, page, 1).is_ok() {
                        self.pages[page] = Page::Mapped;
                    }
                }
                Page::Mapped => {
                    self.witness.session.unmap(at(page as u64), 1).context("an unmap cannot fail")?;
                    self.pages[page] = Page::Gone;
                }
            },
        }
        Ok(())
    }

    /// The device is translated or blocked, and the log says so when it is blocked.
    fn judge(&self, minihv: Minihv, lines: &[String]) -> Result<DeviceTranslation> {
        let id = self.witness.function.logical_id().context("edu has no logical id")?;
        let translation = minihv.device_translation(id)?;
        match translation {
            DeviceTranslation::Stage1(_) => {}
            DeviceTranslation::Blocked => {
                ensure!(lines.iter().any(|line| is_drivers(line)), "blocked without a word: {lines:?}");
            }
            DeviceTranslation::Bypass => bail!("the device does DMA past the IOMMU; the lines are {lines:?}"),
        }
        Ok(translation)
    }

    /// What the program unmapped is out of the device's reach.
    fn expect_out_of_reach(&mut self) -> Result<()> {
        let gone = self.pages.iter().position(|&page| page == Page::Gone);
        if let Some(page) = gone {
            self.witness.buffer.fill(page, CANARY);
            let (device, first) =
                (self.witness.function.logical_id().context("edu has no logical id")?, at(page as u64));
            // One that is kept off the bus causes none.
            announce(&Provoked::some(device, first..=Iova(first.0 + 0xfff), 0..=1));
            self.witness.edu.store(first)?;
            self.witness.buffer.expect(page, CANARY, "STALE TRANSLATION: a page after its unmap")?;
        }
        self.witness.faults.take_all().map(|_| ())
    }
}

/// The kernel has the device again, and the host is honest.
fn expect_returned(minihv: Minihv, function: &PciFunction) -> Result<()> {
    let id = function.logical_id().context("edu has no logical id")?;
    let translation = minihv.device_translation(id)?;
    let levels = matches!(translation, DeviceTranslation::Stage1(_));
    ensure!(levels, "the device is {translation:?} when the kernel has it again");
    Ok(())
}

fn one(context: &Context<'_>, number: u64, seed: Seed, log: &mut KernelLog) -> Result<(u64, DeviceTranslation)> {
    let minihv = context.minihv()?;
    let mut program = Program::start(context)?;
    let mut random = Random::new(seed);
    let hostility = Hostility::begin(minihv, seed)?;
    for _ in 0..4 + random.below(12) {
        program.act(&mut random)?;
    }
    let wrong = hostility.end()?;
    let translation = program.judge(minihv, &log.take()?)?;
    if number % REACH_EVERY == 0 {
        program.expect_out_of_reach()?;
    }
    let function = program.witness.function.clone();
    drop(program);
    expect_returned(minihv, &function)?;
    Ok((wrong, translation))
}

/// A program makes domains, attaches, maps and unmaps under each seed; it ends while the host is honest.
fn run(context: &mut Context<'_>) -> Result<Outcome> {
    let mut blocked = 0;
    let tally = each(context, |context, number, seed, log| {
        let (wrong, translation) = one(context, number, seed, log)?;
        blocked += u64::from(translation == DeviceTranslation::Blocked);
        Ok(wrong)
    })?;
    let (sequences, wrong) = (tally.sequences, tally.wrong);
    Ok(Outcome::Pass(format!("{sequences} sequences, {wrong} wrong answers: {blocked} blocked, the others translated")))
}

const HOSTILE_USER: Check = Check::new("hostile-user-space", run);

/// Nothing of the program is in the table that the device has now.
fn expect_unmapped(minihv: Minihv, function: &PciFunction) -> Result<()> {
    let id = function.logical_id().context("edu has no logical id")?;
    let Some(domain) = minihv.device_domain(id)? else { return Ok(()) };
    if !matches!(minihv.device_translation(id)?, DeviceTranslation::Stage1(_)) {
        return Ok(());
    }
    for page in 0..PAGES as u64 {
        if let Some(leaf) = minihv.walk(domain, at(page))? {
            bail!("{:#x} is still mapped, to {:#x}, after the program ended", at(page).0, leaf.address().0);
        }
    }
    Ok(())
}

/// A program ends under each seed: the device returns to the kernel's domain, is blocked, or what is left of the
/// program's domain lets it reach nothing.
fn close(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let tally = each(context, |context, _, seed, _| {
        let mut program = Program::start(context)?;
        let mut random = Random::new(seed);
        for _ in 0..8 {
            program.act(&mut random)?;
        }
        let function = program.witness.function.clone();
        let hostility = Hostility::begin(minihv, seed)?;
        drop(program);
        let wrong = hostility.end()?;
        let id = function.logical_id().context("edu has no logical id")?;
        let translation = minihv.device_translation(id)?;
        ensure!(translation != DeviceTranslation::Bypass, "the device does DMA past the IOMMU");
        expect_unmapped(minihv, &function)?;
        drop(Program::start(context).context("the next program")?);
        expect_returned(minihv, &function)?;
        Ok(wrong)
    })?;
    Ok(Outcome::Pass(format!("{} sequences, {} wrong answers", tally.sequences, tally.wrong)))
}

const HOSTILE_CLOSE: Check = Check::new("hostile-close", close);

/// The scenarios. In the end the host is honest, and everything works.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "hostile-user",
        summary: "a program makes domains, attaches, maps and unmaps",
        checks: &[DEVICES, GROUPS, HOSTILE_USER, VFIO_MAPPED, VFIO_STALE],
    },
    Scenario {
        name: "hostile-close",
        summary: "a program ends: the kernel takes its device back, and may not fail",
        checks: &[DEVICES, GROUPS, HOSTILE_CLOSE, VFIO_MAPPED, VFIO_STALE],
    },
];
