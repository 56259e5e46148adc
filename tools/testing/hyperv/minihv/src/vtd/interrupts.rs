// SPDX-License-Identifier: GPL-2.0
//! The interrupt-remapping table.

use alloc::boxed::Box;

use hvcore::ids::{Rid, VpIndex};
use hvcore::platform::{RemapHandle, Trigger};
use hvcore::vtd::interrupt::{Irte, ENTRY_BYTES};
use hvcore::vtd::registers::{self as reg, IRTA_ENTRIES};

use super::registers::Registers;
use crate::paging::TablePage;

const WORDS: usize = ENTRY_BYTES / 8;

/// The table, and which function each of its entries serves.
pub struct RemapTable {
    page: &'static mut TablePage,
    sources: [Option<(Rid, Trigger)>; IRTA_ENTRIES],
}

impl RemapTable {
    /// An empty table, in force but not yet switched on.
    pub fn start(registers: &mut Registers) -> RemapTable {
        let table = RemapTable { page: Box::leak(TablePage::new()), sources: [None; IRTA_ENTRIES] };
        registers.write64(reg::IRTA, table.page.address() | reg::IRTA_256_ENTRIES);
        registers.command(reg::GCMD_SIRTP);
        table
    }

    /// Takes a free entry for interrupts of `rid` and points it at `vp` and `vector`; `None` when none is left or
    /// `vp` cannot be addressed.
    pub fn allocate(&mut self, rid: Rid, trigger: Trigger, vp: VpIndex, vector: u8) -> Option<RemapHandle> {
        let entry = Irte::remapped(rid, trigger, vp, vector)?;
        let index = self.sources.iter().position(Option::is_none)?;
        self.sources[index] = Some((rid, trigger));
        self.write(index, entry);
        Some(RemapHandle(index as u16))
    }

    /// Points an entry elsewhere; false when it is not in use or `vp` cannot be addressed.
    #[must_use]
    pub fn retarget(&mut self, handle: RemapHandle, vp: VpIndex, vector: u8) -> bool {
        let index = usize::from(handle.0);
        let source = self.sources.get(index).copied().flatten();
        let entry = source.and_then(|(rid, trigger)| Irte::remapped(rid, trigger, vp, vector));
        let Some(entry) = entry else { return false };
        self.write(index, entry);
        true
    }

    /// Gives an entry back; false when it is not in use.
    #[must_use]
    pub fn free(&mut self, handle: RemapHandle) -> bool {
        let index = usize::from(handle.0);
        let used = self.sources.get_mut(index).and_then(Option::take).is_some();
        if used {
            for (i, word) in Irte::ABSENT.into_iter().enumerate() {
                self.page.store(index * WORDS + i, word);
            }
        }
        used
    }

    /// The low word holds destination, vector and the present bit: an entry changes in one step, as its source stays.
    fn write(&mut self, index: usize, [low, high]: [u64; 2]) {
        self.page.store(index * WORDS + 1, high);
        self.page.store(index * WORDS, low);
    }
}
