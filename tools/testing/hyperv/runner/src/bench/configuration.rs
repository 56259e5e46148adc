// SPDX-License-Identifier: GPL-2.0
//! What is measured: the same kernel, machine and device below different IOMMUs.

use anyhow::{bail, Result};

use super::change::TOLERANCE;
use crate::device::{Bus, Devices};
use crate::mode;
use crate::qemu::Iommu;

/// What is below the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// minihv: the driver of this project.
    Minihv,
    /// The machine itself, with this IOMMU.
    Machine(Iommu),
}

/// Which kernel is measured. Its two drivers of virtio-iommu exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// That with virtio-iommu's driver in C.
    Ordinary,
    /// The same with virtio-iommu's driver in Rust.
    VirtioRust,
    /// The same with the driver of the root partition's IOMMU, and what that tells of itself.
    Root,
}

impl Build {
    /// The kernel that the modules fit, by the name of its build directory: those that measure were built for it.
    pub fn modules(self) -> &'static str {
        match self {
            Build::Ordinary | Build::VirtioRust => "bench",
            Build::Root => "bench-root",
        }
    }
}

/// One way to boot a kernel that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// Name, as in the results.
    pub name: &'static str,
    /// The kernel.
    pub build: Build,
    /// What is below it.
    pub host: Host,
    /// minihv's options.
    pub hypervisor: &'static str,
    /// Words for the kernel.
    words: &'static [&'static str],
    /// Scenario of the guest program.
    pub scenario: &'static str,
    /// The PCI devices: how many buses with how many functions.
    buses: &'static [(usize, usize)],
    /// RAM with QEMU's suffix, where it is not that of the others.
    pub memory: Option<&'static str>,
    /// Number of processors, where it is not that of the others.
    pub cpus: Option<u32>,
}

/// The scenario that measures what running drivers do.
const RUNNING: &str = "bench";
/// The scenario that measures how the devices came.
const BOOTING: &str = "bench-boot";

/// One device is measured.
const ONE: &[(usize, usize)] = &[(1, 1)];
/// The machine has 27 slots: so many devices are alone on their buses, and so alone in their groups, as can be.
const THIRTY_TWO: &[(usize, usize)] = &[(22, 1), (5, 2)];

const fn running(name: &'static str, host: Host, words: &'static [&'static str]) -> Configuration {
    Configuration {
        name,
        build: Build::Ordinary,
        host,
        hypervisor: "",
        words,
        scenario: RUNNING,
        buses: ONE,
        memory: None,
        cpus: None,
    }
}

const fn virtio_rust(name: &'static str, words: &'static [&'static str]) -> Configuration {
    Configuration { build: Build::VirtioRust, ..running(name, Host::Machine(Iommu::Virtio), words) }
}

const fn booting(name: &'static str, buses: &'static [(usize, usize)]) -> Configuration {
    Configuration { scenario: BOOTING, buses, ..running(name, Host::Minihv, &mode::STRICT) }
}

/// All of this one's RAM is below 4 GiB: without an IOMMU, a device with 32 address bits cannot reach more, and would
/// have its data copied.
const NONE: Configuration =
    Configuration { memory: Some("2G"), ..running("none", Host::Machine(Iommu::Absent), &mode::UNMANAGED) };

/// Name of the configuration in which the kernel is the root partition.
pub const ROOT: &str = "root";

/// 1 GiB at 5 GiB is left alone, and what is before that boundary: it is mapped for the device, again and again. The
/// processors of a root partition do not go once they have come.
const AS_ROOT: Configuration = Configuration {
    build: Build::Root,
    hypervisor: "partition=root",
    scenario: "bench-root",
    cpus: Some(1),
    ..running(ROOT, Host::Minihv, &["iommu.strict=1", "hvtest.mode=strict", "memmap=1026M$5118M"])
};

/// Words for every kernel whose instructions are counted. Not all of the machines have a second clock to compare the
/// time-stamp counter with, which counts them.
pub const COUNTED: &str = "tsc=reliable";

/// All of them, in the order in which they are shown.
pub const ALL: [Configuration; 13] = [
    running("hv-strict", Host::Minihv, &mode::STRICT),
    running("intel-strict", Host::Machine(Iommu::Intel), &mode::STRICT),
    running("virtio-strict", Host::Machine(Iommu::Virtio), &mode::STRICT),
    virtio_rust("virtio-rust-strict", &mode::STRICT),
    running("hv-deferred", Host::Minihv, &mode::DEFERRED),
    running("intel-deferred", Host::Machine(Iommu::Intel), &mode::DEFERRED),
    running("virtio-deferred", Host::Machine(Iommu::Virtio), &mode::DEFERRED),
    virtio_rust("virtio-rust-deferred", &mode::DEFERRED),
    NONE,
    booting("hv-boot-1", ONE),
    booting("hv-boot-8", &[(8, 1)]),
    booting("hv-boot-32", THIRTY_TWO),
    AS_ROOT,
];

impl Configuration {
    /// The kernel's own words, without those that every guest gets.
    pub fn append(&self) -> String {
        format!("hvtest.scenario={} {} {COUNTED}", self.scenario, self.words.join(" "))
    }

    /// Whether the kernel is the root partition.
    pub fn is_root(&self) -> bool {
        self.build == Build::Root
    }

    /// The PCI devices.
    ///
    /// # Errors
    /// When they do not fit into the machine.
    pub fn devices(&self) -> Result<Devices> {
        let mut buses: Vec<Bus> = Vec::new();
        for &(count, functions) in self.buses {
            let bus: Bus = vec!["edu"; functions].join("+").parse()?;
            buses.extend(std::iter::repeat_n(bus, count));
        }
        Devices::new(&buses)
    }
}

/// How far figures of virtio-iommu with several threads may lie apart. They wait for one lock, and which of them gets it
/// is not up to the guest alone: seen to differ by 0.6 %.
const CONTENDED_TOLERANCE: f64 = 0.05;

/// The relative difference up to which two values of a figure count as the same.
pub fn tolerance(configuration: &str, metric: &str) -> f64 {
    let contended = ["/2t/", "/4t/"].iter().any(|threads| metric.contains(threads));
    if contended && configuration.starts_with("virtio-") {
        CONTENDED_TOLERANCE
    } else {
        TOLERANCE
    }
}

/// Those that were asked for; all of them when none was.
///
/// # Errors
/// When one of the names is not known.
pub fn chosen(names: &[String]) -> Result<Vec<Configuration>> {
    for name in names {
        if !ALL.iter().any(|configuration| configuration.name == name) {
            bail!("no configuration {name:?}; there are {}", ALL.map(|c| c.name).join(", "));
        }
    }
    Ok(ALL.into_iter().filter(|c| names.is_empty() || names.iter().any(|name| name == c.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_devices_as_the_name_says() {
        for configuration in ALL {
            let count: usize = match configuration.name.strip_prefix("hv-boot-") {
                Some(count) => count.parse().unwrap(),
                None => 1,
            };
            assert_eq!(configuration.devices().unwrap().count(), count, "{}", configuration.name);
        }
    }

    #[test]
    fn only_a_contended_lock_is_let_vary() {
        let values = [
            ("virtio-strict", "dma/4p/4t/map"),
            ("virtio-rust-strict", "dma/4p/4t/map"),
            ("virtio-strict", "dma/4p/1t/map"),
            ("hv-strict", "dma/4p/4t/map"),
        ];
        let expected = [CONTENDED_TOLERANCE, CONTENDED_TOLERANCE, TOLERANCE, TOLERANCE];
        assert_eq!(values.map(|(c, m)| tolerance(c, m)), expected);
    }

    #[test]
    fn names_are_unique_and_known() {
        assert_eq!(chosen(&[]).unwrap().len(), ALL.len());
        for configuration in ALL {
            let names = [configuration.name.to_owned()];
            assert_eq!(chosen(&names).unwrap().len(), 1, "{}", configuration.name);
        }
        assert!(chosen(&["hv-lazy".to_owned()]).is_err());
    }

    #[test]
    fn every_mode_is_told_to_kernel_and_program() {
        let deferred = chosen(&["hv-deferred".to_owned()]).unwrap()[0].append();
        assert!(deferred.starts_with("hvtest.scenario=bench iommu.strict=0 hvtest.mode=deferred "), "{deferred}");
    }
}
