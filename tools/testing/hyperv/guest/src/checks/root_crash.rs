// SPDX-License-Identifier: GPL-2.0
//! The root partition crashes with devices in use. The kernel after that reads in the dump alone what the driver knew, and
//! compares it with what debugfs said before the crash, and with what the hypervisor has.
//!
//! What debugfs said is in the dump, too: in a page of this program's.

use std::ops::ControlFlow;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::{DomainId, Gpa, Iova};
use hvcore::status::Status;
use hvdump::guide::{self, Guide};
use hvdump::memory::{Address, Mark, Memory};
use hvdump::state::{Domain, State};
use hvdump::{show, state};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::kexec::{CRASH_KERNEL, CRASH_KERNEL_LOADED, IN_USE};
use crate::checks::nvme::NVME_QUICK;
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE, VFIO_UNMAPPED};
use crate::checks::root::{RECORDS, TRANSLATION};
use crate::checks::virtio::VIRTIO;
use crate::memory::{DmaBuffer, HugePage, PAGE};
use crate::minihv::{DeviceTranslation, Effect, Injection};
use crate::old_memory::OldMemory;
use crate::pci;
use crate::report::Outcome;
use crate::root_debugfs;
use crate::session::{BackEnd, Session};
use crate::witness::at;

/// The page begins with this, turned around: the program itself is in the dump, and must not be taken for the page.
const MARK_BACKWARDS: Mark = *b"debugfs said thi";
/// Words before the text in the page: the mark, the text's length, its CRC-32.
const HEAD_WORDS: usize = 4;
/// What stands between the files.
const BETWEEN: &str = "\0";
/// Pages whose mapping the hypervisor loses track of.
const STALE_PAGES: u64 = 3;
/// The hypervisor does not say what became of a call.
const LATE: Status = Status(0x78);

fn mark() -> Mark {
    let mut mark = MARK_BACKWARDS;
    mark.reverse();
    mark
}

/// The second edu in a domain of which nobody knows what is mapped, to the very end.
fn in_doubt(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let function = context.functions.iter().filter(|function| function.id == pci::EDU).nth(1);
    let function = function.context("there is no second edu")?;
    let id = function.logical_id().context("edu has no id")?;
    let session = Session::open_by(function, BackEnd::Type1)?;
    let domain = minihv.device_domain(id)?.context("edu is in no domain")?;
    // Side by side, so that one call maps them.
    HugePage::TwoMiB.fill_pool(1)?;
    let buffer = DmaBuffer::huge(HugePage::TwoMiB)?;
    let late = Injection { call: CallCode::MAP_DEVICE_GPA_PAGES, status: LATE, first: 1, times: Some(1) };
    minihv.inject_effect(late, Effect::Answered, Some(domain))?;
    let mapped = session.map(at(0), &buffer, 0, STALE_PAGES as usize);
    minihv.clear_injections()?;
    ensure!(mapped.is_err(), "a mapping in doubt is a success");
    let translation = minihv.device_translation(id)?;
    ensure!(translation == DeviceTranslation::Blocked, "edu is {translation:?}");
    let lines = root_debugfs::domains()?;
    let line = lines.iter().find(|line| line.id == domain.0).context("the domain is not in debugfs")?;
    ensure!(line.state == "closed" && line.stale == STALE_PAGES && line.failures == 1, "{line:?}");
    std::mem::forget((session, buffer));
    Ok(Outcome::Pass(format!("domain {}, {STALE_PAGES} pages", domain.0)))
}

const IN_DOUBT: Check = Check::new("root-mapping-in-doubt-stays", in_doubt);

/// Leaves what debugfs says in a page of memory that stays as it is.
fn say(context: &mut Context<'_>) -> Result<Outcome> {
    let files = ["capabilities", "domains", "requesters"].map(root_debugfs::text);
    let [capabilities, domains, requesters] = files;
    let text = [capabilities?, domains?, requesters?].join(BETWEEN);
    let buffer = DmaBuffer::new(1)?;
    ensure!(text.len() <= PAGE - 8 * HEAD_WORDS, "{} bytes do not fit", text.len());
    let words = |bytes: &[u8]| -> Vec<u64> {
        let word = |part: &[u8]| part.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
        bytes.chunks(8).map(word).collect()
    };
    let numbers = [text.len() as u64, crc32fast::hash(text.as_bytes()).into()];
    let all = [words(&mark()), numbers.to_vec(), words(text.as_bytes())].concat();
    for (index, word) in all.into_iter().enumerate() {
        buffer.set_word(0, index, word);
    }
    std::mem::forget(buffer);
    for line in text.split(BETWEEN).flat_map(str::lines) {
        context.reporter.note(line);
    }
    Ok(Outcome::Pass(format!("{} bytes", text.len())))
}

const SAID: Check = Check::new("root-debugfs-is-kept", say);

/// The text in the page at an address, when it is that page.
fn said_at(memory: &Memory<'_, OldMemory>, page: Address) -> Option<String> {
    let length = usize::try_from(memory.u64(page.plus(16)).ok()?).ok().filter(|length| *length < PAGE)?;
    let checksum = memory.u64(page.plus(24)).ok()?;
    let mut text = vec![0; length];
    memory.read(page.plus(8 * HEAD_WORDS as u64), &mut text).ok()?;
    (u64::from(crc32fast::hash(&text)) == checksum).then(|| String::from_utf8(text).ok())?
}

/// What is in the dump: what the driver knew, and what debugfs said.
fn in_dump(vmcore: &OldMemory) -> Result<(State, String)> {
    let memory = Memory::open(vmcore)?;
    let (mut guide, mut said) = (None, None);
    memory.search(&[guide::MARK, mark()], |which, address| {
        match which {
            0 if guide::is_guide(&memory, address) => guide = Some(address),
            0 => {}
            _ => said = said.take().or_else(|| said_at(&memory, address)),
        }
        match (guide, &said) {
            (Some(_), Some(_)) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    })?;
    let guide = Guide::read(&memory, guide.context("the driver's guide is not in the dump")?)?;
    Ok((state::read_by(&memory, guide), said.context("the page with the files is not in the dump")?))
}

/// What was counted does not go back while a domain is in use; what names it, and what went wrong, stays.
fn is_later(before: &str, after: &str) -> bool {
    let [before, after] = [before, after].map(|line| line.split(' ').collect::<Vec<_>>());
    let [id, state, _, stale, _, _, counts @ .., failures] = &before[..] else { return false };
    let [own_id, own_state, _, own_stale, _, _, own_counts @ .., own_failures] = &after[..] else { return false };
    let not_less =
        |pair: (&&str, &&str)| matches!((pair.0.parse::<u64>(), pair.1.parse::<u64>()), (Ok(a), Ok(b)) if a <= b);
    [id, state, stale, failures] == [own_id, own_state, own_stale, own_failures]
        && counts.len() == own_counts.len()
        && counts.iter().zip(own_counts).all(not_less)
}

/// The dump tells what debugfs told. Of the domain of the disk, which was in use to the end, the counts went on.
fn compare(said: &str, state: &State) -> Result<String> {
    let files: Vec<&str> = said.split(BETWEEN).collect();
    let [capabilities, domains, requesters] = files[..] else { bail!("{} files in the page", files.len()) };
    let equal = |what: &str, before: &str, after: &str| {
        ensure!(before == after, "{what}: debugfs said {before:?}, the dump says {after:?}");
        Ok(())
    };
    equal("capabilities", capabilities, &show::capabilities(&state.capabilities))?;
    equal("requesters", requesters, &show::requesters(&state.requesters))?;
    let after = show::domains(&state.domains);
    equal("number of lines", &domains.lines().count().to_string(), &after.lines().count().to_string())?;
    let mut busy = Vec::new();
    for (before, after) in domains.lines().zip(after.lines()).filter(|(before, after)| before != after) {
        ensure!(is_later(before, after), "debugfs said {before:?}, the dump says {after:?}");
        busy.push(after);
    }
    ensure!(busy.len() <= 1, "only the disk was in use: {busy:?}");
    Ok(format!("{} domains, {} requesters; in use: {busy:?}", state.domains.len(), state.requesters.len()))
}

/// The hypervisor, which did not crash, has the mappings that the dump tells.
fn compare_with_hypervisor(context: &Context<'_>, domain: &Domain) -> Result<usize> {
    let minihv = context.minihv()?;
    let known = domain.runs.iter().filter_map(|run| Some((run, run.memory.filter(|_| !run.stale)?)));
    let mut compared = 0;
    for (run, memory) in known {
        for page in [0, run.pages - 1] {
            let (iova, expected) = (Iova(run.iova + (page << 12)), Gpa(memory + (page << 12)));
            let leaf = minihv.walk(DomainId(domain.name.0), iova)?;
            ensure!(
                leaf.is_some_and(|leaf| leaf.sends(iova, expected)),
                "domain {}: the dump sends {:#x} to {:#x}, the hypervisor has {leaf:x?}",
                domain.name,
                iova.0,
                expected.0
            );
            compared += 1;
        }
    }
    Ok(compared)
}

fn dump_is_debugfs(context: &mut Context<'_>) -> Result<Outcome> {
    let (state, said) = in_dump(&OldMemory::open().context("the memory of the kernel before")?)?;
    for line in show::domains(&state.domains).lines().chain(show::requesters(&state.requesters).lines()) {
        context.reporter.note(line);
    }
    if let Some(damage) = state.damage.first() {
        bail!("the dump is damaged: {damage:#}");
    }
    let summary = compare(&said, &state)?;
    // A call for the disk may have been under way.
    let rest: Vec<&Domain> = state.domains.iter().filter(|d| said.lines().any(|line| line == line_of(d))).collect();
    let compared = rest.iter().map(|domain| compare_with_hypervisor(context, domain)).sum::<Result<usize>>()?;
    ensure!(compared > 0, "nothing is mapped");
    let stale = state.domains.iter().flat_map(|domain| &domain.runs).filter(|run| run.stale);
    let stale: u64 = stale.map(|run| run.pages).sum();
    ensure!(stale == STALE_PAGES, "{stale} stale pages in the dump, not {STALE_PAGES}");
    Ok(Outcome::Pass(format!("{summary}; {compared} addresses as the hypervisor has them")))
}

/// The line of one domain.
fn line_of(domain: &Domain) -> String {
    show::domains(std::slice::from_ref(domain)).lines().nth(1).unwrap_or_default().to_owned()
}

const DUMP: Check = Check::new("root-dump-says-what-debugfs-said", dump_is_debugfs);

/// The scenarios. Loading the next kernel comes before debugfs is kept, which comes last.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "root-crash",
        summary: "the root partition crashes with devices in use, one of them with a mapping in doubt",
        checks: &[
            DEVICES,
            GROUPS,
            TRANSLATION,
            RECORDS,
            NVME_QUICK,
            NO_FAULTS,
            IN_DOUBT,
            VIOLATIONS,
            IN_USE,
            CRASH_KERNEL_LOADED,
            SAID,
        ],
    },
    Scenario {
        name: "root-crashed",
        summary: "the kernel that runs after that: the dump alone says what debugfs said, and devices work",
        checks: &[
            CRASH_KERNEL,
            DUMP,
            DEVICES,
            GROUPS,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VIOLATIONS,
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_and_nothing_else_changes() {
        const LINE: &str = "1 open 7 0 2 1 9 8 3 0";
        for (after, expected) in [
            (LINE, true),
            ("1 open 5 0 3 0 12 9 3 0", true),
            ("1 open 7 0 2 1 8 8 3 0", false),
            ("1 open 7 0 2 1 9 8 3 1", false),
            ("1 closed 7 0 2 1 9 8 3 0", false),
            ("1 open 7 1 2 1 9 8 3 0", false),
            ("2 open 7 0 2 1 9 8 3 0", false),
            ("1 open", false),
        ] {
            assert_eq!(is_later(LINE, after), expected, "{after}");
        }
    }
}
