// SPDX-License-Identifier: GPL-2.0
//! The table: which hypercall goes wrong in which way, and what is documented to come of it
//! (Documentation/virt/hyperv/pviommu-protection.rst).

use std::fmt;

use hvcore::hypercall::codes::CallCode;
use hvcore::status::Status;
use nix::errno::Errno;

use crate::checks::statuses::{errno, may_be_about_the_number, short_name, STATUSES};
use crate::minihv::Effect;

/// What is done, around the hypercall that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// User space makes a domain: it cannot be created.
    Create,
    /// User space makes a domain: it cannot be configured.
    Configure,
    /// User space puts the device into another domain.
    Attach,
    /// User space takes the device out of its domain: it cannot be put into the blocking domain.
    Block,
    /// User space takes the device over; it can be put into the blocking domain as little as it can be detached.
    Detach,
    /// User space takes the device out of its domain, and neither works.
    Strand,
    /// User space closes the device: it cannot be put back into its default domain.
    Return,
    /// User space gives a domain up.
    Delete,
    /// User space unmaps a page: neither the list flush nor that of the whole domain works.
    Flush,
    /// The same, and the device cannot be put into the blocking domain.
    FlushDetach,
    /// User space unmaps pages: the list flush does not work.
    FlushList,
    /// A device appears: the host is asked about it.
    Property,
    /// A device appears: its default domain cannot be created.
    ProbeCreate,
    /// A device appears: its default domain cannot be configured.
    ProbeConfigure,
    /// A device appears: it cannot be put into its default domain.
    ProbeAttach,
}

impl Operation {
    /// The hypercall.
    pub fn call(self) -> CallCode {
        match self {
            Operation::Create | Operation::ProbeCreate => CallCode::CREATE_DEVICE_DOMAIN,
            Operation::Configure | Operation::ProbeConfigure => CallCode::CONFIGURE_DEVICE_DOMAIN,
            Operation::Attach
            | Operation::Block
            | Operation::Return
            | Operation::FlushDetach
            | Operation::ProbeAttach => CallCode::ATTACH_DEVICE_DOMAIN,
            Operation::Detach | Operation::Strand => CallCode::DETACH_DEVICE_DOMAIN,
            Operation::Delete => CallCode::DELETE_DEVICE_DOMAIN,
            Operation::Flush => CallCode::FLUSH_DEVICE_DOMAIN,
            Operation::FlushList => CallCode::FLUSH_DEVICE_DOMAIN_LIST,
            Operation::Property => CallCode::GET_LOGICAL_DEVICE_PROPERTY,
        }
    }

    /// How often one round of the operation makes the call.
    pub fn calls_per_round(self) -> u16 {
        match self {
            // There and back.
            Operation::Attach | Operation::Block | Operation::Return | Operation::ProbeAttach => 2,
            // Instead of the list, and before the domain is deleted.
            Operation::Flush => 2,
            // Into the domain, out of it when it cannot be flushed, back home.
            Operation::FlushDetach => 3,
            _ => 1,
        }
    }

    /// Which of the calls of a round is meant, from 1.
    pub fn call_in_round(self) -> u16 {
        match self {
            Operation::Return | Operation::FlushDetach => 2,
            _ => 1,
        }
    }

    /// Other calls that fail in every round, so that the call is made at all.
    pub fn helpers(self) -> u64 {
        match self {
            Operation::Detach | Operation::Strand | Operation::Flush => 1,
            Operation::FlushDetach => 2,
            _ => 0,
        }
    }
}

/// How many turns of its empty loop the hypervisor does for a slow call.
const SLOW: u32 = 300_000;

/// Which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occurrence {
    First,
    Second,
    /// The third or a later one, drawn when the table is made.
    Later(u16),
}

impl Occurrence {
    /// Counted from 1.
    pub fn number(self) -> u16 {
        match self {
            Occurrence::First => 1,
            Occurrence::Second => 2,
            Occurrence::Later(number) => number,
        }
    }
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub operation: Operation,
    pub status: Status,
    pub effect: Effect,
    pub occurrence: Occurrence,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:#04x} ", self.operation, self.operation.call().0)?;
        match self.effect {
            Effect::Answered => write!(f, "status {:#04x}", self.status.0)?,
            Effect::Garbage => write!(f, "status {:#04x} and garbage", self.status.0)?,
            Effect::Partial(elements) => write!(f, "status {:#04x} after {elements} element", self.status.0)?,
            Effect::Slow(_) => f.write_str("slow")?,
            Effect::DeviceGone => f.write_str("device gone")?,
            Effect::Omitted => f.write_str("omitted")?,
            Effect::Word(word) => write!(f, "result {word:#x}")?,
            Effect::Marked(bits) => write!(f, "result with {bits:#x}")?,
            Effect::Slice(elements) => write!(f, "{elements} element at a time")?,
            Effect::Resume(elements) => write!(f, "{elements} element between pauses")?,
        }
        write!(f, ", occurrence {}", self.occurrence.number())
    }
}

/// How much of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every operation, every status and every effect, but not with each other.
    Sample,
    /// All of it.
    Full,
}

/// The cells of an operation, in the order in which they are to be run.
pub fn cells(operation: Operation, extent: Extent) -> Vec<Cell> {
    let place = operation as usize;
    let cell = |status, effect, occurrence| Cell { operation, status, effect, occurrence };
    // A number that looks random and is the same each time.
    let later = |index: usize| Occurrence::Later(3 + ((place * 31 + index * 17) % 7 / 2) as u16);
    let mut cells = Vec::new();
    for (index, status) in STATUSES.into_iter().enumerate() {
        let occurrences = [Occurrence::First, Occurrence::Second, later(index)];
        match extent {
            Extent::Full => cells.extend(occurrences.map(|o| cell(status, Effect::Answered, o))),
            // Neighbours take turns, so that all together have every status.
            Extent::Sample if index / 2 == place % 6 => {
                cells.push(cell(status, Effect::Answered, occurrences[(place + index) % 3]));
            }
            Extent::Sample => {}
        }
    }
    for effect in special(operation) {
        let mut statuses = match effect {
            Effect::Partial(_) => [&[Status::SUCCESS][..], &STATUSES].concat(),
            Effect::Garbage => STATUSES.to_vec(),
            _ => vec![Status::SUCCESS],
        };
        if extent == Extent::Sample {
            statuses.truncate(1);
        }
        // A host that does not know the list flush is remembered; see below.
        let remembered = |status| operation == Operation::FlushList && status == Status::INVALID_HYPERCALL_CODE;
        statuses.retain(|&status| !remembered(status));
        cells.extend(statuses.into_iter().map(|status| cell(status, effect, Occurrence::First)));
    }
    // The call is not made again in this boot: what comes after it would test something else.
    if operation == Operation::FlushList {
        let unknown = |cell: &Cell| cell.status == Status::INVALID_HYPERCALL_CODE;
        cells.retain(|cell| !unknown(cell));
        cells.push(cell(Status::INVALID_HYPERCALL_CODE, Effect::Answered, Occurrence::First));
    }
    cells
}

/// What can go wrong with a call besides that it fails.
fn special(operation: Operation) -> Vec<Effect> {
    match operation {
        Operation::Attach | Operation::Block => vec![Effect::Slow(SLOW), Effect::DeviceGone],
        Operation::FlushList => vec![Effect::Slow(SLOW), Effect::Partial(1)],
        Operation::Property => vec![Effect::Slow(SLOW), Effect::Garbage],
        Operation::Create | Operation::Configure | Operation::Delete | Operation::Flush | Operation::Detach => {
            vec![Effect::Slow(SLOW)]
        }
        _ => Vec::new(),
    }
}

/// Where the device's DMA goes, as the hypervisor sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Through the domain that it was in before.
    Before,
    /// Through another one.
    Another,
    /// Nowhere.
    Blocked,
    /// Untranslated.
    Untranslated,
}

/// What is left for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftover {
    /// Nothing.
    Nothing,
    /// A number that is not used again.
    Number,
    /// The same, and the domain at the hypervisor.
    Domain,
}

/// What must come of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What user space is told; `None`: success, or nothing at all.
    pub errno: Option<Errno>,
    pub place: Place,
    /// What the driver says: parts of one line each.
    pub messages: Vec<String>,
    pub leftover: Leftover,
    /// Warnings of the IOMMU core about a driver that refused what it may not refuse.
    pub warnings: usize,
}

/// What attaching fails with: the core does not want to see other numbers.
fn attach_errno(status: Status) -> Errno {
    match status {
        Status::INSUFFICIENT_MEMORY => Errno::ENOMEM,
        _ => Errno::ENODEV,
    }
}

impl Expected {
    fn new(place: Place) -> Expected {
        Expected { errno: None, place, messages: Vec::new(), leftover: Leftover::Nothing, warnings: 0 }
    }

    fn says(mut self, line: impl Into<String>) -> Expected {
        self.messages.push(line.into());
        self
    }

    fn fails(self, errno: Errno) -> Expected {
        Expected { errno: Some(errno), ..self }
    }

    fn leaves(self, leftover: Leftover) -> Expected {
        Expected { leftover, ..self }
    }

    fn warns(self, warnings: usize) -> Expected {
        Expected { warnings, ..self }
    }
}

/// What a round comes to in which the call works.
pub fn undisturbed(operation: Operation) -> Expected {
    match operation {
        Operation::Attach => Expected::new(Place::Another),
        Operation::Block => Expected::new(Place::Blocked),
        // These make other calls fail in every round.
        Operation::Detach | Operation::Strand => Expected::new(Place::Blocked).says("detached instead"),
        Operation::Flush => Expected::new(Place::Another),
        Operation::FlushDetach => Expected::new(Place::Blocked).says(blocked(1, 0)).leaves(Leftover::Domain),
        _ => Expected::new(Place::Before),
    }
}

fn blocked(blocked: u32, lost: u32) -> String {
    format!("; {blocked} devices blocked, {lost} not")
}

/// What a cell comes to.
pub fn expected(cell: &Cell) -> Expected {
    let Cell { operation, status, effect, .. } = *cell;
    let code = format!(": {:#x} ", status.0);
    let already = status == Status::DEVICE_ALREADY_IN_DOMAIN;
    match effect {
        Effect::Slow(_) | Effect::Marked(_) | Effect::Slice(_) | Effect::Resume(_) | Effect::Omitted => {
            return undisturbed(operation);
        }
        Effect::DeviceGone => return Expected::new(Place::Blocked).says("the host has taken the device away"),
        Effect::Partial(_) if status == Status::SUCCESS => return undisturbed(operation),
        Effect::Answered | Effect::Garbage | Effect::Partial(_) | Effect::Word(_) => {}
    }
    match operation {
        Operation::Create | Operation::ProbeCreate if may_be_about_the_number(status) => undisturbed(operation)
            .says(format!("HVCALL_CREATE_DEVICE_DOMAIN{code}{}; domain ", short_name(status)))
            .leaves(Leftover::Number),
        Operation::Create => Expected::new(Place::Before).fails(errno(status)).says(no_domain("CREATE", &code)),
        Operation::Configure => Expected::new(Place::Before).fails(errno(status)).says(no_domain("CONFIGURE", &code)),
        // The hypervisor says that the device is in a domain already: it is taken out of that one, and attached again.
        Operation::Attach | Operation::Block | Operation::Return | Operation::ProbeAttach if already => {
            undisturbed(operation)
        }
        Operation::Attach => Expected::new(Place::Before).fails(attach_errno(status)).says(attach_failed(&code)),
        Operation::Block => Expected::new(Place::Blocked).says("detached instead"),
        Operation::Detach => {
            Expected::new(Place::Before).fails(Errno::EIO).says(format!("HVCALL_DETACH_DEVICE_DOMAIN{code}"))
        }
        // Nobody can be told any more but the core, which cannot go on.
        Operation::Strand => Expected::new(Place::Before).says(format!("HVCALL_DETACH_DEVICE_DOMAIN{code}")).warns(1),
        Operation::Return => Expected::new(Place::Blocked).says(attach_failed(&code)).warns(1),
        Operation::Delete => Expected::new(Place::Before)
            .says(format!("{code}{}; its number is retired", short_name(status)))
            .leaves(Leftover::Domain),
        Operation::Flush => {
            let line = format!("{code}{}{}", short_name(status), blocked(1, 0));
            Expected::new(Place::Blocked).says(line).leaves(Leftover::Domain)
        }
        Operation::FlushDetach => undisturbed(operation),
        Operation::FlushList if status == Status::INVALID_HYPERCALL_CODE => {
            Expected::new(Place::Before).says("whole domains are flushed from now on")
        }
        Operation::FlushList => Expected::new(Place::Before),
        Operation::Property if status == Status::INVALID_DEVICE_ID => Expected::new(Place::Untranslated),
        Operation::Property if refuses_to_answer(status) => {
            Expected::new(Place::Untranslated).says(format!("{code}{}; DMA is not translated", short_name(status)))
        }
        // The host is asked again, and answers.
        Operation::Property => undisturbed(operation),
        Operation::ProbeCreate => Expected::new(Place::Blocked).says(no_domain("CREATE", &code)),
        Operation::ProbeConfigure => Expected::new(Place::Blocked).says(no_domain("CONFIGURE", &code)),
        Operation::ProbeAttach => Expected::new(Place::Blocked).says(attach_failed(&code)).warns(1),
    }
}

/// Whether a host means that it has nothing to say about a device, not that something is wrong.
fn refuses_to_answer(status: Status) -> bool {
    matches!(
        status,
        Status::INVALID_HYPERCALL_CODE | Status::INVALID_PARAMETER | Status::ACCESS_DENIED | Status::OPERATION_DENIED
    )
}

fn no_domain(call: &str, code: &str) -> String {
    format!("IOMMU: no new domain: HVCALL_{call}_DEVICE_DOMAIN{code}")
}

fn attach_failed(code: &str) -> String {
    // Between them stands the number of the domain.
    format!("IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to domain *{code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Operation; 15] = [
        Operation::Create,
        Operation::Configure,
        Operation::Attach,
        Operation::Block,
        Operation::Detach,
        Operation::Strand,
        Operation::Return,
        Operation::Delete,
        Operation::Flush,
        Operation::FlushDetach,
        Operation::FlushList,
        Operation::Property,
        Operation::ProbeCreate,
        Operation::ProbeConfigure,
        Operation::ProbeAttach,
    ];

    #[test]
    fn the_full_table_has_every_status_three_times() {
        for operation in ALL {
            let cells = cells(operation, Extent::Full);
            for status in STATUSES {
                let count = cells.iter().filter(|c| c.status == status && c.effect == Effect::Answered).count();
                let once = operation == Operation::FlushList && status == Status::INVALID_HYPERCALL_CODE;
                assert_eq!(count, if once { 1 } else { 3 }, "{operation:?} {status}");
            }
            let later: Vec<u16> = cells.iter().map(|c| c.occurrence.number()).filter(|&n| n > 2).collect();
            assert!(later.iter().any(|&n| n != later[0]), "{operation:?} {later:?}");
        }
    }

    #[test]
    fn the_sample_has_everything_once() {
        let sample: Vec<Cell> = ALL.into_iter().flat_map(|operation| cells(operation, Extent::Sample)).collect();
        for status in STATUSES {
            assert!(sample.iter().any(|cell| cell.status == status && cell.effect == Effect::Answered), "{status}");
        }
        for operation in ALL {
            assert!(sample.iter().any(|cell| cell.operation == operation && cell.effect == Effect::Answered));
        }
    }

    #[test]
    fn a_host_without_list_flushes_comes_last() {
        for extent in [Extent::Sample, Extent::Full] {
            let cells = cells(Operation::FlushList, extent);
            let at = cells.iter().position(|cell| cell.status == Status::INVALID_HYPERCALL_CODE);
            assert_eq!(at, Some(cells.len() - 1));
        }
    }
}
