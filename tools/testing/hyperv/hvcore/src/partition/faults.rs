// SPDX-License-Identifier: GPL-2.0
//! DMA faults, from the platform to whoever asks.

use alloc::collections::VecDeque;

use crate::counters::Counters;
use crate::platform::{DmaFault, Platform};

/// Faults that wait for the test; later ones are only counted.
const WAITING_MAX: usize = 256;
/// Most faults taken from the platform at once: a device can fault faster than they are taken.
const COLLECT_MAX: usize = 256;

/// Faults collected and not looked at yet.
pub(super) struct FaultLog {
    waiting: VecDeque<DmaFault>,
    current: Option<DmaFault>,
}

impl FaultLog {
    pub(super) const fn new() -> Self {
        FaultLog { waiting: VecDeque::new(), current: None }
    }

    /// Takes what the platform has; `each` sees every fault.
    pub(super) fn collect<P: Platform>(
        &mut self,
        platform: &mut P,
        counters: &mut Counters,
        each: impl Fn(&mut P, DmaFault),
    ) {
        for _ in 0..COLLECT_MAX {
            let Some(fault) = platform.take_fault() else { return };
            Counters::add(&mut counters.dma_faults, 1);
            each(platform, fault);
            if self.waiting.len() < WAITING_MAX {
                self.waiting.push_back(fault);
            }
        }
    }

    /// Moves on to the next fault.
    pub(super) fn advance(&mut self) -> Option<DmaFault> {
        self.current = self.waiting.pop_front();
        self.current
    }

    /// The fault moved on to last.
    pub(super) fn current(&self) -> Option<DmaFault> {
        self.current
    }
}
