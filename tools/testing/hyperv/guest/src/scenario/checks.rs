// SPDX-License-Identifier: GPL-2.0
//! The checks by name.

use super::{check, Check};
use crate::attack::{self, Machine};
use crate::checks::bus_driver::Leave;
use crate::checks::dpdk::Addresses;
use crate::checks::nomem::Part;
use crate::checks::reset_touched::Besides;
use crate::checks::{
    announcement, answers, ats, bar, bench, binding, bus_driver, caches, cdev, concurrency, counters, cpus,
    default_type, domains, dpdk, dump, exhaustion, groups, hibernation, hostile, hotplug, identity, kexec, kselftest,
    large, leaks, many_buses, map_file, map_file_owner, noiommu, nomem, nvme, observe, ownership, protection, refusal,
    reset, reset_touched, revocation, samples, shared_id, sleep, trace, unmanaged, vectors, virtio, vmcore,
    vpci_faults, width,
};
use crate::iommufd::AtsSupport;
use crate::memfd::Backing;
use crate::vfio::BackEnd;

pub const DEVICES: Check = check("devices-present", groups::devices_present);
pub const GROUPS: Check = check("iommu-groups", groups::group_types);
pub const TYPE_BY_SYSFS: Check = check("type-changes-by-sysfs", default_type::by_sysfs);
pub const CONTAINER_OF_IOMMUFD: Check = check("container-is-iommufds", default_type::container_of_iommufd);
pub const ANNOUNCED: Check = check("kernel-knows-of-iommu", announcement::announced);
pub const NVME_QUICK: Check = check("nvme-verified-io", nvme::quick_io);
pub const NVME_FIO: Check = check("nvme-fio-verified", nvme::fio_jobs);
pub const NVME_IOVA: Check = check("nvme-queue-addresses-are-iovas", nvme::queue_addresses);
pub const VIRTIO: Check = check("virtio-io", virtio::io);
pub const COUNTERS: Check = check("hypervisor-counters", counters::translated_io);
pub const VIOLATIONS: Check = check("no-protocol-violations", counters::no_violations);
pub const NO_FAULTS: Check = check("no-stray-dma-faults", counters::no_faults);
pub const RAW_BLOCKED: Check = check("edu-unmapped-is-blocked", protection::raw_unmapped);
pub const VFIO_MAPPED: Check = check("vfio-mapped-both-ways", |c| protection::mapped(c, BackEnd::Type1));
pub const VFIO_UNMAPPED: Check = check("vfio-unmapped-is-blocked", |c| protection::unmapped(c, BackEnd::Type1));
pub const VFIO_STALE: Check = check("vfio-unmap-flushes", |c| protection::stale(c, BackEnd::Type1));
pub const VFIO_REMAP: Check = check("vfio-remap-reaches-new-memory", |c| protection::remap(c, BackEnd::Type1));
pub const VFIO_NEIGHBOUR: Check = check("vfio-unmap-spares-neighbour", |c| protection::neighbour(c, BackEnd::Type1));
pub const CACHES_CLEAN: Check = check("unmaps-leave-nothing-cached", caches::unmaps_leave_nothing);
pub const CACHES_CONTROL: Check = check("dropped-flushes-are-noticed", caches::dropped_flushes_are_noticed);
pub const VFIO_FLUSH_FAILURE: Check = check("vfio-failed-flush-blocks", protection::flush_failure);
pub const FLUSH_FAILURE_OF_TWO: Check = check("failed-flush-blocks-both-devices", protection::flush_failure_of_two);
pub const VFIO_UNBLOCKABLE: Check = check("vfio-unblockable-is-kept-off-the-bus", protection::unblockable);
pub const VFIO_WALK: Check = check("vfio-table-holds-physical-address", protection::table_walk);
pub const IDENTITY_EDU: Check = check("edu-reaches-physical-address", identity::edu_untranslated);
pub const HYPERVISOR_OUT_OF_REACH: Check = check("edu-cannot-reach-hypervisor", identity::hypervisor_is_out_of_reach);
pub const ODD_ANSWERS: Check = check("odd-answers-to-flushes", answers::odd_answers);
pub const UNMANAGED_ALONE: Check =
    check("unmanaged-device-is-left-alone", |c| unmanaged::left_alone(c, unmanaged::Start::Bypass));
pub const UNMANAGED_BLOCKED: Check =
    check("unmanaged-device-stays-blocked", |c| unmanaged::left_alone(c, unmanaged::Start::Blocked));
pub const NOIOMMU_MANAGED: Check = check("noiommu-mode-spares-managed-devices", noiommu::managed);
pub const NOIOMMU_UNMANAGED: Check = check("noiommu-mode-gives-unmanaged-device-away", noiommu::unmanaged);
pub const NOIOMMU_BLOCKED: Check = check("noiommu-mode-keeps-blocked-device-blocked", noiommu::blocked);
pub const ATS_TOLD: Check = check("iommufd-tells-of-ats", |c| ats::told(c, AtsSupport::Usable));
pub const ATS_TOLD_NOT: Check = check("iommufd-tells-that-there-is-no-ats", |c| ats::told(c, AtsSupport::NotUsable));
pub const STALE_REFUSED: Check = check("stale-domain-takes-no-device", domains::stale_is_refused);
pub const SHARED_ID: Check = check("one-of-two-devices-is-used", unmanaged::one_of_two);
pub const SHARED_ID_FOLLOWS: Check = check("other-device-is-used-when-the-first-is-gone", shared_id::follows);
pub const OVERTAKEN: Check = check("hypercalls-overtook-one-another", concurrency::overtaken);
pub const APERTURE: Check = check("aperture", width::aperture);
pub const LIST_FALLBACK: Check = check("list-flush-tried-once", counters::list_flush_tried_once);
pub const REFUSED: Check = check("unknown-device-is-blocked", refusal::unknown_device);
pub const NO_DEVICES: Check = check("no-vpci-devices", groups::no_devices);
pub const IN_USE: Check = check("devices-in-use", kexec::keep_busy);
pub const SUCCESSOR_LOADED: Check = check("next-kernel-loaded", kexec::load_successor);
pub const CRASH_KERNEL_LOADED: Check = check("crash-kernel-loaded", kexec::load_crash_kernel);
pub const DEVICES_WERE_BLOCKED: Check = check("previous-kernel-blocked-devices", kexec::devices_were_blocked);
pub const NUMBERS_TAKEN: Check = check("taken-domain-numbers-skipped", kexec::numbers_were_taken);
pub const DOMAINS_BOUNDED: Check = check("live-domains-bounded", kexec::domains_are_bounded);
pub const CRASH_KERNEL: Check = check("crash-kernel-runs", kexec::is_crash_kernel);
pub const DISK_OFFERED_AGAIN: Check = check("withdrawn-disk-comes-back", kexec::disk_comes_back);
pub const DPDK_VIRTUAL: Check = check("testpmd-by-virtual-addresses", |c| dpdk::testpmd(c, Addresses::Virtual));
pub const DPDK_PHYSICAL: Check = check("testpmd-by-physical-addresses", |c| dpdk::testpmd(c, Addresses::Physical));
pub const VMCORE_READ: Check = check("makedumpfile-reads-vmcore", vmcore::read_by_makedumpfile);
pub const VMCORE_TO_DISK: Check = check("vmcore-is-written-to-disk", vmcore::to_disk);
pub const VMCORE_ON_DISK: Check = check("vmcore-on-disk-is-complete", vmcore::on_disk);
pub const STORING: Check = check("device-writes-to-the-end", attack::crash::keep_storing);
pub const ENDED_KEPT: Check =
    check("transfer-arrived-after-the-crash", |c| attack::crash::transfer_ended(c, attack::crash::Host::Keeps));
pub const ENDED_RESET: Check =
    check("transfer-ended-with-the-crash", |c| attack::crash::transfer_ended(c, attack::crash::Host::Resets));
pub const STAYS_UNTIL_USED: Check = check("device-stays-until-used", attack::crash::device_stays_until_used);
pub const IDLE_ATTACHED: Check = check("idle-device-is-attached", attack::crash::idle_device_is_attached);
pub const NUMBERS_APART: Check = check("domain-numbers-are-apart", attack::crash::numbers_are_apart);
pub const OLD_TABLES: Check = check("old-tables-spare-this-kernel", kexec::old_tables_spare_this_kernel);
pub const HIBERNATION_REFUSED: Check = check("hibernation-refused", sleep::hibernation_refused);
pub const HIBERNATION_ALLOWED: Check = check("hibernation-allowed", sleep::hibernation_allowed);
pub const HIBERNATION_CORE: Check = check("hibernation-without-image", hibernation::without_image);
pub const HIBERNATION_CORE_UNTRANSLATED: Check =
    check("hibernation-without-image-untranslated", hibernation::without_image_untranslated);
pub const HIBERNATION_NEWCOMER: Check = check("hibernation-with-a-newcomer", hibernation::with_newcomer);
pub const HIBERNATION: Check = check("hibernation", hibernation::over_power_off);
pub const HIBERNATION_GIVEN_UP: Check = check("hibernation-refused-by-host", hibernation::given_back_in_vain);
pub const HIBERNATION_ELSEWHERE: Check = check("hibernation-on-another-host", hibernation::on_another_host);
pub const HIBERNATION_UNTRANSLATED: Check = check("hibernation-untranslated", hibernation::over_power_off_untranslated);
pub const SUSPEND: Check = check("suspend-to-idle", sleep::suspend);
pub const CPU_HOTPLUG: Check = check("processors-go-and-come-back", cpus::hotplug);

pub const VECTORS_KERNEL: Check = check("several-vectors-of-kernel-driver", vectors::of_kernel_driver);
pub const VECTORS_ALL: Check = check("each-vector-comes-from-device", vectors::all);
pub const VECTORS_MOVED: Check = check("vectors-follow-affinity", vectors::moved);
pub const VECTORS_HOTPLUG: Check = check("vectors-outlive-processors", vectors::processors_go);

pub const TYPE1_UNSAFE: Check = check("vfio-needs-permission", |c| cdev::unsafe_interrupts(c, BackEnd::Type1));
pub const TYPE1_LIMITS: Check = check("vfio-iova-limits", |c| cdev::limits(c, BackEnd::Type1));
pub const TYPE1_LARGE: Check = check("vfio-large-pages", |c| large::pages(c, BackEnd::Type1));
pub const TYPE1_BAR: Check = check("vfio-device-memory", bar::by_address);
pub const CDEV_UNSAFE: Check = check("cdev-needs-permission", |c| cdev::unsafe_interrupts(c, BackEnd::Iommufd));
pub const CDEV_MAPPED: Check = check("cdev-mapped-both-ways", |c| protection::mapped(c, BackEnd::Iommufd));
pub const CDEV_UNMAPPED: Check = check("cdev-unmapped-is-blocked", |c| protection::unmapped(c, BackEnd::Iommufd));
pub const CDEV_STALE: Check = check("cdev-unmap-flushes", |c| protection::stale(c, BackEnd::Iommufd));
pub const CDEV_REMAP: Check = check("cdev-remap-reaches-new-memory", |c| protection::remap(c, BackEnd::Iommufd));
pub const CDEV_NEIGHBOUR: Check = check("cdev-unmap-spares-neighbour", |c| protection::neighbour(c, BackEnd::Iommufd));
pub const CDEV_LIMITS: Check = check("cdev-iova-limits", |c| cdev::limits(c, BackEnd::Iommufd));
pub const CDEV_LARGE: Check = check("cdev-large-pages", |c| large::pages(c, BackEnd::Iommufd));
pub const CDEV_DETACH: Check = check("cdev-detach-and-move", cdev::detach);
pub const CDEV_EARLY_MAP: Check = check("cdev-map-before-attach", cdev::map_before_attach);
pub const CDEV_BAR_REFUSED: Check = check("cdev-device-memory-by-address-refused", bar::by_address_refused);
pub const CDEV_DMA_BUF: Check = check("cdev-device-memory-by-dma-buf", bar::by_dma_buf);
pub const FILE_SMALL: Check = check("file-of-small-pages", |c| map_file::pages(c, Backing::Small));
pub const FILE_HUGE: Check = check("file-of-huge-pages", |c| map_file::pages(c, Backing::Huge));
pub const FILE_TRANSPARENT: Check =
    check("file-of-transparent-huge-pages", |c| map_file::pages(c, Backing::Transparent));
pub const FILE_SHRUNK: Check = check("file-that-shrank", map_file::shrunk);
pub const FILE_MAPPER_GONE: Check = check("file-outlives-who-mapped-it", map_file_owner::mapper_exits);
pub const FILE_HANDED_ON: Check = check("file-and-device-handed-on", map_file_owner::handed_on);
pub const FILE_HOLDER_KILLED: Check = check("file-and-device-of-killed-program", map_file_owner::holder_killed);
pub const INTERFACES_EXCLUDE: Check = check("group-and-cdev-exclude-each-other", ownership::interfaces_exclude);
pub const ONE_USER: Check = check("second-user-refused", ownership::one_user);
pub const KERNEL_FIRST: Check = check("kernel-driver-in-group-refuses-user", ownership::kernel_driver_first);
pub const TYPE1_FIRST: Check =
    check("vfio-user-in-group-refuses-kernel-driver", |c| ownership::user_space_first(c, BackEnd::Type1));
pub const CDEV_FIRST: Check =
    check("cdev-user-in-group-refuses-kernel-driver", |c| ownership::user_space_first(c, BackEnd::Iommufd));
pub const ONE_SPACE: Check = check("group-has-one-address-space", ownership::one_space_per_group);

pub const DOMAIN_CYCLES: Check = check("domains-come-and-go", domains::cycles);
pub const DOMAINS_ALIVE: Check = check("domains-alive-at-once", domains::alive_at_once);
pub const DOMAIN_QUOTA: Check = check("domains-beyond-quota", domains::quota);
pub const UNDELETABLE: Check = check("undeletable-domains-keep-their-tables", domains::undeletable);
pub const KMEMLEAK: Check = check("no-kernel-memory-leak", leaks::kmemleak);
pub const TURMOIL: Check = check("everything-at-once", concurrency::turmoil);
pub const DEFERRED_FLUSH_FAILURE: Check = check("deferred-failed-flush-blocks", concurrency::deferred_flush_failure);
pub const IOVA_EXHAUSTED: Check = check("addresses-run-out-and-come-back", exhaustion::exhausted);
pub const DMA_BENCHMARK: Check = check("dma-map-benchmark", concurrency::benchmark);

pub const ATS_ON: Check = check("ats-on-behind-table", ats::on);
pub const ATS_OFF: Check = check("ats-off", ats::off);
pub const ATS_KERNEL_IO: Check = check("ats-kernel-io-flushes-device", ats::kernel_io_flushes);
pub const ATS_UNMAP: Check = check("ats-unmap-flushes-device", ats::unmap_reaches_device);
pub const ATS_USER: Check = check("ats-follows-user-space", ats::user_space);
pub const ATS_FAILED_FLUSH: Check = check("ats-off-after-failed-flush", ats::failed_flush);
pub const ATS_TYPES: Check = check("ats-follows-default-domain", ats::default_domain_changes);
pub const ATS_RETURN: Check = check("ats-on-after-removal", ats::comes_back);
pub const ATS_IDENTITY_USER: Check = check("ats-in-identity-system", ats::user_space_in_identity);

pub const HOSTILE_PROBE: Check = check("hostile-probe", hostile::probe::run);
pub const HOSTILE_USER: Check = check("hostile-user-space", hostile::user::run);
pub const HOSTILE_CLOSE: Check = check("hostile-close", hostile::user::close);
pub const HOSTILE_HOTPLUG: Check = check("hostile-hotplug", hostile::devices::come_and_go);
pub const HOSTILE_BOOT: Check = check("hostile-boot", hostile::devices::after_boot);

pub const NOMEM_PROBE: Check = check("no-memory-for-the-iommu", nomem::probe);
pub const NOMEM_USER: Check = check("no-memory-for-a-domain", |c| nomem::user(c, Part::Driver));
pub const NOMEM_TABLES: Check = check("no-memory-for-tables", |c| nomem::user(c, Part::Tables));
pub const NOMEM_BUS: Check = check("no-memory-for-devices", |c| nomem::bus(c, Part::Driver));
pub const NOMEM_REGISTRY: Check = check("no-memory-for-the-registry", |c| nomem::bus(c, Part::Registry));

pub const HOTPLUG_CYCLES: Check = check("devices-come-and-go", hotplug::cycles);
pub const SURPRISE: Check = check("device-torn-out", hotplug::surprise);
pub const MULTI_FUNCTION: Check = check("functions-of-one-bus", hotplug::multi_function);
pub const COLLIDING_NUMBERS: Check = check("colliding-domain-numbers", hotplug::colliding_numbers);
pub const VPCI_PROBE_FAILS: Check = check("refused-steps-fail-the-probe", vpci_faults::probe_fails);
pub const VPCI_NO_RELATIONS: Check = check("unanswered-question-ends-with-the-bus", vpci_faults::no_relations);
pub const VPCI_GOES_ON: Check = check("refused-steps-are-tried-again", vpci_faults::goes_on);
pub const VPCI_NO_REGISTERS: Check = check("refused-requirements-cost-the-registers", vpci_faults::no_registers);
pub const VPCI_NO_INTERRUPTS: Check = check("refused-interrupts-do-not-arrive", vpci_faults::no_interrupts);
pub const BUSES_APART: Check = check("each-device-is-on-its-own", many_buses::apart);
pub const BUSES_COME_AND_GO: Check = check("buses-come-and-go", many_buses::come_and_go);
pub const BUS_DRIVER_UNBOUND: Check = check("bus-driver-unbound", |c| bus_driver::goes(c, Leave::Unbound));
pub const BUS_DRIVER_UNLOADED: Check = check("bus-driver-unloaded", |c| bus_driver::goes(c, Leave::Unloaded));
pub const BINDING_LOOPS: Check = check("drivers-come-and-go", binding::loops);
pub const FAILED_PROBE: Check = check("driver-refuses-device", binding::failed_probe);
pub const RESET_NVME: Check = check("reset-keeps-mappings", reset::nvme);
pub const RESET_ATS: Check = check("reset-blocks-device-with-ats", reset::with_ats);
pub const RESET_TOUCHED: Check =
    check("reset-of-a-device-that-is-touched", |c| reset_touched::run(c, Besides::Nothing));
pub const RESET_COUNTED: Check = check("reset-while-counters-are-read", |c| reset_touched::run(c, Besides::Counters));
pub const REVOCATION: Check = check("device-revoked-from-user", revocation::orderly);
pub const REVOCATION_TORN: Check = check("device-torn-from-user", revocation::torn);
pub const SAMPLE_DMA: Check = check("sample-iommufd-dma", samples::iommufd_dma);
pub const SAMPLE_DMA_REFUSES: Check = check("sample-iommufd-dma-says-what-is-missing", samples::iommufd_dma_refuses);
pub const SAMPLE_DMA_STALE: Check = check("sample-iommufd-dma-sees-stale", samples::iommufd_dma_sees_stale);
pub const SAMPLE_NVME: Check = check("sample-nvme-user", samples::nvme_user);

pub const IOMMU_SYSFS: Check = check("iommu-sysfs-as-documented", observe::sysfs);
pub const DEBUGFS_CAPABILITIES: Check = check("debugfs-capabilities", observe::capabilities);
pub const DEBUGFS_DOMAINS: Check = check("debugfs-domains", observe::domains);
pub const DEBUGFS_DEVICES: Check = check("debugfs-has-each-device-once", observe::devices);
pub const DUMP_EXACT: Check = check("table-dump-is-what-is-mapped", dump::exact);
pub const DUMP_ABSURD: Check = check("table-dump-refuses-absurd-selections", dump::absurd_selections);
pub const DUMP_CONCURRENT: Check = check("table-dump-survives-changes", dump::concurrent);
pub const TRACE: Check = check("tracepoints-tell-what-happens", trace::sound);
pub const TRACE_FAILING: Check = check("tracepoints-tell-failures", trace::failing);

pub const EDU_TYPE: Check = check("edu-domain-type", groups::edu_type);
pub const BENCH_KTIME: Check = check("bench-ktime", bench::kernel::ktime);
pub const BENCH_DMA: Check = check("bench-dma", bench::kernel::dma);
pub const BENCH_THREADS: Check = check("bench-threads", bench::kernel::threads);
pub const BENCH_UNALIGNED: Check = check("bench-unaligned", bench::kernel::unaligned);
pub const BENCH_LISTS: Check = check("bench-sg", bench::kernel::lists);
pub const BENCH_PATTERNS: Check = check("bench-pattern", bench::kernel::patterns);
pub const BENCH_FLUSHES: Check = check("bench-flush", bench::kernel::flushes);
pub const BENCH_TABLES: Check = check("bench-iommu", bench::kernel::tables);
pub const BENCH_DOMAINS: Check = check("bench-domain", bench::kernel::domains);
pub const BENCH_IOMMUFD: Check = check("bench-iommufd", bench::user::iommufd);
pub const BENCH_VFIO: Check = check("bench-vfio", bench::user::type1);
pub const BENCH_BOOT: Check = check("bench-boot", bench::boot::devices);
pub const BENCH_CALLS: Check = check("one-hypercall-an-unmap", bench::regression::calls);
pub const BENCH_PRECISION: Check = check("flushes-are-precise", bench::regression::precision);
pub const BENCH_FLUSH_PATH: Check = check("flush-path-is-short", bench::regression::flush_path);

// Named like the programs: the suites of their tests are.
pub const SELFTEST_SETUP: Check =
    check("vfio_iommufd_setup_test", |c| kselftest::each_device(c, "vfio_iommufd_setup_test", &[]));
pub const SELFTEST_DEVICE: Check =
    check("vfio_pci_device_test", |c| kselftest::each_device(c, "vfio_pci_device_test", &[]));
pub const SELFTEST_MMIO: Check =
    check("vfio_dma_mapping_mmio_test", |c| kselftest::each_device(c, "vfio_dma_mapping_mmio_test", &[]));
pub const SELFTEST_MAPPING: Check = check("vfio_dma_mapping_test", |c| kselftest::mapping(c, kselftest::Pages::Small));
pub const SELFTEST_MAPPING_1G: Check =
    check("vfio_dma_mapping_test", |c| kselftest::mapping(c, kselftest::Pages::OneGiB));
pub const SELFTEST_DRIVER: Check =
    check("vfio_pci_driver_test", |c| kselftest::each_device(c, "vfio_pci_driver_test", &[]));
pub const SELFTEST_SRIOV: Check =
    check("vfio_pci_sriov_uapi_test", |c| kselftest::each_device(c, "vfio_pci_sriov_uapi_test", &[]));
pub const SELFTEST_PERF: Check =
    check("vfio_pci_device_init_perf_test", |c| kselftest::all_devices(c, "vfio_pci_device_init_perf_test"));
pub const SELFTEST_IOMMUFD: Check = check("iommufd", |c| kselftest::no_device(c, "iommufd", &[]));
pub const SELFTEST_IOMMUFD_BASICS: Check = check("iommufd", kselftest::iommufd_basics);
pub const SELFTEST_FAIL_NTH: Check = check("iommufd_fail_nth", |c| kselftest::no_device(c, "iommufd_fail_nth", &[]));

pub const ATTACK_DMA_API: Check = check("attack-dma-api", |c| attack::dma_api::attack(c, Machine::Protected));
pub const ATTACK_DMA_API_BARE: Check = check("attack-dma-api", |c| attack::dma_api::attack(c, Machine::Unprotected));
pub const ATTACK_DEFERRED: Check = check("attack-deferred-window", |c| attack::deferred::attack(c, Machine::Protected));
pub const ATTACK_TYPE1: Check = check("attack-type1", |c| attack::user::attack(c, BackEnd::Type1, Machine::Protected));
pub const ATTACK_TYPE1_BARE: Check =
    check("attack-type1", |c| attack::user::attack(c, BackEnd::Type1, Machine::Unprotected));
pub const ATTACK_IOMMUFD: Check =
    check("attack-iommufd", |c| attack::user::attack(c, BackEnd::Iommufd, Machine::Protected));
pub const ATTACK_IOMMUFD_BARE: Check =
    check("attack-iommufd", |c| attack::user::attack(c, BackEnd::Iommufd, Machine::Unprotected));
pub const ATTACK_MOVING: Check = check("attack-moving", attack::moving::attack);
pub const ATTACK_IDENTITY: Check = check("attack-identity", attack::identity::attack);
pub const ATTACK_KEEP_FIRING: Check = check("attack-under-way", attack::kexec::keep_firing);
pub const ATTACK_NOTHING_ARRIVED: Check = check("attack-kexec", attack::kexec::nothing_arrived);
pub const ATTACK_RESERVED: Check = check("reserved-memory-can-be-reached", attack::kexec::reserved_can_be_reached);
pub const ATTACK_START_OPEN: Check = check("attack-start", attack::start::open);
pub const ATTACK_START_SHUT: Check = check("attack-start", attack::start::shut);
