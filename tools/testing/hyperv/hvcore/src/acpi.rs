// SPDX-License-Identifier: GPL-2.0
//! The guest's ACPI tables: hardware-reduced, so that no legacy device is needed (ACPI specification 6.5).

use alloc::vec::Vec;

/// What the tables tell of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// The DSDT, complete with its header.
    pub dsdt: &'a [u8],
    /// Physical address of the local APICs.
    pub local_apic: u32,
    /// Physical address of the I/O APIC.
    pub io_apic: u32,
    /// I/O port of the sleep control register.
    pub sleep_control: u16,
    /// I/O port of the sleep status register.
    pub sleep_status: u16,
    /// I/O port of the reset register.
    pub reset: u16,
    /// Value that resets the machine when written there.
    pub reset_value: u8,
}

const HEADER_BYTES: usize = 36;
const FADT_BYTES: usize = 276;
const RSDP_BYTES: usize = 36;
/// Where a table's checksum byte lies.
const CHECKSUM: usize = 9;

/// The tables, to be copied to the address they were built for.
pub struct Tables {
    /// Their bytes.
    pub image: Vec<u8>,
    /// Physical address of the RSDP.
    pub rsdp: u64,
}

/// Which IOMMU the tables announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareIommu {
    /// None.
    None,
    /// VT-d, of which no unit is named: a driver finds the table, and fails.
    Broken,
}

/// Builds the tables for `processors` processors (at most 255; their APIC ids count from 0), to lie at physical address
/// `base`, a multiple of 64.
pub fn build(base: u64, processors: u32, machine: &Machine<'_>, iommu: FirmwareIommu) -> Tables {
    let mut image = Image::new(base);
    let dsdt = image.append(machine.dsdt.to_vec());
    let fadt = image.append(fadt(dsdt, machine));
    let madt = image.append(madt(processors, machine));
    let mut listed = alloc::vec![fadt, madt];
    match iommu {
        FirmwareIommu::None => {}
        FirmwareIommu::Broken => listed.push(image.append(empty_dmar())),
    }
    let xsdt = image.append(xsdt(&listed));
    let rsdp = image.append(rsdp(xsdt));
    image.finish(rsdp)
}

pub(crate) struct Image {
    base: u64,
    bytes: Vec<u8>,
}

impl Image {
    /// Nothing yet, to lie at physical address `base`, a multiple of 64.
    pub(crate) fn new(base: u64) -> Image {
        Image { base, bytes: Vec::new() }
    }

    /// The tables, with the RSDP at physical address `rsdp`.
    pub(crate) fn finish(self, rsdp: u64) -> Tables {
        Tables { image: self.bytes, rsdp }
    }

    /// Adds a table; returns its physical address.
    pub(crate) fn append(&mut self, table: Vec<u8>) -> u64 {
        const ALIGNMENT: usize = 64;
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        let address = self.base + self.bytes.len() as u64;
        self.bytes.extend(table);
        address
    }
}

/// A table under construction.
struct Table(Vec<u8>);

impl Table {
    fn new(signature: &[u8; 4], revision: u8) -> Table {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend(signature);
        bytes.extend(0u32.to_le_bytes()); // Length, see finish().
        bytes.extend([revision, 0]);
        bytes.extend(b"MINIHVMINIHV  ");
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(b"MHV ");
        bytes.extend(1u32.to_le_bytes());
        Table(bytes)
    }

    fn put(&mut self, offset: usize, value: &[u8]) {
        if self.0.len() < offset + value.len() {
            self.0.resize(offset + value.len(), 0);
        }
        self.0[offset..offset + value.len()].copy_from_slice(value);
    }

    fn finish(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.put(4, &length.to_le_bytes());
        self.0[CHECKSUM] = checksum(&self.0);
        self.0
    }
}

/// The byte that brings the sum of `bytes` to zero.
pub(crate) fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// A generic address: one byte wide I/O port.
fn port_register(port: u16) -> [u8; 12] {
    const SYSTEM_IO: u8 = 1;
    const BYTE_ACCESS: u8 = 1;
    let [low, high] = port.to_le_bytes();
    [SYSTEM_IO, 8, 0, BYTE_ACCESS, low, high, 0, 0, 0, 0, 0, 0]
}

fn fadt(dsdt: u64, machine: &Machine<'_>) -> Vec<u8> {
    const WBINVD: u32 = 1 << 0;
    const RESET_REGISTER: u32 = 1 << 10;
    const HARDWARE_REDUCED: u32 = 1 << 20;
    let mut table = Table::new(b"FACP", 6);
    table.put(112, &(WBINVD | RESET_REGISTER | HARDWARE_REDUCED).to_le_bytes());
    table.put(116, &port_register(machine.reset));
    table.put(128, &[machine.reset_value]);
    table.put(131, &[5]); // Minor version.
    table.put(140, &dsdt.to_le_bytes());
    table.put(244, &port_register(machine.sleep_control));
    table.put(256, &port_register(machine.sleep_status));
    table.put(FADT_BYTES - 8, b"MINIHV  ");
    table.finish()
}

fn madt(processors: u32, machine: &Machine<'_>) -> Vec<u8> {
    const LOCAL_APIC: u8 = 0;
    const IO_APIC: u8 = 1;
    const ENABLED: u32 = 1;
    let mut table = Table::new(b"APIC", 5);
    table.put(HEADER_BYTES, &machine.local_apic.to_le_bytes());
    table.put(HEADER_BYTES + 4, &0u32.to_le_bytes());
    for id in (0..processors).map(|id| id as u8) {
        table.0.extend([LOCAL_APIC, 8, id, id]);
        table.0.extend(ENABLED.to_le_bytes());
    }
    table.0.extend([IO_APIC, 12, 0, 0]);
    table.0.extend(machine.io_apic.to_le_bytes());
    table.0.extend(0u32.to_le_bytes());
    table.finish()
}

/// A table of remapping units without any.
fn empty_dmar() -> Vec<u8> {
    const DMAR_BYTES: usize = 48;
    const ADDRESS_WIDTH: u8 = 48;
    let mut table = Table::new(b"DMAR", 1);
    table.put(DMAR_BYTES - 1, &[0]);
    table.put(HEADER_BYTES, &[ADDRESS_WIDTH - 1]);
    table.finish()
}

/// The list of tables at these physical addresses.
pub(crate) fn xsdt(tables: &[u64]) -> Vec<u8> {
    let mut table = Table::new(b"XSDT", 1);
    for address in tables {
        table.0.extend(address.to_le_bytes());
    }
    table.finish()
}

/// The root pointer to such a list.
pub(crate) fn rsdp(xsdt: u64) -> Vec<u8> {
    const FIRST_PART: usize = 20;
    let mut bytes = Vec::with_capacity(RSDP_BYTES);
    bytes.extend(b"RSD PTR \0MINIHV\x02");
    bytes.extend(0u32.to_le_bytes()); // No RSDT.
    bytes.extend((RSDP_BYTES as u32).to_le_bytes());
    bytes.extend(xsdt.to_le_bytes());
    bytes.extend([0; 4]);
    bytes[8] = checksum(&bytes[..FIRST_PART]);
    bytes[32] = checksum(&bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0xc0_0000;
    const MACHINE: Machine<'static> = Machine {
        dsdt: b"DSDT",
        local_apic: 0xfee0_0000,
        io_apic: 0xfec0_0000,
        sleep_control: 0x5f4,
        sleep_status: 0x5f5,
        reset: 0x5f6,
        reset_value: 1,
    };

    fn number(bytes: &[u8]) -> u64 {
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The table at an address, its checksum verified.
    fn table(tables: &Tables, address: u64) -> &[u8] {
        let at = &tables.image[(address - BASE) as usize..];
        let table = &at[..number(&at[4..8]) as usize];
        assert_eq!(table.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        table
    }

    #[test]
    fn linux_finds_its_way_from_the_rsdp() {
        for processors in [1, 2, 16, 255] {
            let tables = build(BASE, processors, &MACHINE, FirmwareIommu::None);
            let rsdp = &tables.image[(tables.rsdp - BASE) as usize..][..RSDP_BYTES];
            assert_eq!(&rsdp[..8], b"RSD PTR ");
            assert_eq!((checksum(&rsdp[..20]), checksum(rsdp), rsdp[15]), (0, 0, 2));
            let xsdt = table(&tables, number(&rsdp[24..32]));
            assert_eq!((&xsdt[..4], xsdt.len()), (&b"XSDT"[..], HEADER_BYTES + 16));

            let fadt = table(&tables, number(&xsdt[36..44]));
            assert_eq!((&fadt[..4], fadt.len()), (&b"FACP"[..], FADT_BYTES));
            assert_eq!(number(&fadt[112..116]), 0x10_0401);
            let dsdt = number(&fadt[140..148]);
            assert_eq!(&tables.image[(dsdt - BASE) as usize..][..4], MACHINE.dsdt);
            assert_eq!([&fadt[116..128], &fadt[244..256]].map(|register| number(&register[4..12])), [0x5f6, 0x5f4]);

            let madt = table(&tables, number(&xsdt[44..52]));
            assert_eq!((&madt[..4], number(&madt[36..40])), (&b"APIC"[..], 0xfee0_0000));
            assert_eq!(madt.len(), 44 + 8 * processors as usize + 12);
        }
    }

    #[test]
    fn an_iommu_that_does_not_work_is_announced_last() {
        let tables = build(BASE, 1, &MACHINE, FirmwareIommu::Broken);
        let rsdp = &tables.image[(tables.rsdp - BASE) as usize..][..RSDP_BYTES];
        let xsdt = table(&tables, number(&rsdp[24..32]));
        assert_eq!(xsdt.len(), HEADER_BYTES + 24);
        let dmar = table(&tables, number(&xsdt[52..60]));
        assert_eq!((&dmar[..4], dmar.len(), dmar[36]), (&b"DMAR"[..], 48, 47));
    }
}
