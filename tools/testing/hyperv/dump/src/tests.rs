// SPDX-License-Identifier: GPL-2.0
//! Dumps that are whole, and dumps that are not.

use proptest::prelude::*;

use crate::guide::{Guide, BYTES, MARK};
use crate::image::{full, Layout, BASE, OFFSET};
use crate::memory::{Address, Memory};
use crate::state::{self, Run, State};
use crate::{guide, show};

const LAYOUTS: [Layout; 2] = [Layout::AsWritten, Layout::Shuffled];

fn read(dump: &[u8]) -> State {
    state::read(&Memory::open(dump).unwrap()).unwrap()
}

fn text(state: &State) -> String {
    [
        show::capabilities(&state.capabilities),
        show::domains(&state.domains),
        show::requesters(&state.requesters),
        show::mappings(&state.domains),
    ]
    .concat()
}

/// The guide that counts, which is the last thing in the memory of an image.
fn guide_of(dump: &[u8]) -> Address {
    let at = dump.len() - BYTES as usize;
    assert!(dump[at..].starts_with(&MARK));
    Address(BASE + (at - OFFSET) as u64)
}

#[test]
fn a_dump_says_what_debugfs_said() {
    for layout in LAYOUTS {
        let state = read(&full(layout));
        assert!(state.damage.is_empty(), "{layout:?}: {:?}", state.damage);
        let expected = "reported flags: 0x3\nreported iova width: 48\nreported page sizes: 0x201000\n\
                        used aperture: 0x0-0xffffffffffff\nused page sizes: 0x40201000\n";
        assert_eq!(show::capabilities(&state.capabilities), expected);
        let expected = "id state pages stale leaves tables maps unmaps deposits failures\n\
                        1 open 1028 4 4 1 9 8 3 1\n2 closed 0 0 0 0 9 8 3 1\n3 retired 312 0 39 0 9 8 3 1\n\
                        1048576 open 0 0 0 0 9 8 3 1\n";
        assert_eq!(show::domains(&state.domains), expected, "{layout:?}");
        let expected = "id users place doubt\n0x4000000000000028 1 1 -\n0x4000000000000030 1 blocking any\n\
                        0x4000000000000100 2 detached identity\n0x4000000000000200 0 initial -\n\
                        0x4000000000000300 0 gone -\n";
        assert_eq!(show::requesters(&state.requesters), expected, "{layout:?}");
    }
}

#[test]
fn what_is_mapped_comes_in_runs() {
    let state = read(&full(Layout::AsWritten));
    let run = |iova, pages, memory, stale| Run { iova, pages, memory, stale };
    let expected = [
        run(0, 1024, Some(0x10_0000), false),
        run(0xe0_4000, 3, None, true),
        run(0x204_0000_0000, 1, Some(0x500_1000), false),
        run(0x204_0000_1000, 1, Some(0x500_0000), true),
        run(0x204_0000_3000, 1, Some(0x500_2000), false),
        run(0x204_001f_f000, 1, Some(0x51f_e000), false),
    ];
    assert_eq!(state.domains[0].runs, expected);
    let text = show::mappings(&state.domains[..1]);
    assert!(
        text.starts_with("id first last memory stale\n1 0x0 0x3fffff 0x100000 -\n1 0xe04000 0xe06fff - stale\n"),
        "{text}"
    );
}

#[test]
fn a_guide_is_found_by_its_mark_and_its_own_address() {
    let dump = full(Layout::AsWritten);
    let memory = Memory::open(&dump[..]).unwrap();
    let (own, decoy) = (guide_of(&dump), Address(BASE));
    assert!(guide::is_guide(&memory, own) && !guide::is_guide(&memory, decoy));
    assert!(Guide::read(&memory, decoy).is_err());
    assert_eq!(Guide::find(&memory).unwrap(), Guide::read(&memory, own).unwrap());
    let mut without = dump.clone();
    let at = (own.0 - BASE) as usize + OFFSET;
    without[at + 15] = 2;
    let error = Guide::find(&Memory::open(&without[..]).unwrap()).unwrap_err();
    assert!(error.to_string().contains("no guide"), "{error}");
}

#[test]
fn other_files_are_no_dump() {
    let dump = full(Layout::AsWritten);
    let refused = |dump: &[u8]| Memory::open(dump).err().unwrap().to_string();
    let mut executable = dump.clone();
    executable[16] = 2;
    assert!(refused(&executable).contains("are not those of a dump"));
    assert!(refused(b"text").contains("ELF"));
    let mut empty = dump.clone();
    empty[64] = 4;
    assert!(refused(&empty).contains("no memory"));
}

#[test]
fn a_loop_in_a_tree_ends() {
    let mut dump = full(Layout::AsWritten);
    let memory = Memory::open(&dump[..]).unwrap();
    let tree = Guide::find(&memory).unwrap().domains;
    let top = memory.u64(tree).unwrap();
    let right = (top - BASE) as usize + OFFSET + 8;
    dump[right..right + 8].copy_from_slice(&top.to_le_bytes());
    let state = read(&dump);
    assert_eq!(state.requesters.len(), 5);
    assert!(format!("{:#}", state.damage[0]).contains("in its tree twice"), "{:?}", state.damage);
}

/// What is damaged is told, and what is not is read.
#[test]
fn damage_is_told_beside_what_is_whole() {
    let mut dump = full(Layout::AsWritten);
    let memory = Memory::open(&dump[..]).unwrap();
    let guide = Guide::find(&memory).unwrap();
    let (first, _) = guide.list.read(&memory, guide.requesters).unwrap();
    let place = (first.plus(guide.requester.place).0 - BASE) as usize + OFFSET;
    dump[place] = 77;
    let state = read(&dump);
    assert_eq!((state.domains.len(), state.requesters.len()), (4, 0));
    assert_eq!(format!("{:#}", state.damage[0]), "the requesters: place 77");
}

/// A word of the guide may be just below the end of all numbers: a place that lies a little before another one.
#[test]
fn a_guide_with_places_before_the_first_is_read_as_far_as_it_goes() {
    let whole = full(Layout::AsWritten);
    let first = (guide_of(&whole).0 - BASE) as usize + OFFSET;
    for word in 2..(BYTES as usize / 8) {
        for before in 1..=96u64 {
            let mut dump = whole.clone();
            let at = first + 8 * word;
            dump[at..at + 8].copy_from_slice(&before.wrapping_neg().to_le_bytes());
            if let Ok(state) = state::read(&Memory::open(&dump[..]).unwrap()) {
                assert!(text(&state).len() > 100);
            }
        }
    }
}

proptest! {
    /// Whatever is overwritten in a dump: reading it ends, without a panic, in an error or in a state.
    #[test]
    fn a_damaged_dump_is_read_as_far_as_it_goes(
        shuffled: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), 0u32..64), 0..12),
        cut in 0usize..4096,
    ) {
        let mut dump = full(if shuffled { Layout::Shuffled } else { Layout::AsWritten });
        for (place, value, shift) in changes {
            let at = place.index(dump.len() / 8) * 8;
            dump[at..at + 8].copy_from_slice(&(value >> shift).to_le_bytes());
        }
        dump.truncate(dump.len() - cut);
        if let Ok(memory) = Memory::open(&dump[..]) {
            if let Ok(state) = state::read(&memory) {
                prop_assert!(text(&state).len() > 100);
            }
        }
    }

    /// The same of the guide, of which every word leads somewhere.
    #[test]
    fn a_damaged_guide_is_read_as_far_as_it_goes(word in 2u64..38, base: bool, value: u64, shift in 0u32..64) {
        let mut dump = full(Layout::AsWritten);
        let at = (guide_of(&dump).0 - BASE + 8 * word) as usize + OFFSET;
        let value = if base { BASE + (value & 0xffff) } else { value >> shift };
        dump[at..at + 8].copy_from_slice(&value.to_le_bytes());
        if let Ok(state) = state::read(&Memory::open(&dump[..]).unwrap()) {
            prop_assert!(text(&state).len() > 100);
        }
    }
}
