// SPDX-License-Identifier: GPL-2.0
//! PCI functions as sysfs shows them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use hvcore::ids::{BusIndex, Guid, LogicalDeviceId};

use crate::mmio::MappedBar;
use crate::nvme_sysfs;
use crate::report::remark_wait;

const BUS: &str = "/sys/bus/pci";

/// Vendor and device id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciId {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
}

/// QEMU's educational device.
pub const EDU: PciId = PciId { vendor: 0x1234, device: 0x11e8 };

/// Vendor of virtio devices.
pub const VIRTIO_VENDOR: u16 = 0x1af4;

/// Modern virtio network interface.
pub const VIRTIO_NET: PciId = PciId { vendor: VIRTIO_VENDOR, device: 0x1041 };

/// QEMU's bridge from PCI Express to PCI.
const BRIDGE: PciId = PciId { vendor: 0x1b36, device: 0x000e };

/// The machine's IOMMU, where that is a device: none of those that are behind it.
const VIRTIO_IOMMU: PciId = PciId { vendor: VIRTIO_VENDOR, device: 0x1057 };

/// A PCI function.
#[derive(Clone, Debug)]
pub struct PciFunction {
    /// Address as the kernel writes it, `dddd:bb:dd.f`.
    pub address: String,
    path: PathBuf,
    /// Vendor and device id.
    pub id: PciId,
    /// Class code: base class 23:16, subclass 15:8, programming interface 7:0.
    pub class: u32,
}

fn read_hex(path: &Path) -> Result<u32> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let digits = text.trim().trim_start_matches("0x");
    u32::from_str_radix(digits, 16).with_context(|| format!("{}: {text}", path.display()))
}

/// Writes to a sysfs file.
///
/// # Errors
/// The kernel's answer, with the path.
pub fn write_sysfs(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {text:?} to {}", path.display()))
}

/// Has the kernel look for functions that it does not have, as those that were removed.
///
/// # Errors
/// When sysfs refuses.
pub fn rescan() -> Result<()> {
    write_sysfs(Path::new("/sys/bus/pci/rescan"), "1")
}

/// Every PCI function, by address, without the bridges and the IOMMU of the physical machine.
///
/// # Errors
/// When sysfs is not there.
pub fn all() -> Result<Vec<PciFunction>> {
    let Ok(entries) = fs::read_dir(Path::new(BUS).join("devices")) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(PciFunction::appearing(&entry?.path())?);
    }
    found.sort_by(|a, b| a.address.cmp(&b.address));
    Ok(found)
}

/// The functions that sit on a bus now. Nothing is read of the others: there may be many.
///
/// # Errors
/// When sysfs does not show one of them as documented.
pub fn on_bus(bus: BusIndex) -> Result<Vec<PciFunction>> {
    let Ok(entries) = fs::read_dir(Path::new(BUS).join("devices")) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?.path();
        if fs::read_link(&entry).is_ok_and(|target| guid_of(&target).map(bus_of) == Some(bus)) {
            found.extend(PciFunction::appearing(&entry)?);
        }
    }
    found.sort_by(|a: &PciFunction, b| a.address.cmp(&b.address));
    Ok(found)
}

/// The first function with these ids.
///
/// # Errors
/// When there is none.
pub fn find(id: PciId) -> Result<PciFunction> {
    match all()?.into_iter().find(|f| f.id == id) {
        Some(function) => Ok(function),
        None => bail!("no PCI device {:04x}:{:04x}", id.vendor, id.device),
    }
}

/// The VMBus instance that a path in sysfs leads through.
fn guid_of(path: &Path) -> Option<Guid> {
    path.iter().filter_map(|part| part.to_str()).find_map(|part| part.parse().ok())
}

/// The requester id of a function of PCI domain 0, which is the machine's own: VMBus' begin at 1.
fn requester_id(address: &str) -> Option<LogicalDeviceId> {
    let (bus, rest) = address.strip_prefix("0000:")?.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    Some(LogicalDeviceId(number(bus)? << 8 | number(device)? << 3 | number(function)?))
}

/// The bus of a VMBus instance: minihv puts its number into the last two bytes.
fn bus_of(Guid(bytes): Guid) -> BusIndex {
    BusIndex(u16::from_be_bytes([bytes[14], bytes[15]]).into())
}

impl PciFunction {
    /// The function of an entry of sysfs' list of devices; [`None`] for a bridge, and for one that goes this moment.
    fn appearing(entry: &Path) -> Result<Option<PciFunction>> {
        match PciFunction::read(entry) {
            Err(_) if !entry.exists() => Ok(None),
            Ok(function) if function.base_class() == 0x06 || function.id == VIRTIO_IOMMU => Ok(None),
            function => function.map(Some),
        }
    }

    /// The function of an entry of sysfs' list of devices.
    fn read(entry: &Path) -> Result<PciFunction> {
        let path = fs::canonicalize(entry)?;
        let id = |file: &str| -> Result<u16> { Ok(u16::try_from(read_hex(&path.join(file))?)?) };
        Ok(PciFunction {
            address: entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            id: PciId { vendor: id("vendor")?, device: id("device")? },
            class: read_hex(&path.join("class"))?,
            path,
        })
    }

    fn base_class(&self) -> u32 {
        self.class >> 16
    }

    /// Whether it is an NVMe controller.
    pub fn is_nvme(&self) -> bool {
        self.class == 0x01_0802
    }

    /// Whether it is a USB host controller of the kind that xhci_hcd drives.
    pub fn is_xhci(&self) -> bool {
        self.class == 0x0c_0330
    }

    /// Whether the kernel is done with the function: it is fully registered, and a driver that the kernel has for it
    /// has finished its probe.
    fn is_ready(&self) -> bool {
        let has_driver = |name: &str| Path::new(BUS).join("drivers").join(name).exists();
        if self.is_nvme() && has_driver("nvme") {
            self.nvme_namespace().is_ok_and(|namespace| File::open(namespace).is_ok())
        } else if self.id.vendor == VIRTIO_VENDOR && has_driver("virtio-pci") {
            self.driver().is_some()
        } else {
            self.id != EDU || self.file("resource0").exists()
        }
    }

    /// The logical device id under Hyper-V; of a function of the machine's own, what minihv's test interface calls it, which
    /// is the requester id that its DMA carries: its own, or that of the bridge above it.
    pub fn logical_id(&self) -> Option<LogicalDeviceId> {
        let function = self.address.rsplit('.').next()?.parse().ok()?;
        let guid = guid_of(&self.path).map(|guid| guid.logical_device_id(function));
        guid.or_else(|| {
            let own = requester_id(&self.address)?;
            Some(if self.is_behind_bridge() { LogicalDeviceId(own.0 & 0xff00) } else { own })
        })
    }

    /// Whether there is a bridge from PCI Express to PCI right above it. On the way through it a request gets the id of
    /// device 0, function 0 of the bus behind the bridge.
    pub fn is_behind_bridge(&self) -> bool {
        let id = |file| self.parent_file(file).and_then(|path| read_hex(&path).ok());
        id("vendor") == Some(BRIDGE.vendor.into()) && id("device") == Some(BRIDGE.device.into())
    }

    /// minihv's number of the bus that the function sits on; `None` for a function that does not sit on a VMBus device.
    pub fn bus(&self) -> Option<BusIndex> {
        guid_of(&self.path).map(bus_of)
    }

    /// Name of the VMBus device that the function sits on; `None` for a function that does not sit on one.
    pub fn instance(&self) -> Option<&str> {
        self.path.iter().filter_map(|part| part.to_str()).find(|part| part.parse::<Guid>().is_ok())
    }

    /// A file of the function's sysfs directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A file of what the function sits behind: a bridge or a port. [`None`] on a root bus.
    pub fn parent_file(&self, name: &str) -> Option<PathBuf> {
        let file = self.path.parent()?.join(name);
        file.exists().then_some(file)
    }

    /// Whether the device answers.
    ///
    /// # Errors
    /// When the kernel does not know it any more.
    pub fn is_there(&self) -> Result<bool> {
        let mut vendor = [0; 2];
        File::open(self.file("config"))
            .context("config")?
            .read_exact_at(&mut vendor, 0)
            .context("reading the vendor")?;
        Ok(vendor != [0xff; 2])
    }

    /// Whether the kernel is done with the function's arrival, but for drivers. sysfs shows a function before the IOMMU core
    /// has decided about it; procfs shows it afterwards (`pci_bus_add_device()`).
    pub fn is_added(&self) -> bool {
        let Some((bus, function)) = self.address.rsplit_once(':') else { return false };
        // procfs leaves domain 0 out.
        let bus = bus.strip_prefix("0000:").unwrap_or(bus);
        Path::new("/proc/bus/pci").join(bus).join(function).exists()
    }

    /// Name of the bound driver.
    pub fn driver(&self) -> Option<String> {
        let target = fs::read_link(self.file("driver")).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// Number of the IOMMU group; `None` when no IOMMU manages the function.
    pub fn group(&self) -> Option<u32> {
        fs::read_link(self.file("iommu_group")).ok()?.file_name()?.to_str()?.parse().ok()
    }

    /// Switches memory decoding and bus mastering on through configuration space.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn enable_bus_master(&self) -> Result<()> {
        write_sysfs(&self.file("enable"), "1")?;
        self.set_bus_master()
    }

    /// The same for a function that a driver has: sysfs enables none of those.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn set_bus_master(&self) -> Result<()> {
        let path = self.file("config");
        let config = OpenOptions::new().read(true).write(true).open(&path).context("config")?;
        let mut command = [0; 2];
        config.read_exact_at(&mut command, 4).context("reading COMMAND")?;
        command[0] |= 6;
        config.write_all_at(&command, 4).context("writing COMMAND")
    }

    /// Whether the function may do DMA, as its command register has it.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn masters_bus(&self) -> Result<bool> {
        let config = File::open(self.file("config")).context("config")?;
        let mut command = [0; 2];
        config.read_exact_at(&mut command, 4).context("reading COMMAND")?;
        Ok(command[0] & 4 != 0)
    }

    /// Takes the function out of the kernel's hands. Its bus stays, where [`rescan`] finds it again.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn remove(&self) -> Result<()> {
        write_sysfs(&self.file("remove"), "1")
    }

    /// Maps the first `bytes` bytes of BAR 0.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn map_bar0(&self, bytes: usize) -> Result<MappedBar> {
        let path = self.file("resource0");
        let file = File::options().read(true).write(true).open(&path).with_context(|| path.display().to_string())?;
        MappedBar::map(&file, 0, bytes).with_context(|| path.display().to_string())
    }

    /// Binds the function to `driver`, away from whatever has it now.
    ///
    /// # Errors
    /// When the driver is missing or refuses.
    pub fn bind(&self, driver: &str) -> Result<()> {
        if self.driver().as_deref() == Some(driver) {
            return self.await_probe(driver);
        }
        if self.driver().is_some() {
            self.unbind()?;
        }
        write_sysfs(&self.file("driver_override"), driver)?;
        write_sysfs(&Path::new(BUS).join("drivers_probe"), &self.address)?;
        match self.driver() {
            // The kernel may be taking the function to the driver by itself, where it has just appeared.
            Some(bound) if bound == driver => self.await_probe(driver),
            other => bail!("{} did not bind to {driver} (driver now: {other:?})", self.address),
        }
    }

    /// Waits until a driver that is shown as the function's has taken it: it is shown from before it is asked. To bind
    /// it once more has to wait for the function's lock, and is refused then.
    fn await_probe(&self, driver: &str) -> Result<()> {
        let file = Path::new(BUS).join("drivers").join(driver).join("bind");
        match fs::write(&file, &self.address) {
            Err(error) if error.raw_os_error() != Some(libc::EBUSY) => {
                Err(error).with_context(|| format!("{} of {}", file.display(), self.address))
            }
            _ => Ok(()),
        }
    }

    /// Takes the function from its driver, and forgets an override.
    ///
    /// # Errors
    /// When sysfs refuses.
    pub fn unbind(&self) -> Result<()> {
        if self.driver().is_some() {
            write_sysfs(&self.file("driver/unbind"), &self.address)?;
        }
        write_sysfs(&self.file("driver_override"), "\n")
    }

    /// The NVMe namespace's block device (`/dev/nvme0n1`), with the kernel's NVMe multipath or without.
    ///
    /// # Errors
    /// When there is none.
    pub fn nvme_namespace(&self) -> Result<PathBuf> {
        Ok(Path::new("/dev").join(nvme_sysfs::namespace(Path::new("/sys"), &self.path)?))
    }

    /// The first entry of a subdirectory that `wanted` accepts.
    ///
    /// # Errors
    /// When there is none.
    pub fn child(&self, directory: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let path = self.file(directory);
        fs::read_dir(&path)
            .with_context(|| path.display().to_string())?
            .filter_map(|e| e.ok()?.file_name().into_string().ok())
            .find(|name| wanted(name))
            .with_context(|| format!("{} has no such entry", path.display()))
    }
}

/// How long the devices may take to show up. Debug kernels in a loaded emulator are slow.
const DEVICE_PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `count` functions are there and the kernel is done with all of them.
///
/// # Errors
/// What is missing after a minute.
pub fn wait_for_devices(count: usize) -> Result<Vec<PciFunction>> {
    let start = Instant::now();
    loop {
        let functions = all()?;
        let unready = functions.iter().find(|f| !f.is_ready());
        if functions.len() >= count && unready.is_none() {
            remark_wait(start, &format!("{count} PCI functions and their drivers"));
            return Ok(functions);
        }
        if start.elapsed() > DEVICE_PATIENCE {
            match unready {
                Some(f) => bail!("{} has no working driver after {} s", f.address, DEVICE_PATIENCE.as_secs()),
                None => bail!("{} of {count} PCI functions after {} s", functions.len(), DEVICE_PATIENCE.as_secs()),
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_through_a_bus() {
        let guid = |text: &str| guid_of(Path::new(text));
        let found =
            guid("/sys/devices/LNXSYSTM:00/44c4f61d-1ee7-6053-9d52-802e27ede19f/pci1ee7:00/1ee7:00:00.2").unwrap();
        assert_eq!(found.logical_device_id(2), LogicalDeviceId(0x1ee7_6052));
        assert_eq!(guid("69637076-1ee7-6050-6d69-6e6968760012").map(bus_of), Some(BusIndex(0x12)));
        assert_eq!(guid("/sys/devices/pci0000:00/0000:00:04.0"), None);
        assert_eq!(guid("44c4f61d-1ee7-6053-9d52-802e27ede1"), None);
        assert_eq!(requester_id("0000:02:1f.3"), Some(LogicalDeviceId(0x02fb)));
        assert_eq!(requester_id("1ee7:00:00.0"), None);
    }
}
