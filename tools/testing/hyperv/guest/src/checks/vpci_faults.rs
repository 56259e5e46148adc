// SPDX-License-Identifier: GPL-2.0
//! The host refuses a step by which pci-hyperv takes a bus over. Nothing of the bus may be left then, and it works when it
//! is offered once more.

use std::fs;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::{BusIndex, Iova};
use hvcore::inject::Occurrences;
use hvcore::nt_status::NtStatus;
use hvcore::test_interface::Counter;
use hvcore::vpci::{MessageKind, Refusal};
use hvprotocol::faults::Access;
use linkme::distributed_slice;

use super::hotplug::{edu_works, is_managed, only};
use crate::census::Census;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::KMEMLEAK;
use crate::device_events::{Events, Source};
use crate::edu::Edu;
use crate::faults::Faults;
use crate::hotplug::{functions, offer, send_offer, wait_until, wait_until_empty};
use crate::kernel_log::KernelLog;
use crate::minihv::Minihv;
use crate::pci::{self, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};

const VMBUS: &str = "/sys/bus/vmbus/devices";
const MEMORY: &str = "/proc/iomem";

/// What Hyper-V says to a configuration window in MMIO space that it has given away otherwise.
pub(super) const WINDOW_IN_USE: NtStatus = NtStatus(0xc037_0048);

/// So many messages of a kind are refused.
#[derive(Clone, Copy)]
struct Fault {
    kind: MessageKind,
    status: NtStatus,
    times: u16,
    /// What pci-hyperv says, without the device's name.
    says: &'static [&'static str],
}

impl Fault {
    fn refusal(self) -> Result<Refusal> {
        let times = NonZeroU16::new(self.times).context("a fault is for one message at least")?;
        Ok(Refusal { kind: self.kind, status: self.status, occurrences: Occurrences::Times(times) })
    }
}

/// The probe ends with -EPROTO.
const FAILURES: [Fault; 4] = [
    Fault {
        kind: MessageKind::Version,
        status: NtStatus::UNSUCCESSFUL,
        times: 1,
        says: &["PCI Pass-through VSP failed version request: 0xc0000001"],
    },
    // Each of the versions that pci-hyperv knows.
    Fault {
        kind: MessageKind::Version,
        status: NtStatus::REVISION_MISMATCH,
        times: 4,
        says: &["PCI pass-through VSP failed to find supported version"],
    },
    // The second time after an exit from D0.
    Fault {
        kind: MessageKind::PowerOnLow,
        status: WINDOW_IN_USE,
        times: 2,
        says: &["Retrying D0 Entry", "PCI Pass-through VSP failed D0 Entry with status c0370048"],
    },
    Fault {
        kind: MessageKind::Assigned,
        status: NtStatus::INSUFFICIENT_RESOURCES,
        times: 1,
        says: &["resource allocated returned 0xc000009a"],
    },
];

/// The probe goes on: an older version is agreed on, and D0 is entered after an exit.
const DETOURS: [Fault; 2] = [
    Fault { kind: MessageKind::Version, status: NtStatus::REVISION_MISMATCH, times: 1, says: &[] },
    Fault {
        kind: MessageKind::PowerOn,
        status: NtStatus::INVALID_DEVICE_STATE,
        times: 1,
        says: &["Retrying D0 Entry"],
    },
];

/// edu's bus.
struct Bus<'a, 'b> {
    context: &'a Context<'b>,
    minihv: Minihv,
    index: BusIndex,
    /// Name of its device on VMBus.
    instance: String,
    /// edu's address: a bus that comes back has the number that it had.
    address: String,
    /// What there was at first.
    whole: Census,
    log: KernelLog,
    /// Warnings since the bus was offered last.
    said: Vec<String>,
}

impl<'a, 'b> Bus<'a, 'b> {
    fn find(context: &'a Context<'b>) -> Result<Bus<'a, 'b>> {
        let function = pci::find(pci::EDU)?;
        function.unbind()?;
        let minihv = context.minihv()?;
        let bus = Bus {
            context,
            minihv,
            index: function.bus().context("edu sits on no VMBus device")?,
            instance: function.instance().context("edu sits on no VMBus device")?.to_owned(),
            address: function.address.clone(),
            whole: Census::take(minihv)?,
            log: KernelLog::follow()?,
            said: Vec::new(),
        };
        // What is looked for after a probe that failed is there after one that did not.
        for trace in Trace::ALL {
            ensure!(bus.has(trace)?, "a bus that works has no {trace:?}");
        }
        ensure!(bus.mmio_ranges()? == 2, "a bus that works has {} ranges of MMIO space", bus.mmio_ranges()?);
        Ok(bus)
    }

    fn device(&self) -> PathBuf {
        Path::new(VMBUS).join(&self.instance)
    }

    fn has(&self, trace: Trace) -> Result<bool> {
        match trace {
            Trace::Driver => Ok(self.device().join("driver").exists()),
            Trace::RootBus => {
                let Ok(entries) = fs::read_dir(self.device()) else { return Ok(false) };
                let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
                Ok(names.any(|name| name.starts_with("pci")))
            }
            Trace::Mmio => Ok(self.mmio_ranges()? > 0),
            Trace::Function => Ok(!functions(self.index)?.is_empty()),
        }
    }

    /// How many ranges of MMIO space the bus has: its configuration window, and a bridge window for its functions.
    fn mmio_ranges(&self) -> Result<usize> {
        let text = fs::read_to_string(MEMORY).context(MEMORY)?;
        Ok(text.lines().filter(|line| line.ends_with(&self.instance)).count())
    }

    /// The host takes the bus back; returns when it is gone from VMBus, too.
    fn withdraw(&self) -> Result<()> {
        self.minihv.rescind(self.index)?;
        wait_until_empty(self.index)?;
        wait_until("the bus is gone from VMBus", || Ok(!self.device().exists()))
    }

    /// The host takes the bus back from a guest that uses it; what there is then. With edu go its group and its domain.
    fn take_back(&self) -> Result<Census> {
        let Census { domains, attached, functions, groups, pinned } = self.whole;
        let less = |number: u64| number.checked_sub(1).context("edu has no domain");
        let (domains, attached) = (less(domains)?, less(attached)?);
        let without = Census { domains, attached, functions: functions - 1, groups: groups - 1, pinned };
        self.withdraw()?;
        without.wait_for_return(self.minihv)?;
        Ok(without)
    }

    /// Refuses a step from now on, and listens.
    fn refuse(&mut self, refusal: Refusal) -> Result<()> {
        self.log.warnings()?;
        self.said.clear();
        self.minihv.refuse(self.index, refusal)
    }

    fn listen(&mut self) -> Result<&[String]> {
        self.said.extend(self.log.warnings()?);
        Ok(&self.said)
    }

    /// Waits until as much was said as must be.
    fn await_words(&mut self, expected: &[String]) -> Result<()> {
        let waited = wait_until("the kernel says what it must", || Ok(self.listen()?.len() >= expected.len()));
        waited.with_context(|| format!("said: {:?}", self.said))
    }

    /// Nothing but this was said, in this order.
    fn expect_words(&mut self, expected: &[String]) -> Result<()> {
        let said = self.listen()?;
        ensure!(said == expected, "said: {said:?}, expected: {expected:?}");
        Ok(())
    }

    /// A line of pci-hyperv's about the bus.
    fn line(&self, text: &str) -> String {
        format!("hv_pci {}: {text}", self.instance)
    }

    /// All that is said when the probe fails with `errno`.
    fn words_of_failure(&self, says: &[&str], errno: i32) -> Vec<String> {
        let mut words: Vec<String> = says.iter().map(|text| self.line(text)).collect();
        words.push(format!("hv_vmbus: probe failed for device {} (-{errno})", self.instance));
        // To the driver core that is no failure.
        if errno != libc::ENODEV {
            words.push(self.line(&format!("probe with driver hv_pci failed with error -{errno}")));
        }
        words
    }

    fn nothing_is_left(&self, without: Census) -> Result<()> {
        for trace in Trace::ALL {
            wait_until(&format!("the bus has no {trace:?}"), || Ok(!self.has(trace)?))?;
        }
        without.wait_for_return(self.minihv)
    }

    /// The host offers the bus; edu is there, as it was, behind the IOMMU.
    fn offer(&self) -> Result<PciFunction> {
        offer(self.minihv, self.index, 1)?;
        let function = only(self.index)?;
        ensure!(function.address == self.address, "{} came back as {}", self.address, function.address);
        is_managed(self.context, &function)?;
        Ok(function)
    }

    /// edu does DMA and has an interrupt.
    fn works(&self, function: &PciFunction) -> Result<()> {
        edu_works(self.context, function)?;
        let session = Session::open_by(function, BackEnd::Type1)?;
        session.enable_bus_master()?;
        let interrupt = Events::enable(session.device(), Source::Msi, 1)?;
        let edu = Edu::new(session.map_bar0()?)?;
        edu.raise_interrupt();
        wait_until("edu's interrupt arrives", || interrupt.has_fired())?;
        // The mapped registers keep the device open.
        drop((edu, session));
        function.unbind()
    }

    /// Without a fault everything is as it was at first.
    fn returns(&self) -> Result<()> {
        self.works(&self.offer()?).context("after the return")?;
        self.whole.wait_for_return(self.minihv).context("after the return")
    }
}

impl Drop for Bus<'_, '_> {
    /// A step that failed may have left the host with the bus; later checks want it.
    fn drop(&mut self) {
        let _ = self.minihv.clear_injections();
        if functions(self.index).is_ok_and(|found| found.is_empty()) {
            let _ = self.minihv.rescind(self.index);
            let _ = offer(self.minihv, self.index, 1);
        }
    }
}

/// What a bus that pci-hyperv has can be seen by.
#[derive(Clone, Copy, Debug)]
enum Trace {
    /// The VMBus device's driver.
    Driver,
    /// The root bus below the VMBus device.
    RootBus,
    /// The configuration window and the bridge windows.
    Mmio,
    /// A PCI function.
    Function,
}

impl Trace {
    const ALL: [Trace; 4] = [Trace::Driver, Trace::RootBus, Trace::Mmio, Trace::Function];
}

/// The probe fails at a step that the host refuses.
fn fails(bus: &mut Bus<'_, '_>, fault: Fault) -> Result<()> {
    let without = bus.take_back()?;
    bus.refuse(fault.refusal()?)?;
    let words = bus.words_of_failure(fault.says, libc::EPROTO);
    send_offer(bus.minihv, bus.index)?;
    bus.await_words(&words)?;
    ensure!(bus.device().exists(), "the bus is gone, though the host offers it");
    bus.nothing_is_left(without)?;
    bus.withdraw()?;
    bus.expect_words(&words)?;
    bus.returns()
}

/// pci-hyperv gives a bus up when the host refuses a step, and takes it when the host does not.
fn probe_fails(context: &mut Context<'_>) -> Result<Outcome> {
    let mut bus = Bus::find(context)?;
    for fault in FAILURES {
        fails(&mut bus, fault).with_context(|| format!("{:?} refused with {:#x}", fault.kind, fault.status.0))?;
    }
    Ok(Outcome::Pass(format!("{} steps", FAILURES.len())))
}

const VPCI_PROBE_FAILS: Check = Check::new("refused-steps-fail-the-probe", probe_fails);

/// The host does not say what is on the bus. pci-hyperv waits until the bus is withdrawn.
fn no_relations(context: &mut Context<'_>) -> Result<Outcome> {
    let mut bus = Bus::find(context)?;
    let without = bus.take_back()?;
    let (status, occurrences) = (NtStatus::INVALID_DEVICE_STATE, Occurrences::Times(NonZeroU16::MIN));
    let minihv = bus.minihv;
    let refused = || minihv.counter(Counter::RefusedMessages, 0);
    let so_far = refused()?;
    bus.refuse(Refusal { kind: MessageKind::Relations, status, occurrences })?;
    send_offer(bus.minihv, bus.index)?;
    wait_until("pci-hyperv asks what is on the bus", || Ok(refused()? > so_far))?;
    ensure!(bus.device().exists() && functions(bus.index)?.is_empty(), "edu is there, though the host did not name it");
    let words = bus.words_of_failure(&["The device is gone."], libc::ENODEV);
    bus.withdraw()?;
    bus.await_words(&words)?;
    bus.nothing_is_left(without)?;
    bus.expect_words(&words)?;
    bus.returns()?;
    Ok(Outcome::Pass("the probe ended with the offer".to_owned()))
}

const VPCI_NO_RELATIONS: Check = Check::new("unanswered-question-ends-with-the-bus", no_relations);

/// pci-hyperv does a step that the host refused in another way, and edu works.
fn goes_on(context: &mut Context<'_>) -> Result<Outcome> {
    let mut bus = Bus::find(context)?;
    for fault in DETOURS {
        let named = || format!("{:?} refused with {:#x}", fault.kind, fault.status.0);
        bus.take_back()?;
        bus.refuse(fault.refusal()?)?;
        let function = bus.offer().with_context(named)?;
        bus.works(&function).with_context(named)?;
        let words: Vec<String> = fault.says.iter().map(|text| bus.line(text)).collect();
        bus.expect_words(&words).with_context(named)?;
    }
    Ok(Outcome::Pass(format!("{} steps", DETOURS.len())))
}

const VPCI_GOES_ON: Check = Check::new("refused-steps-are-tried-again", goes_on);

/// The host does not say what registers edu has. edu is there without them, behind the IOMMU; with them the next time.
fn no_registers(context: &mut Context<'_>) -> Result<Outcome> {
    let mut bus = Bus::find(context)?;
    bus.take_back()?;
    let (status, occurrences) = (NtStatus::INSUFFICIENT_RESOURCES, Occurrences::Times(NonZeroU16::MIN));
    bus.refuse(Refusal { kind: MessageKind::Requirements, status, occurrences })?;
    let function = bus.offer()?;
    let words = [bus.line("query resource requirements failed: c000009a")];
    bus.await_words(&words)?;
    ensure!(bus.mmio_ranges()? == 1, "{} has a window for registers that the host did not tell of", function.address);
    bus.withdraw()?;
    bus.expect_words(&words)?;
    bus.returns()?;
    Ok(Outcome::Pass(format!("{} without registers", function.address)))
}

const VPCI_NO_REGISTERS: Check = Check::new("refused-requirements-cost-the-registers", no_registers);

/// The host creates no interrupt. What the device writes instead of one is blocked: the kernel left the message empty.
fn no_interrupts(context: &mut Context<'_>) -> Result<Outcome> {
    let mut bus = Bus::find(context)?;
    bus.take_back()?;
    let refusal = Refusal {
        kind: MessageKind::Interrupt,
        status: NtStatus::INSUFFICIENT_RESOURCES,
        occurrences: Occurrences::All,
    };
    bus.refuse(refusal)?;
    let function = bus.offer()?;
    let mut faults = Faults::listen(Some(bus.minihv))?;
    {
        let session = Session::open_by(&function, BackEnd::Type1)?;
        session.enable_bus_master()?;
        let interrupt = Events::enable(session.device(), Source::Msi, 1)?;
        let edu = Edu::new(session.map_bar0()?)?;
        edu.raise_interrupt();
        faults.expect(&function, Iova(0), Access::Write)?;
        ensure!(!interrupt.has_fired()?, "an interrupt that the host refused has arrived");
    }
    function.unbind()?;
    bus.withdraw()?;
    bus.minihv.clear_injections()?;
    let said = bus.listen()?.to_vec();
    let starts = ["Request for interrupt failed: 0xc000009a", "hv_irq_retarget_interrupt() can not unmask irq "];
    let is_right = |(line, start): (&String, &str)| line.starts_with(&bus.line(start));
    ensure!(said.len() == starts.len() && said.iter().zip(starts).all(is_right), "said: {said:?}");
    bus.returns()?;
    Ok(Outcome::Pass("its message was a blocked write".to_owned()))
}

const VPCI_NO_INTERRUPTS: Check = Check::new("refused-interrupts-do-not-arrive", no_interrupts);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "vpci-faults",
    summary: "the host refuses the steps by which pci-hyperv takes edu's bus over, one at a time",
    checks: &[
        DEVICES,
        GROUPS,
        VPCI_PROBE_FAILS,
        VPCI_NO_RELATIONS,
        VPCI_GOES_ON,
        VPCI_NO_REGISTERS,
        VPCI_NO_INTERRUPTS,
        NO_FAULTS,
        KMEMLEAK,
        VIOLATIONS,
    ],
}];
