// SPDX-License-Identifier: GPL-2.0
//! The guest's PCI devices, as named on the command line: `nvme`, `edu,dma_mask=0xffffffff`, `edu+edu`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{bail, Context, Error, Result};
use hvcore::vpci::Slot;

/// First PCI slot of the emulated machine that devices are put into.
const FIRST_SLOT: usize = 4;
/// Slots up to this one are free on QEMU's q35 machine.
const LAST_SLOT: usize = 0x1e;
/// Functions per slot.
const FUNCTIONS_MAX: usize = 8;
/// Size of a disk where the option `size=` does not tell.
const DISK_SIZE: &str = "256M";

/// What a function is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// NVMe controller with one namespace.
    Nvme,
    /// QEMU's educational device.
    Edu,
    /// virtio disk.
    VirtioBlk,
    /// virtio entropy source.
    VirtioRng,
    /// virtio network interface; all of a guest's are on one network, with nobody else.
    VirtioNet,
    /// USB host controller with 16 vectors of MSI and a tablet behind it.
    Xhci,
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Kind> {
        Ok(match name {
            "nvme" => Kind::Nvme,
            "edu" => Kind::Edu,
            "virtio-blk" => Kind::VirtioBlk,
            "virtio-rng" => Kind::VirtioRng,
            "virtio-net" => Kind::VirtioNet,
            "xhci" => Kind::Xhci,
            other => bail!("unknown device {other:?} (nvme, edu, virtio-blk, virtio-rng, virtio-net, xhci)"),
        })
    }
}

/// What is between a device and the root bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// Nothing.
    Nothing,
    /// A PCI Express port with a slot, for one function.
    Port,
    /// A bridge from PCI Express to PCI, for devices with a function each.
    Bridge,
}

/// What a disk holds when the machine is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Disk {
    /// Zeros, so many bytes, as the size suffixes of truncate(1) write it.
    Empty(String),
    /// What is in this file. The guest's writes do not reach the file, and are gone when the machine is off.
    Image(PathBuf),
}

/// One PCI function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    kind: Kind,
    disk: Disk,
    /// Where it is, as the option `behind=` tells.
    behind: Behind,
    /// Options handed on to QEMU's `-device`.
    options: Vec<String>,
}

impl FromStr for Function {
    type Err = Error;

    fn from_str(text: &str) -> Result<Function> {
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default().parse()?;
        let (disk, behind) = (Disk::Empty(DISK_SIZE.to_owned()), Behind::Nothing);
        let mut function = Function { kind, disk, behind, options: Vec::new() };
        for option in parts {
            match option.split_once('=') {
                Some(("size", size)) => function.disk = Disk::Empty(size.to_owned()),
                Some(("image", file)) => function.disk = Disk::Image(file.into()),
                Some(("behind", "port")) => function.behind = Behind::Port,
                Some(("behind", "bridge")) => function.behind = Behind::Bridge,
                Some(("behind", _)) => bail!("{option}: behind=port or behind=bridge"),
                // On the root bus, QEMU's virtio devices have no ATS.
                Some(("ats", "on")) => {
                    function.behind = Behind::Port;
                    function.options.push(option.to_owned());
                }
                Some(("addr" | "drive" | "multifunction", _)) => bail!("{option}: chosen by the runner"),
                Some(_) => function.options.push(option.to_owned()),
                None => bail!("{option:?} is no option=value"),
            }
        }
        Ok(function)
    }
}

impl Function {
    fn has_disk(&self) -> bool {
        matches!(self.kind, Kind::Nvme | Kind::VirtioBlk)
    }

    /// QEMU's device model with the options that DMA translation needs.
    fn model(&self, index: usize) -> String {
        // virtio devices use the IOMMU only when told so, and only the modern transport can be told.
        const VIRTIO: &str = "iommu_platform=on,disable-legacy=on";
        match self.kind {
            Kind::Nvme => format!("nvme,drive=disk{index},serial=disk{index}"),
            Kind::Edu => "edu,dma_mask=0xffffffffffffffff".to_owned(),
            Kind::VirtioBlk => format!("virtio-blk-pci,drive=disk{index},{VIRTIO}"),
            Kind::VirtioRng => format!("virtio-rng-pci,rng=rng{index},{VIRTIO}"),
            Kind::VirtioNet => format!("virtio-net-pci,netdev=net{index},{VIRTIO},romfile="),
            Kind::Xhci => format!("nec-usb-xhci,id=usb{index},msi=on,msix=off,intrs=16"),
        }
    }
}

/// The functions of one virtual PCI bus (its own PCI domain under minihv).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bus(Vec<Function>);

impl FromStr for Bus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Bus> {
        let functions: Vec<Function> =
            text.split('+').map(str::parse).collect::<Result<_>>().with_context(|| format!("device {text:?}"))?;
        if functions.len() > FUNCTIONS_MAX {
            bail!("device {text:?}: at most {FUNCTIONS_MAX} functions on a bus");
        }
        if functions.len() > 1 && functions.iter().any(|function| function.behind == Behind::Port) {
            bail!("device {text:?}: behind a port, as with ats=on, a function is alone on its bus");
        }
        if functions.iter().any(|function| function.behind != functions[0].behind) {
            bail!("device {text:?}: all functions of a bus are behind a bridge, or none is");
        }
        Ok(Bus(functions))
    }
}

/// All devices of a guest, placed.
#[derive(Clone, Debug)]
pub struct Devices {
    buses: Vec<Bus>,
}

impl Devices {
    /// Takes the buses in the order of the command line.
    ///
    /// # Errors
    /// When they do not fit into the machine.
    pub fn new(buses: &[Bus]) -> Result<Devices> {
        if FIRST_SLOT + buses.len() > LAST_SLOT + 1 {
            bail!("{} buses do not fit; the machine has {} slots", buses.len(), LAST_SLOT + 1 - FIRST_SLOT);
        }
        Ok(Devices { buses: buses.to_vec() })
    }

    /// Number of PCI functions.
    pub fn count(&self) -> usize {
        self.buses.iter().map(|bus| bus.0.len()).sum()
    }

    /// Number of virtio functions.
    pub fn virtio_count(&self) -> usize {
        let is_virtio =
            |function: &&Function| matches!(function.kind, Kind::VirtioBlk | Kind::VirtioRng | Kind::VirtioNet);
        self.buses.iter().flat_map(|bus| &bus.0).filter(is_virtio).count()
    }

    /// Every function with its running number, slot and function number.
    fn placed(&self) -> impl Iterator<Item = (usize, usize, usize, &Bus, &Function)> {
        let all = self.buses.iter().enumerate().flat_map(|(bus, functions)| {
            functions.0.iter().enumerate().map(move |(number, f)| (FIRST_SLOT + bus, number, functions, f))
        });
        all.enumerate().map(|(index, (slot, number, bus, f))| (index, slot, number, bus, f))
    }

    /// The physical addresses for minihv's `assign=` option, bus by bus.
    ///
    /// # Errors
    /// When a slot is none of PCI's.
    pub fn assignment(&self) -> Result<Vec<Vec<Slot>>> {
        let slot = |device: usize, function: usize| {
            let found = Slot::new(u8::try_from(device)?, u8::try_from(function)?);
            found.with_context(|| format!("no PCI slot {device:x}.{function}"))
        };
        let bus = |(index, bus): (usize, &Bus)| (0..bus.0.len()).map(|f| slot(FIRST_SLOT + index, f)).collect();
        self.buses.iter().enumerate().map(bus).collect()
    }

    fn disk_path(directory: &Path, index: usize) -> PathBuf {
        directory.join(format!("disk{index}.img"))
    }

    /// Makes the images of the disks that are empty at first, sparse.
    ///
    /// # Errors
    /// When a size makes no sense, the directory is not writable, or the image of another disk is missing.
    pub fn create_disks(&self, directory: &Path) -> Result<()> {
        for (index, _, _, _, function) in self.placed().filter(|p| p.4.has_disk()) {
            let size = match &function.disk {
                Disk::Image(file) if file.is_file() => continue,
                Disk::Image(file) => bail!("{} does not exist: it is to be a disk", file.display()),
                Disk::Empty(size) => size,
            };
            let path = Self::disk_path(directory, index);
            let bytes = parse_size(size)?;
            let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
            file.set_len(bytes).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }

    /// QEMU's arguments for the devices and what stands behind them.
    pub fn arguments(&self, directory: &Path) -> Vec<String> {
        let mut arguments = Vec::new();
        for (index, slot, number, bus, function) in self.placed() {
            if function.has_disk() {
                // The guest's data is worth nothing after the run: never wait for the host's disk.
                let (path, snapshot) = match &function.disk {
                    Disk::Empty(_) => (Self::disk_path(directory, index), ""),
                    Disk::Image(file) => (file.clone(), ",snapshot=on"),
                };
                let drive = format!("file={},if=none,id=disk{index},format=raw,cache=unsafe{snapshot}", path.display());
                arguments.extend(["-drive".to_owned(), drive]);
            }
            match function.kind {
                Kind::VirtioRng => {
                    arguments.extend(["-object".to_owned(), format!("rng-random,id=rng{index},filename=/dev/urandom")]);
                }
                Kind::VirtioNet => {
                    arguments.extend(["-netdev".to_owned(), format!("hubport,id=net{index},hubid=0")]);
                }
                Kind::Nvme | Kind::Edu | Kind::VirtioBlk | Kind::Xhci => {}
            }
            let mut device = function.model(index);
            match function.behind {
                Behind::Nothing => device.push_str(&format!(",addr={slot:x}.{number}")),
                // The port takes the slot; minihv hands out what is behind it.
                Behind::Port => {
                    let port = format!("pcie-root-port,id=port{index},chassis={slot},addr={slot:x}.0");
                    arguments.extend(["-device".to_owned(), port]);
                    device.push_str(&format!(",bus=port{index},addr=0.0"));
                }
                Behind::Bridge => {
                    if number == 0 {
                        let bridge = format!("pcie-pci-bridge,id=bridge{slot},addr={slot:x}.0");
                        arguments.extend(["-device".to_owned(), bridge]);
                    }
                    device.push_str(&format!(",bus=bridge{slot},addr={:x}.0", number + 1));
                }
            }
            if number == 0 && bus.0.len() > 1 && function.behind == Behind::Nothing {
                device.push_str(",multifunction=on");
            }
            for option in &function.options {
                device.push(',');
                device.push_str(option);
            }
            arguments.extend(["-device".to_owned(), device]);
            if function.kind == Kind::Xhci {
                arguments.extend(["-device".to_owned(), format!("usb-tablet,bus=usb{index}.0")]);
            }
        }
        arguments
    }
}

/// A number of bytes with an optional suffix K, M or G (powers of 1024).
///
/// # Errors
/// When it is none, or too large.
pub fn parse_size(text: &str) -> Result<u64> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().with_context(|| format!("size {text:?}"))?;
    number.checked_mul(1 << shift).with_context(|| format!("size {text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(specs: &[&str]) -> Devices {
        let buses: Vec<Bus> = specs.iter().map(|s| s.parse().unwrap()).collect();
        Devices::new(&buses).unwrap()
    }

    #[test]
    fn buses_get_slots_and_functions() {
        let devices = devices(&["nvme,size=64M", "edu+edu", "virtio-rng"]);
        let slots: Vec<Vec<(u8, u8)>> = devices
            .assignment()
            .unwrap()
            .iter()
            .map(|b| b.iter().map(|s| (s.device(), s.function())).collect())
            .collect();
        assert_eq!(slots, [vec![(4, 0)], vec![(5, 0), (5, 1)], vec![(6, 0)]]);
        assert_eq!((devices.count(), devices.virtio_count()), (4, 1));
        let arguments = devices.arguments(Path::new("/d"));
        assert!(arguments.contains(&"nvme,drive=disk0,serial=disk0,addr=4.0".to_owned()));
        assert!(arguments.contains(&"edu,dma_mask=0xffffffffffffffff,addr=5.0,multifunction=on".to_owned()));
        assert!(arguments.contains(&"edu,dma_mask=0xffffffffffffffff,addr=5.1".to_owned()));
    }

    #[test]
    fn options_are_handed_on() {
        let arguments = devices(&["virtio-blk,ats=on"]).arguments(Path::new("/d"));
        assert!(arguments.last().unwrap().ends_with(",bus=port0,addr=0.0,ats=on"));
        let at = arguments.iter().position(|a| a == "pcie-root-port,id=port0,chassis=4,addr=4.0");
        assert!(at.is_some_and(|at| at < arguments.len() - 1));
        assert!(devices(&["virtio-blk,x=y"]).arguments(Path::new("/d")).last().unwrap().ends_with(",addr=4.0,x=y"));
    }

    #[test]
    fn devices_behind_a_bridge_are_devices_of_their_own() {
        let arguments = devices(&["nvme", "edu,behind=bridge+edu,behind=bridge"]).arguments(Path::new("/d"));
        let at = |text: &str| arguments.iter().position(|a| a == text).unwrap();
        let bridge = at("pcie-pci-bridge,id=bridge5,addr=5.0");
        let edu = |place: &str| at(&format!("edu,dma_mask=0xffffffffffffffff,bus=bridge5,addr={place}"));
        assert!(bridge < edu("1.0") && edu("1.0") < edu("2.0"));
        assert_eq!(arguments.iter().filter(|a| a.starts_with("pcie-pci-bridge")).count(), 1);
    }

    #[test]
    fn a_disk_can_start_as_a_file_that_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("root.img");
        let disk = devices(&[&format!("nvme,image={}", image.display()), "nvme"]);
        assert!(disk.create_disks(directory.path()).is_err(), "there is no such file");
        std::fs::write(&image, "a file system").unwrap();
        disk.create_disks(directory.path()).unwrap();
        assert_eq!(std::fs::read(&image).unwrap(), b"a file system");
        assert!(!directory.path().join("disk0.img").exists() && directory.path().join("disk1.img").exists());
        let arguments = disk.arguments(directory.path());
        let drive = |start: String| arguments.iter().find(|a| a.starts_with(&format!("file={start}"))).unwrap();
        assert!(drive(image.display().to_string()).ends_with(",snapshot=on"));
        assert!(!drive(directory.path().join("disk1.img").display().to_string()).contains("snapshot"));
    }

    #[test]
    fn what_is_behind_a_controller_comes_after_it() {
        let arguments = devices(&["xhci"]).arguments(Path::new("/d"));
        let at = |start: &str| arguments.iter().position(|a| a.starts_with(start)).unwrap();
        assert!(at("nec-usb-xhci,id=usb0,") < at("usb-tablet,bus=usb0.0"));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "floppy",
            "nvme,fast",
            "nvme,addr=3",
            "",
            "edu+",
            "edu+virtio-blk,ats=on",
            "edu+edu,behind=port",
            "edu+edu,behind=bridge",
            "edu,behind=wall",
            "edu+edu+edu+edu+edu+edu+edu+edu+edu",
        ] {
            assert!(bad.parse::<Bus>().is_err(), "{bad:?}");
        }
        let many: Vec<Bus> = (0..28).map(|_| "edu".parse().unwrap()).collect();
        assert!(Devices::new(&many).is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("256M").unwrap(), 256 << 20);
        assert_eq!(parse_size("512").unwrap(), 512);
        assert!(parse_size("").is_err());
        assert!(parse_size("M").is_err());
        assert!(parse_size("99999999999G").is_err());
    }
}
