// SPDX-License-Identifier: GPL-2.0
//! The firmware's own ACPI tables, for a partition that owns the machine: all but those that announce the IOMMU, which
//! belongs to the hypervisor.

use alloc::vec;
use alloc::vec::Vec;

use crate::acpi::{self, Tables};

/// Why the firmware's tables cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no root pointer where it should be.
    NoRootPointer,
    /// There is no list of tables.
    NoList,
    /// A table is longer than any firmware makes one.
    TooLong,
}

const IOMMU: [&[u8; 4]; 2] = [b"DMAR", b"IVRS"];
const HEADER_BYTES: usize = 36;
/// More than any list has.
const LIST_BYTES_MAX: usize = 4096;

/// A new root pointer and list, to lie at physical address `base` (a multiple of 64), for the tables of the firmware whose
/// root pointer is at `rsdp`. `read` copies physical memory.
///
/// # Errors
/// See [`Error`].
pub fn without_iommu(base: u64, rsdp: u64, read: impl Fn(u64, &mut [u8])) -> Result<Tables, Error> {
    let kept: Vec<u64> = listed(rsdp, &read)?
        .into_iter()
        .filter(|&table| {
            let mut signature = [0; 4];
            read(table, &mut signature);
            !IOMMU.contains(&&signature)
        })
        .collect();
    let mut image = acpi::Image::new(base);
    let list = image.append(acpi::xsdt(&kept));
    let rsdp = image.append(acpi::rsdp(list));
    Ok(image.finish(rsdp))
}

/// The tables in the firmware's list, the extended one where there is one.
fn listed(rsdp: u64, read: &impl Fn(u64, &mut [u8])) -> Result<Vec<u64>, Error> {
    const ENTRY_32: usize = 4;
    const ENTRY_64: usize = 8;
    let mut pointer = [0; 36];
    read(rsdp, &mut pointer);
    let (signature, revision) = (&pointer[..8], pointer[15]);
    if rsdp == 0 || signature != b"RSD PTR " {
        return Err(Error::NoRootPointer);
    }
    let (list, entry_bytes, name) = match (revision, number(&pointer[24..32])) {
        (0 | 1, _) | (_, 0) => (number(&pointer[16..20]), ENTRY_32, b"RSDT"),
        (_, extended) => (extended, ENTRY_64, b"XSDT"),
    };
    let mut header = [0; HEADER_BYTES];
    read(list, &mut header);
    if list == 0 || header[..4] != name[..] {
        return Err(Error::NoList);
    }
    let bytes = number(&header[4..8]) as usize;
    let entries = bytes.checked_sub(HEADER_BYTES).filter(|_| bytes <= LIST_BYTES_MAX).ok_or(Error::TooLong)?;
    let mut body = vec![0; entries];
    read(list + HEADER_BYTES as u64, &mut body);
    Ok(body.chunks_exact(entry_bytes).map(number).collect())
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root pointer at 0x10; a list at 0x100; tables from 0x200 on, one each 0x40.
    fn firmware(revision: u8, signatures: &[&[u8; 4]]) -> Vec<u8> {
        let mut memory = vec![0; 0x1000];
        memory[0x10..0x18].copy_from_slice(b"RSD PTR ");
        memory[0x10 + 15] = revision;
        let (offset, name, width) = if revision == 0 { (16, b"RSDT", 4) } else { (24, b"XSDT", 8) };
        memory[0x10 + offset..][..2].copy_from_slice(&[0, 1]);
        memory[0x100..0x104].copy_from_slice(name);
        memory[0x104] = (36 + width * signatures.len()) as u8;
        for (index, signature) in signatures.iter().enumerate() {
            let table = 0x200 + 0x40 * index;
            memory[table..table + 4].copy_from_slice(*signature);
            memory[0x124 + width * index..][..2].copy_from_slice(&(table as u16).to_le_bytes());
        }
        memory
    }

    fn kept(memory: &[u8]) -> Result<Vec<u64>, Error> {
        let read = |address: u64, bytes: &mut [u8]| {
            bytes.copy_from_slice(&memory[address as usize..][..bytes.len()]);
        };
        let tables = without_iommu(0x4000, 0x10, read)?;
        let rsdp = &tables.image[(tables.rsdp - 0x4000) as usize..];
        assert_eq!((&rsdp[..8], rsdp[15]), (&b"RSD PTR "[..], 2));
        let list = &tables.image[(number(&rsdp[24..32]) - 0x4000) as usize..];
        assert_eq!(list[..4], b"XSDT"[..]);
        let bytes = number(&list[4..8]) as usize;
        Ok(list[HEADER_BYTES..bytes].chunks_exact(8).map(number).collect())
    }

    #[test]
    fn the_iommu_is_left_out() {
        for revision in [0, 2] {
            let memory = firmware(revision, &[b"FACP", b"DMAR", b"APIC", b"MCFG"]);
            assert_eq!(kept(&memory), Ok(vec![0x200, 0x280, 0x2c0]), "revision {revision}");
        }
        assert_eq!(kept(&firmware(2, &[b"IVRS"])), Ok(vec![]));
    }

    #[test]
    fn broken_firmware_is_refused() {
        let mut memory = firmware(0, &[b"FACP"]);
        memory[0x104..0x108].fill(0xff);
        assert_eq!(kept(&memory), Err(Error::TooLong));
        memory[0x100] = b'X';
        assert_eq!(kept(&memory), Err(Error::NoList));
        memory[0x10] = 0;
        assert_eq!(kept(&memory), Err(Error::NoRootPointer));
    }
}
