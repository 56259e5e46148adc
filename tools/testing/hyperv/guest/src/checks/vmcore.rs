// SPDX-License-Identifier: GPL-2.0
//! The memory of a crashed kernel: the kernel after the crash writes it to the NVMe disk, and one that starts afresh looks
//! at what is there.

use std::collections::BTreeMap;
use std::fs::File;

use anyhow::{ensure, Context as _, Result};
use elf::abi::{EM_X86_64, ET_CORE, NT_PRSTATUS, PT_LOAD, PT_NOTE};
use elf::endian::LittleEndian;
use elf::note::Note;
use elf::ElfBytes;
use hvcore::ids::Gpa;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::kexec::CRASH_KERNEL;
use crate::checks::nvme::NVME_IOVA;
use crate::disk::{Disk, BLOCK, LARGEST};
use crate::fetched::Set;
use crate::iomem;
use crate::report::Outcome;

const VMCORE: &str = "/proc/vmcore";
/// What the crashed kernel says of the crash, and where its log is put.
const LAST_WORDS: &str = "Kernel panic - not syncing: sysrq triggered crash";
const LOG: &str = "/tmp/log-of-the-crashed-kernel";
/// The name of the note that tells debuggers how to read the rest.
const VMCOREINFO: &str = "VMCOREINFO";
/// What the last block of the disk begins with when there is a dump.
const MAGIC: u64 = 0x6876_766d_636f_7265;
/// Words of that block.
const WORDS: usize = 3;
/// How much is copied before the next line says so, in bytes.
const TOLD_EVERY: u64 = 64 << 20;
/// The end of the first MiB. No range of RAM begins below it and ends above.
const LOW_END: Gpa = Gpa(1 << 20);
/// From here on the kernel's own image is mapped, once more: its memory is in the dump twice.
const IMAGE_BASE: u64 = 0xffff_ffff_8000_0000;

/// What the last block of the disk says of the dump at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Label {
    /// Its size.
    bytes: u64,
    /// CRC-32 of all of it.
    checksum: u32,
}

impl Label {
    fn encode(self) -> Vec<u8> {
        [MAGIC, self.bytes, self.checksum.into()].iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn decode(block: &[u8]) -> Option<Label> {
        let mut words =
            block.chunks_exact(8).take(WORDS).filter_map(|word| word.try_into().ok().map(u64::from_le_bytes));
        let (magic, bytes, checksum) = (words.next()?, words.next()?, words.next()?);
        (magic == MAGIC).then_some(Label { bytes, checksum: checksum.try_into().ok()? })
    }
}

fn disk(context: &Context<'_>) -> Result<Disk> {
    let controllers = context.nvme()?;
    Disk::open(&controllers.first().context("no controller")?.nvme_namespace()?)
}

fn place_of_label(disk: &mut Disk) -> Result<u64> {
    disk.bytes()?.checked_sub(BLOCK as u64).context("the disk is too small")
}

/// Says how far a copy has come, now and then: a guest that says nothing for long is taken for dead.
fn tell(context: &mut Context<'_>, done: u64) {
    if done % TOLD_EVERY == 0 {
        context.reporter.note(&format!("{} MiB of the dump", done >> 20));
    }
}

/// Writes `/proc/vmcore` to the disk.
fn to_disk(context: &mut Context<'_>) -> Result<Outcome> {
    let mut disk = disk(context)?;
    let mut vmcore = File::open(VMCORE).context(VMCORE)?;
    let expected = vmcore.metadata().context(VMCORE)?.len();
    let label = place_of_label(&mut disk)?;
    ensure!(expected <= label, "{expected} bytes do not fit on the disk");
    let (mut bytes, mut checksum) = (0, crc32fast::Hasher::new());
    loop {
        let stored = disk.store(bytes, &mut vmcore)?;
        if stored.is_empty() {
            break;
        }
        checksum.update(stored);
        bytes += stored.len() as u64;
        tell(context, bytes);
    }
    ensure!(bytes == expected, "{VMCORE} has {bytes} bytes, not {expected}");
    let content = Label { bytes, checksum: checksum.finalize() };
    disk.store(label, &mut content.encode().as_slice())?;
    Ok(Outcome::Pass(format!("{} MiB, CRC {:#010x}", bytes >> 20, content.checksum)))
}

const VMCORE_TO_DISK: Check = Check::new("vmcore-is-written-to-disk", to_disk);

/// What a dump is made of.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dump {
    /// Where its last part ends, in bytes.
    end: u64,
    /// Memory in it, in bytes, without the second copy of the kernel's image.
    memory: u64,
    /// How many processors' registers it has.
    processors: usize,
    /// What it tells debuggers, by name.
    facts: BTreeMap<String, String>,
}

impl Dump {
    /// Reads headers and notes, which the first bytes of a dump hold.
    fn read(head: &[u8]) -> Result<Dump> {
        let file = ElfBytes::<LittleEndian>::minimal_parse(head).context("the ELF header")?;
        let kind = (file.ehdr.e_type, file.ehdr.e_machine);
        ensure!(kind == (ET_CORE, EM_X86_64), "type and machine {kind:?} are not those of a dump");
        let mut dump = Dump::default();
        for segment in file.segments().context("no program headers")?.iter() {
            dump.end = dump.end.max(segment.p_offset.saturating_add(segment.p_filesz));
            match segment.p_type {
                PT_LOAD if segment.p_vaddr < IMAGE_BASE => dump.memory += segment.p_filesz,
                PT_NOTE => {
                    for note in file.segment_data_as_notes(&segment).context("the notes")? {
                        dump.take(&note);
                    }
                }
                _ => {}
            }
        }
        Ok(dump)
    }

    fn take(&mut self, note: &Note<'_>) {
        let Note::Unknown(note) = note else { return };
        match note.name {
            "CORE" if note.n_type == NT_PRSTATUS => self.processors += 1,
            VMCOREINFO => {
                let text = String::from_utf8_lossy(note.desc);
                let facts = text.lines().filter_map(|line| line.split_once('='));
                self.facts.extend(facts.map(|(name, value)| (name.to_owned(), value.to_owned())));
            }
            _ => {}
        }
    }
}

/// The dump on the disk is the one that was written, complete, and a debugger finds in it what it looks for first: the
/// crashed kernel was built and started like this one.
fn on_disk(context: &mut Context<'_>) -> Result<Outcome> {
    let mut disk = disk(context)?;
    let label = place_of_label(&mut disk)?;
    let content = Label::decode(disk.load(label, BLOCK)?).context("the disk holds no dump")?;
    let (mut at, mut checksum) = (0, crc32fast::Hasher::new());
    while at < content.bytes {
        let bytes = (content.bytes - at).min(LARGEST as u64);
        checksum.update(disk.load(at, usize::try_from(bytes)?)?);
        at += bytes;
        tell(context, at);
    }
    let seen = checksum.finalize();
    ensure!(seen == content.checksum, "CRC is {seen:#010x}, not {:#010x}", content.checksum);

    let dump = Dump::read(disk.load(0, LARGEST)?)?;
    ensure!(dump.end == content.bytes, "the dump ends at {:#x}, {:#x} bytes were written", dump.end, content.bytes);
    let processors = crate::processors::online()?.len();
    ensure!(dump.processors == processors, "registers of {} processors, of {processors}", dump.processors);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").context("osrelease")?;
    let told = dump.facts.get("OSRELEASE").map(String::as_str);
    ensure!(told == Some(release.trim()), "OSRELEASE is {told:?}, not {}", release.trim());
    ensure!(dump.facts.contains_key("CRASHTIME"), "{VMCOREINFO} does not say when the kernel crashed");
    // Linux leaves the first MiB out, and the memory that was set aside for the kernel after the crash.
    let ram: Vec<_> = iomem::system_ram()?.into_iter().filter(|range| range.start >= LOW_END).collect();
    let expected = iomem::bytes(&ram) - iomem::bytes(&iomem::crash_kernel()?);
    ensure!(dump.memory == expected, "{:#x} bytes of memory in the dump, of {expected:#x}", dump.memory);
    Ok(Outcome::Pass(format!("{} MiB, {processors} processors, {} facts", at >> 20, dump.facts.len())))
}

const VMCORE_ON_DISK: Check = Check::new("vmcore-on-disk-is-complete", on_disk);

/// The distribution's makedumpfile finds the crashed kernel's last words in the dump.
fn read_by_makedumpfile(context: &mut Context<'_>) -> Result<Outcome> {
    let controllers = context.nvme()?;
    let disk = controllers.first().context("no controller")?.nvme_namespace()?;
    let disk = disk.to_str().context("the disk's name")?;
    Set::Kdump.run("makedumpfile", &["--dump-dmesg", disk, LOG])?;
    let log = std::fs::read_to_string(LOG).context(LOG)?;
    ensure!(log.contains(LAST_WORDS), "the crashed kernel's log has no {LAST_WORDS:?}: {} bytes", log.len());
    Ok(Outcome::Pass(format!("{} lines of the crashed kernel's log", log.lines().count())))
}

const VMCORE_READ: Check = Check::new("makedumpfile-reads-vmcore", read_by_makedumpfile);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "crashed-dumps",
        summary: "the kernel that runs after the crash writes the crashed one's memory to the NVMe disk",
        checks: &[CRASH_KERNEL, DEVICES, GROUPS, VMCORE_TO_DISK, NVME_IOVA, NO_FAULTS, VIOLATIONS],
    },
    Scenario {
        name: "dumped",
        summary: "a kernel that starts afresh finds the crashed one's memory on the NVMe disk",
        checks: &[DEVICES, GROUPS, VMCORE_ON_DISK, VMCORE_READ, NO_FAULTS, VIOLATIONS],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let label = Label { bytes: 0x1234_5678_9abc, checksum: 0xdead_beef };
        let mut block = label.encode();
        block.resize(BLOCK, 0);
        assert_eq!(Label::decode(&block), Some(label));
        block[0] ^= 1;
        assert_eq!(Label::decode(&block), None);
        assert_eq!(Label::decode(&[]), None);
    }

    /// A dump of one processor, with 0x3000 bytes of memory and a part of them once more as the kernel's image.
    fn dump() -> Vec<u8> {
        let note = |name: &str, kind: u64, text: &[u8]| {
            let mut bytes = Vec::new();
            for word in [name.len() as u32 + 1, text.len() as u32, kind as u32] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            bytes.extend_from_slice(name.as_bytes());
            bytes.resize((bytes.len() + 4) & !3, 0);
            bytes.extend_from_slice(text);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let notes = [note("CORE", NT_PRSTATUS, &[0; 8]), note(VMCOREINFO, 0, b"OSRELEASE=7\nX=1\n")].concat();
        let mut bytes = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for half in [ET_CORE, EM_X86_64] {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        bytes.extend_from_slice(&1_u32.to_le_bytes());
        for word in [0_u64, 64, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        for half in [64_u16, 56, 3, 0, 0, 0] {
            bytes.extend_from_slice(&half.to_le_bytes());
        }
        let segments: [(u32, u64, u64, u64); 3] = [
            (PT_NOTE, 0x1000, 0, notes.len() as u64),
            (PT_LOAD, 0x2000, 0xffff_8880_0000_0000, 0x3000),
            (PT_LOAD, 0x5000, IMAGE_BASE, 0x1000),
        ];
        for (kind, offset, address, size) in segments {
            bytes.extend_from_slice(&kind.to_le_bytes());
            bytes.extend_from_slice(&0_u32.to_le_bytes());
            for word in [offset, address, 0, size, size, 4] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        bytes.resize(0x1000, 0);
        bytes.extend_from_slice(&notes);
        bytes.resize(0x6000, 0);
        bytes
    }

    #[test]
    fn headers_and_notes() {
        let facts = [("OSRELEASE", "7"), ("X", "1")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let expected = Dump { end: 0x6000, memory: 0x3000, processors: 1, facts };
        assert_eq!(Dump::read(&dump()).unwrap(), expected);
    }

    #[test]
    fn other_files_are_no_dump() {
        let mut other = dump();
        other[16] = 2;
        assert!(Dump::read(&other).unwrap_err().to_string().contains("are not those of a dump"));
        assert!(Dump::read(b"text").is_err());
    }
}
