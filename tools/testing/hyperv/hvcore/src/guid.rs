// SPDX-License-Identifier: GPL-2.0
//! Instance GUIDs of vPCI buses and what the guest derives from them.
//!
//! A GUID is kept in `guid_t` byte order: the first three groups of its text form are little endian.

use core::fmt;
use core::str::FromStr;

use uuid::fmt::Hyphenated;
use uuid::Uuid;

use crate::ids::{BusIndex, Guid, LogicalDeviceId};

/// The text is no GUID of the form `44c4f61d-4444-4400-9d52-802e27ede19f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseGuidError;

impl fmt::Display for ParseGuidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a GUID of the form 44c4f61d-4444-4400-9d52-802e27ede19f")
    }
}

impl Guid {
    /// The VMBus interface type of a vPCI bus.
    pub const VPCI: Guid =
        Guid([0x1d, 0xf6, 0xc4, 0x44, 0x44, 0x44, 0x00, 0x44, 0x9d, 0x52, 0x80, 0x2e, 0x27, 0xed, 0xe1, 0x9f]);

    /// The instance GUID of a bus unless one is configured: PCI domain `0x1ee7 + 0x100 * bus`.
    pub fn default_instance(bus: BusIndex) -> Guid {
        let number = bus.0 as u16;
        let [low, high] = 0x1ee7_u16.wrapping_add(number.wrapping_mul(0x100)).to_le_bytes();
        // Bytes 6 and 7 tell the buses apart even where a test gives two of them the same PCI domain.
        let tag = 0x60_u8.wrapping_add(number as u8);
        Guid([b'v', b'p', b'c', b'i', low, high, 0x50, tag, b'm', b'i', b'n', b'i', b'h', b'v', 0, number as u8])
    }

    /// The PCI domain number that the guest asks for: bytes 4 and 5.
    pub fn pci_domain(self) -> u16 {
        u16::from_le_bytes([self.0[4], self.0[5]])
    }

    /// The logical device id of function `function` (0..=7, higher bits are ignored) of this bus.
    pub fn logical_device_id(self, function: u8) -> LogicalDeviceId {
        let b = &self.0;
        let prefix = u32::from_le_bytes([b[6] & 0xf8, b[7], b[4], b[5]]);
        LogicalDeviceId(u64::from(prefix | u32::from(function & 7)))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes_le(self.0).hyphenated().fmt(f)
    }
}

impl FromStr for Guid {
    type Err = ParseGuidError;

    fn from_str(text: &str) -> Result<Guid, ParseGuidError> {
        let hyphenated: Hyphenated = text.parse().map_err(|_| ParseGuidError)?;
        Ok(Guid(hyphenated.into_uuid().to_bytes_le()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_form_of_the_vpci_type() {
        let text = "44c4f61d-4444-4400-9d52-802e27ede19f";
        assert_eq!(text.parse(), Ok(Guid::VPCI));
        assert_eq!(Guid::VPCI.to_string(), text);
    }

    #[test]
    fn what_is_no_guid() {
        for text in [
            "",
            "44c4f61d",
            "44c4f61d-4444-4400-9d52-802e27ede19",
            "44c4f61d-4444-4400-9d52-802e27ede19f0",
            "44c4f61d-4444-4400-9d52-802e27ede19g",
            "44c4f61d44444400-9d52-802e27ede19f",
            "{4c4f61d-4444-4400-9d52-802e27ede19f}",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(ParseGuidError), "{text}");
        }
    }

    /// Literal GUIDs and ids worked out by hand: b5 b4 b7 (b6 & 0xf8), then the function in the low three bits.
    #[test]
    fn logical_device_ids_of_literal_guids() {
        let id = |text: &str, function| text.parse::<Guid>().unwrap().logical_device_id(function).0;
        assert_eq!(id("40302010-1ee7-6050-7080-90a0b0c0d000", 0), 0x1ee7_6050);
        assert_eq!(id("40302010-1ee7-6050-7080-90a0b0c0d000", 7), 0x1ee7_6057);
        assert_eq!(id("40302010-1ee7-6057-7080-90a0b0c0d000", 3), 0x1ee7_6053);
        assert_eq!(id("00000000-ffff-ffff-0000-000000000000", 0), 0xffff_fff8);
        assert_eq!(id("ffffffff-0000-0000-ffff-ffffffffffff", 1), 1);
        assert_eq!(id("44c4f61d-4444-4400-9d52-802e27ede19f", 0), 0x4444_4400);
        assert_eq!(id("12345678-abcd-ef01-2345-6789abcdef01", 2), 0xabcd_ef02);
    }

    #[test]
    fn default_instances() {
        let domains: Vec<u16> = (0..4).map(|i| Guid::default_instance(BusIndex(i)).pci_domain()).collect();
        assert_eq!(domains, [0x1ee7, 0x1fe7, 0x20e7, 0x21e7]);
        assert_eq!(Guid::default_instance(BusIndex(0)).logical_device_id(0).0, 0x1ee7_6050);
        assert_eq!(Guid::default_instance(BusIndex(1)).logical_device_id(1).0, 0x1fe7_6151);
    }

    proptest! {
        #[test]
        fn text_survives_the_round_trip(bytes: [u8; 16]) {
            prop_assert_eq!(Guid(bytes).to_string().parse(), Ok(Guid(bytes)));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Guid>();
        }

        #[test]
        fn ids_differ_in_the_function_only(bytes: [u8; 16], a in 0_u8..8, b in 0_u8..8) {
            let guid = Guid(bytes);
            let (ia, ib) = (guid.logical_device_id(a).0, guid.logical_device_id(b).0);
            prop_assert_eq!(ia & !7, ib & !7);
            prop_assert_eq!(ia & 7, u64::from(a));
            prop_assert_eq!(ia >> 16, u64::from(guid.pci_domain()));
        }
    }
}
