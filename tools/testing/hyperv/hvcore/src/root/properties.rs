// SPDX-License-Identifier: GPL-2.0
//! Values of the properties of the machine and of the partition.

use crate::request::root::SystemProperty;

/// The value of a property of the machine. There is no crash dump area, so that Linux does not take the hypervisor away
/// when it crashes.
pub fn system(property: SystemProperty) -> u64 {
    /// Logical processors, one virtual processor on each.
    const CLASSIC: u64 = 1;
    match property {
        SystemProperty::Scheduler => CLASSIC,
        SystemProperty::CrashDumpArea => 0,
    }
}

/// The capabilities of a partition that creates others: one bank of them, none of which is there.
pub const VMM_CAPABILITIES: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(system(SystemProperty::Scheduler), 1);
        assert_eq!(system(SystemProperty::CrashDumpArea), 0);
    }
}
