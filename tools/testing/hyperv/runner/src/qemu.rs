// SPDX-License-Identifier: GPL-2.0
//! The command line of the emulator.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::device::Devices;

/// Where the guest's console goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Into the log only.
    Log,
    /// To this terminal and into the log.
    Terminal,
}

/// What QEMU starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// minihv, which starts the guest from the bundle.
    Minihv {
        /// The hypervisor's ELF file.
        elf: PathBuf,
        /// Kernel, initramfs and command line.
        bundle: PathBuf,
        /// The hypervisor's own command line.
        options: String,
    },
    /// The kernel itself, with the machine's IOMMU in its own hands.
    Kernel {
        /// The bzImage.
        image: PathBuf,
        /// The initramfs.
        initramfs: PathBuf,
        /// The kernel's command line.
        command_line: String,
    },
}

/// Log files of a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// The guest's serial console.
    pub serial: PathBuf,
    /// minihv's log.
    pub hypervisor: PathBuf,
    /// QEMU's own words.
    pub qemu: PathBuf,
    /// How to start the same QEMU by hand.
    pub command: PathBuf,
    /// QEMU's VT-d trace, when asked for.
    pub trace: PathBuf,
    /// Processors and local APICs of a guest that did not end by itself.
    pub state: PathBuf,
}

impl Logs {
    /// The names of the logs in a directory.
    pub fn new(directory: &Path) -> Logs {
        Logs {
            serial: directory.join("serial.log"),
            hypervisor: directory.join("hypervisor.log"),
            qemu: directory.join("qemu.log"),
            command: directory.join("qemu.command"),
            trace: directory.join("vtd.trace"),
            state: directory.join("state.log"),
        }
    }
}

/// Whether QEMU traces its VT-d.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// No.
    Off,
    /// Every descriptor, IOTLB fill and fault.
    Vtd,
}

/// What drives the guest's clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time of the machine that QEMU runs on.
    Host,
    /// The guest's own instructions, a nanosecond each, whoever executes them. Nothing that a guest without host I/O
    /// does or measures depends then on the machine that QEMU runs on.
    Instructions,
}

impl Clock {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Clock::Host => &[],
            Clock::Instructions => &["-icount", "shift=0,sleep=off", "-rtc", "base=2020-01-01,clock=vm", "-seed", "7"],
        }
    }
}

/// How QEMU runs the guest's processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Threads {
    /// They take turns in one thread.
    ///
    /// With a thread for each, QEMU 10.0 now and then sends a processor's access to a device elsewhere when another
    /// processor moves a BAR at that moment (seen: a local APIC's timer that was set in the IOMMU's registers), and the
    /// guest hangs for want of an interrupt.
    #[default]
    Single,
    /// Each has its own. What needs two processors at the same instant shows up here only.
    Multi,
}

impl Threads {
    fn accelerator(self, clock: Clock) -> &'static str {
        match (self, clock) {
            // Instructions can be counted in one thread only.
            (Threads::Single, _) | (Threads::Multi, Clock::Instructions) => "tcg,thread=single",
            (Threads::Multi, Clock::Host) => "tcg,thread=multi",
        }
    }
}

/// The IOMMU of the emulated machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iommu {
    /// Intel's VT-d in scalable mode with first-stage tables: the one that minihv drives.
    Intel,
    /// The same without first-stage tables, as minihv needs it for a root partition: with them, QEMU's has no second-stage
    /// tables.
    IntelSecondStage,
    /// virtio-iommu.
    Virtio,
    /// The same with addresses of 48 bits.
    VirtioFortyEight,
    /// The same, but the smallest block that it maps has 64 KiB.
    VirtioLargeBlocks,
    /// There is none.
    Absent,
}

impl Iommu {
    /// QEMU's device model.
    fn model(self) -> Option<&'static str> {
        match self {
            // With interrupt remapping; 48 bits is all that this model's first stage walks.
            Iommu::Intel => Some("intel-iommu,x-scalable-mode=on,x-flts=on,intremap=on,device-iotlb=on,aw-bits=48"),
            Iommu::IntelSecondStage => Some("intel-iommu,x-scalable-mode=on,intremap=on,device-iotlb=on,aw-bits=48"),
            // Below the first slot that devices are put into.
            Iommu::Virtio => Some("virtio-iommu-pci,addr=3.0"),
            Iommu::VirtioFortyEight => Some("virtio-iommu-pci,addr=3.0,aw-bits=48"),
            Iommu::VirtioLargeBlocks => Some("virtio-iommu-pci,addr=3.0,aw-bits=48,granule=64k"),
            Iommu::Absent => None,
        }
    }

    /// Words for a kernel that drives it itself.
    pub fn words(self) -> &'static str {
        match self {
            Iommu::Intel | Iommu::IntelSecondStage => "intel_iommu=on,sm_on",
            Iommu::Virtio | Iommu::VirtioFortyEight | Iommu::VirtioLargeBlocks | Iommu::Absent => "",
        }
    }
}

/// The processor model of every guest. QEMU counts instructions only where x2APIC is hidden, as it is here.
pub const CPU_MODEL: &str = "EPYC";

/// A machine to be started.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Number of processors.
    pub cpus: u32,
    /// RAM, with QEMU's suffix.
    pub memory: String,
    /// PCI devices.
    pub devices: Devices,
    /// IOMMU in front of them.
    pub iommu: Iommu,
    /// What drives the guest's clocks.
    pub clock: Clock,
    /// How the processors run.
    pub threads: Threads,
    /// What runs.
    pub payload: Payload,
    /// The guest's console.
    pub console: Console,
    /// VT-d trace.
    pub trace: Trace,
}

impl Machine {
    /// QEMU's arguments; disk images lie in `directory`.
    pub fn arguments(&self, directory: &Path, logs: &Logs) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        let mut put = |words: &[&str]| out.extend(words.iter().map(|w| (*w).to_owned()));
        // A guest sees nothing of the board under minihv; a root partition does, and so does a kernel without minihv: only
        // the devices asked for should be there. A root partition must not need the firmware's system management mode to
        // switch ACPI on: SVM would have to take part in that.
        let board = match (&self.payload, self.iommu) {
            (Payload::Minihv { .. }, Iommu::IntelSecondStage) => "q35,sata=off,smbus=off,smm=off",
            (Payload::Minihv { .. }, _) => "q35",
            (Payload::Kernel { .. }, _) => "q35,sata=off,smbus=off",
        };
        put(&[
            "-accel",
            self.threads.accelerator(self.clock),
            "-machine",
            board,
            "-cpu",
            CPU_MODEL,
            "-m",
            &self.memory,
            "-smp",
            &self.cpus.to_string(),
        ]);
        put(&["-nodefaults", "-display", "none", "-no-reboot"]);
        put(self.clock.arguments());
        let serial = logs.serial.display();
        match self.console {
            // The logs go on when the machine is switched on again.
            Console::Log => put(&["-chardev", &format!("file,id=console,path={serial},append=on")]),
            Console::Terminal => put(&["-chardev", &format!("stdio,id=console,signal=off,logfile={serial}")]),
        }
        put(&["-serial", "chardev:console"]);
        match &self.payload {
            Payload::Minihv { elf, bundle, options } => {
                let (elf, bundle) = (elf.display().to_string(), bundle.display().to_string());
                put(&["-chardev", &format!("file,id=hypervisor,path={},append=on", logs.hypervisor.display())]);
                put(&["-device", "isa-debugcon,iobase=0xe9,chardev=hypervisor"]);
                put(&["-kernel", &elf, "-initrd", &bundle, "-append", options]);
            }
            Payload::Kernel { image, initramfs, command_line } => {
                let (image, initramfs) = (image.display().to_string(), initramfs.display().to_string());
                put(&["-kernel", &image, "-initrd", &initramfs, "-append", command_line]);
            }
        }
        // Before the devices, which would not notice it otherwise.
        if let Some(model) = self.iommu.model() {
            put(&["-device", model]);
        }
        if self.trace == Trace::Vtd {
            put(&["-trace", "vtd_*", "-D", &logs.trace.display().to_string()]);
        }
        out.extend(self.devices.arguments(directory));
        out
    }
}

/// A command as a shell takes it, one argument pair per line.
pub fn as_shell(program: &str, arguments: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./,:=+@%".contains(c);
    let quote = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let mut text = program.to_owned();
    for argument in arguments {
        text.push_str(if argument.starts_with('-') { " \\\n  " } else { " " });
        text.push_str(&quote(argument));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_are_quoted() {
        let arguments = ["-append".to_owned(), "a='b' c".to_owned(), String::new()];
        assert_eq!(as_shell("qemu", &arguments), "qemu \\\n  -append 'a='\\''b'\\'' c' ''\n");
    }

    fn arguments(iommu: Iommu, clock: Clock) -> Vec<String> {
        let machine = Machine {
            cpus: 2,
            memory: "1G".to_owned(),
            devices: Devices::new(&["edu".parse().unwrap()]).unwrap(),
            iommu,
            clock,
            threads: Threads::Multi,
            payload: Payload::Minihv { elf: "hv".into(), bundle: "b".into(), options: "assign=4.0".to_owned() },
            console: Console::Log,
            trace: Trace::Off,
        };
        machine.arguments(Path::new("/d"), &Logs::new(Path::new("/l")))
    }

    #[test]
    fn the_iommu_comes_before_the_devices() {
        for (iommu, model) in [(Iommu::Intel, "intel-iommu"), (Iommu::Virtio, "virtio-iommu-pci")] {
            let arguments = arguments(iommu, Clock::Host);
            let at = |text: &str| arguments.iter().position(|a| a.starts_with(text)).unwrap();
            assert!(at(model) < at("edu,"));
            assert_eq!(arguments[at("-append") + 1], "assign=4.0");
        }
        assert!(!arguments(Iommu::Absent, Clock::Host).iter().any(|a| a.contains("iommu")));
        let root = arguments(Iommu::IntelSecondStage, Clock::Host);
        assert!(root.iter().any(|a| a.starts_with("intel-iommu,")) && !root.iter().any(|a| a.contains("x-flts")));
    }

    #[test]
    fn instructions_are_counted_only_when_asked_for() {
        let counts = |clock| arguments(Iommu::Intel, clock).iter().any(|a| a == "-icount");
        assert_eq!([counts(Clock::Host), counts(Clock::Instructions)], [false, true]);
    }

    #[test]
    fn counting_takes_one_thread() {
        let accelerator = |clock| arguments(Iommu::Intel, clock)[1].clone();
        assert_eq!(accelerator(Clock::Host), "tcg,thread=multi");
        assert_eq!(accelerator(Clock::Instructions), "tcg,thread=single");
        assert_eq!(Threads::default().accelerator(Clock::Host), "tcg,thread=single");
    }
}
