// SPDX-License-Identifier: GPL-2.0
//! Other kernels after this one, sleep, processors that come and go, and partitions that are no ordinary guests.

use hvcore::ids::Iova;
use hvprotocol::faults::Provoked;

use super::common::{runs_as, says, with};
use crate::case::Case;
use crate::expect::{self, Expectation, Times};
use crate::faults::on_bus;
use crate::initramfs::Pack;
use crate::mode;

/// Makes the pauses of the kernel's own tests of sleep short.
pub const SHORT_PAUSES: &str = "suspend.pm_test_delay=1";

/// Where the image of a hibernated guest is.
const IMAGE: [&str; 2] = ["resume=/dev/nvme0n1", "resumewait"];

fn power(name: &'static str, scenario: &'static str) -> Case {
    Case::new("power", name, scenario)
}

/// Nothing is said about domain numbers that an earlier kernel left taken.
fn silent_about_taken_numbers() -> Expectation {
    let pattern = r"^hv_pviommu: .*(0x65|ALREADY_EXISTS)".to_owned();
    Expectation { meaning: "numbers that are taken are passed over silently".to_owned(), pattern, times: Times::Never }
}

/// The veto is said so often.
fn veto(times: Times) -> Expectation {
    let pattern = "^Hyper-V: no hibernation while the para-virtualized IOMMU is in use$".to_owned();
    Expectation { meaning: "the veto of hibernation is one line".to_owned(), pattern, times }
}

/// The kernel patches code with interrupts off when hypercalls stop working, and complains about it itself.
pub fn sleeps(case: Case) -> Case {
    case.known_warning("kernel/smp.c", "smp_call_function_many_cond", "hv_suspend").known_warning(
        "kernel/smp.c",
        "smp_call_function_many_cond",
        "hv_resume",
    )
}

/// The hypervisor fails a call by which something is given back to it.
fn not_hibernated(call: &str) -> Expectation {
    Expectation {
        meaning: "that there is no hibernation is an error that names the call".to_owned(),
        pattern: format!("^hv_pviommu: no hibernation: {call}: 0x71 OPERATION_FAILED"),
        times: Times::Once,
    }
}

/// A device of a blocked bus goes on asking.
fn any_fault_of(bus: usize) -> Provoked {
    Provoked::some(on_bus(bus, 0), Iova(0)..=Iova(u64::MAX), 1..=64)
}

/// A guest that hibernates to its NVMe disk, and wakes up in a machine whose minihv has these options.
fn hibernation(name: &'static str, scenario: &'static str, hypervisor: &'static str) -> Case {
    let case = sleeps(power(name, scenario)).devices(&["nvme,size=1G", "edu", "virtio-blk"]).minutes(10).thorough();
    IMAGE.iter().fold(case, |case, word| case.append(word)).switched_on_again(hypervisor)
}

/// A guest whose IOMMU cannot be made what it was when it wakes up on a host with these options; one line says why.
fn hibernation_in_vain(name: &'static str, hypervisor: &'static str, why: &str) -> Case {
    let why = format!("^hv_pviommu: {why}; the devices stay blocked$");
    with(hibernation(name, "hibernation-in-vain", hypervisor), &mode::STRICT)
        .expect(says("that the IOMMU is not what it was is one error", &why, Times::Once))
        .expect(says(
            "it does not hibernate again",
            "^hv_pviommu: no hibernation: the devices are blocked since the last one$",
            Times::Once,
        ))
        .expect_faults(any_fault_of(0))
        .expect_faults(any_fault_of(2))
        .violation("^0xd1 FLUSH_DEVICE_DOMAIN_LIST: 0x05")
        .violation("^0xd0 FLUSH_DEVICE_DOMAIN: 0x05")
}

/// Hosts on which the domains cannot be made again. The kernel that loads the image has made domains of the first numbers
/// and has deleted them: what the host does for the second time is the resumed kernel's.
fn resumes_in_vain() -> Vec<Case> {
    vec![
        hibernation_in_vain("hibernation-on-another-host", "iova-width=39", "the host's IOMMU is not what it was"),
        hibernation_in_vain(
            "hibernation-domain-refused",
            "inject=b1:71:2:1:domain=3",
            "HVCALL_CREATE_DEVICE_DOMAIN of domain 3: 0x71 OPERATION_FAILED",
        ),
        hibernation_in_vain(
            "hibernation-domain-not-configured",
            "inject=ce:71:2:1:domain=3",
            "HVCALL_CONFIGURE_DEVICE_DOMAIN of domain 3: 0x71 OPERATION_FAILED",
        ),
        // Deleted in vain once, and not at all the second time.
        hibernation_in_vain(
            "hibernation-number-stays-taken",
            "inject=c5:0:1:1:domain=3:omitted inject=c5:71:2:all:domain=3",
            "domain 3 is somebody else's",
        ),
    ]
}

/// A guest that goes to sleep as for hibernation, and makes no image: a scenario of the case's name.
fn without_image(name: &'static str, words: &[&str]) -> Case {
    sleeps(with(power(name, name), words)).append(SHORT_PAUSES).memory("640M")
}

/// The IOMMU is left alone, and that is said.
fn confidential() -> Expectation {
    let pattern = r"^hv_pviommu: not used: .*confidential".to_owned();
    Expectation { meaning: "that the IOMMU is not used is one line".to_owned(), pattern, times: Times::Once }
}

/// A boot of several kernels, one after the other; each announces the IOMMU.
pub fn kernels(case: Case, scenarios: &[&'static str]) -> Case {
    let up = expect::driver_up().times(Times::Exactly(1 + scenarios.len()));
    let case = scenarios.iter().fold(case, |case, _| case.pack(Pack::Kernel));
    case.followed_by(scenarios).expect(up).expect(silent_about_taken_numbers())
}

fn crash(name: &'static str, scenario: &'static str) -> Case {
    power(name, scenario)
        .append("crashkernel=320M")
        .memory("1536M")
        .splat(r"^Kernel panic - not syncing: sysrq triggered crash$")
        .splat(r"^Call Trace:$")
}

/// A crash of a guest with four processors, that comes about in another way than by a key.
fn crash_by(name: &'static str, word: &str) -> Case {
    crash(name, "crash").cpus(4).append(word).minutes(10).thorough()
}

/// The case's crash happens on this processor of several, and the trace says so.
fn on_processor(case: Case, cpus: u32, cpu: u32) -> Case {
    let pattern = format!(r"^CPU: {cpu} UID: \d+ PID: \d+ Comm: ");
    case.cpus(cpus)
        .append(&format!("hvtest.crash-cpu={cpu}"))
        .expect(says("the crash is on the processor that was asked for", &pattern, Times::Once))
        .minutes(10)
        .thorough()
}

/// A crash on one of several processors.
fn crash_on(name: &'static str, cpus: u32, cpu: u32) -> Case {
    on_processor(crash(name, "crash"), cpus, cpu)
}

/// The processors of a guest with 16 whose crashes are tried with edu alone. Two more are tried with all devices.
const OTHERS_OF_16: [(&str, u32); 14] = [
    ("kdump-of-processor-0-of-16", 0),
    ("kdump-of-processor-1-of-16", 1),
    ("kdump-of-processor-2-of-16", 2),
    ("kdump-of-processor-3-of-16", 3),
    ("kdump-of-processor-4-of-16", 4),
    ("kdump-of-processor-5-of-16", 5),
    ("kdump-of-processor-6-of-16", 6),
    ("kdump-of-processor-8-of-16", 8),
    ("kdump-of-processor-9-of-16", 9),
    ("kdump-of-processor-10-of-16", 10),
    ("kdump-of-processor-11-of-16", 11),
    ("kdump-of-processor-12-of-16", 12),
    ("kdump-of-processor-13-of-16", 13),
    ("kdump-of-processor-14-of-16", 14),
];

/// Every other one of them defers flushes.
fn others_of_16() -> impl Iterator<Item = Case> {
    OTHERS_OF_16.into_iter().map(|(name, cpu)| {
        let case = on_processor(crash(name, "crash-of-edu"), 16, cpu).devices(&["edu"]);
        if cpu % 2 == 0 {
            strict(case, &["crashed-of-edu"])
        } else {
            deferred(case, &["crashed-of-edu"])
        }
    })
}

/// A crash while edu writes to memory that no kernel uses.
fn crash_storing(name: &'static str, hypervisor: &'static str) -> Case {
    crash(name, "crash-storing")
        .devices(&["edu"])
        .append("memmap=4M$0x20000000 vfio_iommu_type1.allow_unsafe_interrupts=1")
        .pack(Pack::Attack)
        .hypervisor(hypervisor)
}

/// The kernel after the crash writes the memory of the crashed one to the disk, and goes; a third one looks at what is there.
fn dump_to_disk() -> Case {
    with(crash("kdump-to-disk", "crash"), &mode::DEFERRED)
        .devices(&["nvme,size=2G", "edu", "virtio-blk"])
        .memory("1G")
        .cpus(2)
        .minutes(30)
        .pack(Pack::Kernel)
        .pack(Pack::Kdump)
        .followed_by(&["crashed-dumps"])
        .switched_on_again_for("dumped")
        .append("hvtest.tell=hvtest.mode=strict")
        .expect(expect::driver_up().times(Times::Exactly(3)))
        .expect(silent_about_taken_numbers())
        .thorough()
}

/// A crash in strict mode.
fn strict(case: Case, scenarios: &[&'static str]) -> Case {
    kernels(with(case, &mode::STRICT), scenarios)
}

/// A crash in deferred mode; the kernel after it flushes at once.
fn deferred(case: Case, scenarios: &[&'static str]) -> Case {
    kernels(with(case, &mode::DEFERRED), scenarios).append("hvtest.tell=hvtest.mode=strict")
}

fn crashes() -> Vec<Case> {
    vec![
        strict(crash("kdump", "crash"), &["crashed"]),
        strict(crash_storing("kdump-host-keeps-devices", "unload=keep"), &["crashed-stored"]),
        deferred(crash_storing("kdump-host-resets-devices", "unload=reset"), &["crashed-reset"]).thorough(),
        strict(crash_on("kdump-of-processor-1", 4, 1), &["crashed-kept"]).hypervisor("unload=keep"),
        deferred(crash_on("kdump-of-processor-2", 4, 2), &["crashed-kept"]).hypervisor("unload=keep"),
        strict(crash_on("kdump-of-processor-3", 4, 3), &["crashed"]),
        strict(crash_on("kdump-of-processor-7-of-16", 16, 7), &["crashed"]).minutes(20),
        deferred(crash_on("kdump-of-processor-15-of-16", 16, 15), &["crashed"]).minutes(20),
        // The crash kernel has several processors, too; that takes a crash on the first one.
        strict(crash_on("kdump-to-four-processors", 4, 0), &["crashed-to-several"]).append("hvtest.tell=nr_cpus=4"),
        // The host refuses the crash kernel the bus of one device.
        strict(crash("kdump-low-window-refused", "crash-window"), &["crashed-window"])
            .append("hvtest.tell=hvtest.devices=2")
            .expect(says("pci-hyperv tries once more", "^hv_pci [0-9a-f-]+: Retrying D0 Entry$", Times::Once))
            .expect(says(
                "pci-hyperv gives the bus up",
                "^hv_pci [0-9a-f-]+: PCI Pass-through VSP failed D0 Entry with status c0370048$",
                Times::Once,
            ))
            .thorough(),
        strict(crash_by("kdump-by-nmi", "hvtest.crash-by=nmi"), &["crashed"])
            .append("unknown_nmi_panic")
            .splat("^Kernel panic - not syncing: NMI: Not continuing$"),
        // The disk that was being removed is not there at first.
        kernels(
            with(crash_by("kdump-in-a-removal", "hvtest.crash-by=removal"), &mode::DEFERRED),
            &["crashed-in-a-removal"],
        )
        .append("hvtest.tell=hvtest.mode=strict,hvtest.devices=2"),
        strict(crash_by("kdump-by-old-call", "hvtest.load-by=segments"), &["crashed"]).cpus(2).pack(Pack::Kdump),
        dump_to_disk(),
        // The crash kernel has no driver for the device with ATS.
        strict(crash("kdump-ats", "crash-ats"), &["crashed-ats"])
            .devices(&["edu", "virtio-blk,ats=on"])
            .hypervisor("ats=on unload=keep")
            .append("hvtest.tell=initcall_blacklist=virtio_pci_driver_init")
            .thorough(),
        kernels(with(crash("kdump-identity", "crash-identity"), &mode::IDENTITY), &["crashed-identity"])
            .hypervisor("unload=keep")
            .append("hvtest.tell=hvtest.mode=strict")
            .thorough(),
    ]
}

fn successors() -> Vec<Case> {
    vec![
        kernels(with(power("kexec", "kexec"), &mode::STRICT), &["kexec-arrived"]),
        kernels(with(power("kexec-twice-deferred", "kexec"), &mode::DEFERRED), &["kexec-passed", "kexec-arrived"])
            .cpus(4)
            .thorough(),
        kernels(with(power("kexec-identity", "kexec"), &mode::IDENTITY), &["kexec-arrived-identity"]).thorough(),
        // The second kernel is told that it has no groups; of words that come twice the last one counts.
        with(power("kexec-to-kernel-without", "kexec-edu"), &mode::STRICT)
            .devices(&["edu"])
            .append("hvtest.tell=hv_pviommu=off,hvtest.mode=unmanaged")
            .pack(Pack::Kernel)
            .followed_by(&["kexec-arrived-without"])
            .expect(expect::driver_up())
            .thorough(),
        with(power("kexec-jump-refused", "kexec-jump"), &mode::STRICT)
            .expect(says(
                "that there is no such jump is one error",
                "^Hyper-V: no such sleep while the para-virtualized IOMMU is in use$",
                Times::Once,
            ))
            .thorough(),
        // A host with another word for a number that is taken.
        kernels(with(power("kexec-other-status", "kexec"), &mode::STRICT), &["kexec-arrived-doubtful"])
            .hypervisor("taken=71")
            .expect(expect::another_number("0x71 OPERATION_FAILED")),
    ]
}

fn sleep() -> Vec<Case> {
    vec![
        with(power("sleep-and-cpu-hotplug", "sleep"), &mode::STRICT).append(SHORT_PAUSES).cpus(4),
        without_image("hibernation-core", &mode::STRICT),
        without_image("hibernation-turns", &mode::STRICT).thorough(),
        without_image("hibernation-identity", &mode::IDENTITY).thorough(),
        without_image("hibernation-ats", &mode::STRICT)
            .devices(&["nvme", "edu", "virtio-blk,ats=on"])
            .hypervisor("ats=on")
            .thorough(),
        sleeps(with(power("hibernation-refused", "hibernation-refused"), &mode::STRICT))
            .append(SHORT_PAUSES)
            .expect(not_hibernated("HVCALL_DETACH_DEVICE_DOMAIN of 0x[0-9a-f]+").times(Times::Exactly(2)))
            .expect(not_hibernated(r"HVCALL_DELETE_DEVICE_DOMAIN of domain \d+"))
            .expect(says(
                "the kernel goes no further",
                "^PM: hibernation: Some system devices failed to power down, aborting$",
                Times::Exactly(3),
            ))
            .thorough(),
        with(power("no-hibernation", "no-hibernation"), &mode::STRICT)
            .append("hv_pviommu=nohibernate")
            .expect(veto(Times::Exactly(2)))
            .thorough(),
        with(hibernation("hibernation", "hibernation", ""), &mode::STRICT),
        // What the loading kernel has left of a static and of a paging domain is deleted.
        with(
            hibernation(
                "hibernation-numbers-taken",
                "hibernation-numbers-taken",
                "inject=c5:0:1:1:domain=1:omitted inject=c5:0:1:1:domain=3:omitted",
            ),
            &mode::STRICT,
        ),
        with(
            hibernation("hibernation-before-the-iommu", "hibernation-untranslated", "iova-width=47"),
            &mode::UNMANAGED,
        )
        .hypervisor("pviommu=off")
        .append("hvtest.rounds=2")
        .switched_on_again("iova-width=47")
        .expect(expect::driver_up().times(Times::Exactly(2)))
        .expect(says(
            "that there is an IOMMU now is one line",
            "^hv_pviommu: the host offers an IOMMU now; it is used after the next boot$",
            Times::Once,
        )),
        with(hibernation("hibernation-with-a-newcomer", "hibernation-newcomer", ""), &mode::STRICT)
            .hypervisor("unmanaged=1")
            .expect(says(
                "that a device is behind the IOMMU now is one error",
                "^hv_pviommu: 0x[0-9a-f]+ is behind the IOMMU since the guest woke up; it stays blocked$",
                Times::Once,
            )),
        // The kernel that loads the image attaches and detaches three devices.
        with(
            hibernation(
                "hibernation-closed-buses",
                "hibernation-closed-buses",
                "inject=b2:71:4:all inject=c4:71:4:all",
            ),
            &mode::STRICT,
        )
        .expect(expect::taken_away(2))
        // The drivers look at their devices' BARs.
        .violation("^MMIO outside of all windows at 0xd000[0-9a-f]{4}$")
        .expect(says(
            "no device is put back",
            " IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to domain .*: 0x71 ",
            Times::Exactly(3),
        ))
        .expect(says("none is blocked", " IOMMU: DMA is not blocked but by the device: ", Times::Exactly(3))),
        with(hibernation("hibernation-deferred", "hibernation", ""), &mode::DEFERRED).cpus(4),
        with(power("cpu-hotplug-long", "cpu-hotplug"), &mode::DEFERRED).append("hvtest.rounds=20").cpus(4).thorough(),
        without_image("switched-off", &mode::UNMANAGED)
            .append("hv_pviommu=off")
            .expect(veto(Times::Never))
            .expect(expect::driver_silent())
            .thorough(),
        with(power("iommu-off", "unmanaged"), &mode::UNMANAGED)
            .append("iommu=off")
            .expect(expect::driver_silent())
            .thorough(),
    ]
}

fn partitions() -> Vec<Case> {
    let unmanaged = |name, scenario, hypervisor| {
        with(power(name, scenario), &mode::UNMANAGED).hypervisor(hypervisor).expect(expect::driver_down())
    };
    vec![
        unmanaged("confidential-guest", "unmanaged", "partition=isolated").expect(confidential()),
        unmanaged("l1vh-partition", "unmanaged", "partition=l1vh")
            .expect(runs_as("L1VH"))
            .expect(expect::driver_silent())
            .thorough(),
    ]
}

/// The cases.
pub fn cases() -> Vec<Case> {
    [successors(), crashes(), others_of_16().collect(), sleep(), resumes_in_vain(), partitions()].concat()
}
