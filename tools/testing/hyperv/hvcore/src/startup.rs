// SPDX-License-Identifier: GPL-2.0
//! How INIT and start-up IPIs change the state of a virtual processor. The state is one word, so that it can be changed in
//! one step while other processors look at it.

/// States; those with a start-up page carry it in bits 7:0.
pub mod state {
    /// Waits for a start-up IPI.
    pub const WAITING: u32 = 0;
    /// Was told to start.
    pub const STARTING: u32 = 0x100;
    /// Runs the guest.
    pub const RUNNING: u32 = 0x200;
    /// Was told to stop, still runs.
    pub const STOPPING: u32 = 0x300;
    /// Was told to stop and to start again, still runs.
    pub const RESTARTING: u32 = 0x400;
    /// All but the page.
    pub const KIND: u32 = !0xff;
}

/// What a processor that does not run the guest does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It starts at this page.
    Start(u8),
    /// It becomes one that waits, if nothing changed meanwhile, and looks again.
    Settle,
    /// It sleeps.
    Sleep,
}

/// Somebody sent it INIT; `None` when that changes nothing.
pub const fn on_init(now: u32) -> Option<u32> {
    match now {
        state::RUNNING => Some(state::STOPPING),
        _ => None,
    }
}

/// Somebody sent it a start-up IPI for `page << 12`; `None` when that changes nothing: unless an INIT came before it.
pub const fn on_startup(now: u32, page: u8) -> Option<u32> {
    match now {
        state::WAITING => Some(state::STARTING | page as u32),
        state::STOPPING => Some(state::RESTARTING | page as u32),
        _ => None,
    }
}

/// It has stopped; `None` when it is to start again, or does not stop.
pub const fn on_settle(now: u32) -> Option<u32> {
    match now {
        state::STOPPING => Some(state::WAITING),
        _ => None,
    }
}

/// Whether a processor that runs the guest has to stop.
pub const fn must_stop(now: u32) -> bool {
    matches!(now & state::KIND, state::STOPPING | state::RESTARTING)
}

/// What a processor that does not run the guest does.
pub const fn next(now: u32) -> Next {
    match now & state::KIND {
        state::STARTING | state::RESTARTING => Next::Start(now as u8),
        state::STOPPING => Next::Settle,
        _ => Next::Sleep,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_starts() {
        let starting = on_startup(state::WAITING, 0x9a).unwrap();
        assert_eq!((next(starting), must_stop(starting)), (Next::Start(0x9a), false));
        // Linux sends a second one to be sure.
        assert_eq!(on_startup(starting, 0x9a), None);
        assert_eq!(on_startup(state::RUNNING, 0x9a), None);
        assert_eq!(next(state::WAITING), Next::Sleep);
    }

    #[test]
    fn a_running_processor_stops() {
        let stopping = on_init(state::RUNNING).unwrap();
        assert!(must_stop(stopping) && !must_stop(state::RUNNING));
        assert_eq!(next(stopping), Next::Settle);
        assert_eq!(on_settle(stopping), Some(state::WAITING));
        for now in [state::WAITING, on_startup(state::WAITING, 1).unwrap(), stopping] {
            assert_eq!(on_init(now), None, "{now:#x}");
        }
    }

    /// The start-up IPI may come before the processor has noticed the INIT.
    #[test]
    fn a_processor_is_told_to_start_while_it_stops() {
        for page in [0, 1, 0xff] {
            let restarting = on_startup(state::STOPPING, page).unwrap();
            assert!(must_stop(restarting));
            assert_eq!(on_settle(restarting), None, "the start is not lost");
            assert_eq!(next(restarting), Next::Start(page));
            assert_eq!(on_startup(restarting, 7), None);
        }
    }
}
