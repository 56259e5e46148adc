// SPDX-License-Identifier: GPL-2.0
//! What the driver knew, as text: as its files in debugfs say it, and all that is mapped besides.

use std::fmt::Write as _;

use crate::guide::Capabilities;
use crate::state::{Domain, DomainState, Doubt, Place, Requester, Run};

/// The file `capabilities`.
pub fn capabilities(what: &Capabilities) -> String {
    format!(
        "reported flags: {:#x}\nreported iova width: {}\nreported page sizes: {:#x}\nused aperture: 0x0-{:#x}\n\
         used page sizes: {:#x}\n",
        what.reported_flags, what.reported_width, what.reported_page_sizes, what.used_last, what.used_page_sizes
    )
}

fn lines<T>(heading: &str, all: &[T], line: impl Fn(&T) -> String) -> String {
    let mut text = format!("{heading}\n");
    for one in all {
        // It cannot fail: the text is in memory.
        let _ = writeln!(text, "{}", line(one));
    }
    text
}

/// The file `domains`.
pub fn domains(domains: &[Domain]) -> String {
    lines("id state pages stale leaves tables maps unmaps deposits failures", domains, |domain| {
        let state = match domain.state {
            DomainState::Open => "open",
            DomainState::Closed => "closed",
            DomainState::Retired => "retired",
        };
        format!(
            "{} {state} {} {} {} {} {} {} {} {}",
            domain.name,
            domain.present,
            domain.stale,
            domain.leaves,
            domain.tables,
            domain.maps,
            domain.unmaps,
            domain.deposits,
            domain.failures
        )
    })
}

/// The file `requesters`.
pub fn requesters(requesters: &[Requester]) -> String {
    lines("id users place doubt", requesters, |requester| {
        let place = match requester.place {
            Place::Initial => "initial".to_owned(),
            Place::In(name) => name.to_string(),
            Place::Detached => "detached".to_owned(),
            Place::Gone => "gone".to_owned(),
        };
        let doubt = match requester.doubt {
            Doubt::None => "-".to_owned(),
            Doubt::In(name) => name.to_string(),
            Doubt::Anywhere => "any".to_owned(),
        };
        format!("{:#x} {} {place} {doubt}", requester.id, requester.users)
    })
}

/// What is mapped, which no file in debugfs tells.
pub fn mappings(domains: &[Domain]) -> String {
    let runs: Vec<(&Domain, &Run)> = domains.iter().flat_map(|d| d.runs.iter().map(move |run| (d, run))).collect();
    lines("id first last memory stale", &runs, |(domain, run)| {
        let last = run.iova.wrapping_add((run.pages << 12).wrapping_sub(1));
        let memory = run.memory.map_or("-".to_owned(), |memory| format!("{memory:#x}"));
        let stale = if run.stale { "stale" } else { "-" };
        format!("{} {:#x} {last:#x} {memory} {stale}", domain.name, run.iova)
    })
}
