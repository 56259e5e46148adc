// SPDX-License-Identifier: GPL-2.0
//! What the driver is expected to say in the kernel log: every expression in one place.
//!
//! They are matched against lines without their time stamp. The lines of the guest program and the kernel's echo of its
//! own command line are left out.

use hvprotocol::report::PREFIX;
use regex::Regex;

/// How often a line must appear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Exactly once.
    Once,
    /// So often.
    Exactly(usize),
    /// So often, less, or not at all.
    AtMost(usize),
    /// Not at all.
    Never,
}

impl Times {
    /// Whether so many are right.
    pub fn allows(self, count: usize) -> bool {
        match self {
            Times::Once => count == 1,
            Times::Exactly(exactly) => count == exactly,
            Times::AtMost(most) => count <= most,
            Times::Never => count == 0,
        }
    }
}

/// One expectation about the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// What it stands for, in words.
    pub meaning: String,
    /// Regular expression.
    pub pattern: String,
    /// How often.
    pub times: Times,
}

impl Expectation {
    /// The same so often.
    pub fn times(self, times: Times) -> Expectation {
        Expectation { times, ..self }
    }
}

fn once(meaning: &str, pattern: String) -> Expectation {
    Expectation { meaning: meaning.to_owned(), pattern, times: Times::Once }
}

/// Any line of the driver, and any other one that has its IOMMU's name in sysfs.
pub const DRIVER: &str = r"^hv_pviommu: |iommu: hv_pviommu";

/// The driver's boot line, whatever its numbers.
pub const BOOT_LINE: &str = r"^hv_pviommu: .*aperture 0x0-0x[0-9a-f]+ \(\d+ bits\)";

/// What is common to the patterns of the boot line.
const ABOUT_BOOT_LINE: &str = "aperture 0x0-";

/// What an ordinary boot of `kernels` kernels says that are each to bring the driver up: the boot line, and that the
/// IOVA width is limited to what the tables can do. A case that names a boot line itself keeps its own.
pub fn ordinary(named: &[Expectation], kernels: usize) -> Vec<Expectation> {
    let times = Times::Exactly(kernels);
    let about = |start: &str| named.iter().any(|e| e.pattern.contains(start));
    let boot_line = (!about(ABOUT_BOOT_LINE)).then(|| driver_up().times(times));
    let limited = (!about("limit")).then(|| limited().times(Times::AtMost(kernels)));
    boot_line.into_iter().chain(limited).collect()
}

/// The line about a width that is limited.
fn limited() -> Expectation {
    once(
        "the limit of the width is logged at most once",
        r"^hv_pviommu: IOVA width \d+ bits limited to \d+$".to_owned(),
    )
}

/// The boot line of the root partition's driver, with what minihv gives by default.
pub fn root_driver_up() -> Expectation {
    let pattern = r"^hv_root_iommu: aperture 0x0-0xffffffffffff \(48 bits\), page sizes 4K 2M 1G$".to_owned();
    once("the boot line of the root partition's IOMMU", pattern)
}

/// The boot line with this aperture and depth.
pub fn aperture(bits: u32, levels: u32) -> Expectation {
    let end = 1_u64.checked_shl(bits).map_or(u64::MAX, |end| end - 1);
    let pattern = format!(r"^hv_pviommu: .*aperture 0x0-{end:#x} \({bits} bits\), page sizes 4K.*, {levels}-level");
    once(&format!("boot line with {bits} bits and {levels} levels"), pattern)
}

/// The width was clamped, said once.
pub fn clamped() -> Expectation {
    once("the clamp of the width is logged once", r"^hv_pviommu: .*(clamp|limit)".to_owned())
}

/// The width was not clamped.
pub fn not_clamped() -> Expectation {
    Expectation { times: Times::Never, ..clamped() }
}

/// A width that no table serves was refused.
pub fn width_refused() -> Expectation {
    once("the width is refused with a message", r"^hv_pviommu: .*width".to_owned())
}

/// The host offers no stage 1.
pub fn no_stage1() -> Expectation {
    once("the missing stage 1 is an error", r"^hv_pviommu: .*(stage.?1|first.stage)".to_owned())
}

/// The host offers no 4 KiB pages.
pub fn no_small_pages() -> Expectation {
    once("the missing 4 KiB pages are an error", r"^hv_pviommu: .*4.?K".to_owned())
}

/// The host does not know the list flush.
pub fn list_flush_unknown() -> Expectation {
    once("the fallback of the list flush is logged once", r"^hv_pviommu: .*FLUSH_DEVICE_DOMAIN_LIST".to_owned())
}

/// A list flush failed, and the whole domain is flushed instead; said of the first one alone.
pub fn list_flush_failed() -> Expectation {
    let pattern = r"^hv_pviommu: HVCALL_FLUSH_DEVICE_DOMAIN_LIST: .*; the whole domain is flushed instead$";
    once("the first list flush that fails is a warning", pattern.to_owned())
}

/// A domain could not be had at boot, and the reason.
pub fn no_static_domain(name: &str) -> Expectation {
    once(&format!("the missing {name} domain is an error"), format!(r"^hv_pviommu: no {name} domain: HVCALL_\w+: 0x"))
}

/// The blocking domain was there whenever a device was blocked.
pub fn never_detached() -> Expectation {
    Expectation {
        meaning: "the blocking domain is tried again before a device is blocked".to_owned(),
        pattern: r": IOMMU: not in the blocking domain, detached instead".to_owned(),
        times: Times::Never,
    }
}

/// So many attaches may be carried out later, and the devices are blocked.
pub fn unclear_attach(count: usize) -> Expectation {
    let pattern = r": IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to domain \d+: 0x78 TIME_OUT; DMA is blocked$".to_owned();
    once("a device is blocked when it may still be attached", pattern).times(Times::Exactly(count))
}

/// The host refused to attach a device once, for no reason that says more.
pub fn attach_refused() -> Expectation {
    once(
        "a refused attach is one error",
        r": IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to domain \d+: 0x71 OPERATION_FAILED$".to_owned(),
    )
}

/// The host took no 5-level table.
pub fn five_levels_refused() -> Expectation {
    once("the fallback to 4 levels is logged once", r"^hv_pviommu: .*5-level.*4 levels".to_owned())
}

/// A device could not be asked about.
pub fn device_refused() -> Expectation {
    once(
        "the failing query is an error that names the device",
        r"^pci [0-9a-f:.]+: IOMMU: HVCALL_GET_LOGICAL_DEVICE_PROPERTY of 0x[0-9a-f]+: 0x71 OPERATION_FAILED".to_owned(),
    )
}

/// The firmware's IOMMU is not in service, and this one takes its place.
pub fn firmware_iommu_failed() -> Expectation {
    once(
        "that the firmware's IOMMU failed is a warning",
        r"^Hyper-V: the IOMMU that firmware announced is not in service \(-19\)$".to_owned(),
    )
}

/// A device was refused because another one has its id.
pub fn id_is_taken() -> Expectation {
    once(
        "that two devices have one id is an error that names the second",
        r"^pci [0-9a-f:.]+: IOMMU: another device has the id 0x[0-9a-f]+; DMA is not under control of this IOMMU$"
            .to_owned(),
    )
}

/// So many functions were withdrawn by the host while the guest had them: a line for each.
pub fn taken_away(functions: usize) -> Expectation {
    let pattern = r"^[a-z-]+ [0-9a-f:.]+: IOMMU: the host has taken the device away$";
    let meaning = "one line for each device that was taken";
    Expectation { meaning: meaning.to_owned(), pattern: pattern.to_owned(), times: Times::Exactly(functions) }
}

/// A domain could not be flushed: so many of its devices are blocked, so many not.
pub fn domain_given_up(blocked: u32, lost: u32) -> Expectation {
    once(
        "the failing flush is an error that counts the devices",
        format!(r"^hv_pviommu: domain \d+ cannot be flushed: .*; {blocked} devices blocked, {lost} not"),
    )
}

/// A blocked device was to go into a domain that takes none any more.
pub fn stays_blocked() -> Expectation {
    once(
        "that a device stays blocked is a warning",
        r"^vfio-pci [0-9a-f:.]+: IOMMU: stays blocked, domain \d+ is not to be used any more$".to_owned(),
    )
}

/// The first domain number was refused with a status that may mean that it is taken; the second one is used.
pub fn another_number(status: &str) -> Expectation {
    once(
        "that another number is used is one warning",
        format!("^hv_pviommu: HVCALL_CREATE_DEVICE_DOMAIN: {status}; domain 2 is used instead, 1 numbers are retired$"),
    )
}

/// So many domains could not be dealt with, one error each.
pub fn domains_failed(meaning: &str, pattern: &str, count: usize) -> Expectation {
    Expectation {
        meaning: format!("each domain that could not be {meaning} is an error"),
        pattern: pattern.to_owned(),
        times: Times::Exactly(count),
    }
}

/// So many lines of vfio-pci about devices that programs get without an IOMMU, and no others.
fn of_noiommu(meaning: &str, words: &str, times: usize) -> Expectation {
    Expectation {
        meaning: meaning.to_owned(),
        pattern: format!("^vfio-pci [0-9a-f:.]+: {words}$"),
        times: Times::Exactly(times),
    }
}

/// A device without an IOMMU was given to vfio-pci so often, and opened by its group so often.
pub fn noiommu(given: usize, opened: usize) -> [Expectation; 3] {
    [
        of_noiommu(
            "each group without an IOMMU taints the kernel",
            "Adding kernel taint for vfio-noiommu group on device",
            given,
        ),
        of_noiommu(
            "each character device without an IOMMU taints the kernel",
            "Adding kernel taint for vfio-noiommu cdev",
            given,
        ),
        of_noiommu("each open without an IOMMU is a warning", r"vfio-noiommu device opened by user \(.*:1\)", opened),
    ]
}

/// The driver came up.
pub fn driver_up() -> Expectation {
    once("the driver's boot line", BOOT_LINE.to_owned())
}

/// The driver did not come up.
pub fn driver_down() -> Expectation {
    Expectation { times: Times::Never, ..driver_up() }
}

/// The driver says nothing at all.
pub fn driver_silent() -> Expectation {
    Expectation { meaning: "the driver is silent".to_owned(), pattern: DRIVER.to_owned(), times: Times::Never }
}

/// A suite of the kernel's own tests that must have run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KunitSuite {
    /// Its whole name.
    pub name: &'static str,
    /// How many tests it has in the debug kernel. Fewer that pass are a failure.
    pub tests: usize,
}

/// The suites that are built into the debug kernel, all of them: tests/kunit_suites.rs compares them with the sources.
pub const KUNIT_SUITES: [KunitSuite; 20] = [
    KunitSuite { name: "hv_pviommu", tests: 13 },
    KunitSuite { name: "hv_pviommu_domain_list", tests: 4 },
    KunitSuite { name: "hv_pviommu_readings", tests: 3 },
    KunitSuite { name: "hv_root_iommu_switch", tests: 1 },
    KunitSuite { name: "hv_pci_dev_id", tests: 5 },
    KunitSuite { name: "virtio_iommu_rust", tests: 12 },
    KunitSuite { name: "virtio_iommu_rust_refusals", tests: 7 },
    KunitSuite { name: "rust_kernel_iommu", tests: 13 },
    KunitSuite { name: "rust_kernel_iommu_formats", tests: 7 },
    KunitSuite { name: "rust_kernel_iommu_callbacks", tests: 5 },
    KunitSuite { name: "rust_kernel_iommu_resv", tests: 1 },
    KunitSuite { name: "rust_kernel_ida", tests: 2 },
    KunitSuite { name: "rust_kernel_hyperv_hypercall", tests: 3 },
    KunitSuite { name: "rust_kernel_hyperv_per_cpu_counters", tests: 1 },
    KunitSuite { name: "rust_kernel_hyperv_list_call", tests: 4 },
    KunitSuite { name: "rust_kernel_hyperv_rep_call", tests: 3 },
    KunitSuite { name: "rust_kernel_hyperv_memory", tests: 5 },
    KunitSuite { name: "rust_kernel_hyperv_logical_device", tests: 1 },
    KunitSuite { name: "rust_kernel_hyperv_pci_device", tests: 3 },
    KunitSuite { name: "rust_kernel_hyperv_status", tests: 4 },
];

/// Whether expectations look at this line (without time stamp).
pub fn counts(message: &str) -> bool {
    !message.starts_with(PREFIX) && !message.contains("ommand line: ")
}

/// What is wrong with the kernel log, one sentence each.
///
/// # Errors
/// When a pattern is no regular expression.
pub fn judge(expectations: &[Expectation], messages: &[&str]) -> Result<Vec<String>, regex::Error> {
    let mut complaints = Vec::new();
    for expectation in expectations {
        let pattern = Regex::new(&expectation.pattern)?;
        let found: Vec<&&str> = messages.iter().filter(|m| counts(m) && pattern.is_match(m)).collect();
        match (expectation.times, found.as_slice()) {
            (Times::Once, [_]) | (Times::Never, []) => {}
            (Times::Exactly(count), lines) if lines.len() == count => {}
            (Times::AtMost(count), lines) if lines.len() <= count => {}
            (Times::Once | Times::Exactly(_), []) => {
                complaints.push(format!("{}: no such line in the kernel log", expectation.meaning));
            }
            (Times::Once | Times::Exactly(_) | Times::AtMost(_), [..]) => {
                complaints.push(format!("{}: {} such lines", expectation.meaning, found.len()));
            }
            (Times::Never, [line, ..]) => complaints.push(format!("{}: but it says {line:?}", expectation.meaning)),
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "hv_pviommu: aperture 0x0-0x7fffffffffff (47 bits), page sizes 4K 2M 1G, 4-level";

    #[test]
    fn boot_line() {
        assert_eq!(judge(&[aperture(47, 4), driver_up(), not_clamped()], &[LINE]).unwrap(), Vec::<String>::new());
        assert_eq!(judge(&[aperture(39, 4)], &[LINE]).unwrap().len(), 1);
        assert_eq!(judge(&[aperture(47, 5)], &[LINE]).unwrap().len(), 1);
        assert_eq!(judge(&[aperture(47, 4)], &[LINE, LINE]).unwrap().len(), 1);
        for line in [LINE, "iommu: hv_pviommu: something"] {
            assert_eq!(judge(&[driver_silent()], &[line]).unwrap().len(), 1, "{line}");
        }
        let twice = driver_up().times(Times::Exactly(2));
        let complaints = |lines: &[&str]| judge(std::slice::from_ref(&twice), lines).unwrap().len();
        assert_eq!(
            [complaints(&[]), complaints(&[LINE]), complaints(&[LINE; 2]), complaints(&[LINE; 3])],
            [1, 1, 0, 1]
        );
    }

    #[test]
    fn times_have_bounds() {
        let count = |times, lines: &[&str]| judge(&[driver_up().times(times)], lines).unwrap().len();
        let counts = |times| [0, 1, 2, 3].map(|lines| count(times, &[LINE; 3][..lines]));
        assert_eq!(counts(Times::AtMost(2)), [0, 0, 0, 1]);
        assert_eq!(counts(Times::Exactly(2)), [1, 1, 0, 1]);
        let allowed = |times: Times| [0, 1, 2, 3].map(|count| times.allows(count));
        assert_eq!(allowed(Times::AtMost(2)), [true, true, true, false]);
        assert_eq!(allowed(Times::Exactly(2)), [false, false, true, false]);
        assert_eq!(allowed(Times::Once), [false, true, false, false]);
        assert_eq!(allowed(Times::Never), [true, false, false, false]);
    }

    #[test]
    fn an_ordinary_boot_names_its_lines() {
        const LIMIT: &str = "hv_pviommu: IOVA width 48 bits limited to 47";
        let complaints = |named: &[Expectation], kernels, lines: &[&str]| {
            let all = [named.to_vec(), ordinary(named, kernels)].concat();
            judge(&all, lines).unwrap().len()
        };
        assert_eq!(complaints(&[], 1, &[LINE, LIMIT]), 0);
        assert_eq!(complaints(&[], 1, &[LINE]), 0);
        assert_eq!(complaints(&[], 1, &[LIMIT]), 1);
        assert_eq!(complaints(&[], 2, &[LINE, LIMIT]), 1);
        assert_eq!(complaints(&[], 2, &[LINE, LIMIT, LINE, LIMIT]), 0);
        assert_eq!(complaints(&[], 1, &[LINE, LIMIT, LIMIT]), 1);
        // What the case names itself is not named again.
        assert_eq!(ordinary(&[aperture(39, 4), not_clamped()], 1), []);
        assert_eq!(ordinary(&[driver_down()], 1).len(), 1);
    }

    #[test]
    fn own_lines_do_not_count() {
        let echo = "Kernel command line: hv_pviommu=off iommu: hv_pviommu";
        assert_eq!(judge(&[driver_silent()], &["hvtest: # iommu: hv_pviommu", echo]).unwrap(), Vec::<String>::new());
    }
}
