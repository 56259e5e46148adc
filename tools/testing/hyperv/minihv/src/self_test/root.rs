// SPDX-License-Identifier: GPL-2.0
//! The device domains of a root partition on the live IOMMU: hypercalls make them, edu (QEMU's educational device) tries
//! them. Every change of its translation is read back from the IOMMU's tables besides; see [`crate::vtd`].

use hvcore::ids::{Gpa, Iova, Rid, VpIndex};
use hvcore::partition::Partition;
use hvcore::platform::{AccessSize, Platform};

use super::passed;
use crate::console::fatal;
use crate::npt;
use crate::pci::ConfigSpace;
use crate::platform::Hardware;
use crate::selfcheck::{Edu, EDU};

/// Pages of the partition's memory.
const INPUT: u64 = 0x150_0000;
const OUTPUT: u64 = 0x150_1000;
const DEPOSITED: u64 = 0x160_0000;
const DEPOSITED_PAGES: u64 = 8;
const TARGET: u64 = 0x170_0000;
/// 2 MiB of it.
const LARGE_TARGET: u64 = 0x180_0000;
const PAGE_BYTES: u64 = 4096;
const UNTOUCHED: u64 = u64::MAX;

const IOVA: u64 = 0x4000_0000;
const LARGE_IOVA: u64 = 0x4020_0000;
const READ_WRITE: u64 = 3 << 32;
const LARGE_PAGE: u64 = 1 << 63;
/// Device domain number 7, of type S2.
const DOMAIN: [u64; 3] = [u64::MAX, 0, 7 << 32];
const IDENTITY: [u64; 3] = [u64::MAX, 0, 0];
const BLOCKED: [u64; 3] = [u64::MAX, 0, 0xffff_ffff << 32];

struct Bench<'a> {
    partition: &'a mut Partition,
    hardware: &'a mut Hardware,
    edu: Edu,
    rid: Rid,
}

/// Runs the checks; everything is as before afterwards.
pub fn run(partition: &mut Partition, hardware: &mut Hardware) {
    let Some((rid, edu)) = find_edu() else { fatal!("self-test: there is no edu") };
    let mut bench = Bench { partition, hardware, edu, rid };
    bench.identity();
    bench.deposits();
    bench.small_pages();
    bench.large_pages();
    bench.nothing_gets_through();
    bench.leave();
}

/// On bus 0, decoding and mastering the bus.
fn find_edu() -> Option<(Rid, Edu)> {
    const COMMAND: u16 = 0x04;
    const MEMORY_AND_MASTER: u32 = 6;
    const BAR_0: u16 = 0x10;
    let config = ConfigSpace::find()?;
    let rid = (0..0x100).map(Rid).find(|&rid| config.read(rid, 0, AccessSize::Dword) == EDU)?;
    config.write(rid, COMMAND, AccessSize::Word, MEMORY_AND_MASTER);
    let bar = u64::from(config.read(rid, BAR_0, AccessSize::Dword) & !0xf);
    Some((rid, Edu { bar }))
}

impl Bench<'_> {
    /// Makes a call, and expects this result word.
    fn call(&mut self, control: u64, words: &[u64], expected: u64) {
        for (at, word) in (INPUT..).step_by(8).zip(words) {
            if self.hardware.memory.write(Gpa(at), &word.to_le_bytes()).is_err() {
                fatal!("self-test: too little RAM")
            }
        }
        let result = self.partition.hypercall(self.hardware, VpIndex(0), control, INPUT, OUTPUT);
        if result != expected {
            fatal!("self-test: call {control:#x} ended with {result:#x} instead of {expected:#x}")
        }
    }

    fn device(&self) -> u64 {
        1 << 62 | u64::from(self.rid.0)
    }

    fn attach(&mut self, domain: [u64; 3]) {
        let [partition, level, name] = domain;
        self.call(0xb2, &[partition, level, name, self.device()], 0);
    }

    fn map(&mut self, flags: u64, iova: u64, target: u64) {
        let [partition, level, name] = DOMAIN;
        self.call(0xb3 | 1 << 32, &[partition, level, name, flags, iova, target / PAGE_BYTES], 1 << 32);
    }

    fn unmap(&mut self, iova: u64, pages: u64) {
        let [partition, level, name] = DOMAIN;
        self.call(0xb4 | pages << 32, &[partition, level, name, iova], pages << 32);
    }

    /// Whether what edu writes to `iova` arrives at `target`. If not, a fault of edu's must have been recorded.
    fn arrives(&mut self, iova: u64, target: u64) -> bool {
        let word = match self.hardware.memory.double_word(Gpa(target)) {
            Ok(word) => word,
            Err(_) => fatal!("self-test: too little RAM"),
        };
        word.store(UNTOUCHED, core::sync::atomic::Ordering::SeqCst);
        if self.edu.store(Iova(iova)).is_err() {
            fatal!("self-test: edu does not finish")
        }
        let has_arrived = word.load(core::sync::atomic::Ordering::SeqCst) != UNTOUCHED;
        let fault = self.hardware.take_fault();
        let page = Iova(iova & !(PAGE_BYTES - 1));
        match fault {
            None if has_arrived => true,
            Some(fault) if !has_arrived && (fault.rid, fault.iova, fault.is_read) == (self.rid, page, false) => false,
            fault => fatal!("self-test: edu wrote to {iova:#x}: arrived {has_arrived}, fault {fault:x?}"),
        }
    }

    fn expect(&mut self, iova: u64, target: u64, arrives: bool) {
        if self.arrives(iova, target) != arrives {
            fatal!("self-test: edu's write to {iova:#x} must arrive at {target:#x}: {arrives}")
        }
    }

    fn identity(&mut self) {
        self.expect(TARGET, TARGET, true);
        let own = crate::memory::own_range().start;
        // In the partition's view there is nothing; only the fault can be seen.
        self.expect(own, TARGET, false);
        passed("root-identity");
    }

    /// A deposited page is out of reach of the partition's processors and of devices.
    fn deposits(&mut self) {
        let [partition, level, name] = DOMAIN;
        self.call(0xb1, &[partition, level, name, 1], 0x0b);
        self.expect(DEPOSITED, DEPOSITED, true);
        let mut words = [1; 1 + DEPOSITED_PAGES as usize];
        for (word, page) in words.iter_mut().skip(1).zip(DEPOSITED / PAGE_BYTES..) {
            *word = page;
        }
        self.call(0x48 | DEPOSITED_PAGES << 32, &words, DEPOSITED_PAGES << 32);
        self.expect(DEPOSITED, DEPOSITED, false);
        if npt::maps(DEPOSITED) || !npt::maps(DEPOSITED - PAGE_BYTES) {
            fatal!("self-test: processors reach a deposited page, or not its neighbour")
        }
        passed("root-deposits");
    }

    /// What is mapped is reached, until it is unmapped: the translation was cached by then.
    fn small_pages(&mut self) {
        let [partition, level, name] = DOMAIN;
        self.call(0xb1, &[partition, level, name, 1], 0);
        self.map(READ_WRITE, IOVA, TARGET);
        self.attach(DOMAIN);
        self.expect(IOVA, TARGET, true);
        self.expect(TARGET, TARGET, false);
        // It was in no cache, so that nothing has to be flushed.
        self.map(READ_WRITE, IOVA + PAGE_BYTES, TARGET + PAGE_BYTES);
        self.expect(IOVA + PAGE_BYTES, TARGET + PAGE_BYTES, true);
        self.unmap(IOVA, 1);
        self.expect(IOVA, TARGET, false);
        self.expect(IOVA + PAGE_BYTES, TARGET + PAGE_BYTES, true);
        // For reading only.
        self.map(1 << 32, IOVA, TARGET);
        self.expect(IOVA, TARGET, false);
        self.unmap(IOVA, 2);
        self.expect(IOVA + PAGE_BYTES, TARGET + PAGE_BYTES, false);
        passed("root-small-pages");
    }

    /// A large page can be unmapped in pieces.
    fn large_pages(&mut self) {
        const INSIDE: u64 = 3 * PAGE_BYTES;
        self.map(READ_WRITE | LARGE_PAGE, LARGE_IOVA, LARGE_TARGET);
        self.expect(LARGE_IOVA + INSIDE, LARGE_TARGET + INSIDE, true);
        self.unmap(LARGE_IOVA + INSIDE, 1);
        self.expect(LARGE_IOVA + INSIDE, LARGE_TARGET + INSIDE, false);
        self.expect(LARGE_IOVA + INSIDE + PAGE_BYTES, LARGE_TARGET + INSIDE + PAGE_BYTES, true);
        self.unmap(LARGE_IOVA, 3);
        self.unmap(LARGE_IOVA + INSIDE + PAGE_BYTES, 508);
        self.expect(LARGE_IOVA + INSIDE + PAGE_BYTES, LARGE_TARGET + INSIDE + PAGE_BYTES, false);
        passed("root-large-pages");
    }

    fn nothing_gets_through(&mut self) {
        self.map(READ_WRITE, TARGET, TARGET);
        self.expect(TARGET, TARGET, true);
        self.attach(BLOCKED);
        self.expect(TARGET, TARGET, false);
        self.attach(DOMAIN);
        self.expect(TARGET, TARGET, true);
        self.call(0xc4, &[u64::MAX, self.device()], 0);
        self.expect(TARGET, TARGET, false);
        passed("root-blocked");
    }

    /// The domain goes, and the memory is the partition's again.
    fn leave(&mut self) {
        let [partition, level, name] = DOMAIN;
        self.attach(IDENTITY);
        self.expect(TARGET, TARGET, true);
        self.call(0xc5, &[partition, level, name], 0);
        self.call(0x49 | DEPOSITED_PAGES << 32, &[1, 0], DEPOSITED_PAGES << 32);
        self.expect(DEPOSITED, DEPOSITED, true);
        if !npt::maps(DEPOSITED) {
            fatal!("self-test: processors do not reach a page that was given back")
        }
        passed("root-memory-is-given-back");
    }
}
