// SPDX-License-Identifier: GPL-2.0
//! Linux as the root partition, with its driver of the IOMMU whose tables the hypervisor keeps.

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::bar::{CDEV_BAR_REFUSED, CDEV_DMA_BUF, TYPE1_BAR};
use crate::checks::cdev::{CDEV_DETACH, CDEV_EARLY_MAP, CDEV_LIMITS, CDEV_UNSAFE, TYPE1_LIMITS, TYPE1_UNSAFE};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::identity::IDENTITY_EDU;
use crate::checks::nvme::{NVME_FIO, NVME_QUICK};
use crate::checks::ownership::{INTERFACES_EXCLUDE, ONE_USER};
use crate::checks::protection::{
    CDEV_MAPPED, CDEV_NEIGHBOUR, CDEV_REMAP, CDEV_STALE, CDEV_UNMAPPED, RAW_BLOCKED, VFIO_MAPPED, VFIO_NEIGHBOUR,
    VFIO_REMAP, VFIO_STALE, VFIO_UNMAPPED,
};
use crate::checks::virtio::VIRTIO;
use crate::memory::{DmaBuffer, HugePage};
use crate::minihv::DeviceTranslation;
use crate::pci;
use crate::report::Outcome;
use crate::root_debugfs::{self, DomainLine};
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE};
use hvprotocol::options::DomainMode;

/// minihv's word for a domain whose table it keeps.
pub const OWN_TABLE: DeviceTranslation = DeviceTranslation::Stage1(4);

/// Each device is where the mode wants it, as the hypervisor has it.
fn translation(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let expected = match context.options.mode {
        DomainMode::Identity => DeviceTranslation::Bypass,
        _ => OWN_TABLE,
    };
    for function in &context.functions {
        let id = function.logical_id().context("a function without an id")?;
        let found = minihv.device_translation(id)?;
        if found != expected {
            bail!("{}: translation is {found:?}, not {expected:?}", function.address);
        }
    }
    Ok(Outcome::Pass(format!("{} functions, all {expected:?}", context.functions.len())))
}

pub const TRANSLATION: Check = Check::new("root-translation", translation);

/// What the driver says of its domains and requesters is what the hypervisor has.
fn records(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let domains = root_debugfs::domains()?;
    let requesters = root_debugfs::requesters()?;
    for function in &context.functions {
        let id = function.logical_id().context("a function without an id")?;
        let line = requesters.iter().find(|line| line.id & 0xffff == id.0);
        let line = line.with_context(|| format!("{} has no line in requesters", function.address))?;
        let expected = match minihv.device_translation(id)? {
            DeviceTranslation::Bypass => "identity".to_owned(),
            DeviceTranslation::Blocked => "blocking".to_owned(),
            DeviceTranslation::Stage1(_) => minihv.device_domain(id)?.context("no domain")?.0.to_string(),
        };
        if (line.place.as_str(), line.doubt.as_str()) != (expected.as_str(), "-") {
            bail!("{}: {line:?}, but the hypervisor has it in {expected}", function.address);
        }
    }
    Ok(Outcome::Pass(format!("{} domains, {} requesters", domains.len(), requesters.len())))
}

pub const RECORDS: Check = Check::new("root-records", records);

fn sum(domains: &[DomainLine], what: impl Fn(&DomainLine) -> u64) -> u64 {
    domains.iter().map(what).sum()
}

/// Nothing failed, nothing is in doubt.
fn clean(context: &mut Context<'_>) -> Result<Outcome> {
    let domains = root_debugfs::domains()?;
    for line in &domains {
        context.reporter.note(&format!("{line:?}"));
    }
    if let Some(line) = domains.iter().find(|line| line.state != "open" || line.stale + line.failures > 0) {
        bail!("a domain that is not as it should be: {line:?}");
    }
    Ok(Outcome::Pass(format!("{} domains", domains.len())))
}

pub const CLEAN: Check = Check::new("root-nothing-failed", clean);

/// What drivers have mapped was mapped by calls, and unmapped by calls.
fn mapped_by_calls(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let domains = root_debugfs::domains()?;
    let (maps, unmaps) = (sum(&domains, |line| line.maps), sum(&domains, |line| line.unmaps));
    let calls = minihv.calls(CallCode::MAP_DEVICE_GPA_PAGES)?;
    if maps == 0 || unmaps == 0 || calls < maps {
        bail!("{maps} calls that map, {unmaps} that unmap; the hypervisor counted {calls}");
    }
    Ok(Outcome::Pass(format!("{maps} maps, {unmaps} unmaps, {} deposits", sum(&domains, |line| line.deposits))))
}

const MAPPED_BY_CALLS: Check = Check::new("root-mapped-by-calls", mapped_by_calls);

/// A huge page of a program's costs the driver one leaf for each 2 MiB, without a table, and a call for each 507 of them;
/// any page of it can be reached, and none when it is unmapped.
fn large(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    let mut witness = Witness::with_buffer(context, back_end, DmaBuffer::huge(HugePage::TwoMiB)?)?;
    let pages = witness.buffer.pages();
    let before = root_debugfs::domains()?;
    witness.session.map(at(0), &witness.buffer, 0, pages)?;
    let after = root_debugfs::domains()?;
    let maps = sum(&after, |line| line.maps) - sum(&before, |line| line.maps);
    let added = |what: fn(&DomainLine) -> u64| sum(&after, what) - sum(&before, what);
    // A call that lacks memory is made again.
    if maps > 1 + added(|line| line.deposits) || added(|line| line.leaves) != 1 || added(|line| line.tables) != 0 {
        bail!("{maps} calls; {before:?}, then {after:?}");
    }
    for page in [0, pages / 2, pages - 1] {
        witness.round_trip(at(page as u64), page, FROM_DEVICE, "a page of the huge page")?;
    }
    witness.session.unmap(at(0), pages)?;
    for page in [0, pages / 2, pages - 1] {
        witness.blocked_write(at(page as u64), page, "STALE TRANSLATION: a page of the huge page after its unmap")?;
    }
    witness.faults.expect_none()?;
    Ok(Outcome::Pass(format!("{pages} pages, {maps} calls")))
}

const TYPE1_LARGE: Check = Check::new("root-vfio-large-page", |c| large(c, BackEnd::Type1));
const CDEV_LARGE: Check = Check::new("root-cdev-large-page", |c| large(c, BackEnd::Iommufd));

/// Functions of one device that nothing isolates from each other are in one group.
fn shared_group(context: &mut Context<'_>) -> Result<Outcome> {
    let edus: Vec<_> = context.functions.iter().filter(|function| function.id == pci::EDU).collect();
    let [first, second] = edus[..] else { bail!("{} edu functions, not 2", edus.len()) };
    match (first.group(), second.group()) {
        (Some(one), Some(other)) if one == other => Ok(Outcome::Pass(format!("group {one}"))),
        groups => bail!("{} and {} are in groups {groups:?}", first.address, second.address),
    }
}

pub const SHARED_GROUP: Check = Check::new("root-functions-share-a-group", shared_group);

/// The scenarios. The fault check comes before those that cause faults on purpose.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "root-dma",
        summary: "the root partition's IOMMU: translation and protection",
        checks: &[
            DEVICES,
            GROUPS,
            TRANSLATION,
            RECORDS,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            RAW_BLOCKED,
            VFIO_MAPPED,
            VFIO_STALE,
            CLEAN,
            MAPPED_BY_CALLS,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "root-identity",
        summary: "the same, of devices that are not translated; VFIO still translates",
        checks: &[
            DEVICES,
            GROUPS,
            TRANSLATION,
            RECORDS,
            NVME_QUICK,
            VIRTIO,
            NO_FAULTS,
            IDENTITY_EDU,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            CLEAN,
            VIOLATIONS,
        ],
    },
    Scenario {
        name: "root-fio",
        summary: "fio with verification on NVMe, whatever the mode is",
        checks: &[DEVICES, GROUPS, TRANSLATION, NVME_FIO, VIRTIO, NO_FAULTS, RECORDS, CLEAN, VIOLATIONS],
    },
    Scenario {
        name: "root-passthrough",
        summary: "edu in the hands of programs, by type 1 and by iommufd",
        checks: &[
            DEVICES,
            GROUPS,
            NVME_QUICK,
            NO_FAULTS,
            TYPE1_UNSAFE,
            CDEV_UNSAFE,
            VFIO_MAPPED,
            VFIO_UNMAPPED,
            VFIO_STALE,
            VFIO_REMAP,
            VFIO_NEIGHBOUR,
            TYPE1_BAR,
            TYPE1_LARGE,
            CDEV_MAPPED,
            CDEV_UNMAPPED,
            CDEV_STALE,
            CDEV_REMAP,
            CDEV_NEIGHBOUR,
            CDEV_DETACH,
            CDEV_EARLY_MAP,
            TYPE1_LIMITS,
            CDEV_LIMITS,
            CDEV_BAR_REFUSED,
            CDEV_DMA_BUF,
            CDEV_LARGE,
            INTERFACES_EXCLUDE,
            ONE_USER,
            RECORDS,
            CLEAN,
            MAPPED_BY_CALLS,
            VIOLATIONS,
        ],
    },
];
