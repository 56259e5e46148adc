// SPDX-License-Identifier: GPL-2.0
//! Attacks on what belongs to nobody's mapping: the pages of the domain's own table, the hypervisor's memory, and the
//! window through which interrupts are sent.

use std::fs;
use std::ops::Range;

use anyhow::{ensure, Context as _, Result};
use hvcore::ids::{Gpa, Iova};

use super::table::{Direction, Expected, Row, Seen, Unprotected};
use super::user::User;
use crate::edu::Length;
use crate::memory::PAGE;

const WORDS: usize = PAGE / 8;
/// Levels of the table.
const LEVELS: u32 = 4;
/// Where minihv's own memory begins (its linker script), and a page further in.
const HYPERVISOR: [(&str, u64); 2] = [("first", 0x0080_0000), ("later", 0x0090_0000)];
/// There is no machine on which a device reaches it: minihv opens none of its memory to any device, not even with
/// `protection=off`, and one that a device overwrote would report nothing. Before the guest starts, minihv tries the same
/// in bypass (`src/selfcheck.rs`).
pub const NOT_MAPPED_AT_ALL: Unprotected = Unprotected::Passes("not even bypass maps the hypervisor's memory");

/// The page of the domain's table of a level (4 is the root) on the way to the gate.
fn table_page(user: &User, level: u32) -> Result<Gpa> {
    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    let id = user.function().logical_id().context("edu has no logical id")?;
    let domain = user.minihv.device_domain(id)?.context("edu is in no domain")?;
    let mut page = user.minihv.domain_root(domain)?;
    for upper in (level + 1..=LEVELS).rev() {
        let index = user.gate().0 >> (12 + 9 * (upper - 1)) & 0x1ff;
        let entry = user.minihv.peek(Gpa(page.0 + 8 * index))?;
        ensure!(entry & 1 != 0, "level {upper} of the table has no entry for the gate");
        page = Gpa(entry & ADDRESS);
    }
    ensure!(page.0 != 0, "the domain has no table");
    Ok(page)
}

fn words(user: &User, page: Gpa) -> Result<Vec<u64>> {
    (0..WORDS as u64).map(|index| user.minihv.peek(Gpa(page.0 + 8 * index))).collect()
}

/// The device reads or writes a page of the table. It writes what is there already: where nothing stops it, the table
/// stays in order, and the missing fault tells.
fn table(user: &mut User, level: u32, direction: Direction) -> Result<Seen> {
    let page = table_page(user, level)?;
    let (target, gate) = (Iova(page.0), user.gate());
    let before = words(user, page)?;
    ensure!(before.iter().any(|&word| word != 0), "the page at {:#x} is empty", page.0);
    let rig = user.rig_disarmed();
    rig.settle()?;
    let (bytes, fault) = match direction {
        Direction::Read => {
            rig.edu.load(target)?;
            let fault = rig.fault()?;
            user.gate_words().fill(0);
            user.rig_disarmed().edu.store(gate)?;
            let got = user.gate_words();
            let known = |&(index, &word): &(usize, &u64)| word != 0 && got.word(index) == word;
            (8 * before.iter().enumerate().filter(known).count(), fault)
        }
        Direction::Write => {
            for (index, &word) in before.iter().enumerate() {
                user.gate_words().set_word(index, word);
            }
            let rig = user.rig_disarmed();
            rig.edu.load(gate)?;
            rig.edu.store(target)?;
            let fault = rig.fault()?;
            let after = words(user, page)?;
            (8 * before.iter().zip(&after).filter(|(was, is)| was != is).count(), fault)
        }
    };
    Ok(Seen::new(bytes, fault).noted(format!("table page {:#x}", page.0)))
}

/// The device reads a page of the hypervisor. What it has then is neither nothing nor what it had before.
fn read_hypervisor(user: &mut User, address: u64) -> Result<Seen> {
    const BEFORE: u8 = 0xd7;
    let gate = user.gate();
    user.gate_words().fill(BEFORE);
    let rig = user.rig_disarmed();
    rig.edu.load(gate)?;
    rig.settle()?;
    rig.edu.load(Iova(address))?;
    let fault = rig.fault()?;
    rig.edu.store(gate)?;
    let bytes = user.gate_words().count(|byte| byte != 0 && byte != BEFORE);
    Ok(Seen::new(bytes, fault))
}

/// The kernel's vector of work that waits for an interrupt. One without work does no harm, and few come by themselves.
/// A guest hung after a message with the vector of spurious interrupts, which Linux does not acknowledge.
const IRQ_WORK: u32 = 0xf6;
/// How often a message is sent. An interrupt that came by itself does not come each time.
const TIMES: usize = 3;

/// Interrupts since boot that the device may have caused: those of all devices, those with [`IRQ_WORK`], and those that
/// the kernel has no name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Interrupts {
    devices: u64,
    works: u64,
    unknown: u64,
}

impl Interrupts {
    fn now() -> Result<Interrupts> {
        let text = fs::read_to_string("/proc/interrupts").context("/proc/interrupts")?;
        let count =
            |line: &str| -> u64 { line.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok()).sum() };
        let sum =
            |is_meant: &dyn Fn(&str) -> bool| -> u64 { text.lines().filter(|line| is_meant(line)).map(count).sum() };
        let named =
            |names: &'static [&str]| move |line: &str| names.iter().any(|name| line.trim_start().starts_with(name));
        Ok(Interrupts {
            devices: sum(&|line| line.contains("PCI-MSI")),
            works: sum(&named(&["IWI:"])),
            unknown: sum(&named(&["SPU:", "ERR:", "MIS:"])),
        })
    }

    fn since(self, before: Interrupts) -> Interrupts {
        Interrupts {
            devices: self.devices - before.devices,
            works: self.works - before.works,
            unknown: self.unknown - before.unknown,
        }
    }
}

/// Which interrupts a message may cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vectors {
    /// None: the device was given no vector.
    NoneAtAll,
    /// The vector that it names, or none. minihv has interrupts in the format without remapping switched off, but
    /// QEMU 10.0 delivers them all the same: nothing that minihv or the guest's driver does could stop them here.
    HostDecides,
}

/// A write or a read where a write may be an interrupt.
#[derive(Clone, Copy, Debug)]
struct Message {
    address: Iova,
    data: u32,
    length: usize,
    direction: Direction,
    vectors: Vectors,
}

impl Message {
    /// The device sends it once.
    fn once(self, user: &mut User) -> Result<(bool, Interrupts)> {
        let gate = user.gate();
        user.gate_words().fill(0);
        user.gate_words().set_word(0, self.data.into());
        let rig = user.rig_disarmed();
        rig.edu.load(gate)?;
        rig.settle()?;
        let (before, length) = (Interrupts::now()?, Length::new(self.length)?);
        match self.direction {
            Direction::Write => rig.edu.store_bytes(self.address, length)?,
            Direction::Read => rig.edu.load_bytes(self.address, length)?,
        }
        let fault = rig.fault()?;
        Ok((fault, Interrupts::now()?.since(before)))
    }

    /// The device sends it a few times. Nothing changes in memory that is watched, the device gets to know nothing of it,
    /// and no interrupt comes that the message may not cause. Behind the address itself there is no memory, as the guest
    /// sees it: what is watched is where the write would arrive if the address lost its upper bits.
    fn send(self, user: &mut User) -> Result<Seen> {
        const CANARY: u8 = 0x6b;
        let canaries = user.canaries()?;
        canaries.iter().for_each(|range| user.window(range.clone()).fill(CANARY));
        let (mut fault, mut seen) = (false, Vec::new());
        for _ in 0..TIMES {
            let (reported, interrupts) = self.once(user)?;
            fault |= reported;
            seen.push(interrupts);
        }
        let changed = |range: &Range<usize>| user.window(range.clone()).count(|byte| byte != CANARY);
        let mut bytes: usize = canaries.iter().map(changed).sum();
        if self.direction == Direction::Read {
            let gate = user.gate();
            user.gate_words().fill(0);
            user.rig_disarmed().edu.store(gate)?;
            bytes += user.gate_words().count(|byte| byte == CANARY);
        }
        // What comes each time comes from the message.
        let always = |count: fn(&Interrupts) -> u64| seen.iter().all(|interrupts| count(interrupts) > 0);
        let foreign = always(|seen| seen.devices) || always(|seen| seen.unknown);
        let named = always(|seen| seen.works);
        let is_stray = foreign || named && self.vectors == Vectors::NoneAtAll;
        let stray = if is_stray {
            format!("interrupts of vectors that the device was not given: {seen:?}")
        } else {
            String::new()
        };
        let works: u64 = seen.iter().map(|interrupts| interrupts.works).sum();
        Ok(Seen::new(bytes, fault).strayed(stray).noted(format!("{works} interrupts with the vector in {TIMES} times")))
    }
}

/// The pages of the domain's table, which the guest has made.
pub fn tables(rows: &mut Vec<Row<User>>) {
    for level in (1..=LEVELS).rev() {
        for direction in Direction::BOTH {
            let id = format!("table-level{level}-{}", direction.word());
            rows.push(Row::new(id, Expected::Blocked, move |user: &mut User| table(user, level, direction)));
        }
    }
}

/// The hypervisor's memory, and the window.
pub fn others(rows: &mut Vec<Row<User>>) {
    for (name, address) in HYPERVISOR {
        let read = Row::new(format!("hypervisor-{name}-read"), Expected::Blocked, move |user: &mut User| {
            read_hypervisor(user, address)
        });
        let write = Row::new(format!("hypervisor-{name}-write"), Expected::Blocked, move |user: &mut User| {
            user.fire_at(Iova(address), 8, Direction::Write)
        });
        rows.extend([read.unless(NOT_MAPPED_AT_ALL), write.unless(NOT_MAPPED_AT_ALL)]);
    }
    // A vector to processor 0 in the format without remapping; an entry of the remapping table that nobody has; a
    // byte, which is no message; and a read.
    const WRITE: Message = Message {
        address: Iova(0xfee0_0000),
        data: IRQ_WORK,
        length: 4,
        direction: Direction::Write,
        vectors: Vectors::NoneAtAll,
    };
    const UNUSED: Iova = Iova(0xfee0_0010 | 200 << 5);
    const MESSAGES: [(&str, Message); 4] = [
        ("message-plain", Message { vectors: Vectors::HostDecides, ..WRITE }),
        ("message-remapped-unused", Message { address: UNUSED, data: 0, ..WRITE }),
        ("message-byte", Message { length: 1, ..WRITE }),
        ("message-window", Message { data: 0, direction: Direction::Read, ..WRITE }),
    ];
    for (name, message) in MESSAGES {
        let id = format!("{name}-{}", message.direction.word());
        rows.push(Row::new(id, Expected::HostDecides, move |user: &mut User| message.send(user)));
    }
    // The same in front of memory: what is watched is seen to change where nothing protects it.
    for direction in Direction::BOTH {
        let id = format!("message-to-memory-{}", direction.word());
        rows.push(Row::new(id, Expected::Blocked, move |user: &mut User| {
            Message { address: user.canary(), direction, ..WRITE }.send(user)
        }));
    }
}
