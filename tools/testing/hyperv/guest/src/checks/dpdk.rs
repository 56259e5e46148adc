// SPDX-License-Identifier: GPL-2.0
//! DPDK's testpmd drives two virtio network interfaces by VFIO: what one sends arrives at the other, and is sent back.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context as _, Result};
use linkme::distributed_slice;
use nix::mount::{mount, MsFlags};

use super::noiommu::expect_translation;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::fetched::Set;
use crate::hotplug;
use crate::minihv::DeviceTranslation;
use crate::pci::{PciFunction, VIRTIO_NET};
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};

/// What DPDK takes for I/O virtual addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// The program's own virtual addresses.
    Virtual,
    /// Physical addresses, which it asks the kernel for.
    Physical,
}

impl Addresses {
    fn word(self) -> &'static str {
        match self {
            Addresses::Virtual => "va",
            Addresses::Physical => "pa",
        }
    }
}

/// Where DPDK keeps what is of no use after its end.
const RUNTIME: &str = "/var/run";
const HUGE_PAGES: &str = "/dev/hugepages";
/// Drivers that testpmd loads.
const DRIVERS: [&str; 3] = ["librte_bus_pci.so.23", "librte_mempool_ring.so.23", "librte_net_virtio.so.23"];
/// How long packets go to and fro.
const FORWARDING: Duration = Duration::from_secs(10);
/// How long testpmd may take for it all.
const PATIENCE: Duration = Duration::from_secs(100);
/// Packets that testpmd sends at first from each interface. More come only by forwarding.
const FIRST_BURST: u64 = 32;

/// The two interfaces, in the hands of vfio-pci.
fn interfaces(context: &Context<'_>) -> Result<[PciFunction; 2]> {
    let found: Vec<PciFunction> = context.functions.iter().filter(|f| f.id == VIRTIO_NET).cloned().collect();
    for function in &found {
        hotplug::bind(function, "vfio-pci")?;
    }
    found.try_into().map_err(|found| anyhow::anyhow!("two virtio network interfaces are needed: {found:?}"))
}

/// Where huge pages come from, and where DPDK keeps notes.
fn prepare() -> Result<()> {
    BackEnd::Type1.set_unsafe_interrupts(UnsafeInterrupts::Allowed)?;
    // DPDK loads nothing from below a directory that everybody may write to. That of an initramfs is one.
    fs::set_permissions("/", fs::Permissions::from_mode(0o755)).context("the permissions of /")?;
    fs::create_dir_all(RUNTIME).context(RUNTIME)?;
    if !fs::exists(HUGE_PAGES).context(HUGE_PAGES)? {
        fs::create_dir(HUGE_PAGES).context(HUGE_PAGES)?;
        mount(Some("hugetlbfs"), HUGE_PAGES, Some("hugetlbfs"), MsFlags::empty(), Some("pagesize=2M"))
            .context(HUGE_PAGES)?;
    }
    Ok(())
}

/// Starts testpmd on the interfaces. It forwards until its input has a line.
fn start(interfaces: &[PciFunction], addresses: Addresses) -> Result<Child> {
    let mut command = Set::Dpdk.program("dpdk-testpmd");
    command
        .args(["-l", "0,1", "--no-telemetry", "--huge-dir", HUGE_PAGES])
        .arg(format!("--iova-mode={}", addresses.word()));
    for driver in DRIVERS {
        command.arg("-d").arg(Set::Dpdk.file(driver));
    }
    for function in interfaces {
        command.args(["-a", &function.address]);
    }
    command.args(["--", "--forward-mode=io", "--tx-first", "--total-num-mbufs=2048", "--nb-cores=1"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().context("starting testpmd")
}

/// The number behind the word, wherever it stands.
fn number(text: &str, word: &str) -> Option<u64> {
    text.split(word).nth(1)?.split_whitespace().next()?.parse().ok()
}

/// What each interface received, from testpmd's statistics.
fn received(output: &str) -> Vec<u64> {
    let (_, ports) = output.split_once("Forward statistics for port").unwrap_or_default();
    let ports = ports.split("Accumulated forward statistics").next().unwrap_or_default();
    ports.split("Forward statistics for port").filter_map(|port| number(port, "RX-packets:")).collect()
}

/// Both interfaces are translated while testpmd runs.
fn expect_translated(context: &Context<'_>, interfaces: &[PciFunction]) -> Result<()> {
    let translated = DeviceTranslation::Stage1(context.options.levels);
    interfaces.iter().try_for_each(|function| expect_translation(function, context.minihv()?, translated))
}

/// Waits until testpmd has set both interfaces up, and a while longer. What it prints is of no use for that: it reaches the
/// pipe at the end.
fn let_run(child: &mut Child, interfaces: &[PciFunction]) -> Result<()> {
    let begun = Instant::now();
    let mut set_up = None;
    while set_up.is_none_or(|since: Instant| since.elapsed() < FORWARDING) {
        if let Some(status) = child.try_wait().context("testpmd")? {
            bail!("testpmd ended by itself: {status}");
        }
        ensure!(begun.elapsed() < PATIENCE, "testpmd has not set its interfaces up within {} s", PATIENCE.as_secs());
        if set_up.is_none() && interfaces.iter().all(|function| function.masters_bus().is_ok_and(|is_on| is_on)) {
            set_up = Some(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Packets go to and fro between the interfaces.
fn testpmd(context: &mut Context<'_>, addresses: Addresses) -> Result<Outcome> {
    prepare()?;
    let interfaces = interfaces(context)?;
    let mut child = start(&interfaces, addresses)?;
    let ran = let_run(&mut child, &interfaces).and_then(|()| expect_translated(context, &interfaces));
    drop(child.stdin.take().map(|mut input| input.write_all(b"\n")));
    let output = child.wait_with_output().context("testpmd")?;
    let said = [output.stdout, output.stderr].map(|stream| String::from_utf8_lossy(&stream).into_owned()).concat();
    for line in said.lines().filter(|line| !line.trim().is_empty()) {
        context.reporter.note(&format!("testpmd: {}", line.trim()));
    }
    ran?;
    ensure!(output.status.success(), "testpmd: {}", output.status);
    let received = received(&said);
    ensure!(
        received.len() == 2 && received.iter().all(|packets| *packets > 2 * FIRST_BURST),
        "packets that the interfaces received: {received:?}"
    );
    Ok(Outcome::Pass(format!("{received:?} packets received")))
}

const DPDK_VIRTUAL: Check = Check::new("testpmd-by-virtual-addresses", |c| testpmd(c, Addresses::Virtual));
const DPDK_PHYSICAL: Check = Check::new("testpmd-by-physical-addresses", |c| testpmd(c, Addresses::Physical));

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "dpdk",
    summary: "DPDK's testpmd on two network interfaces",
    checks: &[DEVICES, GROUPS, DPDK_VIRTUAL, DPDK_PHYSICAL, NO_FAULTS, VIOLATIONS],
}];

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
  ---------------------- Forward statistics for port 0  ----------------------
  RX-packets: 1024           RX-dropped: 0             RX-total: 1024
  TX-packets: 1056           TX-dropped: 0             TX-total: 1056
  ----------------------------------------------------------------------------

  ---------------------- Forward statistics for port 1  ----------------------
  RX-packets: 992            RX-dropped: 0             RX-total: 992
  ----------------------------------------------------------------------------

  +++++++++++++++ Accumulated forward statistics for all ports+++++++++++++++
  RX-packets: 2016           RX-dropped: 0             RX-total: 2016
";

    #[test]
    fn statistics() {
        assert_eq!(received(OUTPUT), [1024, 992]);
        assert!(received("EAL: Error").is_empty());
    }
}
