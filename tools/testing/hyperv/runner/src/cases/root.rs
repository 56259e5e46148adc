// SPDX-License-Identifier: GPL-2.0
//! Linux as the root partition: it owns the machine's devices, which all start in the hypervisor's identity domain. Without
//! its driver of the IOMMU, and with that.

use super::attack::{two_edu, with_arena, with_bounces};
use super::common::{runs_as, says, with};
use super::kselftest::{vfio_on_edu, vfio_on_nvme};
use crate::case::Case;
use crate::demands::Reporter;
use crate::expect::{self, Expectation, Times};
use crate::initramfs::Pack;
use crate::mode;

/// The processors that the partition brings up: by hypercall first, then by start-up IPIs.
fn processors(count: u32) -> Expectation {
    let pattern = format!("^smp: Brought up 1 node, {count} CPUs?$");
    says(&format!("{count} processors are up"), &pattern, Times::Once)
}

/// The driver that manages other partitions finds all that it needs of the hypervisor.
fn manager() -> Expectation {
    let pattern = "^misc mshv: Hypervisor using classic scheduler without SMT$";
    says("mshv_root knows the scheduler", pattern, Times::Once)
}

/// A crash of the partition leaves the hypervisor where it is.
fn hypervisor_stays() -> Expectation {
    let pattern = "^Hyper-V: hypervisor crash dump area pfn is 0$";
    says("a crash does not take the hypervisor away", pattern, Times::Once)
}

/// The driver of the IOMMU says nothing.
fn iommu_silent() -> Expectation {
    says("the root partition's IOMMU is not used", "hv_root_iommu", Times::Never)
}

/// Boots of so many kernels, one after the other, all on the same processors.
fn kernels(case: Case, cpus: u32, count: usize) -> Case {
    let each = |expectation: Expectation| expectation.times(Times::Exactly(count));
    roots(case, cpus, count).expect(each(processors(cpus))).expect(each(manager()))
}

/// Boots of so many kernels, whatever the later ones have of the processors. The emulator's clocks drift against each other
/// when its host is busy: the kernel is told to trust the counter.
fn roots(case: Case, cpus: u32, count: usize) -> Case {
    let each = |expectation: Expectation| expectation.times(Times::Exactly(count));
    case.hypervisor("partition=root")
        .append("tsc=reliable")
        .cpus(cpus)
        .expect(each(runs_as("root")))
        .expect(expect::driver_down())
        .expect(expect::driver_silent())
        .expect(each(hypervisor_stays()))
        // The kernel allocates memory with a raw spinlock held. Lockdep says so once, and nothing afterwards.
        .known_caller("hv_irq_compose_msi_msg")
}

/// Without the driver of the IOMMU.
fn boot(name: &'static str, cpus: u32) -> Case {
    let case = with(Case::new("root", name, "unmanaged"), &mode::UNMANAGED);
    kernels(case, cpus, 1).append("hv_root_iommu=off").expect(iommu_silent())
}

/// With it, in so many kernels.
fn translated(name: &'static str, scenario: &'static str, words: &[&str], count: usize) -> Case {
    let case = with(Case::new("root", name, scenario), words);
    kernels(case, 2, count).expect(each_iommu_up(count))
}

/// The same with a few huge pages.
fn managed_by(name: &'static str, scenario: &'static str, words: &[&str], count: usize) -> Case {
    translated(name, scenario, words, count).append("hugepagesz=2M").append("hugepages=4")
}

fn each_iommu_up(count: usize) -> Expectation {
    expect::root_driver_up().times(Times::Exactly(count))
}

fn managed(name: &'static str, scenario: &'static str, words: &[&str]) -> Case {
    managed_by(name, scenario, words, 1)
}

/// A kernel leaves for another one while programs have two edu, one of which they attach and detach all the time: both are
/// blocked, and all else is given back.
fn kexec() -> Case {
    let blocked = says(
        "the devices that programs have stay blocked",
        "^hv_root_iommu: 2 requester ids of devices that programs have stay blocked$",
        Times::Once,
    );
    let late = says(
        "attaches that come too late",
        r" IOMMU: not put into \d+: the next kernel takes over(; blocked)?$",
        Times::AtMost(usize::MAX),
    );
    let astray =
        says("no device is elsewhere", "^hv_root_iommu: .* are not where the next kernel expects them$", Times::Never);
    let taken_back =
        says("the hypervisor gives back its memory", "^hv_root_iommu: the hypervisor keeps ", Times::Never);
    managed_by("kexec", "root-kexec", &mode::STRICT, 2)
        .devices(&["nvme", "edu", "edu", "virtio-blk"])
        .pack(Pack::Kernel)
        .followed_by(&["root-dma"])
        .expect(blocked)
        .expect(astray)
        .expect(taken_back)
        .expect(late)
}

/// A kernel lets go of a device, and leaves for one without the driver, in which all devices work. minihv puts what a kernel
/// leaves elsewhere back into identity, and counts it.
fn kexec_released() -> Case {
    let case = with(Case::new("root", "kexec-released", "root-kexec-released"), &mode::STRICT);
    kernels(case, 2, 2)
        .expect(expect::root_driver_up())
        .append("hvtest.tell=hv_root_iommu=off,hvtest.mode=unmanaged")
        .pack(Pack::Kernel)
        .followed_by(&["root-returned"])
}

/// Calls that go wrong at run time. The guest program compares all that the driver says of them with what it must.
fn matrix(name: &'static str, scenario: &'static str) -> Case {
    managed(name, scenario, &mode::STRICT).devices(&["edu"]).append("kmemleak=on")
}

/// The same where the kernel warns of a driver that refuses what it may not refuse.
fn matrix_warnings() -> Case {
    matrix("matrix-warnings", "root-matrix-warnings").known_warning(
        "drivers/iommu/iommufd/pages.c",
        "iopt_area_unmap_domain_range",
        "__iopt_area_unfill_domain",
    )
}

/// The hypervisor does not tell what its IOMMU can do: devices work untranslated. It may be older than the call.
fn capabilities(name: &'static str, hypervisor: &'static str, status: Option<&str>) -> Case {
    let case = with(Case::new("root", name, "unmanaged"), &mode::UNMANAGED);
    let case = kernels(case, 2, 1).hypervisor(hypervisor).thorough();
    match status {
        None => case.expect(iommu_silent()),
        Some(status) => case.expect(expect::root_driver_up().times(Times::Never)).expect(says(
            "the refusal is one error",
            &format!("^hv_root_iommu: HVCALL_GET_IOMMU_CAPABILITIES: {status}$"),
            Times::Once,
        )),
    }
}

/// The hypervisor gives no page back when a kernel leaves, at first or after some.
fn kept_memory(name: &'static str, hypervisor: &'static str) -> Case {
    let refused = "^hv_root_iommu: HVCALL_WITHDRAW_MEMORY: 0x71 OPERATION_FAILED$";
    managed_by(name, "root-kexec-released", &mode::STRICT, 2)
        .devices(&["edu"])
        .hypervisor(hypervisor)
        .pack(Pack::Kernel)
        .followed_by(&["root-dma"])
        .expect(says("that memory is not given back is one error", refused, Times::Once))
        .expect(says("what is kept is counted", r"^hv_root_iommu: the hypervisor keeps \d+ of \d+ pages$", Times::Once))
        .thorough()
}

/// At boot, one device is refused its domain, and for another one there is no domain. Both are blocked, and the other devices
/// have the IOMMU.
fn refused_at_boot() -> Case {
    let refused = r" IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to \d+: 0x71 .*; blocked$";
    let none = r"^hv_root_iommu: HVCALL_CREATE_DEVICE_DOMAIN of \d+: 0x6 ";
    let closed = r" IOMMU: not put into a domain: it takes no devices any more; blocked$";
    managed("refused-at-boot", "root-unblocked", &mode::STRICT)
        .devices(&["edu"])
        .hypervisor("partition=root inject=b2:71:2:1 inject=b1:6:2:1")
        .known_warning("drivers/iommu/iommu.c", "iommu_detach_group_handle", "iommufd_device_detach")
        .expect(says("a device is refused its domain", refused, Times::Once))
        .expect(says("there is no domain for a device", none, Times::Once))
        .expect(says("that device is blocked", closed, Times::Once))
        .expect(says("a device that is not blocked is kept off the bus", OFF_THE_BUS, Times::Once))
        .expect(says("its domain stays", STAYS, Times::Once))
}

/// Ranges by a kernel module, onto 64 MiB that the kernel leaves alone.
fn batches() -> Case {
    managed("batches", "root-batches", &mode::STRICT).devices(&["edu"]).pack(Pack::Bench).append("memmap=66M$254M")
}

/// Unmaps that fail. Type 1 warns of each, as there is nobody whom it could tell. Once the device cannot be blocked at first.
fn stale() -> Case {
    let closed = |blocked: u32, times: usize| {
        let call = "HVCALL_UNMAP_DEVICE_GPA_PAGES: 0x71 ";
        let pattern = format!(r"^hv_root_iommu: domain \d+: {call}.*; {blocked} requester ids are blocked$");
        says("a failed unmap closes its domain", &pattern, Times::Exactly(times))
    };
    let left = r"^hv_root_iommu: domain \d+: 1 requester ids not blocked, bus mastering is off$";
    managed("stale", "root-stale", &mode::STRICT)
        .devices(&["edu"])
        .known_warning("drivers/vfio/vfio_iommu_type1.c", "vfio_unmap_unpin", "vfio_remove_dma")
        .expect(closed(1, 3))
        .expect(closed(0, 1))
        .expect(says("a device is left in its domain", left, Times::Exactly(1)))
}

/// What the driver says in `unblocked`.
const OFF_THE_BUS: &str = r" IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to \w+: 0x71 .*; not blocked, bus mastering is off$";
const STAYS: &str = r"^hv_root_iommu: domain \d+ stays: 1 requester ids may be in it$";

/// A device that is neither blocked nor detached when a program takes it out of its address space, whose domain goes then.
/// iommufd warns.
fn unblocked() -> Case {
    managed("unblocked", "root-unblocked", &mode::STRICT)
        .devices(&["edu"])
        .known_warning("drivers/iommu/iommu.c", "iommu_detach_group_handle", "iommufd_device_detach")
        .expect(says("a device that is not blocked is kept off the bus", OFF_THE_BUS, Times::Once))
        .expect(says("its domain stays", STAYS, Times::Once))
}

/// A crash with devices in paging domains, under I/O. The kernel after it has one processor, the one that crashed, and
/// finds the domains of the crashed one at the hypervisor.
fn crash() -> Case {
    let case = with(Case::new("root", "kdump", "root-crash"), &mode::STRICT);
    roots(case, 2, 2)
        .expect(processors(2))
        .expect(processors(1))
        // It stays out of kernels that run after a crash.
        .expect(manager())
        .expect(each_iommu_up(2))
        .append("crashkernel=320M")
        .memory("1G")
        .splat(r"^Kernel panic - not syncing: sysrq triggered crash$")
        .splat(r"^Call Trace:$")
        .devices(&["nvme", "edu", "edu", "virtio-blk"])
        .expect(says(
            "a mapping in doubt closes its domain",
            r"^hv_root_iommu: domain \d+: HVCALL_MAP_DEVICE_GPA_PAGES: 0x.*; 1 requester ids are blocked$",
            Times::Once,
        ))
        .pack(Pack::Kernel)
        .followed_by(&["root-crashed"])
}

/// Attacks, and the kernel's own tests of VFIO: as in a guest, but for the table's pages, which are the hypervisor's, and
/// for what VMBus offers.
fn from_outside() -> Vec<Case> {
    let strict = |name: &'static str, scenario: &'static str| translated(name, scenario, &mode::STRICT, 1).thorough();
    let deferred = translated("attack-deferred", "attack-dma-api", &mode::DEFERRED, 1).thorough();
    vec![
        with_bounces(two_edu(strict("attack-strict", "attack-dma-api"))),
        with_bounces(two_edu(deferred)),
        with_arena(two_edu(strict("attack-type1", "attack-type1-root"))),
        with_arena(two_edu(strict("attack-iommufd", "attack-iommufd-root"))),
        vfio_on_edu(strict("vfio-edu", "kselftest-vfio")),
        vfio_on_nvme(strict("vfio-nvme", "kselftest-vfio")),
    ]
}

/// Unmaps that are not carried out: a check must see that.
fn control() -> Case {
    managed("driver-omits-unmaps", "stale", &mode::STRICT)
        .devices(&["edu"])
        .hypervisor("partition=root inject=b4:0:1:all:omitted")
        .control("vfio-unmap-flushes", "^STALE TRANSLATION: a page after its unmap")
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case::new("root", "selftest", "none")
            .devices(&["edu"])
            .hypervisor("partition=root selftest=on")
            .reported_by(Reporter::RootHost),
        boot("boot-1", 1).thorough(),
        boot("boot-2", 2),
        boot("boot-4", 4).thorough(),
        // The second kernel finds the processors started, and the devices in the domains of the first.
        kexec().thorough(),
        kexec_released().thorough(),
        crash().thorough(),
        managed("strict", "root-dma", &mode::STRICT),
        batches(),
        managed("deferred", "root-dma", &mode::DEFERRED),
        unblocked().thorough(),
        refused_at_boot().thorough(),
        // Disks unmap in interrupts, where nothing sleeps for memory.
        managed("unmap-wants-memory", "root-dma", &mode::STRICT)
            .hypervisor("partition=root inject=b4:b:100:2 inject=b4:75:200:2 inject=b4:b:300:2")
            .thorough(),
        managed("type", "root-type", &mode::STRICT)
            .devices(&["edu"])
            .expect(says(
                "another domain is refused",
                r" IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to identity: 0x71 \w+$",
                Times::Once,
            ))
            .thorough(),
        managed("reserve", "root-reserve", &mode::STRICT).thorough(),
        managed("identity", "root-identity", &mode::IDENTITY),
        managed("leaks", "root-leaks", &mode::STRICT).append("kmemleak=on").thorough(),
        managed("passthrough", "root-passthrough", &mode::STRICT)
            .devices(&["edu", "edu", "nvme"])
            .append("hvtest.aperture=48")
            .thorough(),
        managed("devices", "root-devices", &mode::STRICT).devices(&["edu+edu"]).thorough(),
        managed("bus", "root-bus", &mode::STRICT)
            .devices(&["edu,behind=bridge+edu,behind=bridge", "nvme,behind=port"])
            .thorough(),
        matrix("matrix", "root-matrix").minutes(30).thorough(),
        matrix("matrix-type1", "root-matrix-type1").minutes(90).thorough(),
        matrix("matrix-iommufd", "root-matrix-iommufd").minutes(90).thorough(),
        matrix_warnings().minutes(30).thorough(),
        capabilities("capabilities-02", "partition=root inject=125:02:1:1", None),
        capabilities("capabilities-06", "partition=root inject=125:06:1:1", Some("0x6 ACCESS_DENIED")),
        capabilities("capabilities-71", "partition=root inject=125:71:1:1:garbage", Some("0x71 OPERATION_FAILED")),
        capabilities("capabilities-78", "partition=root inject=125:78:1:1", Some("0x78 TIME_OUT")),
        kept_memory("memory-is-kept", "partition=root inject=49:71:1:1"),
        kept_memory("memory-is-kept-in-part", "partition=root inject=49:71:2:1"),
        stale().thorough(),
        control().thorough(),
        managed("fio-strict", "root-fio", &mode::STRICT).with_fio().thorough(),
        managed("fio-deferred", "root-fio", &mode::DEFERRED).with_fio().thorough(),
        managed("fio-identity", "root-fio", &mode::IDENTITY).with_fio().thorough(),
    ];
    cases.extend(from_outside());
    cases
}
