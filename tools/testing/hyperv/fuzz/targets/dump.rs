// SPDX-License-Identifier: GPL-2.0
//! A dump of a crashed kernel, of which words are overwritten.

use hvdump::image::{full, Layout};
use hvdump::memory::Memory;
use hvdump::{show, state};

use crate::source::Source;

/// One byte chooses the layout. Then come words: where one goes, and what it is; a short one leads into the dump.
pub fn run(bytes: &[u8]) {
    const BASE: u64 = hvdump::image::BASE;
    let mut source = Source::new(bytes);
    let layout = if source.u8() & 1 == 0 { Layout::AsWritten } else { Layout::Shuffled };
    let mut dump = full(layout);
    source.drive(|source| {
        let words = dump.len() / 8;
        let at = usize::from(source.u16()) % words * 8;
        let value = match source.u8() & 3 {
            0 => source.u64(),
            1 => source.u8().into(),
            _ => BASE + u64::from(source.u16()),
        };
        dump[at..at + 8].copy_from_slice(&value.to_le_bytes());
    });
    let Ok(memory) = Memory::open(&dump[..]) else { return };
    let Ok(state) = state::read(&memory) else { return };
    let text = [show::domains(&state.domains), show::requesters(&state.requesters), show::mappings(&state.domains)];
    assert!(text.iter().all(|text| text.ends_with('\n')));
    for domain in &state.domains {
        let pages: u64 = domain.runs.iter().map(|run| run.pages).sum();
        assert!(pages <= domain.present + domain.stale && pages >= domain.present.max(domain.stale));
    }
}
