// SPDX-License-Identifier: GPL-2.0
//! DMA faults that the kernel's virtio-iommu driver in Rust reports.

use hvcore::ids::Iova;

use hvprotocol::faults::Access;

/// What every report of a fault contains.
const FAULT: &str = ": fault: endpoint 0x";

/// A fault as the driver prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// The page.
    pub iova: Iova,
    /// What the device tried. QEMU's IOMMU does not say so where nothing is mapped.
    pub access: Option<Access>,
    /// `bb:dd.f` of the function.
    pub source: String,
}

/// Whether a line of the kernel log reports a fault.
pub fn is_fault(line: &str) -> bool {
    line.contains(FAULT)
}

fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(digits, 16).ok()
}

/// Reads `virtio_iommu_rust virtio0: fault: endpoint 0x28, write at 0x40001000: no mapping allows it`. QEMU numbers the
/// endpoints of the first segment as PCI does: bus 15:8, device 7:3, function 2:0.
pub fn parse(line: &str) -> Option<Printed> {
    const PAGE_MASK: u64 = !0xfff;
    let rest = line.split_once(FAULT)?.1;
    let endpoint = hexadecimal(rest)?;
    let (access, rest) = rest.split_once(", ")?.1.split_once(" at 0x")?;
    let access = match access {
        "read" => Some(Access::Read),
        "write" => Some(Access::Write),
        "access" => None,
        _ => return None,
    };
    let source = format!("{:02x}:{:02x}.{:x}", endpoint >> 8, endpoint >> 3 & 0x1f, endpoint & 7);
    Some(Printed { iova: Iova(hexadecimal(rest)? & PAGE_MASK), access, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line =
            "3,500,1,-;virtio_iommu_rust virtio0: fault: endpoint 0x129, write at 0x40001008: no mapping allows it";
        let source = "01:05.1".to_owned();
        let expected = Some(Printed { iova: Iova(0x4000_1000), access: Some(Access::Write), source });
        assert_eq!(parse(line), expected);
        assert!(is_fault(line));
        let unsaid = line.replace("write at", "access at");
        assert_eq!(parse(&unsaid), expected.map(|expected| Printed { access: None, ..expected }));
        assert_eq!(parse("virtio0: fault: endpoint 0x28, access: the reason is not known"), None);
        assert_eq!(parse("virtio0: aperture 0x0-0xffff"), None);
    }
}
