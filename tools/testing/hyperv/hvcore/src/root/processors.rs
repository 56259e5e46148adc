// SPDX-License-Identifier: GPL-2.0
//! Logical processors, which the root partition starts, and its own virtual processors, which it creates on them. The
//! first of each is there from the beginning.

use alloc::vec;
use alloc::vec::Vec;

use crate::ids::{LpIndex, VpIndex};
use crate::request::list::ApicId;
use crate::request::refusal::Refusal;
use crate::status::Status;

/// A processor of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Processor {
    /// Nobody has started it.
    Stopped,
    /// It belongs to the hypervisor.
    Started,
    /// The virtual processor of the same number runs on it.
    HasVp,
}

/// How far the partition is with starting them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It starts logical processors.
    Starting,
    /// It said that it has started all.
    Started,
}

/// All processors. They outlive the partition's kernel.
pub struct Processors {
    /// By number.
    all: Vec<Processor>,
    phase: Phase,
}

impl Processors {
    /// So many processors, of which the partition runs on the first one.
    pub fn new(count: u32) -> Processors {
        let mut all = vec![Processor::Stopped; count.max(1) as usize];
        all[0] = Processor::HasVp;
        Processors { all, phase: Phase::Starting }
    }

    fn get(&self, lp: LpIndex) -> Result<Processor, Refusal> {
        let found = self.all.get(lp.0 as usize).copied();
        found.ok_or(Refusal::violation(Status::INVALID_LP_INDEX, "no such processor in the machine"))
    }

    fn set(&mut self, number: u32, processor: Processor) {
        if let Some(entry) = self.all.get_mut(number as usize) {
            *entry = processor;
        }
    }

    /// Checks that a logical processor has been started. Linux asks to find out.
    ///
    /// # Errors
    /// [`Status::INVALID_LP_INDEX`].
    pub fn check_started(&self, lp: LpIndex) -> Result<(), Refusal> {
        match self.all.get(lp.0 as usize) {
            Some(Processor::Started | Processor::HasVp) => Ok(()),
            Some(Processor::Stopped) | None => Err(Status::INVALID_LP_INDEX.into()),
        }
    }

    /// Starts a logical processor, which has this local APIC.
    ///
    /// # Errors
    /// A violation: another processor's APIC, a processor that has been started, or after all have been.
    pub fn add(&mut self, lp: LpIndex, apic: ApicId) -> Result<(), Refusal> {
        let now = self.get(lp)?;
        if apic.0 != lp.0 {
            return Err(Refusal::parameter("the processor has another local APIC"));
        }
        match (self.phase, now) {
            (Phase::Started, _) => {
                Err(Refusal::violation(Status::INVALID_PARTITION_STATE, "a processor after all were started"))
            }
            (Phase::Starting, Processor::Started | Processor::HasVp) => {
                Err(Refusal::violation(Status::OBJECT_IN_USE, "a processor that has been started"))
            }
            (Phase::Starting, Processor::Stopped) => {
                self.set(lp.0, Processor::Started);
                Ok(())
            }
        }
    }

    /// The partition has started all processors that it wants.
    pub fn all_started(&mut self) {
        self.phase = Phase::Started;
    }

    /// Creates a virtual processor of the root partition, on a logical one.
    ///
    /// # Errors
    /// A violation: before all processors were started, on one that was not, on one of another number, or twice.
    pub fn create(&mut self, vp: VpIndex, lp: LpIndex) -> Result<(), Refusal> {
        let now = self.get(lp)?;
        if self.phase == Phase::Starting {
            return Err(Refusal::violation(
                Status::INVALID_PARTITION_STATE,
                "a virtual processor before all processors were started",
            ));
        }
        if vp.0 != lp.0 {
            return Err(Refusal::violation(Status::INVALID_VP_INDEX, "a virtual processor on one of another number"));
        }
        match now {
            Processor::Stopped => {
                Err(Refusal::violation(Status::INVALID_LP_INDEX, "a virtual processor on one that was not started"))
            }
            Processor::HasVp => Err(Refusal::violation(Status::OBJECT_IN_USE, "a virtual processor that exists")),
            Processor::Started => {
                self.set(vp.0, Processor::HasVp);
                Ok(())
            }
        }
    }

    /// Whether the virtual processor has been created.
    pub fn exists(&self, vp: VpIndex) -> bool {
        self.all.get(vp.0 as usize) == Some(&Processor::HasVp)
    }

    /// The virtual processor with this local APIC.
    ///
    /// # Errors
    /// [`Status::INVALID_PARAMETER`] when there is none.
    pub fn with_apic(&self, ApicId(id): ApicId) -> Result<VpIndex, Refusal> {
        let vp = Some(VpIndex(id)).filter(|vp| self.exists(*vp));
        vp.ok_or(Refusal::from(Status::INVALID_PARAMETER))
    }

    /// How many logical processors have been started.
    pub fn started(&self) -> u64 {
        self.all.iter().filter(|processor| **processor != Processor::Stopped).count() as u64
    }

    /// How many virtual processors have been created.
    pub fn created(&self) -> u64 {
        self.all.iter().filter(|processor| **processor == Processor::HasVp).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(result: Result<(), Refusal>) -> u16 {
        result.err().map_or(0, |refusal| refusal.status.0)
    }

    /// In the order in which Linux does it.
    #[test]
    fn the_partition_starts_its_processors() {
        let mut processors = Processors::new(3);
        assert_eq!((processors.started(), processors.created()), (1, 1));
        assert_eq!(processors.check_started(LpIndex(0)), Ok(()));
        assert_eq!(processors.check_started(LpIndex(1)), Err(Status::INVALID_LP_INDEX.into()));
        for number in 1..3 {
            assert_eq!(processors.add(LpIndex(number), ApicId(number)), Ok(()));
            assert!(!processors.exists(VpIndex(number)));
        }
        processors.all_started();
        for number in 1..3 {
            assert_eq!(processors.create(VpIndex(number), LpIndex(number)), Ok(()));
            assert!(processors.exists(VpIndex(number)));
        }
        assert_eq!((processors.started(), processors.created()), (3, 3));
        // The next kernel finds them.
        assert_eq!(processors.check_started(LpIndex(2)), Ok(()));
        assert_eq!(processors.with_apic(ApicId(2)), Ok(VpIndex(2)));
        assert_eq!(processors.with_apic(ApicId(3)), Err(Status::INVALID_PARAMETER.into()));
        assert_eq!(processors.with_apic(ApicId(u32::MAX)), Err(Status::INVALID_PARAMETER.into()));
    }

    #[test]
    fn whatever_else_is_a_violation() {
        let mut processors = Processors::new(3);
        assert_eq!(status(processors.add(LpIndex(3), ApicId(3))), 0x41);
        assert_eq!(status(processors.add(LpIndex(1), ApicId(2))), 5);
        assert_eq!(status(processors.add(LpIndex(0), ApicId(0))), 0x19);
        assert_eq!(status(processors.create(VpIndex(1), LpIndex(1))), 7);
        assert_eq!(processors.add(LpIndex(1), ApicId(1)), Ok(()));
        assert_eq!(status(processors.add(LpIndex(1), ApicId(1))), 0x19);
        processors.all_started();
        assert_eq!(status(processors.add(LpIndex(2), ApicId(2))), 7);
        assert_eq!(status(processors.create(VpIndex(2), LpIndex(2))), 0x41);
        assert_eq!(status(processors.create(VpIndex(2), LpIndex(1))), 0x0e);
        assert_eq!(status(processors.create(VpIndex(0), LpIndex(0))), 0x19);
        assert_eq!(status(processors.create(VpIndex(9), LpIndex(9))), 0x41);
        assert!(processors.create(VpIndex(9), LpIndex(9)).unwrap_err().violation.is_some());
    }
}
