// SPDX-License-Identifier: GPL-2.0
//! Many changes of an address space before the kernel waits for the first one.

use anyhow::{ensure, Result};

use crate::check::{Check, Context};
use crate::memfd::{Backing, Memfd};
use crate::memory::PAGE;
use crate::report::Outcome;
use crate::session::BackEnd;
use crate::witness::{at, Witness, CANARY, FROM_DEVICE};

/// More pages than virtio-iommu's queue of QEMU has places for requests: 256. Type 1 waits after 512 unmaps.
const PAGES: usize = 600;

/// A file whose pages are made in an order in which no two that follow each other in the file do.
fn scattered_file() -> Result<Memfd> {
    let file = Memfd::new(Backing::Small, PAGES)?;
    (0..PAGES).try_for_each(|page| file.punch(page))?;
    for page in (0..PAGES).step_by(2).chain((1..PAGES).step_by(2)) {
        file.renew(page)?;
    }
    let mut pieces = 1;
    for page in 1..PAGES {
        let follows = file.view().physical(page)?.0 == file.view().physical(page - 1)?.0 + PAGE as u64;
        pieces += usize::from(!follows);
    }
    ensure!(pieces > PAGES / 2, "the file's {PAGES} pages lie in {pieces} pieces only");
    Ok(file)
}

/// One mapping of pages that all lie apart is unmapped as a whole, and all of it is out of reach.
fn unmapped_together(context: &mut Context<'_>) -> Result<Outcome> {
    let file = scattered_file()?;
    let mut witness = Witness::open_by(context, BackEnd::Type1, 1)?;
    witness.session.map(at(200), &witness.buffer, 0, 1)?;
    witness.session.map(at(300), file.view(), 0, PAGES)?;
    witness.arm(at(200), 0, FROM_DEVICE)?;
    for page in [0, 1, PAGES / 2, PAGES - 1] {
        witness.edu.store(at(300 + page as u64))?;
        file.view().expect(page, FROM_DEVICE, "a page while it was mapped")?;
    }
    witness.session.unmap(at(300), PAGES)?;
    witness.faults.prepare()?;
    for page in [0, 1, PAGES / 2, PAGES - 1] {
        file.view().fill(page, CANARY);
        witness.edu.store(at(300 + page as u64))?;
        file.view().expect(page, CANARY, "STALE TRANSLATION: a page of many after their unmap")?;
    }
    // What else is mapped still is.
    witness.round_trip(at(200), 0, FROM_DEVICE, "the page that stayed mapped")?;
    let faults = witness.faults.take_of(&witness.function)?;
    ensure!(faults > 0, "no fault was reported");
    Ok(Outcome::Pass(format!("{PAGES} pages")))
}

pub const SCATTERED: Check = Check::new("vfio-unmaps-many-pieces", unmapped_together);
