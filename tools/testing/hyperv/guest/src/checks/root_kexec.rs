// SPDX-License-Identifier: GPL-2.0
//! The root partition leaves for the next kernel while programs have devices.

use std::thread;

use anyhow::{ensure, Context as _, Result};
use hvcore::test_interface::Counter;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::identity::IDENTITY_EDU;
use crate::checks::kexec::{IN_USE, SUCCESSOR_LOADED};
use crate::checks::nvme::NVME_QUICK;
use crate::minihv::DeviceTranslation;
use crate::pci;
use crate::report::Outcome;
use crate::session::{BackEnd, Session};

/// A program attaches the second edu to a domain and detaches it, over and over, until its processor is stopped. What it
/// does after the driver has given all domains back would name one that the hypervisor has deleted: a violation.
fn attach_to_the_end(context: &mut Context<'_>) -> Result<Outcome> {
    let mut edus = context.functions.iter().filter(|function| function.id == pci::EDU);
    let function = edus.nth(1).context("two edu are needed")?;
    let session = Session::open_by(function, BackEnd::Iommufd)?;
    let (cdev, space) = session.iommufd()?;
    let hwpt = space.iommufd.allocate_hwpt(cdev.id()?, space.ioas)?;
    let address = function.address.clone();
    thread::spawn(move || {
        let Ok((cdev, _)) = session.iommufd() else { return };
        loop {
            // In the end neither works.
            let _ = cdev.detach();
            let _ = cdev.attach_hwpt(hwpt);
        }
    });
    Ok(Outcome::Pass(format!("{address}, HWPT {hwpt:?}")))
}

const ATTACHED_TO_THE_END: Check = Check::new("root-attached-to-the-end", attach_to_the_end);

/// The kernel lets go of edu, which is blocked from then on. The next kernel finds edu on its bus, and knows nothing of that.
fn released(context: &mut Context<'_>) -> Result<Outcome> {
    let function = pci::find(pci::EDU)?;
    let id = function.logical_id().context("edu has no id")?;
    function.unbind()?;
    function.remove()?;
    let translation = context.minihv()?.device_translation(id)?;
    ensure!(translation == DeviceTranslation::Blocked, "{} is gone, and is {translation:?}", function.address);
    Ok(Outcome::Pass(function.address))
}

const RELEASED: Check = Check::new("root-device-is-released", released);

/// The kernel before this one has given back every device: none was blocked when it left.
fn nothing_left_blocked(context: &mut Context<'_>) -> Result<Outcome> {
    let left = context.minihv()?.counter(Counter::LeftBlocked, 0)?;
    ensure!(left == 0, "the kernel before left {left} requesters blocked");
    Ok(Outcome::Pass(String::new()))
}

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[
    Scenario {
        name: "root-kexec",
        summary: "leaves for the next kernel with all devices in use, one of them attached and detached to the end",
        checks: &[DEVICES, GROUPS, NVME_QUICK, VIOLATIONS, NO_FAULTS, IN_USE, ATTACHED_TO_THE_END, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "root-kexec-released",
        summary: "lets go of edu, and leaves for a kernel that does not use the IOMMU",
        checks: &[DEVICES, GROUPS, VIOLATIONS, NO_FAULTS, RELEASED, SUCCESSOR_LOADED],
    },
    Scenario {
        name: "root-returned",
        summary: "a kernel without the driver, after one that has let go of a device: all devices work",
        checks: &[
            DEVICES,
            GROUPS,
            Check::new("root-nothing-left-blocked", nothing_left_blocked),
            NVME_QUICK,
            IDENTITY_EDU,
            NO_FAULTS,
        ],
    },
];
