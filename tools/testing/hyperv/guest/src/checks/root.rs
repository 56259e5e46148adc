// SPDX-License-Identifier: GPL-2.0
//! Linux as the root partition, with its driver of the IOMMU whose tables the hypervisor keeps.

use std::fs;
use std::path::Path;

use anyhow::{bail, Context as _, Result};
use hvcore::hypercall::codes::CallCode;
use hvcore::ids::Iova;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::bar::{CDEV_DMA_BUF, TYPE1_BAR};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::identity::IDENTITY_EDU;
use crate::checks::nvme::{NVME_FIO, NVME_QUICK};
use crate::checks::protection::{
    CDEV_MAPPED, CDEV_NEIGHBOUR, CDEV_REMAP, CDEV_STALE, CDEV_UNMAPPED, RAW_BLOCKED, VFIO_MAPPED, VFIO_NEIGHBOUR,
    VFIO_REMAP, VFIO_STALE, VFIO_UNMAPPED,
};
use crate::checks::virtio::VIRTIO;
use crate::memory::{DmaBuffer, HugePage};
use crate::minihv::DeviceTranslation;
use crate::pci::{self, write_sysfs};
use crate::report::Outcome;
use crate::root_debugfs::{self, DomainLine};
use crate::session::BackEnd;
use crate::witness::{at, Witness, FROM_DEVICE};
use hvprotocol::options::DomainMode;

/// minihv's word for a domain whose table it keeps.
const OWN_TABLE: DeviceTranslation = DeviceTranslation::Stage1(4);

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

/// The kernel takes a device out and finds it again: meanwhile the hypervisor has it blocked, and the driver has forgotten it.
fn comes_and_goes(context: &mut Context<'_>) -> Result<Outcome> {
    const ROUNDS: usize = 3;
    let minihv = context.minihv()?;
    for _ in 0..ROUNDS {
        let function = pci::find(pci::EDU)?;
        let id = function.logical_id().context("edu has no id")?;
        function.unbind()?;
        write_sysfs(&function.file("remove"), "1")?;
        let translation = minihv.device_translation(id)?;
        if translation != DeviceTranslation::Blocked {
            bail!("{} is gone, and its translation is {translation:?}", function.address);
        }
        let of_it = root_debugfs::requesters()?.into_iter().find(|line| line.id & 0xffff == id.0);
        if let Some(line) = of_it.filter(|line| line.users != 0 || line.place != "blocking") {
            bail!("{} is gone, and there is {line:?}", function.address);
        }
        write_sysfs(Path::new("/sys/bus/pci/rescan"), "1")?;
        let again = pci::wait_for_devices(context.functions.len())?;
        let again = again.iter().find(|other| other.address == function.address).context("edu did not come back")?;
        let translation = minihv.device_translation(id)?;
        if translation != OWN_TABLE || again.group().is_none() {
            bail!("{} is back, and its translation is {translation:?}", again.address);
        }
    }
    Ok(Outcome::Pass(format!("{ROUNDS} times")))
}

const COMES_AND_GOES: Check = Check::new("root-device-comes-and-goes", comes_and_goes);

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

/// The window for interrupts is reserved, and programs may not map there.
fn window(context: &mut Context<'_>) -> Result<Outcome> {
    const WINDOW: &str = "0x00000000fee00000 0x00000000feefffff msi";
    let function = pci::find(pci::EDU)?;
    let path = function.file("iommu_group/reserved_regions");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    if !text.lines().any(|line| line == WINDOW) {
        bail!("{text:?} without {WINDOW:?}");
    }
    let witness = Witness::open(context, 1)?;
    let (first, last) = (Iova(0xfee0_0000), Iova(0xfeef_f000));
    for iova in [first, last] {
        if witness.session.map(iova, &witness.buffer, 0, 1).is_ok() {
            bail!("{:#x} could be mapped", iova.0);
        }
    }
    Ok(Outcome::Pass(WINDOW.to_owned()))
}

const WINDOW: Check = Check::new("root-interrupt-window-reserved", window);

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
        name: "root-devices",
        summary: "two edu in one group, the window for interrupts, and a device that comes and goes",
        checks: &[
            DEVICES,
            GROUPS,
            SHARED_GROUP,
            NO_FAULTS,
            WINDOW,
            COMES_AND_GOES,
            VFIO_MAPPED,
            VFIO_STALE,
            RECORDS,
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
            CDEV_DMA_BUF,
            CDEV_LARGE,
            RECORDS,
            CLEAN,
            MAPPED_BY_CALLS,
            VIOLATIONS,
        ],
    },
];
