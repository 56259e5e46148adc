// SPDX-License-Identifier: GPL-2.0
//! The modules of a kernel that somebody else has built: those that a guest needs, out of hundreds of MiB.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

/// Where a bzImage says, less 0x200, where its release stands (Documentation/arch/x86/boot.rst).
const KERNEL_VERSION: u64 = 0x20e;
/// Longest release that is looked for.
const RELEASE_MAX: usize = 128;

/// Programs that undo how a module is compressed, by the end of its name.
const COMPRESSIONS: [(&str, &str); 3] = [("xz", "xz"), ("zst", "zstd"), ("gz", "gzip")];

/// A kernel's modules, as far as they were chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Root of a module tree that holds them and what they depend on.
    pub root: PathBuf,
    /// Names of those that were asked for and are there, in the order in which they were asked for. The others are built
    /// in, or the kernel does not have them.
    pub names: Vec<String>,
}

/// The release of a kernel, as `uname -r` says it there, from its image.
///
/// # Errors
/// When the file is no bzImage.
pub fn release(image: &Path) -> Result<String> {
    let read = || -> Result<String> {
        let mut file = File::open(image)?;
        let mut header = [0_u8; 2];
        file.seek(SeekFrom::Start(KERNEL_VERSION))?;
        file.read_exact(&mut header)?;
        file.seek(SeekFrom::Start(0x200 + u64::from(u16::from_le_bytes(header))))?;
        let mut text = [0_u8; RELEASE_MAX];
        file.read_exact(&mut text)?;
        let end = text.iter().position(|&byte| byte == 0 || byte == b' ').unwrap_or(RELEASE_MAX);
        let release = std::str::from_utf8(&text[..end])?.to_owned();
        ensure!(release.starts_with(|first: char| first.is_ascii_digit()), "no release in it");
        Ok(release)
    };
    read().with_context(|| format!("{} is no bzImage", image.display()))
}

/// The directory of a kernel's modules, below a root, or below its `usr`.
fn directory(root: &Path, release: &str) -> Result<PathBuf> {
    let places = ["lib/modules", "usr/lib/modules"];
    let found = places.iter().map(|place| root.join(place).join(release)).find(|place| place.is_dir());
    found.with_context(|| format!("{}: no modules of {release} below lib/modules", root.display()))
}

/// A module's name as the kernel has it.
fn name(file: &str) -> Option<String> {
    let base = file.rsplit('/').next()?;
    let (name, end) = base.split_once(".ko")?;
    let is_module = end.is_empty() || COMPRESSIONS.iter().any(|(suffix, _)| end.strip_prefix('.') == Some(suffix));
    is_module.then(|| name.replace('-', "_"))
}

/// Every module file of a tree, by its path below `directory`.
fn files(directory: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(directory).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path().strip_prefix(directory)?.to_str().context("a module's path")?.to_owned();
        if entry.file_type().is_file() && name(&path).is_some() {
            files.push(path);
        }
    }
    Ok(files)
}

/// What a module says that it depends on: `depends=a,b`, in the section of its information.
fn dependencies(module: &[u8]) -> Vec<String> {
    let text = module.split(|&byte| byte == 0).filter_map(|word| word.strip_prefix(b"depends="));
    let words = text.filter_map(|list| std::str::from_utf8(list).ok()).flat_map(|list| list.split(','));
    words.filter(|word| !word.is_empty()).map(|word| word.replace('-', "_")).collect()
}

/// A module's content, not compressed.
fn content(file: &Path) -> Result<Vec<u8>> {
    let suffix = file.extension().and_then(|suffix| suffix.to_str()).unwrap_or_default();
    let Some((_, program)) = COMPRESSIONS.iter().find(|(end, _)| *end == suffix) else {
        return fs::read(file).with_context(|| file.display().to_string());
    };
    let output = Command::new(program).args(["-dc", "--"]).arg(file).output();
    let output = output.with_context(|| format!("{program}, which unpacks {}", file.display()))?;
    if !output.status.success() {
        bail!("{program} {}: {}", file.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

/// A module that was copied: its file, by its path below the directory of the modules, and what it depends on directly.
struct Copied {
    file: String,
    depends: Vec<String>,
}

/// The files of all that a module depends on, each after those that depend on it.
fn needed_by(name: &str, copied: &BTreeMap<String, Copied>) -> Vec<String> {
    fn visit(name: &str, copied: &BTreeMap<String, Copied>, seen: &mut BTreeSet<String>, files: &mut Vec<String>) {
        let Some(module) = copied.get(name) else { return };
        for next in &module.depends {
            if seen.insert(next.clone()) {
                visit(next, copied, seen, files);
            }
        }
        files.push(module.file.clone());
    }
    let mut files = Vec::new();
    visit(name, copied, &mut BTreeSet::from([name.to_owned()]), &mut files);
    // The module itself is not among what it needs.
    files.pop();
    files.reverse();
    files
}

/// The list that depmod makes: a line for each module.
fn list(copied: &BTreeMap<String, Copied>) -> String {
    let line = |(name, module): (&String, &Copied)| {
        let needed = needed_by(name, copied).iter().flat_map(|file| [" ", file]).collect::<String>();
        format!("{}:{needed}\n", module.file)
    };
    copied.iter().map(line).collect()
}

/// Copies the modules of the kernel `release` that are `wanted`, with all that they depend on, from a tree at `root` to
/// one below `target`.
///
/// # Errors
/// When there are no modules of this kernel, or a program is missing that unpacks them.
pub fn choose(root: &Path, release: &str, wanted: &[&str], target: &Path) -> Result<Chosen> {
    let source = directory(root, release)?;
    let files = files(&source)?;
    let find = |wanted: &str| files.iter().find(|file| name(file).as_deref() == Some(wanted));
    let wanted: Vec<String> = wanted.iter().map(|name| name.replace('-', "_")).collect();
    let names: Vec<String> = wanted.into_iter().filter(|name| find(name).is_some()).collect();
    let place = target.join("lib/modules").join(release);
    let (mut left, mut copied) = (names.clone(), BTreeMap::new());
    while let Some(next) = left.pop() {
        // What is built in is no file.
        let Some(file) = find(&next) else { continue };
        if copied.contains_key(&next) {
            continue;
        }
        let module = content(&source.join(file))?;
        let depends = dependencies(&module);
        left.extend(depends.clone());
        let (bare, _) = file.split_once(".ko").context("a module's name")?;
        let file = format!("{bare}.ko");
        let copy = place.join(&file);
        fs::create_dir_all(copy.parent().context("a module's directory")?)?;
        fs::write(&copy, module).with_context(|| copy.display().to_string())?;
        copied.insert(next, Copied { file, depends });
    }
    fs::create_dir_all(&place).with_context(|| place.display().to_string())?;
    for list in ["modules.builtin", "modules.order"] {
        if source.join(list).is_file() {
            fs::copy(source.join(list), place.join(list)).with_context(|| list.to_owned())?;
        }
    }
    let path = place.join("modules.dep");
    fs::write(&path, list(&copied)).with_context(|| path.display().to_string())?;
    Ok(Chosen { root: target.to_owned(), names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        assert_eq!(name("kernel/drivers/pci/pci-hyperv.ko.xz").as_deref(), Some("pci_hyperv"));
        assert_eq!(name("extra/nvme.ko").as_deref(), Some("nvme"));
        assert_eq!([name("modules.dep"), name("a.ko.sig"), name("a.kobject")], [None, None, None]);
    }

    #[test]
    fn what_a_module_depends_on() {
        assert_eq!(dependencies(b"\x7fELF\0license=GPL\0depends=nvme-core,a\0x"), ["nvme_core", "a"]);
        assert_eq!(dependencies(b"depends=\0name=b"), [""; 0]);
    }

    #[test]
    fn the_release_of_an_image() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("bzImage");
        let mut bytes = vec![0_u8; 0x600];
        bytes[0x20e..0x210].copy_from_slice(&0x100_u16.to_le_bytes());
        bytes[0x300..0x310].copy_from_slice(b"7.3.4+x (a@b) #1");
        fs::write(&image, &bytes).unwrap();
        assert_eq!(release(&image).unwrap(), "7.3.4+x");
        fs::write(&image, [0_u8; 0x600]).unwrap();
        assert!(release(&image).is_err());
    }

    /// What is needed by two comes after both.
    #[test]
    fn what_is_needed_is_loaded_first() {
        let module = |(name, depends): (&str, &[&str])| {
            let depends = depends.iter().map(|&name| name.to_owned()).collect();
            (name.to_owned(), Copied { file: format!("{name}.ko"), depends })
        };
        let modules: [(&str, &[&str]); 4] = [("a", &["b", "c"]), ("b", &["d"]), ("c", &["b"]), ("d", &[])];
        let copied = modules.map(module).into();
        assert_eq!(needed_by("a", &copied), ["c.ko", "b.ko", "d.ko"]);
        assert_eq!(needed_by("d", &copied), [""; 0]);
    }

    /// Only what is wanted is copied, with what it depends on.
    #[test]
    fn a_choice() {
        let directory = tempfile::tempdir().unwrap();
        let (root, target) = (directory.path().join("root"), directory.path().join("target"));
        let tree = root.join("usr/lib/modules/1.2/kernel");
        fs::create_dir_all(&tree).unwrap();
        for (file, depends) in [("a-b.ko", "c,built-in"), ("c.ko", "e"), ("d.ko", ""), ("e.ko", "")] {
            fs::write(tree.join(file), format!("\0depends={depends}\0")).unwrap();
        }
        assert!(choose(&root, "1.3", &["c"], &target).is_err());
        let chosen = choose(&root, "1.2", &["a-b", "gone"], &target).unwrap();
        assert_eq!(chosen.names, ["a_b"]);
        let copied = |name: &str| target.join("lib/modules/1.2/kernel").join(name).is_file();
        assert_eq!([copied("a-b.ko"), copied("c.ko"), copied("d.ko")], [true, true, false]);
        let list = fs::read_to_string(target.join("lib/modules/1.2/modules.dep")).unwrap();
        assert_eq!(list, "kernel/a-b.ko: kernel/c.ko kernel/e.ko\nkernel/c.ko: kernel/e.ko\nkernel/e.ko:\n");
    }
}
