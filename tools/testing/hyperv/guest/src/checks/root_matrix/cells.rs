// SPDX-License-Identifier: GPL-2.0
//! The table: which call of the root partition's IOMMU goes wrong in which way, and what a program notices of it
//! (Documentation/virt/hyperv/host-iommu.rst).

use std::fmt;
use std::ops::RangeInclusive;

use hvcore::hypercall::codes::CallCode;
use hvcore::status::Status;
use nix::errno::Errno;

use crate::checks::statuses::{errno, short_name, STATUSES};
use crate::minihv::{Effect, Injection};

/// How often in a row the driver gives memory that is of no use. The call after that is the last.
const DEPOSITS_MAX: u16 = 16;
/// How many numbers the driver tries for a domain, where a refusal may be about the number.
const NUMBERS_MAX: u16 = 8;
/// What a call fails with that is only made to fail so that another one is made.
const REFUSED: Status = Status::OPERATION_FAILED;

/// A call that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// The program's domain is created. Occurrences are tries in a row.
    Create,
    /// The device is moved. Occurrences: it is blocked before the program has it, put into the program's domain, blocked
    /// when the program has closed it, and put back into the kernel's domain.
    Attach,
    /// The device is detached, as it could not be put into the blocking domain.
    Detach,
    /// The occurrence's page is mapped.
    Map,
    /// The occurrence's page is unmapped.
    Unmap,
    /// The program's domain is deleted.
    Delete,
    /// Memory is given for one of these calls, which asks for it as often as the occurrence says. The last time fails.
    Deposit(Asking),
}

/// A call that asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    Create,
    Attach,
    Map,
    Unmap,
}

impl Asking {
    const ALL: [Asking; 4] = [Asking::Create, Asking::Attach, Asking::Map, Asking::Unmap];

    fn code(self) -> CallCode {
        match self {
            Asking::Create => CallCode::CREATE_DEVICE_DOMAIN,
            Asking::Attach => CallCode::ATTACH_DEVICE_DOMAIN,
            Asking::Map => CallCode::MAP_DEVICE_GPA_PAGES,
            Asking::Unmap => CallCode::UNMAP_DEVICE_GPA_PAGES,
        }
    }

    /// The first of its calls in a program that asks, from 1.
    fn first(self) -> u16 {
        match self {
            Asking::Attach => 2,
            Asking::Create | Asking::Map | Asking::Unmap => 1,
        }
    }
}

impl Call {
    fn code(self) -> CallCode {
        match self {
            Call::Create => CallCode::CREATE_DEVICE_DOMAIN,
            Call::Attach => CallCode::ATTACH_DEVICE_DOMAIN,
            Call::Detach => CallCode::DETACH_DEVICE_DOMAIN,
            Call::Map => CallCode::MAP_DEVICE_GPA_PAGES,
            Call::Unmap => CallCode::UNMAP_DEVICE_GPA_PAGES,
            Call::Delete => CallCode::DELETE_DEVICE_DOMAIN,
            Call::Deposit(_) => CallCode::DEPOSIT_MEMORY,
        }
    }
}

/// What a status means to the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Memory is wanted.
    Memory,
    /// The same call would fail again, whatever its number is.
    Hopeless,
    /// The call may still be carried out.
    Late,
    /// There is no such device.
    Gone,
    /// The device is there already.
    Already,
    /// Nothing of these.
    Refused,
}

/// The statuses of the table: those of every table, and those that only the calls of this one know.
pub fn statuses() -> Vec<Status> {
    let own = [
        Status::INVALID_PARTITION_ID,
        Status::KEY_ALREADY_EXISTS,
        Status::INSUFFICIENT_ROOT_MEMORY,
        Status::INSUFFICIENT_CONTIGUOUS_MEMORY,
        Status::CALL_PENDING,
    ];
    [&STATUSES[..], &own].concat()
}

fn class(status: Status) -> Class {
    match status {
        Status::INSUFFICIENT_MEMORY | Status::INSUFFICIENT_ROOT_MEMORY | Status::INSUFFICIENT_CONTIGUOUS_MEMORY => {
            Class::Memory
        }
        Status::INVALID_HYPERCALL_CODE
        | Status::ACCESS_DENIED
        | Status::OPERATION_DENIED
        | Status::INVALID_PARTITION_ID => Class::Hopeless,
        Status::TIME_OUT | Status::CALL_PENDING => Class::Late,
        Status::INVALID_DEVICE_ID => Class::Gone,
        Status::DEVICE_ALREADY_IN_DOMAIN => Class::Already,
        _ => Class::Refused,
    }
}

/// What a program notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notices {
    /// Nothing.
    Nothing,
    /// It cannot have the device.
    NoDevice,
    /// It cannot map; once more, it can.
    NoMapping,
    /// Its device reaches nothing any more.
    Blocked,
}

/// What the driver says, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    /// That a call about a domain has failed.
    Failure,
    /// That the device could not be put into a domain.
    NotPut,
    /// The same, as memory could not be given.
    NotPutForMemory,
    /// That the device was kept off the bus.
    OffTheBus,
    /// That a domain is closed.
    Closed(Asking),
    /// The same, as memory could not be given.
    ClosedForMemory,
}

/// The errno that a program gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// The status's.
    Status,
    /// That of the failure which comes first.
    Refused,
}

/// Who warns of what a driver should not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warns {
    Nobody,
    /// iommufd, which unmaps once; type 1 tries again.
    Iommufd,
}

/// A rule: of the calls that fit, the first one counts.
struct Rule {
    call: Call,
    occurrences: RangeInclusive<u16>,
    /// How often in a row.
    times: RangeInclusive<u16>,
    classes: &'static [Class],
    notices: Notices,
    told: Told,
    says: Says,
    warns: Warns,
}

const fn quiet(
    call: Call,
    occurrences: RangeInclusive<u16>,
    times: RangeInclusive<u16>,
    classes: &'static [Class],
) -> Rule {
    let (notices, told, says, warns) = (Notices::Nothing, Told::Nothing, Says::Nothing, Warns::Nobody);
    Rule { call, occurrences, times, classes, notices, told, says, warns }
}

impl Rule {
    const fn noticed(self, notices: Notices, told: Told) -> Rule {
        Rule { notices, told, ..self }
    }

    const fn said(self, says: Says) -> Rule {
        Rule { says, ..self }
    }

    const fn warned(self, warns: Warns) -> Rule {
        Rule { warns, ..self }
    }

    fn fits(&self, cell: &Cell) -> bool {
        self.call == cell.call
            && self.occurrences.contains(&cell.occurrence)
            && self.times.contains(&cell.times)
            && self.classes.contains(&class(cell.status))
    }
}

const ANY: RangeInclusive<u16> = 1..=u16::MAX;
const EVERY: &[Class] = &[Class::Memory, Class::Hopeless, Class::Late, Class::Gone, Class::Already, Class::Refused];
const MEMORY: &[Class] = &[Class::Memory];
const LATE: &[Class] = &[Class::Late];
const ALREADY: &[Class] = &[Class::Already];
const HOPELESS: &[Class] = &[Class::Hopeless];
const GONE: &[Class] = &[Class::Gone];

static RULES: &[Rule] = &[
    // Memory is given as often as it may help.
    quiet(Call::Create, ANY, 1..=DEPOSITS_MAX, MEMORY),
    quiet(Call::Attach, 2..=2, 1..=DEPOSITS_MAX, MEMORY),
    quiet(Call::Attach, 4..=4, 1..=DEPOSITS_MAX, MEMORY),
    quiet(Call::Map, ANY, 1..=DEPOSITS_MAX, MEMORY),
    quiet(Call::Unmap, ANY, 1..=DEPOSITS_MAX, MEMORY),
    // Another number is tried, which may help for some statuses.
    quiet(Call::Create, ANY, ANY, HOPELESS).noticed(Notices::NoDevice, Told::Status).said(Says::Failure),
    quiet(Call::Create, ANY, NUMBERS_MAX..=u16::MAX, EVERY)
        .noticed(Notices::NoDevice, Told::Status)
        .said(Says::Failure),
    quiet(Call::Create, ANY, ANY, EVERY),
    // What cannot be put into the blocking domain is detached.
    quiet(Call::Attach, 1..=1, ANY, EVERY),
    // The device is taken out of wherever it is, and attached again.
    quiet(Call::Attach, 2..=2, 1..=1, ALREADY),
    quiet(Call::Attach, 2..=2, ANY, EVERY).noticed(Notices::NoDevice, Told::Status).said(Says::NotPut),
    quiet(Call::Attach, 3..=3, ANY, EVERY),
    quiet(Call::Attach, 4..=4, 1..=1, ALREADY),
    // The device stays blocked, until the next program has it.
    quiet(Call::Attach, 4..=4, ANY, EVERY).said(Says::NotPut),
    quiet(Call::Detach, ANY, ANY, GONE),
    quiet(Call::Detach, ANY, ANY, EVERY).noticed(Notices::NoDevice, Told::Refused).said(Says::OffTheBus),
    // More may have been mapped than was said.
    quiet(Call::Map, ANY, ANY, LATE).noticed(Notices::Blocked, Told::Status).said(Says::Closed(Asking::Map)),
    quiet(Call::Map, ANY, ANY, EVERY).noticed(Notices::NoMapping, Told::Status),
    // Type 1 tries again, in vain for the domain.
    quiet(Call::Unmap, ANY, ANY, EVERY)
        .noticed(Notices::Blocked, Told::Nothing)
        .said(Says::Closed(Asking::Unmap))
        .warned(Warns::Iommufd),
    // The domain is left behind, without the program.
    quiet(Call::Delete, ANY, ANY, EVERY).said(Says::Failure),
    quiet(Call::Deposit(Asking::Create), ANY, ANY, EVERY).noticed(Notices::NoDevice, Told::Status),
    quiet(Call::Deposit(Asking::Attach), ANY, ANY, EVERY)
        .noticed(Notices::NoDevice, Told::Status)
        .said(Says::NotPutForMemory),
    quiet(Call::Deposit(Asking::Map), ANY, ANY, EVERY).noticed(Notices::NoMapping, Told::Status),
    quiet(Call::Deposit(Asking::Unmap), ANY, ANY, EVERY)
        .noticed(Notices::Blocked, Told::Nothing)
        .said(Says::ClosedForMemory)
        .warned(Warns::Iommufd),
];

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub call: Call,
    /// Which of the calls of one program, from 1.
    pub occurrence: u16,
    /// How often in a row.
    pub times: u16,
    pub status: Status,
    pub effect: Effect,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cell { call, occurrence, times, status, effect } = self;
        write!(f, "{call:?} {:#04x}, occurrence {occurrence}, {times} times: ", call.code().0)?;
        match effect {
            Effect::Partial(elements) => write!(f, "status {:#04x} after {elements} element", status.0),
            Effect::Slice(elements) => write!(f, "{elements} element at a time"),
            _ => write!(f, "status {:#04x}", status.0),
        }
    }
}

/// What must come of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub notices: Notices,
    /// What the program is told.
    pub errno: Option<Errno>,
    /// What the driver says: parts of one line each.
    pub messages: Vec<String>,
    pub warns: Warns,
    /// How many answers are wrong; `None`: that depends on how the memory lies.
    pub answers: Option<u64>,
}

impl Cell {
    fn new(call: Call, occurrence: u16, times: u16, status: Status) -> Cell {
        Cell { call, occurrence, times, status, effect: Effect::Answered }
    }

    /// What the hypervisor is to do.
    pub fn injections(&self) -> Vec<(Injection, Effect)> {
        let Cell { call, occurrence, times, status, effect } = *self;
        let answered = |injection| (injection, Effect::Answered);
        let own = |first, times| Injection { call: call.code(), status, first, times };
        match call {
            Call::Deposit(asking) => vec![
                answered(Injection {
                    call: asking.code(),
                    status: Status::INSUFFICIENT_MEMORY,
                    first: asking.first(),
                    times: Some(occurrence),
                }),
                answered(own(occurrence, Some(1))),
            ],
            Call::Detach => vec![
                answered(Injection { status: REFUSED, ..Injection::next(CallCode::ATTACH_DEVICE_DOMAIN) }),
                answered(own(occurrence, Some(times))),
            ],
            _ if matches!(effect, Effect::Slice(_)) => vec![(own(occurrence, None), effect)],
            _ => vec![(own(occurrence, Some(times)), effect)],
        }
    }

    fn rule(&self) -> &'static Rule {
        RULES.iter().find(|rule| rule.fits(self)).unwrap_or(&RULES[0])
    }

    /// Who warns.
    pub fn warns(&self) -> Warns {
        self.expected().warns
    }

    /// Whether the domain is left behind at the hypervisor for ever.
    pub fn leaves_domain(&self) -> bool {
        self.call == Call::Delete
    }

    /// What must come of it.
    pub fn expected(&self) -> Expected {
        let Cell { call, occurrence, times, status, effect } = *self;
        if matches!(effect, Effect::Slice(_)) {
            let (notices, messages) = (Notices::Nothing, Vec::new());
            return Expected { notices, errno: None, messages, warns: Warns::Nobody, answers: None };
        }
        let rule = self.rule();
        let code = format!(": {:#x} {}", status.0, short_name(status));
        let failed = match call {
            Call::Create => format!("HVCALL_CREATE_DEVICE_DOMAIN of *{code}"),
            _ => format!("HVCALL_DELETE_DEVICE_DOMAIN of *{code}"),
        };
        let of_range = |asking| match asking {
            Asking::Map => "HVCALL_MAP_DEVICE_GPA_PAGES",
            _ => "HVCALL_UNMAP_DEVICE_GPA_PAGES",
        };
        let not_put = "IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to ";
        let messages = match rule.says {
            Says::Nothing => Vec::new(),
            Says::Failure => vec![failed],
            Says::NotPut => vec![format!("{not_put}*{code}")],
            Says::NotPutForMemory => {
                vec![format!("{not_put}*: no memory for the hypervisor: errno -{}", errno(status) as i32)]
            }
            Says::OffTheBus => vec![format!(
                "{not_put}blocking: {:#x} {}; not blocked, bus mastering is off",
                REFUSED.0,
                short_name(REFUSED)
            )],
            Says::Closed(asking) => vec![format!("domain *: {}{code}; 1 requester ids are blocked", of_range(asking))],
            Says::ClosedForMemory => {
                vec![format!("domain *: {}: deposit{code}; 1 requester ids are blocked", of_range(Asking::Unmap))]
            }
        };
        let answers = match call {
            Call::Deposit(_) => u64::from(occurrence) + 1,
            Call::Detach => 2,
            // It is not tried again.
            Call::Create if class(status) == Class::Hopeless => 1,
            _ => u64::from(times),
        };
        Expected {
            notices: rule.notices,
            errno: match rule.told {
                Told::Nothing => None,
                Told::Status => Some(errno(status)),
                Told::Refused => Some(errno(REFUSED)),
            },
            messages,
            warns: rule.warns,
            answers: Some(answers),
        }
    }
}

/// How much of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Each call at each occurrence, with some of the statuses; of two halves that take turns.
    Sample(Half),
    /// All of it.
    Full,
}

/// A half of the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    Even,
    Odd,
}

/// How many statuses of each call and occurrence are between two that a half of the sample has.
const STRIDE: usize = 16;

/// All calls and occurrences of them that fail for each status.
fn places() -> Vec<(Call, u16, u16)> {
    let mut places = Vec::new();
    places.extend((1..=3).map(|times| (Call::Create, 1, times)));
    places.extend((1..=4).map(|occurrence| (Call::Attach, occurrence, 1)));
    places.push((Call::Detach, 1, 1));
    places.extend((1..=3).map(|occurrence| (Call::Map, occurrence, 1)));
    places.extend((1..=3).map(|occurrence| (Call::Unmap, occurrence, 1)));
    places.push((Call::Delete, 1, 1));
    for asking in Asking::ALL {
        places.extend([1, 2, 3, DEPOSITS_MAX].map(|occurrence| (Call::Deposit(asking), occurrence, 1)));
    }
    places
}

/// What is no table of calls and statuses: memory that is wanted for ever, numbers that are refused for ever, lists that
/// are carried out in part.
fn special() -> Vec<Cell> {
    let memory = Status::INSUFFICIENT_MEMORY;
    let in_vain = |call, occurrence| Cell::new(call, occurrence, DEPOSITS_MAX + 1, memory);
    let often = |call, occurrence| Cell::new(call, occurrence, DEPOSITS_MAX, memory);
    let in_part = |call, status| Cell { effect: Effect::Partial(1), ..Cell::new(call, 1, 1, status) };
    let in_slices = |call| Cell { effect: Effect::Slice(1), ..Cell::new(call, 1, 1, Status::SUCCESS) };
    let refused = Cell::new(Call::Create, 1, NUMBERS_MAX, Status::OPERATION_FAILED);
    let mut cells = vec![refused];
    for (call, occurrence) in [(Call::Create, 1), (Call::Attach, 2), (Call::Map, 1), (Call::Map, 3), (Call::Unmap, 2)] {
        cells.extend([often(call, occurrence), in_vain(call, occurrence)]);
    }
    for call in [Call::Map, Call::Unmap] {
        cells.push(in_slices(call));
        cells.extend([memory, Status::OPERATION_FAILED, Status::TIME_OUT].map(|status| in_part(call, status)));
    }
    cells
}

/// Whether the hypervisor would have to answer a later call with a violation, as it has told a lie: it says that the device
/// is blocked, and finds the device in the domain that is deleted next.
fn is_lie(cell: &Cell) -> bool {
    (cell.call, cell.occurrence, class(cell.status)) == (Call::Attach, 3, Class::Already)
}

/// The cells, in the order in which they are to be run.
pub fn cells(extent: Extent) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (place, (call, occurrence, times)) in places().into_iter().enumerate() {
        for (index, status) in statuses().into_iter().enumerate() {
            let wanted = match extent {
                Extent::Full => true,
                Extent::Sample(Half::Even) => (index + 5 * place) % STRIDE == 0,
                Extent::Sample(Half::Odd) => (index + 5 * place) % STRIDE == STRIDE / 2,
            };
            let cell = Cell::new(call, occurrence, times, status);
            if wanted && !is_lie(&cell) {
                cells.push(cell);
            }
        }
    }
    for (index, cell) in special().into_iter().enumerate() {
        let wanted = match extent {
            Extent::Full => true,
            Extent::Sample(Half::Even) => index % 2 == 0,
            Extent::Sample(Half::Odd) => index % 2 == 1,
        };
        if wanted {
            cells.push(cell);
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(call: Call, occurrence: u16, times: u16, status: u16) -> Expected {
        Cell::new(call, occurrence, times, Status(status)).expected()
    }

    #[test]
    fn every_cell_has_a_rule() {
        for cell in cells(Extent::Full) {
            assert!(RULES.iter().any(|rule| rule.fits(&cell)) || matches!(cell.effect, Effect::Slice(_)), "{cell}");
        }
    }

    #[test]
    fn every_rule_has_a_cell() {
        let cells = cells(Extent::Full);
        for (index, rule) in RULES.iter().enumerate() {
            assert!(cells.iter().any(|cell| std::ptr::eq(cell.rule(), rule)), "rule {index}");
        }
    }

    #[test]
    fn the_full_table_has_every_status_at_every_occurrence() {
        let cells = cells(Extent::Full);
        for (call, occurrence, times) in places() {
            for status in statuses() {
                let cell = Cell::new(call, occurrence, times, status);
                assert_eq!(cells.contains(&cell), !is_lie(&cell), "{cell}");
            }
        }
        assert_eq!(places().len() * statuses().len() + special().len() - 1, cells.len());
    }

    #[test]
    fn the_sample_has_every_occurrence_and_every_status() {
        let halves = [Half::Even, Half::Odd].map(|half| cells(Extent::Sample(half)));
        for cells in &halves {
            for (call, occurrence, times) in places() {
                let of_it = |c: &&Cell| (c.call, c.occurrence, c.times) == (call, occurrence, times);
                assert!(cells.iter().any(|cell| of_it(&cell)), "{call:?} {occurrence}");
            }
        }
        let both = halves.concat();
        for status in statuses() {
            assert!(both.iter().any(|cell| cell.status == status && cell.effect == Effect::Answered), "{status}");
        }
        assert!(special().iter().all(|cell| both.contains(cell)));
        assert!(both.len() < cells(Extent::Full).len() / 4);
    }

    #[test]
    fn rules_tell_occurrences_and_statuses_apart() {
        let memory = |times| expected(Call::Map, 2, times, 0x0b).notices;
        assert_eq!([memory(1), memory(16), memory(17)], [Notices::Nothing, Notices::Nothing, Notices::NoMapping]);
        let attach = |occurrence, status| expected(Call::Attach, occurrence, 1, status).notices;
        assert_eq!([1, 2, 3].map(|at| attach(at, 0x71)), [Notices::Nothing, Notices::NoDevice, Notices::Nothing]);
        assert_eq!((attach(2, 0x66), attach(2, 0x0b)), (Notices::Nothing, Notices::Nothing));
        let create = |times, status| expected(Call::Create, 1, times, status).notices;
        assert_eq!((create(7, 0x71), create(8, 0x71), create(1, 6)), {
            (Notices::Nothing, Notices::NoDevice, Notices::NoDevice)
        });
    }

    #[test]
    fn errors_come_out_as_they_are() {
        let told = |call, status| expected(call, 2, 1, status).errno;
        for (status, errno) in [(0x05, Errno::EINVAL), (0x06, Errno::EACCES), (0x66, Errno::EEXIST), (0x71, Errno::EIO)]
        {
            assert_eq!(told(Call::Map, status), Some(errno));
            assert_eq!(told(Call::Deposit(Asking::Map), status), Some(errno), "that of the deposit");
        }
        assert_eq!(told(Call::Detach, 0x06), Some(Errno::EIO), "why it could not be blocked comes first");
        assert_eq!(told(Call::Unmap, 0x71), None);
    }

    #[test]
    fn messages_name_call_and_status() {
        let said = |call, occurrence, status| expected(call, occurrence, 1, status).messages.concat();
        assert_eq!(said(Call::Create, 1, 0x06), "HVCALL_CREATE_DEVICE_DOMAIN of *: 0x6 ACCESS_DENIED");
        let closed =
            "domain *: HVCALL_UNMAP_DEVICE_GPA_PAGES: deposit: 0x71 OPERATION_FAILED; 1 requester ids are blocked";
        assert_eq!(said(Call::Deposit(Asking::Unmap), 2, 0x71), closed);
        let no_memory = "IOMMU: HVCALL_ATTACH_DEVICE_DOMAIN to *: no memory for the hypervisor: errno -13";
        assert_eq!(said(Call::Deposit(Asking::Attach), 1, 0x06), no_memory);
    }

    #[test]
    fn calls_that_ask_for_memory_do_so_until_the_deposit_fails() {
        let cell = Cell::new(Call::Deposit(Asking::Attach), 3, 1, Status::OPERATION_FAILED);
        let [(asks, _), (deposit, _)] = cell.injections()[..] else { panic!() };
        assert_eq!((asks.call, asks.first, asks.times), (CallCode::ATTACH_DEVICE_DOMAIN, 2, Some(3)));
        assert_eq!((deposit.call, deposit.first, deposit.times), (CallCode::DEPOSIT_MEMORY, 3, Some(1)));
        assert_eq!(cell.expected().answers, Some(4));
    }
}
