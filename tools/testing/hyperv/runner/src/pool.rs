// SPDX-License-Identifier: GPL-2.0
//! Several guests at a time.

use std::collections::VecDeque;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{bail, Result};

/// Most guests at the same time where nobody chose.
const USUAL: usize = 3;

/// How many guests run at the same time: what was `chosen`, or what suits this machine. A guest keeps a processor busy for
/// two thirds of the time, and waits for its devices in the rest.
pub fn width(chosen: Option<usize>) -> usize {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    chosen.unwrap_or_else(|| USUAL.min(processors.saturating_mul(3) / 2))
}

/// Does `work` with every item, `parallel` of them at a time. The thread that starts a guest has to wait for it, too: a
/// guest ends with its thread. After an error no more work is begun.
///
/// # Errors
/// The first error of `work`, or that it panicked.
pub fn each<T: Send>(
    items: impl IntoIterator<Item = T>,
    parallel: usize,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let waiting: Mutex<VecDeque<T>> = Mutex::new(items.into_iter().collect());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let worker = || -> Result<()> {
        while let Some(item) = next() {
            if let Err(error) = work(item) {
                waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Err(error);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..parallel.max(1)).map(|_| scope.spawn(worker)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| bail!("a boot panicked")));
        // All have to end before the first error is told.
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::Barrier;

    #[test]
    fn every_item_has_its_turn() {
        let sum = AtomicUsize::new(0);
        for parallel in [0, 1, 3, 20] {
            sum.store(0, Ordering::SeqCst);
            each(1..=10, parallel, |i| {
                sum.fetch_add(i, Ordering::SeqCst);
                Ok(())
            })
            .unwrap();
            assert_eq!(sum.load(Ordering::SeqCst), 55);
        }
    }

    #[test]
    fn as_many_run_at_the_same_time_as_asked_for() {
        let together = Barrier::new(3);
        each(0..9, 3, |_| {
            together.wait();
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn nothing_is_begun_after_an_error() {
        let begun = AtomicUsize::new(0);
        let result = each(0..10, 1, |i| {
            begun.fetch_add(1, Ordering::SeqCst);
            if i == 3 {
                bail!("no {i}")
            }
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "no 3");
        assert_eq!(begun.load(Ordering::SeqCst), 4);
    }

    #[test]
    fn the_choice_counts() {
        assert_eq!(width(Some(7)), 7);
        assert!((1..=USUAL).contains(&width(None)));
    }
}
