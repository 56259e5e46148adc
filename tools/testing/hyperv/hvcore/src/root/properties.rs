// SPDX-License-Identifier: GPL-2.0
//! Properties of the machine and of the partition.

use super::refusal::Refusal;
use crate::status::Status;

/// A property of the machine that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemProperty {
    /// Which scheduler the hypervisor has.
    Scheduler,
    /// Where a crashed hypervisor leaves its state.
    CrashDumpArea,
}

impl SystemProperty {
    /// The property with this number.
    ///
    /// # Errors
    /// [`Status::UNKNOWN_PROPERTY`].
    pub fn decode(number: u32) -> Result<SystemProperty, Refusal> {
        match number {
            15 => Ok(SystemProperty::Scheduler),
            47 => Ok(SystemProperty::CrashDumpArea),
            _ => Err(Status::UNKNOWN_PROPERTY.into()),
        }
    }

    /// Its value. There is no crash dump area, so that Linux does not take the hypervisor away when it crashes.
    pub fn value(self) -> u64 {
        /// Logical processors, one virtual processor on each.
        const CLASSIC: u64 = 1;
        match self {
            SystemProperty::Scheduler => CLASSIC,
            SystemProperty::CrashDumpArea => 0,
        }
    }
}

/// The value of a partition's property; `privileges` are CPUID 0x40000003 EAX and EBX.
///
/// # Errors
/// [`Status::UNKNOWN_PROPERTY`].
pub fn partition(number: u32, privileges: u64) -> Result<u64, Refusal> {
    const PRIVILEGE_FLAGS: u32 = 0x0001_0000;
    match number {
        PRIVILEGE_FLAGS => Ok(privileges),
        _ => Err(Status::UNKNOWN_PROPERTY.into()),
    }
}

/// The value of a partition's property that is longer than 64 bits.
///
/// # Errors
/// [`Status::UNKNOWN_PROPERTY`].
pub fn partition_ex(number: u32) -> Result<[u8; 16], Refusal> {
    const VMM_CAPABILITIES: u32 = 0x0009_0007;
    match number {
        // One bank of capabilities, none of which is there.
        VMM_CAPABILITIES => Ok([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        _ => Err(Status::UNKNOWN_PROPERTY.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_ones() {
        assert_eq!(SystemProperty::decode(15).map(SystemProperty::value), Ok(1));
        assert_eq!(SystemProperty::decode(47).map(SystemProperty::value), Ok(0));
        assert_eq!(SystemProperty::decode(3), Err(Status(9).into()));
        assert_eq!(partition(0x1_0000, 7), Ok(7));
        assert_eq!(partition(0x1_0001, 7), Err(Status(9).into()));
        assert_eq!(partition_ex(0x9_0007).map(|bytes| (bytes[0], bytes[8])), Ok((1, 0)));
        assert_eq!(partition_ex(0x2_0005), Err(Status(9).into()));
    }
}
