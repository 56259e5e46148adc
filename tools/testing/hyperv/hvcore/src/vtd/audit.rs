// SPDX-License-Identifier: GPL-2.0
//! What the tables that the IOMMU walks say of a device, read back and compared with what was asked for.
//!
//! It shows what no device of the emulated machine can show: whether a blocked device's requests for translations (ATS)
//! would be answered.

use core::fmt;

use super::context::{self, Half, TranslationRequests};
use super::did::Did;
use super::{pasid, root, PhysAddr};
use crate::ids::Rid;

const PRESENT: u64 = 1 << 0;
const DEVICE_TLB_ENABLE: u64 = 1 << 2;
const FIRST_STAGE: u64 = 1 << 6;
const SECOND_STAGE: u64 = 2 << 6;
const TRANSLATION_TYPE: u64 = 7 << 6;
const DID: u64 = 0xffff;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// What is to become of a device's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing gets through.
    Blocked,
    /// They are translated by a first-stage table.
    Table {
        /// The table's root.
        root: PhysAddr,
        /// The id that results are cached under.
        did: Did,
        /// What becomes of requests for translations.
        requests: TranslationRequests,
    },
    /// They are translated by a second-stage table; requests for translations are refused.
    SecondStage {
        /// The table's root.
        root: PhysAddr,
        /// The id that results are cached under.
        did: Did,
    },
}

/// What the tables say instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// Requests for translations are answered.
    Answered,
    /// Requests for translations are refused.
    Refused,
    /// A blocked device has an entry that lets something through.
    NotBlocked,
    /// There is no table of the stage that was asked for.
    NoTable,
    /// Another table.
    Root(PhysAddr),
    /// Another domain id.
    Did(Did),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Answered => f.write_str("its translation requests are answered"),
            Mismatch::Refused => f.write_str("its translation requests are refused"),
            Mismatch::NotBlocked => f.write_str("it is not blocked"),
            Mismatch::NoTable => f.write_str("it has no table of the stage that was asked for"),
            Mismatch::Root(PhysAddr(root)) => write!(f, "its table is at {root:#x}"),
            Mismatch::Did(Did(did)) => write!(f, "its domain id is {did}"),
        }
    }
}

/// Walks from the root table at `tables` to the entry of `rid`'s requests without PASID; `read` reads a 64-bit word of
/// physical memory.
///
/// # Errors
/// [`Mismatch`].
pub fn check(tables: PhysAddr, rid: Rid, expected: Expected, read: impl Fn(PhysAddr) -> u64) -> Result<(), Mismatch> {
    let (requests, entry) = entry(tables, rid, read);
    let (stage, root, did, wanted) = match expected {
        Expected::Blocked if requests == TranslationRequests::Answered => return Err(Mismatch::Answered),
        // Not merely "not present": what an entry says besides, the emulated IOMMU may look at first.
        Expected::Blocked if entry.is_some_and(|words| words != pasid::Entry::ABSENT) => {
            return Err(Mismatch::NotBlocked)
        }
        Expected::Blocked => return Ok(()),
        Expected::Table { root, did, requests } => (FIRST_STAGE, root, did, requests),
        Expected::SecondStage { root, did } => (SECOND_STAGE, root, did, TranslationRequests::Refused),
    };
    let words = entry.unwrap_or(pasid::Entry::ABSENT);
    if words[0] & (PRESENT | TRANSLATION_TYPE) != PRESENT | stage {
        return Err(Mismatch::NoTable);
    }
    let found = if stage == FIRST_STAGE { words[2] } else { words[0] } & ADDRESS;
    if found != root.frame() {
        return Err(Mismatch::Root(PhysAddr(found)));
    }
    if words[1] & DID != u64::from(did.0) {
        return Err(Mismatch::Did(Did((words[1] & DID) as u16)));
    }
    match (wanted, requests) {
        (TranslationRequests::Refused, TranslationRequests::Answered) => Err(Mismatch::Answered),
        (TranslationRequests::Answered, TranslationRequests::Refused) => Err(Mismatch::Refused),
        _ => Ok(()),
    }
}

/// The answer to translation requests, and the entry of PASID 0 where the tables lead to one.
fn entry(tables: PhysAddr, rid: Rid, read: impl Fn(PhysAddr) -> u64) -> (TranslationRequests, Option<[u64; 8]>) {
    let present = |word: u64| (word & PRESENT != 0).then_some(word & ADDRESS);
    let word = |table: u64, index: usize| read(PhysAddr(table + 8 * index as u64));
    let (half, index) = context::index(rid);
    let half = match half {
        Half::Lower => 0,
        Half::Upper => 1,
    };
    let none = (TranslationRequests::Refused, None);
    let root = word(tables.0, root::index(rid) * root::ENTRY_BYTES / 8 + half);
    let Some(contexts) = present(root) else { return none };
    let context = word(contexts, index * context::ENTRY_BYTES / 8);
    let Some(directory) = present(context) else { return none };
    let requests = match context & DEVICE_TLB_ENABLE {
        0 => TranslationRequests::Refused,
        _ => TranslationRequests::Answered,
    };
    let entry = present(word(directory, 0)).map(|table| core::array::from_fn(|index| word(table, index)));
    (requests, entry)
}

#[cfg(test)]
mod tests {
    use super::context::TableOwner;
    use super::*;
    use std::collections::BTreeMap;

    const TABLES: PhysAddr = PhysAddr(0x1000);
    const RID: Rid = Rid(0x0198);
    const IDENTITY: PhysAddr = PhysAddr(0x9000);
    const TABLE: Expected = Expected::Table { root: IDENTITY, did: Did(5), requests: TranslationRequests::Answered };

    /// Tables for [`RID`], bus 1, device 19, with this context word's low bits and this entry.
    fn memory(requests: TranslationRequests, entry: [u64; 8]) -> BTreeMap<u64, u64> {
        let mut memory = BTreeMap::new();
        memory.insert(0x1000 + 16 + 8, 0x2001);
        memory.insert(
            0x2000 + 0x18 * 32,
            context::Entry::with_pasid_directory(PhysAddr(0x3000), requests, TableOwner::Guest)[0],
        );
        memory.insert(0x3000, pasid::DirectoryEntry::to_table(PhysAddr(0x4000)));
        memory.extend((0x4000..).step_by(8).zip(entry));
        memory
    }

    fn judge(memory: &BTreeMap<u64, u64>, expected: Expected) -> Result<(), Mismatch> {
        check(TABLES, RID, expected, |address| memory.get(&address.0).copied().unwrap_or(0))
    }

    #[test]
    fn a_table_is_what_it_should_be() {
        let entry = pasid::Entry::first_stage(IDENTITY, Did(5));
        let answered = memory(TranslationRequests::Answered, entry);
        assert_eq!(judge(&answered, TABLE), Ok(()));
        let refused = memory(TranslationRequests::Refused, entry);
        assert_eq!(judge(&refused, TABLE), Err(Mismatch::Refused));
        let other = |root, did, requests| Expected::Table { root, did, requests };
        let refuse = TranslationRequests::Refused;
        assert_eq!(judge(&refused, other(IDENTITY, Did(5), refuse)), Ok(()));
        assert_eq!(judge(&answered, other(IDENTITY, Did(5), refuse)), Err(Mismatch::Answered));
        assert_eq!(judge(&refused, other(PhysAddr(0x8000), Did(5), refuse)), Err(Mismatch::Root(IDENTITY)));
        assert_eq!(judge(&refused, other(IDENTITY, Did(6), refuse)), Err(Mismatch::Did(Did(5))));
        let absent = memory(TranslationRequests::Answered, pasid::Entry::ABSENT);
        assert_eq!(judge(&absent, TABLE), Err(Mismatch::NoTable));
        assert_eq!(judge(&BTreeMap::new(), TABLE), Err(Mismatch::NoTable));
    }

    #[test]
    fn behind_a_second_stage_nothing_is_answered() {
        let second = |root, did| Expected::SecondStage { root, did };
        let entry = pasid::Entry::second_stage(IDENTITY, Did(5));
        let refused = memory(TranslationRequests::Refused, entry);
        assert_eq!(judge(&refused, second(IDENTITY, Did(5))), Ok(()));
        assert_eq!(judge(&refused, second(PhysAddr(0x8000), Did(5))), Err(Mismatch::Root(IDENTITY)));
        assert_eq!(judge(&refused, second(IDENTITY, Did(6))), Err(Mismatch::Did(Did(5))));
        let answered = memory(TranslationRequests::Answered, entry);
        assert_eq!(judge(&answered, second(IDENTITY, Did(5))), Err(Mismatch::Answered));
        // Neither stage takes the place of the other.
        assert_eq!(judge(&answered, TABLE), Err(Mismatch::NoTable));
        let first = memory(TranslationRequests::Refused, pasid::Entry::first_stage(IDENTITY, Did(5)));
        assert_eq!(judge(&first, second(IDENTITY, Did(5))), Err(Mismatch::NoTable));
    }

    #[test]
    fn a_pass_through_entry_is_no_table() {
        const PASS_THROUGH: u64 = 4 << 6;
        let mut entry = pasid::Entry::first_stage(IDENTITY, Did(5));
        entry[0] = entry[0] & !TRANSLATION_TYPE | PASS_THROUGH;
        let memory = memory(TranslationRequests::Answered, entry);
        assert_eq!(judge(&memory, TABLE), Err(Mismatch::NoTable));
        assert_eq!(judge(&memory, Expected::Blocked), Err(Mismatch::Answered));
    }

    #[test]
    fn blocked_is_blocked_for_all_requests() {
        let blocked = |requests, entry| judge(&memory(requests, entry), Expected::Blocked);
        let (absent, table) = (pasid::Entry::ABSENT, pasid::Entry::first_stage(IDENTITY, Did(5)));
        assert_eq!(blocked(TranslationRequests::Refused, absent), Ok(()));
        assert_eq!(judge(&BTreeMap::new(), Expected::Blocked), Ok(()));
        assert_eq!(blocked(TranslationRequests::Answered, absent), Err(Mismatch::Answered));
        assert_eq!(blocked(TranslationRequests::Refused, table), Err(Mismatch::NotBlocked));
        let not_present = [table[0] & !PRESENT, table[1], table[2], 0, 0, 0, 0, 0];
        assert_eq!(blocked(TranslationRequests::Refused, not_present), Err(Mismatch::NotBlocked));
    }
}
