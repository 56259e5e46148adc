// SPDX-License-Identifier: GPL-2.0
//! The calls around messages, interrupts and configuration windows, from their input blocks to the VMBus layer.

use super::Partition;
use crate::hypercall::dispatch::Request;
use crate::hypercall::fields::Input;
use crate::ids::{Gpa, VpIndex};
use crate::platform::{AccessSize, Platform};
use crate::status::Status;
use crate::synic::MESSAGE_PAYLOAD_MAX;
use crate::vmbus::ConnectionId;
use crate::vpci::RetargetInterrupt;

impl Partition {
    /// Connection at 0x00, reserved at 0x04, message type at 0x08, payload size at 0x0c, payload from 0x10 on.
    pub(super) fn post_message(&mut self, platform: &mut impl Platform, vp: VpIndex, input: Input<'_>) -> Status {
        const PAYLOAD: usize = 0x10;
        let payload = usize::try_from(input.u32(0x0c)).ok().filter(|&size| size <= MESSAGE_PAYLOAD_MAX);
        let payload = payload.and_then(|size| input.tail(PAYLOAD).get(..size));
        let (Some(payload), true) = (payload, input.is_zero::<4>(0x04)) else {
            self.violation(platform, format_args!("message of {} bytes", input.u32(0x0c)));
            return Status::INVALID_PARAMETER;
        };
        let (connection, message_type) = (ConnectionId(input.u32(0x00)), input.u32(0x08));
        self.vmbus.post_message(platform, &mut self.synic, vp, connection, message_type, payload)
    }

    /// Connection in bits 31:0, flag number in bits 47:32, the rest zero.
    pub(super) fn signal_event(&mut self, platform: &mut impl Platform, input: Input<'_>) -> Status {
        let word = input.u64(0x00);
        if word >> 48 != 0 {
            self.violation(platform, format_args!("signal {word:#x}"));
            return Status::INVALID_PARAMETER;
        }
        let (connection, flag) = (ConnectionId(word as u32), (word >> 32) as u16);
        self.vmbus.signal_event(platform, &mut self.synic, connection, flag)
    }

    pub(super) fn retarget(&mut self, platform: &mut impl Platform, input: Input<'_>) -> Status {
        match RetargetInterrupt::decode(input.bytes()) {
            Ok(retarget) => self.vmbus.retarget(platform, &retarget),
            Err(status) => {
                self.violation(platform, format_args!("retarget of device {:#x}: {status}", input.u64(0x08)));
                status
            }
        }
    }

    /// Address at 0x00, size at 0x08. What is behind the size is not looked at: guests leave it as it was.
    pub(super) fn mmio_read(&mut self, platform: &mut impl Platform, request: &Request<'_>) -> Result<(), Status> {
        let size = self.access_size(platform, request.input)?;
        let value = self.vmbus.mmio_read(platform, Gpa(request.input.u64(0x00)), size)?.to_le_bytes();
        let bytes = match size {
            AccessSize::Byte => &value[..1],
            AccessSize::Word => &value[..2],
            AccessSize::Dword => &value[..],
        };
        let output = request.output.ok_or(Status::INVALID_PARAMETER)?;
        platform.write(output, bytes).map_err(|_| Status::INVALID_PARAMETER)
    }

    /// Address at 0x00, size at 0x08, data at 0x10.
    pub(super) fn mmio_write(&mut self, platform: &mut impl Platform, input: Input<'_>) -> Status {
        let size = match self.access_size(platform, input) {
            Ok(size) => size,
            Err(status) => return status,
        };
        let data = input.u32(0x10);
        let value = match size {
            AccessSize::Byte => data & 0xff,
            AccessSize::Word => data & 0xffff,
            AccessSize::Dword => data,
        };
        self.vmbus.mmio_write(platform, Gpa(input.u64(0x00)), size, value)
    }

    fn access_size(&mut self, platform: &mut impl Platform, input: Input<'_>) -> Result<AccessSize, Status> {
        match input.u32(0x08) {
            1 => Ok(AccessSize::Byte),
            2 => Ok(AccessSize::Word),
            4 => Ok(AccessSize::Dword),
            size => {
                self.violation(platform, format_args!("MMIO access of {size} bytes"));
                Err(Status::INVALID_PARAMETER)
            }
        }
    }
}
