// SPDX-License-Identifier: GPL-2.0
//! No memory: every allocation of the driver, the registry and the tables fails once.
//!
//! A piece of work is done again and again. The first time its first allocation fails, then its second one, and so on,
//! until there is none left to fail. After each time nothing may be lost, every device is translated or blocked, and the
//! same work succeeds.

mod bus;
pub mod injection;
mod probe;
mod user;
mod work;

use anyhow::Result;
use linkme::distributed_slice;

use self::injection::Part;
use self::work::each;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::leaks::KMEMLEAK;
use crate::checks::protection::{VFIO_MAPPED, VFIO_STALE};
use crate::report::Outcome;

/// The driver looks for its IOMMU and sets it up.
fn probe(context: &mut Context<'_>) -> Result<Outcome> {
    each(context, Part::Driver, &mut probe::Probe::default())
}

const NOMEM_PROBE: Check = Check::new("no-memory-for-the-iommu", probe);

/// A program makes a domain, moves the device there and maps; a part of the kernel has no memory for it.
fn user(context: &mut Context<'_>, part: Part) -> Result<Outcome> {
    let mut user = user::User::open(context)?;
    each(context, part, &mut user)
}

const NOMEM_USER: Check = Check::new("no-memory-for-a-domain", |c| user(c, Part::Driver));
const NOMEM_TABLES: Check = Check::new("no-memory-for-tables", |c| user(c, Part::Tables));

/// A bus comes, with its devices; a part of the kernel has no memory for it.
fn bus(context: &mut Context<'_>, part: Part) -> Result<Outcome> {
    let mut bus = bus::Bus::new(context)?;
    each(context, part, &mut bus)
}

const NOMEM_BUS: Check = Check::new("no-memory-for-devices", |c| bus(c, Part::Driver));
const NOMEM_REGISTRY: Check = Check::new("no-memory-for-the-registry", |c| bus(c, Part::Registry));

/// The scenarios. In the end there is memory, and everything works.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "nomem",
    summary: "every allocation fails once",
    checks: &[
        DEVICES,
        GROUPS,
        NOMEM_PROBE,
        NOMEM_USER,
        NOMEM_TABLES,
        NOMEM_REGISTRY,
        NOMEM_BUS,
        VFIO_MAPPED,
        VFIO_STALE,
        KMEMLEAK,
    ],
}];
