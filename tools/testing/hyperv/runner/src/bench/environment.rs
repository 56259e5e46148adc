// SPDX-License-Identifier: GPL-2.0
//! What results depend on besides the source: the kernel's configuration, the compilers, the emulator.

use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::cli::BenchArgs;
use crate::emulator;
use crate::qemu::CPU_MODEL;

/// Named, so that results tell what they can be compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// The kernel's release.
    pub kernel: String,
    /// Name of its configuration.
    pub configuration: String,
    /// What its C was compiled by.
    pub clang: String,
    /// What its Rust was compiled by.
    pub rustc: String,
    /// Version of QEMU.
    pub qemu: String,
    /// Processor model.
    pub cpu: String,
    /// Number of processors.
    pub cpus: u32,
    /// RAM, with QEMU's suffix.
    pub memory: String,
}

impl Environment {
    /// Looks at the kernel's build directory and asks QEMU.
    ///
    /// # Errors
    /// When the kernel is not built, or QEMU does not answer.
    pub fn find(args: &BenchArgs) -> Result<Environment> {
        let file = |name: &str| {
            let path = args.kernel_build.join(name);
            std::fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let configuration = file(".config")?;
        Ok(Environment {
            kernel: file("include/config/kernel.release")?.trim().to_owned(),
            configuration: directory_name(&args.kernel_build)?,
            clang: setting(&configuration, "CONFIG_CC_VERSION_TEXT")?,
            rustc: setting(&configuration, "CONFIG_RUSTC_VERSION_TEXT")?,
            qemu: emulator::version(&args.tools.host.qemu)?,
            cpu: CPU_MODEL.to_owned(),
            cpus: args.cpus,
            memory: args.guest.memory.clone(),
        })
    }

    /// What differs from another one, one sentence each.
    pub fn differences(&self, other: &Environment) -> Vec<String> {
        let Environment { kernel, configuration, clang, rustc, qemu, cpu, cpus, memory } = self;
        let (processors, other_processors) = (cpus.to_string(), other.cpus.to_string());
        [
            ("kernel", kernel, &other.kernel),
            ("configuration", configuration, &other.configuration),
            ("C compiler", clang, &other.clang),
            ("Rust compiler", rustc, &other.rustc),
            ("QEMU", qemu, &other.qemu),
            ("processor model", cpu, &other.cpu),
            ("number of processors", &processors, &other_processors),
            ("memory", memory, &other.memory),
        ]
        .iter()
        .filter(|(_, own, others)| own != others)
        .map(|(what, own, others)| format!("{what}: {own} -> {others}"))
        .collect()
    }
}

fn directory_name(path: &Path) -> Result<String> {
    let name = path.file_name().and_then(|name| name.to_str());
    Ok(name.with_context(|| format!("{} has no name", path.display()))?.to_owned())
}

/// The text of a string option.
fn setting(configuration: &str, option: &str) -> Result<String> {
    let value = configuration.lines().find_map(|line| line.strip_prefix(option)?.strip_prefix('='));
    Ok(value.with_context(|| format!("no {option} in .config"))?.trim_matches('"').to_owned())
}

/// Something that looks like one.
#[cfg(test)]
pub fn sample() -> Environment {
    Environment {
        kernel: "7.3.4-hv".to_owned(),
        configuration: "bench".to_owned(),
        clang: "clang version 19.1.7".to_owned(),
        rustc: "rustc 1.85.0".to_owned(),
        qemu: "10.0.2".to_owned(),
        cpu: CPU_MODEL.to_owned(),
        cpus: 4,
        memory: "4G".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let config = "CONFIG_A=y\nCONFIG_CC_VERSION_TEXT=\"clang 19\"\nCONFIG_CC_VERSION_TEXT_2=\"x\"\n";
        assert_eq!(setting(config, "CONFIG_CC_VERSION_TEXT").unwrap(), "clang 19");
        assert!(setting(config, "CONFIG_RUSTC_VERSION_TEXT").is_err());
    }

    #[test]
    fn differences_are_named() {
        let other = Environment { qemu: "11.0".to_owned(), cpus: 2, ..sample() };
        assert_eq!(sample().differences(&sample()), Vec::<String>::new());
        assert_eq!(sample().differences(&other), ["QEMU: 10.0.2 -> 11.0", "number of processors: 4 -> 2"]);
    }
}
