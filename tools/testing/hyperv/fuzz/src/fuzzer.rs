// SPDX-License-Identifier: GPL-2.0
//! The loop: mutate an input, run it, keep it when it reached something new.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{panic, process, thread};

use fuzz_targets::Target;
use hvcore::hostile::random::{Random, Seed};

use crate::{corpus, coverage, mutate};

/// What a child process ends with when an input failed.
pub const FAILED: i32 = 70;
/// An input that takes so long will not end.
const HANG: Duration = Duration::from_secs(30);

/// The input at hand, for whoever finds out that it failed.
static CURRENT: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// Inputs run so far.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Has a failure leave its input at `path`, and ends the process then.
pub fn report_failures(path: PathBuf) {
    let hook = panic::take_hook();
    let on_hang = path.clone();
    panic::set_hook(Box::new(move |what| {
        hook(what);
        fail(&path);
    }));
    thread::spawn(move || {
        let mut last = u64::MAX;
        loop {
            thread::sleep(HANG);
            let runs = RUNS.load(Relaxed);
            if runs == last {
                eprintln!("an input does not end");
                fail(&on_hang);
            }
            last = runs;
        }
    });
}

fn fail(path: &Path) -> ! {
    let input = CURRENT.try_lock().map_or_else(|_| Vec::new(), |input| input.clone());
    if let Err(error) = corpus::write(path, &[input]) {
        eprintln!("{}: {error}", path.display());
    }
    process::exit(FAILED);
}

/// Runs one input.
pub fn run_one(target: Target, input: &[u8]) {
    if let Ok(mut current) = CURRENT.lock() {
        current.clear();
        current.extend_from_slice(input);
    }
    RUNS.fetch_add(1, Relaxed);
    (target.run)(input);
}

/// What has been reached, and by which inputs.
pub struct Fuzzer {
    target: Target,
    random: Random,
    /// For each place, how often it was passed in one run, as bits.
    seen: Vec<u8>,
    inputs: Vec<Vec<u8>>,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Inputs run.
    pub runs: u64,
    /// Places reached.
    pub reached: usize,
    /// Inputs kept.
    pub kept: usize,
}

impl Fuzzer {
    /// Nothing reached yet.
    pub fn new(target: Target, seed: Seed) -> Fuzzer {
        Fuzzer { target, random: Random::new(seed), seen: vec![0; coverage::places()], inputs: Vec::new() }
    }

    /// Runs an input; keeps it when it reaches something new.
    fn offer(&mut self, input: Vec<u8>) {
        coverage::reset();
        run_one(self.target, &input);
        let mut is_new = false;
        coverage::passed(|place, bit| {
            is_new |= self.seen[place] & bit == 0;
            self.seen[place] |= bit;
        });
        if is_new {
            self.inputs.push(input);
        }
    }

    /// Takes inputs that were found before, shortest first, so that few are kept.
    pub fn take(&mut self, mut inputs: Vec<Vec<u8>>) {
        inputs.sort_by_key(Vec::len);
        self.offer(Vec::new());
        for input in inputs {
            self.offer(input);
        }
    }

    /// Fuzzes for so long.
    pub fn run(&mut self, time: Duration) -> Summary {
        let start = Instant::now();
        while start.elapsed() < time {
            // Asking for the time costs as much as a short run.
            for _ in 0..64 {
                let input = self.next_input();
                self.offer(input);
            }
        }
        let reached = self.seen.iter().filter(|&&bits| bits != 0).count();
        Summary { runs: RUNS.load(Relaxed), reached, kept: self.inputs.len() }
    }

    fn next_input(&mut self) -> Vec<u8> {
        let count = self.inputs.len() as u64;
        // What was found last has been tried least.
        let choose = |random: &mut Random| match random.happens(1, 3) {
            true => count.saturating_sub(1 + random.below(count.min(16))),
            false => random.below(count),
        };
        let (base, other) = (choose(&mut self.random), choose(&mut self.random));
        let mut input = self.inputs.get(base as usize).cloned().unwrap_or_default();
        if self.random.happens(1, 8) {
            // So that the comparisons at hand are those of this very input.
            run_one(self.target, &input);
        }
        let other = self.inputs.get(other as usize).map_or(&[][..], Vec::as_slice);
        mutate::mutate(&mut self.random, &mut input, other, self.target.longest);
        input
    }

    /// Few inputs that reach all that was reached, as long as they have at most `bytes` bytes together.
    pub fn minimized(self, bytes: usize) -> Vec<Vec<u8>> {
        let mut fresh = Fuzzer { seen: vec![0; self.seen.len()], inputs: Vec::new(), ..self };
        fresh.take(self.inputs);
        let mut total = 0;
        fresh.inputs.retain(|input| {
            total += input.len();
            total <= bytes
        });
        fresh.inputs
    }
}
