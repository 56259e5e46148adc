// SPDX-License-Identifier: GPL-2.0
//! Which disk belongs to an NVMe controller.
//!
//! Without the kernel's NVMe multipath, the disk `nvme0n1` is a child of its controller. With it, the controller has a
//! path without a device node, `nvme0c1n1` (subsystem, controller, namespace), and the disk `nvme0n1` is a child of the
//! subsystem. The numbers of subsystem and controller need not be the same in either case.

use std::fs;
use std::path::Path;

use anyhow::{bail, Context, Result};

/// The numbers in a disk's or a path's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    /// A disk, `nvme0n1`.
    Disk,
    /// A controller's path to the disk of this subsystem and this namespace, `nvme0c1n1`.
    Path { subsystem: u32, namespace: u32 },
}

impl Name {
    /// Reads a name; `None` when it is none of a disk or a path.
    fn parse(name: &str) -> Option<Name> {
        let (device, namespace) = name.strip_prefix("nvme")?.rsplit_once('n')?;
        let namespace = namespace.parse().ok()?;
        match device.split_once('c') {
            None => device.parse::<u32>().ok().map(|_| Name::Disk),
            Some((subsystem, controller)) => {
                controller.parse::<u32>().ok()?;
                Some(Name::Path { subsystem: subsystem.parse().ok()?, namespace })
            }
        }
    }
}

/// Names of a directory's entries; none for one that is not there.
fn entries(directory: &Path) -> Vec<String> {
    let Ok(found) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = found.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Whether one of the subsystems (directories of `/sys/class/nvme-subsystem`) has the controller and the disk.
fn subsystem_has(class: &Path, controller: &str, disk: &str) -> bool {
    entries(class).iter().map(|name| class.join(name)).any(|subsystem| {
        let names = entries(&subsystem);
        [controller, disk].iter().all(|wanted| names.iter().any(|name| name == wanted))
    })
}

/// The name of the first disk of the NVMe controller whose PCI function is shown in `function`, a directory below
/// `sysfs`.
///
/// # Errors
/// When it has no controller, or the controller no disk (yet); what was found instead.
pub fn namespace(sysfs: &Path, function: &Path) -> Result<String> {
    let directory = function.join("nvme");
    let controller = entries(&directory).into_iter().next();
    let controller = controller.with_context(|| format!("{} has no controller", directory.display()))?;
    let names = entries(&directory.join(&controller));
    if let Some(disk) = names.iter().find(|name| Name::parse(name) == Some(Name::Disk)) {
        return Ok(disk.clone());
    }
    let mut paths = names.iter().filter_map(|name| match Name::parse(name)? {
        Name::Path { subsystem, namespace } => Some(format!("nvme{subsystem}n{namespace}")),
        Name::Disk => None,
    });
    let Some(disk) = paths.next() else { bail!("{} has no namespace", directory.join(&controller).display()) };
    let class = sysfs.join("class/nvme-subsystem");
    if !subsystem_has(&class, &controller, &disk) {
        bail!("no subsystem in {} has both {controller} and {disk}", class.display());
    }
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    /// A sysfs of its own, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let root = std::env::temp_dir().join(format!("hvguest-{}-{name}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Tree(root)
        }

        fn make(&self, path: &str) -> PathBuf {
            let path = self.0.join(path);
            fs::create_dir_all(&path).unwrap();
            path
        }

        fn link(&self, path: &str, target: &Path) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }

        fn disk(&self, function: &str) -> Result<String> {
            namespace(&self.0, &self.0.join(function))
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn names_are_told_apart() {
        assert_eq!(Name::parse("nvme0n1"), Some(Name::Disk));
        assert_eq!(Name::parse("nvme12c3n4"), Some(Name::Path { subsystem: 12, namespace: 4 }));
        for other in ["nvme0", "nvme0n", "nvme0c1", "nvme0n1p1", "ng0n1", "nvmexn1", "nvme0cxn1", "power", ""] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_disk_below_its_controller() {
        let tree = Tree::new("plain");
        tree.make("f/nvme/nvme1/power");
        assert!(tree.disk("f").is_err(), "no namespace yet");
        tree.make("f/nvme/nvme1/ng1n1");
        // The disk has the subsystem's number.
        tree.make("f/nvme/nvme1/nvme0n1");
        assert_eq!(tree.disk("f").unwrap(), "nvme0n1");
        tree.make("g");
        assert!(tree.disk("g").is_err(), "no controller");
    }

    #[test]
    fn a_disk_below_the_subsystem() {
        let tree = Tree::new("multipath");
        tree.make("f/nvme/nvme1/nvme7c1n2");
        let controller = tree.0.join("f/nvme/nvme1");
        assert!(tree.disk("f").is_err(), "no subsystem yet");
        // Another one, with a disk of the same name: it is not this controller's.
        let stranger = tree.make("devices/virtual/nvme-subsystem/nvme-subsys8");
        tree.make("devices/virtual/nvme-subsystem/nvme-subsys8/nvme7n2");
        tree.link("class/nvme-subsystem/nvme-subsys8", &stranger);
        assert!(tree.disk("f").is_err(), "another controller's subsystem");
        let subsystem = tree.make("devices/virtual/nvme-subsystem/nvme-subsys7");
        tree.link("class/nvme-subsystem/nvme-subsys7", &subsystem);
        tree.link("devices/virtual/nvme-subsystem/nvme-subsys7/nvme1", &controller);
        assert!(tree.disk("f").is_err(), "the path is there before the disk is");
        tree.make("devices/virtual/nvme-subsystem/nvme-subsys7/nvme7n2");
        assert_eq!(tree.disk("f").unwrap(), "nvme7n2");
    }
}
