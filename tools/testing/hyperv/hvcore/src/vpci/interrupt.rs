// SPDX-License-Identifier: GPL-2.0
//! A bus's interrupts: which remapping handles stand behind the messages that the guest was given.
//!
//! One vector is one remapping handle, and the message that the guest writes into the device names that handle; a
//! retarget changes what the handle points at and never touches the device. Several vectors of one MSI capability
//! differ only in the low bits of the data, which the remapping hardware adds to the handle as a subhandle: they need
//! consecutive handles. The platform hands them out one by one, so the table allocates until it has such a run, gives
//! the rest back, and refuses the request when no run turns up.

use alloc::vec::Vec;

use crate::ids::{DeviceIndex, VpIndex};
use crate::nt_status::NtStatus;
use crate::platform::{Platform, RemapHandle};
use crate::request::retarget::{InterruptMessage, FIRST_VECTOR};
use crate::vtd::interrupt::{message_address, MESSAGE_DATA};

use super::message::{InterruptRequest, Targets};
use super::Slot;

/// Most remapping handles that one bus may hold.
const MAX_HANDLES: usize = 1024;
/// Most vectors in one request: what an MSI capability can have.
const MAX_VECTORS: u16 = 32;
/// Handles allocated at most, per vector asked for, in search of a consecutive run.
const SEARCH_FACTOR: usize = 4;
/// Set in a message's address when its data is a subhandle.
const SUBHANDLE_VALID: u32 = 1 << 3;

/// Whether an interrupt's bus has kept power since it was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// It has.
    Live,
    /// It has not: the guest may only delete it. Hibernation does so, interrupt by interrupt while it creates the
    /// new ones, so until then the handles must not be given out again.
    Stale,
}

#[derive(Debug)]
struct Record {
    slot: Slot,
    message: InterruptMessage,
    /// Consecutive, ascending, not empty.
    handles: Vec<RemapHandle>,
    life: Life,
}

/// A bus's interrupts.
#[derive(Debug, Default)]
pub(super) struct InterruptTable {
    records: Vec<Record>,
}

impl InterruptTable {
    /// Allocates the interrupts of a request for the function behind `slot`.
    pub(super) fn create(
        &mut self,
        platform: &mut impl Platform,
        device: DeviceIndex,
        slot: Slot,
        request: &InterruptRequest,
    ) -> Result<InterruptMessage, NtStatus> {
        let (first, vp) = check(request, platform.vp_count()).ok_or(NtStatus::INVALID_PARAMETER)?;
        let count = usize::from(request.count);
        if self.held() + count > MAX_HANDLES {
            self.release(platform, |record| record.life == Life::Stale);
        }
        if self.held() + count > MAX_HANDLES {
            return Err(NtStatus::INSUFFICIENT_RESOURCES);
        }
        let handles = allocate_run(platform, device, vp, first, count).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
        let address = handles.first().map(|&handle| message_address(handle)).ok_or(NtStatus::INVALID_PARAMETER)?;
        let address = if count > 1 { address | SUBHANDLE_VALID } else { address };
        let message = InterruptMessage { address: address.into(), data: MESSAGE_DATA };
        self.records.push(Record { slot, message, handles, life: Life::Live });
        Ok(message)
    }

    /// Gives back what [`InterruptTable::create`] allocated under `message`; false when there is no such interrupt.
    pub(super) fn delete(
        &mut self,
        platform: &mut impl Platform,
        slot: Slot,
        message: InterruptMessage,
        count: u16,
    ) -> bool {
        let matches = |record: &Record| {
            record.slot == slot && record.message == message && record.handles.len() == usize::from(count)
        };
        let before = self.records.len();
        self.release(platform, matches);
        self.records.len() != before
    }

    /// The live handle behind one message, or one vector of it.
    pub(super) fn find(&self, slot: Slot, message: InterruptMessage) -> Option<RemapHandle> {
        let of_slot = |record: &&Record| record.slot == slot && record.life == Life::Live;
        self.records.iter().filter(of_slot).find_map(|record| {
            if record.message.address != message.address {
                return None;
            }
            record.handles.get(message.data.checked_sub(record.message.data)? as usize).copied()
        })
    }

    /// The bus has lost power: what is left may only be deleted.
    pub(super) fn make_stale(&mut self) {
        self.records.iter_mut().for_each(|record| record.life = Life::Stale);
    }

    /// Gives back all interrupts of a function.
    pub(super) fn release_slot(&mut self, platform: &mut impl Platform, slot: Slot) {
        self.release(platform, |record| record.slot == slot);
    }

    /// Gives back everything.
    pub(super) fn release_all(&mut self, platform: &mut impl Platform) {
        self.release(platform, |_| true);
    }

    fn held(&self) -> usize {
        self.records.iter().map(|record| record.handles.len()).sum()
    }

    fn release(&mut self, platform: &mut impl Platform, which: impl Fn(&Record) -> bool) {
        self.records.retain(|record| {
            let goes = which(record);
            if goes {
                record.handles.iter().for_each(|&handle| platform.remap_free(handle));
            }
            !goes
        });
    }
}

/// The first vector and the processor for it; `None` when the request makes no sense.
fn check(request: &InterruptRequest, vp_count: u32) -> Option<(u8, VpIndex)> {
    let fixed = request.delivery_mode == 0;
    let count_fits = (1..=MAX_VECTORS).contains(&request.count);
    let last = request.vector.checked_add(u32::from(request.count))?.checked_sub(1)?;
    let vectors_fit = request.vector >= FIRST_VECTOR && last <= 0xff;
    let vp = match &request.targets {
        Targets::Mask(mask) => (*mask != 0).then(|| mask.trailing_zeros())?,
        Targets::List(list) => u32::from(*list.first()?),
    };
    (fixed && count_fits && vectors_fit && vp < vp_count).then_some((request.vector as u8, VpIndex(vp)))
}

/// Allocates `count` consecutive handles, the n-th for vector `first + n`.
fn allocate_run(
    platform: &mut impl Platform,
    device: DeviceIndex,
    vp: VpIndex,
    first: u8,
    count: usize,
) -> Option<Vec<RemapHandle>> {
    let mut pool: Vec<RemapHandle> = Vec::new();
    let mut run = None;
    while run.is_none() && pool.len() < count.saturating_mul(SEARCH_FACTOR) {
        let Some(handle) = platform.remap_alloc(device, vp, first) else { break };
        pool.push(handle);
        pool.sort_unstable();
        run = pool.windows(count).position(|run| usize::from(run[count - 1].0 - run[0].0) == count - 1);
    }
    let keep = run.map(|start| start..start + count).unwrap_or_default();
    for (_, &handle) in pool.iter().enumerate().filter(|(index, _)| !keep.contains(index)) {
        platform.remap_free(handle);
    }
    run?;
    let handles = pool.get(keep)?.to_vec();
    for (vector, &handle) in (first..=u8::MAX).zip(&handles).skip(1) {
        platform.remap_retarget(handle, vp, vector);
    }
    Some(handles)
}

#[cfg(test)]
mod tests;
