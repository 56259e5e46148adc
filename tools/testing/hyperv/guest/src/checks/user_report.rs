// SPDX-License-Identifier: GPL-2.0
//! The report for users (tools/hv/hv-pviommu-report). What it says of a device is compared with what minihv does with the
//! device, everything else with what this test has set up.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, ensure, Context as _, Result};
use linkme::distributed_slice;
use serde_json::Value;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::refusal::REFUSED;
use crate::checks::unmanaged;
use crate::hotplug;
use crate::init;
use crate::kernel_log::KernelLog;
use crate::minihv::DeviceTranslation;
use crate::pci::{self, write_sysfs, PciFunction};
use crate::report::Outcome;
use crate::session::{BackEnd, UnsafeInterrupts};

const PROGRAM: &str = "/kselftest/hv-pviommu-report";
/// Lines of a screen.
const SCREEN: usize = 24;
/// Somebody without rights.
const NOBODY: u32 = 65534;
const DMESG_RESTRICT: &str = "/proc/sys/kernel/dmesg_restrict";

/// Who runs the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum User {
    Root,
    Nobody,
}

/// What the report says of one state of the guest, in both forms.
struct Report {
    text: String,
    json: Value,
    /// Its exit status, the same in both forms.
    code: i32,
}

/// What has to be in a report.
struct Expected<'a> {
    status: &'a str,
    /// Part of the reason; empty where there is none to give.
    reason: &'a str,
    protected: &'a str,
}

impl Report {
    fn run(user: User, arguments: &[&str]) -> Result<(String, i32)> {
        let mut command = Command::new("/bin/busybox");
        command.arg("sh").arg(PROGRAM).args(arguments).env("PATH", "/bin");
        if user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().context(PROGRAM)?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(complaint.is_empty(), "the report complains: {complaint}");
        let code = output.status.code().context("the report was killed")?;
        Ok((String::from_utf8(output.stdout).context("the report is no text")?, code))
    }

    fn take(context: &mut Context<'_>, user: User) -> Result<Report> {
        // The shell looks for grep and dmesg by their names.
        init::busybox(&["--install", "-s", "/bin"])?;
        let (text, code) = Report::run(user, &[])?;
        for line in text.lines() {
            context.reporter.note(&format!("report: {line}"));
        }
        let (json, code_of_json) = Report::run(user, &["--json"])?;
        let json = serde_json::from_str(&json).with_context(|| format!("no JSON: {json}"))?;
        ensure!(code == code_of_json, "exit status {code}, and {code_of_json} with --json");
        let lines = text.lines().count();
        ensure!(lines <= SCREEN, "{lines} lines");
        Ok(Report { text, json, code })
    }

    fn says(&self, words: &str) -> Result<()> {
        ensure!(self.text.contains(words), "the report does not say {words:?}");
        Ok(())
    }

    fn is(&self, pointer: &str, expected: &Value) -> Result<()> {
        let seen = self.json.pointer(pointer);
        ensure!(seen == Some(expected), "{pointer} is {seen:?}, not {expected}");
        Ok(())
    }

    fn expect(&self, expected: &Expected<'_>) -> Result<()> {
        self.is("/status", &expected.status.into())?;
        self.is("/protected", &expected.protected.into())?;
        let code = i32::from(expected.protected != "all");
        ensure!(self.code == code, "exit status {} instead of {code}", self.code);
        self.says(match expected.status {
            "in-service" => "IOMMU is in service.\n",
            _ => "IOMMU is not in service: ",
        })?;
        self.says(expected.reason)?;
        self.says(match expected.protected {
            "all" => "\nEvery PCI device is confined",
            "some" => "\nNOT EVERY PCI device is confined",
            _ => "\nNO PCI device is confined",
        })
    }

    /// Whether one of the next steps has these words in it, in both forms.
    fn advises(&self, words: &str) -> Result<bool> {
        let steps = self.json.pointer("/next_steps").and_then(Value::as_array).context("no next_steps")?;
        let in_json = steps.iter().filter_map(Value::as_str).any(|step| step.contains(words));
        let in_text = self.text.lines().any(|line| line.starts_with("- ") && line.contains(words));
        ensure!(in_json == in_text, "text and JSON differ in the step {words:?}");
        Ok(in_json)
    }

    fn must_advise(&self, words: &str) -> Result<()> {
        ensure!(self.advises(words)?, "no step has {words:?} in it");
        Ok(())
    }

    /// What is said of one device: its JSON, and its line.
    fn device(&self, function: &PciFunction) -> Result<(&Value, &str)> {
        let devices = self.json.pointer("/devices").and_then(Value::as_array).context("no devices")?;
        let own = |device: &&Value| device["address"] == function.address.as_str();
        let device = devices.iter().find(own).with_context(|| format!("{} is missing", function.address))?;
        let start = format!("device         {}, ", function.address);
        let mut lines = self.text.lines().filter(|line| line.starts_with(&start));
        match (lines.next(), lines.next()) {
            (Some(line), None) => Ok((device, line)),
            found => bail!("lines of {}: {found:?}", function.address),
        }
    }

    /// Every device is in the report, with what minihv really does with its DMA. Returns what was said of their protection.
    fn compare_devices(&self, context: &Context<'_>) -> Result<Vec<String>> {
        let minihv = context.minihv()?;
        let functions = pci::all()?;
        let count = self.json.pointer("/devices").and_then(Value::as_array).map(Vec::len);
        ensure!(count == Some(functions.len()), "{count:?} devices of {}", functions.len());
        let mut said = Vec::new();
        for function in &functions {
            let (device, line) = self.device(function)?;
            let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
            let translation = minihv.device_translation(id)?;
            let type_file = function.file("iommu_group/type");
            let kind = fs::read_to_string(type_file).ok().map(|kind| kind.trim().to_owned());
            let protection = device["protection"].as_str().context("protection")?;
            let is_right = match protection {
                "strict" => matches!(translation, DeviceTranslation::Stage1(_)) && kind.as_deref() == Some("DMA"),
                "deferred" => matches!(translation, DeviceTranslation::Stage1(_)) && kind.as_deref() == Some("DMA-FQ"),
                "identity" => translation == DeviceTranslation::Bypass && kind.as_deref() == Some("identity"),
                "none" => translation == DeviceTranslation::Bypass && function.group().is_none(),
                "noiommu" => {
                    translation == DeviceTranslation::Bypass && function.driver().as_deref() == Some("vfio-pci")
                }
                "blocked" => translation == DeviceTranslation::Blocked,
                other => bail!("{}: protection {other:?}", function.address),
            };
            ensure!(is_right, "{}: said to be {protection}, is {translation:?}, {kind:?}", function.address);
            let warns = line.contains("NOT CONFINED");
            ensure!(warns == (translation == DeviceTranslation::Bypass), "{translation:?} is called: {line}");
            let driver = function.driver();
            ensure!(device["driver"].as_str() == driver.as_deref(), "{}: driver {device}", function.address);
            ensure!(line.contains(&format!("driver {},", driver.as_deref().unwrap_or("none"))), "driver: {line}");
            ensure!(device["group"].as_u64() == function.group().map(u64::from), "{}: {device}", function.address);
            // A device that is blocked because nothing is known about it is not behind the IOMMU for the kernel.
            let expected = kind.is_some().then_some("hv_pviommu").filter(|_| protection != "noiommu");
            ensure!(device["iommu"].as_str() == expected, "{}: IOMMU {}", function.address, device["iommu"]);
            said.push(protection.to_owned());
        }
        Ok(said)
    }
}

/// The group of a function gets another type. Nobody may use the function.
fn set_type(function: &PciFunction, kind: &str) -> Result<()> {
    write_sysfs(&function.file("iommu_group/type"), kind)
}

/// What the driver said of itself, in the report's words, as far as numbers are in it.
fn compare_host(report: &Report) -> Result<()> {
    let records = KernelLog::records()?;
    let boot_line = records.iter().find(|record| record.text.starts_with("hv_pviommu: aperture "));
    let boot_line = &boot_line.context("the driver's boot line")?.text;
    let number =
        |pointer: &str| report.json.pointer(pointer).and_then(Value::as_u64).with_context(|| pointer.to_owned());
    let (width, levels) = (number("/aperture/width")?, number("/aperture/levels")?);
    let sizes = report.text.split(" pages of ").nth(1).and_then(|rest| rest.split([',', '(']).next());
    let sizes = sizes.context("page sizes")?.trim();
    let words = format!(" ({width} bits), page sizes {sizes}, {levels}-level tables");
    ensure!(boot_line.ends_with(&words), "the report says {words:?}, the driver {boot_line:?}");
    report.says(&format!("addresses of {width} bits, {levels}-level tables"))
}

/// Every device is translated; then one group changes, then VFIO's permission; and somebody without rights asks.
fn in_service(context: &mut Context<'_>) -> Result<Outcome> {
    const ALL: Expected<'_> = Expected { status: "in-service", reason: "", protected: "all" };
    let edu = pci::find(pci::EDU)?;
    let report = Report::take(context, User::Root)?;
    report.expect(&ALL)?;
    ensure!(report.compare_devices(context)?.iter().all(|said| said == "strict"), "not all are strict");
    compare_host(&report)?;
    report.is("/hibernation", &"offered".into())?;
    report.is("/noiommu_mode", &false.into())?;
    report.is("/command_line", &vec!["iommu.strict=1"].into())?;

    for (policy, said) in [(UnsafeInterrupts::Refused, false), (UnsafeInterrupts::Allowed, true)] {
        BackEnd::ALL.into_iter().try_for_each(|back_end| back_end.set_unsafe_interrupts(policy))?;
        let report = Report::take(context, User::Root)?;
        report.is("/unsafe_interrupts/type1", &said.into())?;
        report.is("/unsafe_interrupts/iommufd", &said.into())?;
        ensure!(report.advises("allow_unsafe_interrupts")? != said, "permission {said}, and the wrong step");
    }

    set_type(&edu, "identity")?;
    let group = edu.group().context("edu's group")?;
    for user in [User::Root, User::Nobody] {
        let report = Report::take(context, user)?;
        report.expect(&Expected { protected: "some", ..ALL })?;
        report.compare_devices(context)?;
        ensure!(report.device(&edu)?.0["protection"] == "identity", "edu is in identity");
        report.must_advise(&format!("/sys/kernel/iommu_groups/{group}/type"))?;
    }
    // As it was advised.
    set_type(&edu, "DMA-FQ")?;
    let report = Report::take(context, User::Nobody)?;
    report.expect(&ALL)?;
    report.compare_devices(context)?;
    ensure!(report.device(&edu)?.0["protection"] == "deferred", "edu is flushed late");
    Ok(Outcome::Pass("strict, deferred, identity, as root and as nobody".to_owned()))
}

const REPORT_IN_SERVICE: Check = Check::new("report-in-service", in_service);

/// A kernel that was told `iommu=pt` and `hv_pviommu=nohibernate`.
fn identity(context: &mut Context<'_>) -> Result<Outcome> {
    let report = Report::take(context, User::Nobody)?;
    report.expect(&Expected { status: "in-service", reason: "", protected: "none" })?;
    ensure!(report.compare_devices(context)?.iter().all(|said| said == "identity"), "not all are in identity");
    report.is("/hibernation", &"refused".into())?;
    report.must_advise("boot without iommu=pt")?;
    Ok(Outcome::Pass(String::new()))
}

const REPORT_IDENTITY: Check = Check::new("report-identity", identity);

/// One of two edu is not behind the IOMMU; then VFIO gives it away.
fn not_behind(context: &mut Context<'_>) -> Result<Outcome> {
    const SOME: Expected<'_> = Expected { status: "in-service", reason: "", protected: "some" };
    let [alone, _] = unmanaged::pair(context)?;
    for (driver, protection) in [(None, "none"), (Some("vfio-pci"), "noiommu")] {
        if let Some(driver) = driver {
            hotplug::bind(&alone, driver)?;
        }
        let report = Report::take(context, User::Root)?;
        report.expect(&SOME)?;
        report.compare_devices(context)?;
        let said = &report.device(&alone)?.0["protection"];
        ensure!(said == protection, "{} is {said}, not {protection}", alone.address);
        report.is("/noiommu_mode", &true.into())?;
        report.must_advise("enable_unsafe_noiommu_mode")?;
        ensure!(report.advises("ask whoever runs the host")? == (protection == "none"), "step about the host");
    }
    Ok(Outcome::Pass(format!("{} is not behind the IOMMU, and given away", alone.address)))
}

const REPORT_NOT_BEHIND: Check = Check::new("report-not-behind", not_behind);

/// edu is blocked because the host could not tell about it.
fn blocked(context: &mut Context<'_>) -> Result<Outcome> {
    let edu = pci::find(pci::EDU)?;
    let report = Report::take(context, User::Root)?;
    report.expect(&Expected { status: "in-service", reason: "", protected: "all" })?;
    report.compare_devices(context)?;
    ensure!(report.device(&edu)?.0["protection"] == "blocked", "edu is blocked");
    // Who cannot read the kernel's messages cannot know, and is told so.
    write_sysfs(Path::new(DMESG_RESTRICT), "1")?;
    let report = Report::take(context, User::Nobody)?;
    write_sysfs(Path::new(DMESG_RESTRICT), "0")?;
    report.expect(&Expected { status: "in-service", reason: "", protected: "some" })?;
    report.says("or blocked by it (dmesg tells)")?;
    Ok(Outcome::Pass(String::new()))
}

const REPORT_BLOCKED: Check = Check::new("report-blocked", blocked);

/// A guest without the IOMMU in service.
fn absent(context: &mut Context<'_>, status: &str, reason: &str, step: &str) -> Result<Outcome> {
    let report = Report::take(context, User::Root)?;
    report.expect(&Expected { status, reason, protected: "none" })?;
    ensure!(
        report.compare_devices(context)?.iter().all(|said| said == "none"),
        "a device is said to be behind an IOMMU"
    );
    report.is("/host", &Value::Null)?;
    report.is("/aperture", &Value::Null)?;
    report.must_advise(step)?;
    Ok(Outcome::Pass(reason.to_owned()))
}

/// The kernel was told `hv_pviommu=off`.
fn switched_off(context: &mut Context<'_>) -> Result<Outcome> {
    absent(context, "switched-off", "the kernel was told hv_pviommu=off", "boot without hv_pviommu=off")
}

const REPORT_SWITCHED_OFF: Check = Check::new("report-switched-off", switched_off);

/// The host has no IOMMU. Who cannot read the kernel's messages cannot know.
fn not_offered(context: &mut Context<'_>) -> Result<Outcome> {
    write_sysfs(Path::new(DMESG_RESTRICT), "1")?;
    let report = Report::take(context, User::Nobody)?;
    write_sysfs(Path::new(DMESG_RESTRICT), "0")?;
    report.expect(&Expected { status: "unknown", reason: "", protected: "none" })?;
    report.must_advise("run this as root")?;
    absent(context, "not-offered", "the host offers this guest none", "ask for a host")
}

const REPORT_NOT_OFFERED: Check = Check::new("report-not-offered", not_offered);

/// The host's IOMMU lacks what the driver needs.
fn failed(context: &mut Context<'_>) -> Result<Outcome> {
    absent(context, "failed", "not used: the host offers no stage 1", "see what the message means")
}

const REPORT_FAILED: Check = Check::new("report-failed", failed);

/// The kernel has no driver.
fn without_driver(context: &mut Context<'_>) -> Result<Outcome> {
    absent(context, "no-driver", "the kernel has no driver for it", "CONFIG_HYPERV_PVIOMMU=y")
}

const REPORT_WITHOUT_DRIVER: Check = Check::new("report-without-driver", without_driver);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "report",
        summary: "the report for users, where every device is translated, and where one is not any more",
        checks: &[DEVICES, GROUPS, REPORT_IN_SERVICE, VIOLATIONS],
    },
    Scenario {
        name: "report-identity",
        summary: "the report where all devices are in identity, and hibernation is refused",
        checks: &[DEVICES, GROUPS, REPORT_IDENTITY, VIOLATIONS],
    },
    Scenario {
        name: "report-not-behind",
        summary: "the report where one of two edu is not behind the IOMMU, and programs may have it",
        checks: &[DEVICES, REPORT_NOT_BEHIND, VIOLATIONS],
    },
    Scenario {
        name: "report-blocked",
        summary: "the report where edu is blocked, as the host could not tell about it",
        checks: &[DEVICES, GROUPS, REFUSED, REPORT_BLOCKED, VIOLATIONS],
    },
    Scenario {
        name: "report-off",
        summary: "the report where the kernel was told to leave the IOMMU alone",
        checks: &[DEVICES, GROUPS, REPORT_SWITCHED_OFF],
    },
    Scenario {
        name: "report-not-offered",
        summary: "the report where the host has no IOMMU",
        checks: &[DEVICES, GROUPS, REPORT_NOT_OFFERED],
    },
    Scenario {
        name: "report-failed",
        summary: "the report where the host's IOMMU lacks what the driver needs",
        checks: &[DEVICES, GROUPS, REPORT_FAILED],
    },
    Scenario {
        name: "report-without-driver",
        summary: "the report where the kernel has no driver",
        checks: &[DEVICES, GROUPS, REPORT_WITHOUT_DRIVER],
    },
];
