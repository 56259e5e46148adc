// SPDX-License-Identifier: GPL-2.0
//! Status codes inside VMBus and vPCI messages (not those of hypercalls, see [`crate::status`]).

/// A 32-bit status; negative values, read as `i32`, are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NtStatus(pub u32);

impl NtStatus {
    /// Done.
    pub const SUCCESS: NtStatus = NtStatus(0);
    /// Failed for no reason that has a code of its own.
    pub const UNSUCCESSFUL: NtStatus = NtStatus(0xc000_0001);
    /// A field has no valid value.
    pub const INVALID_PARAMETER: NtStatus = NtStatus(0xc000_000d);
    /// The protocol version is not supported.
    pub const REVISION_MISMATCH: NtStatus = NtStatus(0xc000_0059);
    /// A table is full.
    pub const INSUFFICIENT_RESOURCES: NtStatus = NtStatus(0xc000_009a);
    /// The request is known but not implemented, or unknown.
    pub const NOT_SUPPORTED: NtStatus = NtStatus(0xc000_00bb);
    /// No such function on the bus.
    pub const DEVICE_DOES_NOT_EXIST: NtStatus = NtStatus(0xc000_00c0);
    /// The bus or function is not in the state that the request needs.
    pub const INVALID_DEVICE_STATE: NtStatus = NtStatus(0xc000_0184);

    /// Whether this is a success code.
    pub const fn is_success(self) -> bool {
        self.0 >> 31 == 0
    }
}
