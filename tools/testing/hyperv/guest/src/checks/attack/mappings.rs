// SPDX-License-Identifier: GPL-2.0
//! Mappings that programs make, by type 1 containers and by iommufd: the rows.

use anyhow::{Context as _, Result};
use hvcore::ids::Iova;
use linkme::distributed_slice;

use super::hypervisor;
use super::table::{self, Direction, Expected, Machine, Row, Unprotected};
use super::user::{Edge, Place, Size, User, NOWHERE, PEER, PEER_SHARED, SECOND, SHARED, SPAN};
use super::window::page_of;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::attack::moving::{ATTACK_MOVING, ATTACK_MOVING_BARE};
use crate::checks::counters::VIOLATIONS;
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::root::CLEAN;
use crate::edu::{Edu, BAR_BYTES};
use crate::hotplug;
use crate::memory::{Rights, PAGE};
use crate::report::Outcome;
use crate::session::BackEnd;

/// Attacks at the edges of one mapping of each size.
fn edges(rows: &mut Vec<Row<User>>) {
    for size in Size::ALL {
        for edge in [Edge::Before, Edge::First, Edge::Last, Edge::Behind] {
            let expected = match edge {
                Edge::First | Edge::Last => Expected::Reaches(1),
                _ => Expected::Blocked,
            };
            at_edge(rows, size, edge, 1, expected);
        }
    }
    for size in [Size::Small, Size::Large] {
        for edge in [Edge::AcrossStart, Edge::AcrossEnd] {
            at_edge(rows, size, edge, PAGE, Expected::Part(PAGE / 2));
        }
    }
}

fn at_edge(rows: &mut Vec<Row<User>>, size: Size, edge: Edge, length: usize, expected: Expected) {
    for direction in Direction::BOTH {
        let id = format!("{}-{}-{}", size.word(), edge.word(), direction.word());
        rows.push(Row::new(id, expected, move |user: &mut User| {
            let place = size.place(edge);
            user.place(place, Rights::ReadWrite)?;
            let shot = user.shot(place, edge.offset(place.bytes), length, direction, expected);
            user.fire(&shot)
        }));
    }
}

/// Transfers of many lengths across the border of two mapped pages. 4096 bytes is all that edu transfers at a time.
fn lengths(rows: &mut Vec<Row<User>>, lengths: &[usize]) {
    for &length in lengths {
        for direction in Direction::BOTH {
            let id = format!("span-{length}-{}", direction.word());
            let expected = Expected::Reaches(length);
            rows.push(Row::new(id, expected, move |user: &mut User| {
                user.place(SPAN, Rights::ReadWrite)?;
                let offset = PAGE as isize - (length as isize + 1) / 2;
                let shot = user.shot(SPAN, offset, length, direction, expected);
                user.fire(&shot)
            }));
        }
    }
}

/// Mappings that the device may only read.
fn read_only(rows: &mut Vec<Row<User>>) {
    for size in Size::ALL {
        for edge in [Edge::First, Edge::Last] {
            for direction in Direction::BOTH {
                let expected = match direction {
                    Direction::Read => Expected::Reaches(1),
                    Direction::Write => Expected::Blocked,
                };
                let id = format!("ro-{}-{}-{}", size.word(), edge.word(), direction.word());
                rows.push(Row::new(id, expected, move |user: &mut User| {
                    let place = size.place(edge);
                    // Mapped anew: the emulated IOMMU reports no fault where it has the translation from a read before.
                    user.unmap_all()?;
                    user.place(place, Rights::Read)?;
                    let shot = user.shot(place, edge.offset(place.bytes), 1, direction, expected);
                    user.fire(&shot)
                }));
            }
        }
    }
}

/// Addresses that nobody mapped.
fn unmapped(rows: &mut Vec<Row<User>>) {
    const HOLE: Unprotected = Unprotected::Passes("there is no memory at that physical address");
    for direction in Direction::BOTH {
        rows.push(Row::new(format!("unmapped-{}", direction.word()), Expected::Blocked, move |user: &mut User| {
            let place = Place { iova: NOWHERE, memory: NOWHERE, bytes: PAGE };
            user.unmap_all()?;
            let shot = user.shot(place, 0, PAGE, direction, Expected::Blocked);
            user.fire(&shot)
        }));
        for (name, address) in [("zero", 0x10_u64), ("aperture-end", 0xffff_ffff_fff8), ("beyond-aperture", 1 << 48)] {
            let row = Row::new(format!("{name}-{}", direction.word()), Expected::Blocked, move |user: &mut User| {
                user.unmap_all()?;
                user.fire_at(Iova(address), 8, direction)
            });
            rows.push(if address > 0xffff { row.unless(HOLE) } else { row });
        }
    }
}

/// Addresses that were used and are mapped no longer, or otherwise.
fn unmaps(rows: &mut Vec<Row<User>>) {
    for size in Size::ALL {
        for edge in [Edge::First, Edge::Last] {
            for direction in Direction::BOTH {
                let id = format!("after-unmap-{}-{}-{}", size.word(), edge.word(), direction.word());
                rows.push(Row::new(id, Expected::Blocked, move |user: &mut User| {
                    let place = size.place(edge);
                    user.warm(place, Rights::ReadWrite)?;
                    user.rig_arm_for(direction)?;
                    user.unmap_all()?;
                    let shot = user.shot(place, edge.offset(place.bytes), 1, direction, Expected::Blocked);
                    user.fire(&shot)
                }));
            }
        }
    }
    for direction in Direction::BOTH {
        let expected = Expected::Reaches(PAGE);
        rows.push(Row::new(format!("after-remap-{}", direction.word()), expected, move |user: &mut User| {
            user.warm(Size::Small.place(Edge::First), Rights::ReadWrite)?;
            user.place(SECOND, Rights::ReadWrite)?;
            let mut shot = user.shot(SECOND, 0, PAGE, direction, expected);
            shot.watch.push(page_of(Size::Small.place(Edge::First).memory));
            user.fire(&shot)
        }));
    }
}

/// What belongs to the other device.
fn others(rows: &mut Vec<Row<User>>) {
    for direction in Direction::BOTH {
        let word = direction.word();
        rows.push(Row::new(format!("other-domain-iova-{word}"), Expected::Blocked, move |user: &mut User| {
            user.open_peer()?;
            user.unmap_all()?;
            let shot = user.shot(PEER, 0, PAGE, direction, Expected::Blocked);
            user.fire(&shot)
        }));
        rows.push(Row::new(format!("other-device-memory-{word}"), Expected::Blocked, move |user: &mut User| {
            user.open_peer()?;
            user.unmap_all()?;
            let place = Place { iova: PEER.memory, ..PEER };
            let shot = user.shot(place, 0, PAGE, direction, Expected::Blocked);
            user.fire(&shot)
        }));
        let expected = Expected::Reaches(PAGE);
        rows.push(Row::new(format!("same-iova-in-two-domains-{word}"), expected, move |user: &mut User| {
            user.open_peer()?;
            user.place(SHARED, Rights::ReadWrite)?;
            let mut shot = user.shot(SHARED, 0, PAGE, direction, expected);
            shot.watch.push(page_of(PEER_SHARED.memory));
            user.fire(&shot)
        }));
    }
}

/// Mappings whose owner is gone.
fn departed(rows: &mut Vec<Row<User>>) {
    for direction in Direction::BOTH {
        let word = direction.word();
        for size in [Size::Small, Size::Large] {
            let id = format!("after-close-{}-{word}", size.word());
            rows.push(Row::new(id, Expected::Blocked, move |user: &mut User| {
                let shut = |user: &mut User| {
                    user.close();
                    user.rig.function.set_bus_master()
                };
                user.fire_after(size, direction, shut, User::reopen)
            }));
        }
        rows.push(Row::new(format!("after-unbind-{word}"), Expected::Blocked, move |user: &mut User| {
            let shut = |user: &mut User| {
                user.close();
                user.rig.function.unbind()?;
                user.rig.function.enable_bus_master()
            };
            user.fire_after(Size::Small, direction, shut, User::reopen)
        }));
    }
}

/// The same of a device that is offered anew on a bus of VMBus.
fn offered_anew(rows: &mut Vec<Row<User>>) {
    for direction in Direction::BOTH {
        let word = direction.word();
        rows.push(Row::new(format!("after-new-offer-{word}"), Expected::Blocked, move |user: &mut User| {
            let shut = |user: &mut User| {
                user.close();
                user.rig.function.unbind()?;
                let bus = hotplug::withdraw(user.minihv, &user.rig.function)?;
                let found = hotplug::offer(user.minihv, bus, 1)?;
                let function = found.into_iter().next().context("the device is not back")?;
                hotplug::wait_until("the device has a group", || Ok(function.group().is_some()))?;
                hotplug::wait_until("the device can be enabled", || Ok(function.enable_bus_master().is_ok()))?;
                // The device itself was not reset: its buffer is as it was.
                user.rig.move_to(function.clone(), Edu::new(function.map_bar0(BAR_BYTES)?)?);
                Ok(())
            };
            let open = |user: &mut User| {
                hotplug::bind(&user.rig.function, "vfio-pci")?;
                user.reopen()
            };
            user.fire_after(Size::Small, direction, shut, open)
        }));
    }
}

/// What only iommufd has: domains apart from devices.
fn domains(rows: &mut Vec<Row<User>>) {
    for direction in Direction::BOTH {
        let word = direction.word();
        rows.push(Row::new(format!("after-detach-{word}"), Expected::Blocked, move |user: &mut User| {
            let shut = |user: &mut User| user.session()?.iommufd()?.0.detach().context("detach");
            let open = |user: &mut User| {
                let (cdev, space) = user.session()?.iommufd()?;
                cdev.attach(space.ioas).context("attach")
            };
            user.fire_after(Size::Small, direction, shut, open)
        }));
        rows.push(Row::new(format!("after-move-{word}"), Expected::Blocked, move |user: &mut User| {
            let shut = |user: &mut User| {
                let (cdev, space) = user.session()?.iommufd()?;
                let empty = space.iommufd.allocate_ioas().context("allocating an IOAS")?;
                cdev.attach(empty).context("attach")
            };
            let open = |user: &mut User| {
                let (cdev, space) = user.session()?.iommufd()?;
                cdev.attach(space.ioas).context("attach")
            };
            user.fire_after(Size::Small, direction, shut, open)
        }));
        rows.push(Row::new(format!("after-domain-free-{word}"), Expected::Blocked, move |user: &mut User| {
            // A domain of its own, whose mappings are those of the IOAS; the device is moved into an empty one, and the
            // first domain is deleted.
            let place = Size::Small.place(Edge::First);
            user.place(place, Rights::ReadWrite)?;
            let (cdev, space) = user.session()?.iommufd()?;
            let device = cdev.id()?;
            let hwpt = space.iommufd.allocate_hwpt(device, space.ioas).context("allocating a domain")?;
            cdev.attach_hwpt(hwpt).context("attach")?;
            user.spare = Some(hwpt);
            let shut = |user: &mut User| {
                let hwpt = user.spare.take();
                let (cdev, space) = user.session()?.iommufd()?;
                let empty = space.iommufd.allocate_ioas().context("allocating an IOAS")?;
                cdev.attach(empty).context("attach")?;
                space.iommufd.destroy_hwpt(hwpt.context("no domain")?).context("deleting the domain")
            };
            let open = |user: &mut User| {
                let (cdev, space) = user.session()?.iommufd()?;
                cdev.attach(space.ioas).context("attach")
            };
            user.fire_after(Size::Small, direction, shut, open)
        }));
    }
}

const MANY: [usize; 12] = [1, 2, 3, 7, 8, 63, 64, 511, 512, 2048, 4095, 4096];
const FEW: [usize; 2] = [8, 4096];

/// Who makes the tables of the IOMMU, and where the devices come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partition {
    /// The guest makes them; the devices are on VMBus.
    Guest,
    /// The hypervisor makes them; the devices are on the machine's own bus.
    Root,
}

/// The table for one of the interfaces.
fn table(back_end: BackEnd, partition: Partition) -> Vec<Row<User>> {
    let mut rows = Vec::new();
    edges(&mut rows);
    read_only(&mut rows);
    unmapped(&mut rows);
    unmaps(&mut rows);
    others(&mut rows);
    match back_end {
        BackEnd::Type1 => {
            lengths(&mut rows, &MANY);
            if partition == Partition::Guest {
                hypervisor::tables(&mut rows);
            }
            hypervisor::others(&mut rows);
        }
        BackEnd::Iommufd => {
            lengths(&mut rows, &FEW);
            domains(&mut rows);
        }
    }
    departed(&mut rows);
    if partition == Partition::Guest {
        offered_anew(&mut rows);
    }
    let name = match back_end {
        BackEnd::Type1 => "type1",
        BackEnd::Iommufd => "iommufd",
    };
    rows.into_iter().map(|row| row.of(name)).collect()
}

/// Tries the table of one interface.
fn attack(context: &mut Context<'_>, back_end: BackEnd, partition: Partition, machine: Machine) -> Result<Outcome> {
    let mut user = User::open(context, back_end)?;
    let name = match back_end {
        BackEnd::Type1 => "attack-type1",
        BackEnd::Iommufd => "attack-iommufd",
    };
    table::run(context, name, machine, &mut user, &table(back_end, partition))
}

fn guest(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    attack(context, back_end, Partition::Guest, Machine::Protected)
}

fn bare(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    attack(context, back_end, Partition::Guest, Machine::Unprotected)
}

fn root(context: &mut Context<'_>, back_end: BackEnd) -> Result<Outcome> {
    attack(context, back_end, Partition::Root, Machine::Protected)
}

const ATTACK_TYPE1: Check = Check::new("attack-type1", |c| guest(c, BackEnd::Type1));
const ATTACK_TYPE1_BARE: Check = Check::new("attack-type1", |c| bare(c, BackEnd::Type1));
const ATTACK_TYPE1_ROOT: Check = Check::new("attack-type1", |c| root(c, BackEnd::Type1));
const ATTACK_IOMMUFD: Check = Check::new("attack-iommufd", |c| guest(c, BackEnd::Iommufd));
const ATTACK_IOMMUFD_BARE: Check = Check::new("attack-iommufd", |c| bare(c, BackEnd::Iommufd));
const ATTACK_IOMMUFD_ROOT: Check = Check::new("attack-iommufd", |c| root(c, BackEnd::Iommufd));

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "attack-type1",
        summary: "attacks on mappings of type 1 containers",
        checks: &[DEVICES, GROUPS, ATTACK_TYPE1, VIOLATIONS],
    },
    Scenario {
        name: "attack-iommufd",
        summary: "attacks on mappings of iommufd, and on a device that is moved between domains",
        checks: &[DEVICES, GROUPS, ATTACK_MOVING, ATTACK_IOMMUFD, VIOLATIONS],
    },
    Scenario {
        name: "attack-type1-root",
        summary: "attacks on mappings of type 1 containers, in domains of the root partition",
        checks: &[DEVICES, GROUPS, ATTACK_TYPE1_ROOT, CLEAN, VIOLATIONS],
    },
    Scenario {
        name: "attack-iommufd-root",
        summary: "attacks on mappings of iommufd, in domains of the root partition",
        checks: &[DEVICES, GROUPS, ATTACK_MOVING, ATTACK_IOMMUFD_ROOT, CLEAN, VIOLATIONS],
    },
    Scenario {
        name: "attack-type1-bare",
        summary: "the rows of attack-type1 without protection: all must fail",
        checks: &[DEVICES, ATTACK_TYPE1_BARE],
    },
    Scenario {
        name: "attack-iommufd-bare",
        summary: "the rows of attack-iommufd without protection: all must fail",
        checks: &[DEVICES, ATTACK_MOVING_BARE, ATTACK_IOMMUFD_BARE],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_unique() {
        let all: Vec<String> =
            BackEnd::ALL.into_iter().flat_map(|b| table(b, Partition::Guest)).map(|row| row.id).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert!(all.len() >= 150, "{}", all.len());
    }
}
