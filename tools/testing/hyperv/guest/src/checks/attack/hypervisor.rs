// SPDX-License-Identifier: GPL-2.0
//! Attacks on what belongs to nobody's mapping: the pages of the domain's own table, the hypervisor's memory, and the
//! window through which interrupts are sent.

use std::fs;

use anyhow::{bail, ensure, Context as _, Result};
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
const NOT_MAPPED_AT_ALL: Unprotected = Unprotected::Passes("not even bypass maps the hypervisor's memory");

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
    Ok(Seen { bytes, fault, note: format!("table page {:#x}", page.0) })
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
    Ok(Seen { bytes, fault, note: String::new() })
}

/// The kernel's vector of work that waits for an interrupt. One without work does no harm, and few come by themselves.
/// A guest hung after a message with the vector of spurious interrupts, which Linux does not acknowledge.
const IRQ_WORK: u32 = 0xf6;

/// Interrupts of all devices that send messages, and those with [`IRQ_WORK`], since boot.
fn interrupts() -> Result<(u64, u64)> {
    let text = fs::read_to_string("/proc/interrupts").context("/proc/interrupts")?;
    let sum = |line: &str| -> u64 { line.split_whitespace().skip(1).map_while(|word| word.parse::<u64>().ok()).sum() };
    let messages = text.lines().filter(|line| line.contains("PCI-MSI")).map(sum).sum();
    let works = text.lines().filter(|line| line.trim_start().starts_with("IWI:")).map(sum).sum();
    Ok((messages, works))
}

/// The device writes into the window where a write is an interrupt, or reads from it.
fn message(user: &mut User, address: u64, data: u32, length: usize, direction: Direction) -> Result<Seen> {
    let gate = user.gate();
    user.gate_words().fill(0);
    user.gate_words().set_word(0, data.into());
    let rig = user.rig_disarmed();
    rig.edu.load(gate)?;
    rig.settle()?;
    let before = interrupts()?;
    match direction {
        Direction::Write => rig.edu.store_bytes(Iova(address), Length::new(length)?)?,
        Direction::Read => rig.edu.load_bytes(Iova(address), Length::new(length)?)?,
    }
    let fault = rig.fault()?;
    let after = interrupts()?;
    if after.0 != before.0 {
        bail!("{} interrupts of other devices", after.0 - before.0);
    }
    Ok(Seen { bytes: 0, fault, note: format!("{} interrupts with the vector", after.1 - before.1) })
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
    const MESSAGES: [(&str, u64, u32, usize, Direction); 4] = [
        ("message-plain", 0xfee0_0000, IRQ_WORK, 4, Direction::Write),
        ("message-remapped-unused", 0xfee0_0010 | 200 << 5, 0, 4, Direction::Write),
        ("message-byte", 0xfee0_0000, IRQ_WORK, 1, Direction::Write),
        ("message-window", 0xfee0_0000, 0, 4, Direction::Read),
    ];
    for (name, address, data, length, direction) in MESSAGES {
        let id = format!("{name}-{}", direction.word());
        rows.push(Row::new(id, Expected::HostDecides, move |user: &mut User| {
            message(user, address, data, length, direction)
        }));
    }
}
