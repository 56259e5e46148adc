// SPDX-License-Identifier: GPL-2.0
//! The report for users (tools/hv/hv-pviommu-report) on machines that are made up, by every shell that this machine has.
//! What it says in guests is compared with minihv by the suite `hyperv`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{json, Value};
use tempfile::TempDir;

/// Where a device of VMBus is that carries a PCI bus.
const VPCI: &str = "sys/devices/VMBUS:00/c0ffee00-0001-4000-8000-000000000000";
/// Where a board has its PCI bus.
const BOARD: &str = "sys/devices";

/// Lines of a screen.
const SCREEN: usize = 24;

/// A machine, as /sys, /proc and the kernel's log show it.
struct Machine(TempDir);

/// What the report says of it.
struct Report {
    text: String,
    json: Value,
    code: i32,
}

/// The shells, as far as they are there.
fn shells() -> Vec<Vec<&'static str>> {
    let all = [vec!["sh"], vec!["dash"], vec!["bash"], vec!["busybox", "sh"]];
    let is_there = |shell: &Vec<&str>| Command::new(shell[0]).args(&shell[1..]).args(["-c", ":"]).status().is_ok();
    let found: Vec<_> = all.into_iter().filter(is_there).collect();
    assert!(!found.is_empty(), "no shell");
    found
}

fn run(shell: &[&str], arguments: &[&str]) -> (String, String, i32) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../hv/hv-pviommu-report");
    let mut command = Command::new(shell[0]);
    let output = command.args(&shell[1..]).arg(program).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.code().unwrap())
}

impl Machine {
    /// A Hyper-V guest without devices.
    fn new() -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        machine.write("sys/bus/vmbus/uevent", "");
        machine.write("proc/cmdline", "root=/dev/sda1 quiet\n");
        machine.write("proc/sys/kernel/osrelease", "7.3.4\n");
        machine.write("proc/kallsyms", "0000000000000000 t hyperv_init\n0000000000000000 T hv_pviommu_init\n");
        machine.write("dmesg", "[    0.000000] Linux version 7.3.4\n");
        machine
    }

    /// The same with the IOMMU in service.
    fn with_iommu() -> Machine {
        let machine = Machine::new();
        let attributes = [
            ("host_iova_width", "57\n"),
            ("aperture_width", "56\n"),
            ("table_levels", "5\n"),
            ("page_sizes", "0x40201000\n"),
            ("host_capabilities", "0x2d\n"),
        ];
        for (name, value) in attributes {
            machine.write(&format!("sys/class/iommu/hv_pviommu/hyperv/{name}"), value);
        }
        fs::create_dir_all(machine.at("sys/class/iommu/hv_pviommu/devices")).unwrap();
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A link to a directory, which is made.
    fn link(&self, path: &str, target: &str) {
        let (path, target) = (self.at(path), self.at(target));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::create_dir_all(&target).unwrap();
        symlink(target, path).unwrap();
    }

    /// A function that is passed through; `iommu` and `kind` (the type of its group) where it has them.
    fn device(&self, address: &str, driver: Option<&str>, iommu: Option<&str>, kind: Option<&str>) {
        self.device_below(VPCI, address, driver, iommu, kind);
    }

    /// A function whose PCI bus is below `parent`.
    fn device_below(&self, parent: &str, address: &str, driver: Option<&str>, iommu: Option<&str>, kind: Option<&str>) {
        if !self.at(VPCI).exists() {
            self.link(&format!("{VPCI}/subsystem"), "sys/bus/vmbus");
        }
        let directory = format!("{parent}/pci{}/{address}", &address[..7]);
        self.write(&format!("{directory}/class"), "0x010802\n");
        self.link(&format!("sys/bus/pci/devices/{address}"), &directory);
        if let Some(driver) = driver {
            self.link(&format!("{directory}/driver"), &format!("sys/bus/pci/drivers/{driver}"));
        }
        if let Some(iommu) = iommu {
            self.link(&format!("{directory}/iommu"), &format!("sys/class/iommu/{iommu}"));
            self.link(&format!("sys/class/iommu/{iommu}/devices/{address}"), &directory);
        }
        if let Some(kind) = kind {
            // The group's number is the device's.
            let number: u32 = address[8..10].parse().unwrap();
            let group = format!("sys/kernel/iommu_groups/{number}");
            match kind {
                "vfio-noiommu" => self.write(&format!("{group}/name"), "vfio-noiommu\n"),
                kind => self.write(&format!("{group}/type"), &format!("{kind}\n")),
            }
            self.link(&format!("{directory}/iommu_group"), &group);
        }
    }

    /// The report. Every shell has to say the same.
    fn report(&self) -> Report {
        let root = self.0.path().to_str().unwrap();
        let reports = shells().into_iter().map(|shell| {
            let (text, complaint, code) = run(&shell, &["--root", root]);
            assert_eq!(complaint, "", "{shell:?}");
            let (json, complaint, code_of_json) = run(&shell, &["--json", "--root", root]);
            assert_eq!((complaint.as_str(), code_of_json), ("", code), "{shell:?}");
            let json = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{shell:?}: {error}: {json}"));
            assert!(text.lines().count() <= SCREEN, "{text}");
            Report { text, json, code }
        });
        let mut reports: Vec<Report> = reports.collect();
        let last = reports.pop().unwrap();
        for report in reports {
            assert_eq!((&report.text, &report.json, report.code), (&last.text, &last.json, last.code));
        }
        last
    }
}

impl Report {
    fn steps(&self) -> String {
        self.json["next_steps"].to_string()
    }

    /// Status, what is protected, exit status.
    fn verdict(&self) -> (&str, &str, i32) {
        (self.json["status"].as_str().unwrap(), self.json["protected"].as_str().unwrap(), self.code)
    }
}

#[test]
fn a_machine_that_has_nothing() {
    let report = Machine(tempfile::tempdir().unwrap()).report();
    assert_eq!(report.verdict(), ("no-hyper-v", "no-devices", 0));
    assert_eq!(report.json["kernel"], Value::Null);
    assert_eq!(report.json["host"], Value::Null);
    assert!(report.text.contains("this is no Hyper-V guest"), "{}", report.text);
}

#[test]
fn every_kind_of_device() {
    let machine = Machine::with_iommu();
    machine.device("0000:00:01.0", Some("nvme"), Some("hv_pviommu"), Some("DMA"));
    machine.device("0000:00:02.0", Some("mlx5_core"), Some("hv_pviommu"), Some("DMA-FQ"));
    machine.device("0000:00:03.0", None, Some("hv_pviommu"), Some("identity"));
    machine.device("0000:00:04.0", None, None, None);
    machine.device("0000:00:05.0", Some("vfio-pci"), None, Some("vfio-noiommu"));
    machine.device("0000:00:06.0", None, None, None);
    machine.device("0000:00:07.0", None, Some("dmar0"), Some("DMA-FQ"));
    machine.device("0000:00:08.0", None, None, None);
    machine.write(&format!("{VPCI}/pci0000:00/0000:00:08.0/class"), "0x060400\n");
    machine.write(
        "dmesg",
        "[    0.000000] Linux version 7.3.4\n\
         [    2.0][    T1] pci 0000:00:06.0: IOMMU: HVCALL of 0x6: 0x71 OPERATION_FAILED; DMA is blocked\n",
    );
    let report = machine.report();
    assert_eq!(report.verdict(), ("in-service", "some", 1));
    let expected = [
        ("0000:00:01.0", json!(1), json!("DMA"), json!("hv_pviommu"), "strict", "group 1, DMA: confined"),
        ("0000:00:02.0", json!(2), json!("DMA-FQ"), json!("hv_pviommu"), "deferred", "group 2, DMA-FQ: confined"),
        ("0000:00:03.0", json!(3), json!("identity"), json!("hv_pviommu"), "identity", "NOT CONFINED: reaches all"),
        ("0000:00:04.0", Value::Null, Value::Null, Value::Null, "none", "NOT CONFINED: not behind an IOMMU"),
        ("0000:00:05.0", json!(5), Value::Null, Value::Null, "noiommu", "NOT CONFINED: given to programs"),
        ("0000:00:06.0", Value::Null, Value::Null, Value::Null, "blocked", "blocked: does no DMA"),
        ("0000:00:07.0", json!(7), json!("DMA-FQ"), json!("dmar0"), "deferred", "(by dmar0)"),
    ];
    let devices = report.json["devices"].as_array().unwrap();
    assert_eq!(devices.len(), expected.len(), "a bridge is none");
    for ((address, group, kind, iommu, protection, words), device) in expected.iter().zip(devices) {
        assert_eq!(device["address"], **address);
        let seen = (&device["group"], &device["type"], &device["iommu"], &device["protection"]);
        assert_eq!(seen, (group, kind, iommu, &json!(protection)), "{address}");
        let line = report.text.lines().find(|line| line.contains(address)).unwrap();
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(devices[5]["message"], "HVCALL of 0x6: 0x71 OPERATION_FAILED; DMA is blocked");
    assert_eq!(report.json["host"]["five_levels"], true);
    assert_eq!(report.json["host"]["ats"], true);
    assert_eq!(report.json["aperture"], json!({ "width": 56, "levels": 5 }));
    assert!(report.text.contains("pages of 4K 2M 1G, 5-level tables, ATS (capabilities 0x2d)"), "{}", report.text);
    assert!(report.steps().contains("/sys/kernel/iommu_groups/3/type"), "{}", report.steps());
}

#[test]
fn a_device_that_may_be_blocked() {
    let machine = Machine::with_iommu();
    machine.device("0000:00:01.0", None, None, None);
    // The log has lost its start.
    machine.write("dmesg", "[  99.0] usb 1-1: new device\n");
    let report = machine.report();
    assert_eq!(report.verdict(), ("in-service", "none", 1));
    assert!(report.text.contains("or blocked by it (dmesg has lost that): MAY NOT BE CONFINED"), "{}", report.text);
    assert!(report.steps().contains("journalctl -k -b"), "{}", report.steps());
    // Nobody may read the log.
    fs::remove_file(machine.at("dmesg")).unwrap();
    let report = machine.report();
    assert!(report.text.contains("or blocked by it (dmesg tells): MAY NOT BE CONFINED"), "{}", report.text);
    assert!(report.steps().contains("run this as root"), "{}", report.steps());
}

/// The kernel finds another device at an address: what it said of the one before is past.
#[test]
fn a_device_that_came_back() {
    const FOUND: &str = "pci 0000:00:01.0: [1b36:0010] type 00 class 0x010802 PCIe Endpoint";
    const BLOCKED: &str = "pci 0000:00:01.0: IOMMU: HVCALL of 0x6: 0x71 OPERATION_FAILED; DMA is blocked";
    let machine = Machine::with_iommu();
    machine.device("0000:00:01.0", None, None, None);
    let protection = |messages: &[&str]| {
        let lines: Vec<String> = messages.iter().map(|message| format!("[    2.0] {message}\n")).collect();
        machine.write("dmesg", &format!("[    0.0] Linux version 7\n{}", lines.concat()));
        let report = machine.report();
        let device = &report.json["devices"][0];
        assert_eq!(report.code, i32::from(device["protection"] != "blocked"));
        (device["protection"].as_str().unwrap().to_owned(), device["message"].clone())
    };
    assert_eq!(protection(&[FOUND, BLOCKED]).0, "blocked");
    assert_eq!(protection(&[FOUND, BLOCKED, FOUND]), ("none".to_owned(), Value::Null));
    assert_eq!(protection(&[FOUND, BLOCKED, FOUND, BLOCKED]).0, "blocked");
    let other = FOUND.replace("00:01.0", "00:11.0");
    assert_eq!(protection(&[FOUND, BLOCKED, &other]).0, "blocked", "a message about another address");
}

/// The driver in C has the IOMMU, or is there and does not have it.
#[test]
fn another_driver() {
    let machine = Machine::new();
    machine.write("proc/kallsyms", "0000000000000000 t hyperv_init\n");
    machine.write("boot/config-7.3.4", "CONFIG_HYPERV=y\nCONFIG_HYPERV_PVIOMMU=y\n");
    let report = machine.report();
    assert_eq!((report.json["driver"].as_str(), report.verdict().0), (Some("other"), "unknown"));
    assert!(report.text.contains("the kernel has another driver of it, which is not at work"), "{}", report.text);
    assert!(!report.steps().contains("CONFIG_HYPERV_PVIOMMU"), "{}", report.steps());

    machine.device("0000:00:01.0", Some("nvme"), Some("hv-iommu"), Some("DMA"));
    let report = machine.report();
    assert_eq!(report.verdict(), ("other-driver", "all", 0));
    assert_eq!(report.json["driver"], "other");
    assert_eq!(report.json["devices"][0]["iommu"], "hv-iommu");
    assert!(report.text.contains("another driver has it in service (hv-iommu)"), "{}", report.text);
    assert!(report.text.contains("(by hv-iommu)"), "{}", report.text);
    assert!(!report.text.contains("not in service"), "{}", report.text);
    assert_eq!(report.json["next_steps"], json!([]));
}

/// dmesg has lost its start, or may not be read.
#[test]
fn the_journal_has_what_dmesg_has_lost() {
    const JOURNAL: &str = "\
        Nov  7 15:00:00 host kernel: Linux version 7.3.4\n\
        Nov  7 15:00:01 host systemd[1]: kernel: hv_pviommu: nonsense\n\
        Nov  7 15:00:01 host kernel: pci 0000:00:01.0: [1b36:0010] type 00 class 0x010802\n\
        Nov  7 15:00:01 host kernel: pci 0000:00:01.0: IOMMU: HVCALL: 0x71 OPERATION_FAILED; DMA is blocked\n\
        Nov  7 15:00:02 host kernel: pci 0000:00:02.0: [1b36:0010] type 00 class 0x010802\n\
        Nov  7 15:00:02 host kernel: pci 0000:00:02.0: IOMMU: HVCALL: 0x71 OPERATION_FAILED; DMA is blocked\n";
    let machine = Machine::with_iommu();
    machine.device("0000:00:01.0", None, None, None);
    machine.device("0000:00:02.0", None, None, None);
    let protections = || {
        let report = machine.report();
        [0, 1].map(|number| report.json["devices"][number]["protection"].as_str().unwrap().to_owned())
    };
    machine.write("journal", JOURNAL);
    machine.write("dmesg", "[   99.0] usb 1-1: new device\n");
    assert_eq!(protections(), ["blocked", "blocked"]);
    machine.write("dmesg", "[   99.0] pci 0000:00:02.0: [1b36:0010] type 00 class 0x010802\n");
    assert_eq!(protections(), ["blocked", "none"], "dmesg goes on where the journal ends");
    fs::remove_file(machine.at("dmesg")).unwrap();
    assert_eq!(protections(), ["blocked", "blocked"]);

    let machine = Machine::new();
    machine.write("dmesg", "[   99.0] usb 1-1: new device\n");
    let report = machine.report();
    assert_eq!(report.verdict().0, "unknown");
    assert!(report.steps().contains("dmesg has lost its start"), "{}", report.steps());
    assert!(report.steps().contains("journalctl -k -b | grep -E 'hv_pviommu|IOMMU:'"), "{}", report.steps());
    assert!(!report.steps().contains("run this as root"), "{}", report.steps());
    machine.write("journal", JOURNAL);
    assert_eq!(machine.report().verdict().0, "not-offered");
    machine.write("journal", &format!("{JOURNAL}Nov  7 15:00:03 host kernel: hv_pviommu: not used: no stage 1\n"));
    assert_eq!(machine.report().json["reason"], "not used: no stage 1");
    // The journal has lost its start, too.
    machine.write("journal", "Nov  7 15:00:00 host kernel: usb 1-1: new device\n");
    assert_eq!(machine.report().verdict().0, "unknown");
    fs::remove_file(machine.at("dmesg")).unwrap();
    fs::remove_file(machine.at("journal")).unwrap();
    assert!(machine.report().steps().contains("run this as root"));
}

/// A virtual machine of generation 1 has a disk controller and a graphics adapter that the host emulates.
#[test]
fn what_the_host_emulates_is_not_counted() {
    let machine = Machine::new();
    machine.device_below(BOARD, "0000:00:07.1", Some("ata_piix"), None, None);
    let report = machine.report();
    assert_eq!(report.verdict(), ("not-offered", "no-devices", 0));
    assert!(report.text.contains("The host passes no PCI device through."), "{}", report.text);

    let machine = Machine::with_iommu();
    machine.device_below(BOARD, "0000:00:07.1", Some("ata_piix"), None, None);
    // Below a device of another bus than VMBus.
    let other = "sys/devices/platform/bridge";
    machine.link(&format!("{other}/subsystem"), "sys/bus/platform");
    machine.device_below(other, "0000:00:08.0", None, None, None);
    machine.device("1ee7:00:09.0", Some("nvme"), Some("hv_pviommu"), Some("DMA"));
    let report = machine.report();
    assert_eq!(report.verdict(), ("in-service", "all", 0));
    assert_eq!(report.json["devices"][0]["protection"], "emulated");
    assert_eq!(report.json["devices"][1]["protection"], "emulated");
    assert!(report.text.contains("0000:00:07.1, driver ata_piix, emulated by the host"), "{}", report.text);
    assert!(report.text.contains("mapped for it (1)"), "{}", report.text);
    assert_eq!(report.json["next_steps"], json!([]));

    // What is passed through counts, and so does what a program has.
    machine.device("1fe7:00:10.0", None, None, None);
    assert_eq!(machine.report().verdict(), ("in-service", "some", 1));
    let machine = Machine::with_iommu();
    machine.device_below(BOARD, "0000:00:08.0", Some("vfio-pci"), None, Some("vfio-noiommu"));
    assert_eq!(machine.report().verdict(), ("in-service", "none", 1));

    // On another machine nobody emulates.
    let machine = Machine(tempfile::tempdir().unwrap());
    machine.device_below(BOARD, "0000:00:07.1", Some("ata_piix"), None, None);
    fs::remove_dir_all(machine.at("sys/bus/vmbus")).unwrap();
    assert_eq!(machine.report().verdict(), ("no-hyper-v", "none", 1));
}

#[test]
fn why_there_is_none() {
    const SYMBOL: &str = "0000000000000000 t hyperv_init\n";
    let verdict = |machine: &Machine| {
        let report = machine.report();
        let reason = report.json["reason"].as_str().unwrap().to_owned();
        assert!(report.text.contains(&reason), "{}", report.text);
        (report.json["status"].as_str().unwrap().to_owned(), reason)
    };
    let is = |status: &str, reason: &str| (status.to_owned(), reason.to_owned());
    let machine = Machine::new();
    assert_eq!(verdict(&machine), is("not-offered", "the host offers this guest none"));

    machine.write("dmesg", "[    0.0] Linux version 7\n[    1.0] hv_pviommu: not used: the host offers no stage 1\n");
    assert_eq!(verdict(&machine), is("failed", "not used: the host offers no stage 1"));
    // What others say of the driver is not what the driver says.
    machine.write("dmesg", "[    0.0] Linux version 7\n[    1.0] systemd: hv_pviommu: nonsense\n");
    assert_eq!(verdict(&machine).0, "not-offered");
    // A log without its start may have lost the driver's line.
    machine.write("dmesg", "[   99.0] usb 1-1: new device\n");
    assert_eq!(verdict(&machine).0, "unknown");

    machine.write("proc/kallsyms", SYMBOL);
    assert_eq!(verdict(&machine), is("no-driver", "the kernel has no driver for it"));
    fs::remove_file(machine.at("proc/kallsyms")).unwrap();
    assert_eq!(machine.report().json["driver"], "unknown");
    machine.write("boot/config-7.3.4", "CONFIG_HYPERV=y\n# CONFIG_HYPERV_PVIOMMU is not set\n");
    assert_eq!(verdict(&machine).0, "no-driver");
    machine.write("boot/config-7.3.4", "CONFIG_HYPERV=y\nCONFIG_HYPERV_PVIOMMU=y\n");
    assert_eq!(machine.report().json["driver"], "present");

    for word in ["hv_pviommu=off", "iommu=off"] {
        machine.write("proc/cmdline", &format!("quiet {word}\n"));
        assert_eq!(verdict(&machine), is("switched-off", &format!("the kernel was told {word}")));
        assert!(machine.report().steps().contains(&format!("boot without {word}")));
    }
}

#[test]
fn a_guest_without_vmbus_is_known_by_its_firmware() {
    let machine = Machine::new();
    fs::remove_dir_all(machine.at("sys/bus/vmbus")).unwrap();
    assert_eq!(machine.report().json["hyper_v"], false);
    machine.write("sys/class/dmi/id/sys_vendor", "Microsoft Corporation\n");
    machine.write("sys/class/dmi/id/product_name", "Surface\n");
    assert_eq!(machine.report().json["hyper_v"], false);
    machine.write("sys/class/dmi/id/product_name", "Virtual Machine\n");
    assert_eq!(machine.report().json["hyper_v"], true);
}

#[test]
fn user_space_and_hibernation() {
    let machine = Machine::with_iommu();
    machine.device("0000:00:01.0", Some("nvme"), Some("hv_pviommu"), Some("DMA"));
    let report = machine.report();
    assert_eq!(report.verdict(), ("in-service", "all", 0));
    assert_eq!(report.json["unsafe_interrupts"], json!({ "type1": null, "iommufd": null }));
    assert_eq!((&report.json["noiommu_mode"], &report.json["hibernation"]), (&Value::Null, &json!("not-offered")));
    assert_eq!(report.json["next_steps"], json!([]));

    machine.write("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n");
    machine.write("sys/module/iommufd/parameters/allow_unsafe_interrupts", "Y\n");
    machine.write("sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    machine.write("sys/power/state", "freeze mem disk\n");
    machine.write("sys/power/disk", "[platform] shutdown\n");
    let report = machine.report();
    assert_eq!(report.json["unsafe_interrupts"], json!({ "type1": false, "iommufd": true }));
    assert_eq!((&report.json["noiommu_mode"], &report.json["hibernation"]), (&json!(true), &json!("offered")));
    assert!(report.steps().contains("enable_unsafe_noiommu_mode"));
    assert!(!report.steps().contains("allow_unsafe_interrupts"));

    machine.write("proc/cmdline", "hv_pviommu=nohibernate iommu.strict=1 quiet\n");
    let report = machine.report();
    assert_eq!(report.json["hibernation"], "refused");
    assert_eq!(report.json["command_line"], json!(["hv_pviommu=nohibernate", "iommu.strict=1"]));
    machine.write("sys/power/disk", "[disabled]\n");
    assert_eq!(machine.report().json["hibernation"], "not-offered");
}

#[test]
fn odd_texts_are_data() {
    let machine = Machine::with_iommu();
    machine.device("0000:00:01.0", Some("a\"b\\c*"), Some("hv_pviommu"), Some("DMA"));
    machine.device("0000:00:02.0", Some("*"), Some("hv_pviommu"), Some("DMA"));
    machine.write("proc/cmdline", "iommu=\"$(id)\" vfio.x=* iommu.y=\\n %s\n");
    let report = machine.report();
    assert_eq!(report.json["devices"][0]["driver"], "a\"b\\c*");
    assert_eq!(report.json["devices"][1]["driver"], "*");
    assert_eq!(report.json["command_line"], json!(["iommu=\"$(id)\"", "vfio.x=*", "iommu.y=\\n"]));
}

#[test]
fn many_devices_fit_on_a_screen() {
    let machine = Machine::with_iommu();
    for number in 10..50 {
        let kind = if number == 49 { "identity" } else { "DMA" };
        machine.device(&format!("0000:00:{number}.0"), None, Some("hv_pviommu"), Some(kind));
    }
    let report = machine.report();
    assert_eq!(report.json["devices"].as_array().unwrap().len(), 40);
    assert!(report.text.contains("and 31 more that are confined or blocked"), "{}", report.text);
    assert!(report.text.contains("0000:00:49.0"), "what is not confined is shown");
}

#[test]
fn wrong_usage() {
    for shell in shells() {
        for arguments in [&["--root"][..], &["--colour"], &["x"]] {
            let (text, complaint, code) = run(&shell, arguments);
            assert_eq!((text.as_str(), code), ("", 2), "{shell:?}");
            assert!(complaint.starts_with("usage: "), "{complaint}");
        }
    }
}
