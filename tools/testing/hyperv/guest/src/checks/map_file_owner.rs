// SPDX-License-Identifier: GPL-2.0
//! Who mapped a file is gone: processes that share a device and its address space, and end.

use std::fs::File;
use std::io::{Read as _, Write as _};

use anyhow::{anyhow, bail, ensure, Context as _, Result};
use hvprotocol::faults::Access;
use linkme::distributed_slice;
use nix::sys::signal::Signal;
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::{fork, pipe, ForkResult, Pid};

use crate::census::Census;
use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::map_file::{
    device_reads, device_writes, map, witness, FILE_HUGE, FILE_SHRUNK, FILE_SMALL, FILE_TRANSPARENT,
};
use crate::edu::{Edu, BAR_BYTES};
use crate::faults::Faults;
use crate::memfd::{Backing, Memfd};
use crate::report::Outcome;
use crate::witness::{at, Witness, FROM_DEVICE, OTHER, SECRET};

/// Pages of the file.
const PAGES: usize = 2;

/// Another process with all that this one has: descriptors, registers, memory.
struct Child {
    pid: Pid,
    /// What it says, when it fails.
    words: File,
}

impl Child {
    /// Has a copy of this process do `work`, and end. This process must have no other threads.
    fn start(work: impl FnOnce() -> Result<()>) -> Result<Child> {
        let (words, ours) = pipe().context("pipe")?;
        // SAFETY: there are no other threads, whose locks the child would find taken for ever.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => Ok(Child { pid: child, words: words.into() }),
            ForkResult::Child => {
                let result = work();
                if let Err(error) = &result {
                    // Nobody is left to be told that this failed.
                    let _ = File::from(ours).write_all(format!("{error:#}").as_bytes());
                }
                // SAFETY: ends the process, without what the parent has registered for its own end.
                unsafe { libc::_exit(i32::from(result.is_err())) }
            }
        }
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// What it said, when it failed.
    fn wait(mut self, expected: WaitStatus) -> Result<()> {
        let status = waitpid(self.pid, None).context("waitpid")?;
        let mut words = String::new();
        self.words.read_to_string(&mut words).context("reading the child's words")?;
        ensure!(words.is_empty(), "in the child: {words}");
        ensure!(status == expected, "the child: {status:?} instead of {expected:?}");
        Ok(())
    }

    fn succeeds(self) -> Result<()> {
        let expected = WaitStatus::Exited(self.pid, 0);
        self.wait(expected)
    }

    fn dies(self) -> Result<()> {
        let expected = WaitStatus::Signaled(self.pid, Signal::SIGKILL, false);
        self.wait(expected)
    }
}

/// A file with something in it, mapped for the device.
fn map_new_file(witness: &Witness) -> Result<Memfd> {
    let memfd = Memfd::new(Backing::Small, PAGES)?;
    for page in 0..PAGES {
        memfd.view().fill(page, SECRET ^ page as u8);
    }
    map(witness, &memfd, memfd.bytes())?;
    Ok(memfd)
}

fn expect_pages(witness: &Witness, what: &str) -> Result<()> {
    (0..PAGES).try_for_each(|page| device_reads(witness, page, SECRET ^ page as u8, what))
}

/// The process that mapped the file ends, and nobody has the file open. The mapping goes on, also by an attach anew, for
/// which its pages are pinned once more.
fn mapper_exits(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let mut witness = witness(context)?;
    Child::start(|| map_new_file(&witness).map(drop))?.succeeds()?;
    expect_pages(&witness, "a page that a process mapped which has ended")?;
    device_writes(&witness, 0, FROM_DEVICE)?;
    let (cdev, space) = witness.iommufd()?;
    cdev.detach().context("detach")?;
    cdev.attach(space.ioas).context("attaching again")?;
    device_reads(&witness, 0, FROM_DEVICE, "the page that the device wrote before it was attached again")?;
    device_reads(&witness, 1, SECRET ^ 1, "the other page")?;
    witness.session.unmap(at(0), PAGES)?;
    for page in 0..PAGES as u64 {
        witness.edu.store(at(page))?;
        witness.faults.expect(&witness.function, at(page), Access::Write)?;
    }
    witness.faults.expect_none()?;
    drop(witness);
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass("used, attached again and unmapped after the end of who mapped it".to_owned()))
}

const FILE_MAPPER_GONE: Check = Check::new("file-outlives-who-mapped-it", mapper_exits);

/// A child holds the device when this process, which mapped the file, has closed everything.
fn handed_on(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let witness = witness(context)?;
    drop(map_new_file(&witness)?);
    let (go, closed) = pipe().context("pipe")?;
    // The closure takes everything along; of that, the child has copies, and this process has nothing when this returns.
    let child = Child::start(move || {
        // The end of the pipe comes when nobody holds its other end: here, and in the parent.
        drop(closed);
        File::from(go).read_to_end(&mut Vec::new()).context("waiting for the parent")?;
        with_device(witness)
    })?;
    child.succeeds()?;
    before.wait_for_return(minihv)?;
    Ok(Outcome::Pass("the child used the mapping, mapped and unmapped, and closed it".to_owned()))
}

const FILE_HANDED_ON: Check = Check::new("file-and-device-handed-on", handed_on);

/// What the child does that holds the device alone.
fn with_device(mut witness: Witness) -> Result<()> {
    expect_pages(&witness, "a page that the parent mapped")?;
    device_writes(&witness, 0, OTHER)?;
    device_reads(&witness, 0, OTHER, "the page that the device wrote")?;
    witness.session.unmap(at(0), PAGES)?;
    witness.edu.store(at(0))?;
    witness.faults.expect(&witness.function, at(0), Access::Write)?;
    drop(map_new_file(&witness).context("in the child")?);
    expect_pages(&witness, "a page that the child mapped")?;
    witness.faults.expect_none()
}

/// The only holder of device and mapping is killed: nothing is left, and the device no longer reaches the address.
fn holder_killed(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let before = Census::take(minihv)?;
    let witness = witness(context)?;
    let function = witness.function.clone();
    let child = Child::start(move || {
        drop(map_new_file(&witness)?);
        expect_pages(&witness, "a page before the process is killed")?;
        nix::sys::signal::raise(Signal::SIGKILL).context("SIGKILL")?;
        bail!("still there after SIGKILL")
    })?;
    child.dies()?;
    before.wait_for_return(minihv)?;
    function.unbind()?;
    function.enable_bus_master()?;
    let (edu, mut faults) = (Edu::new(function.map_bar0(BAR_BYTES)?)?, Faults::listen(Some(minihv))?);
    edu.store(at(0))?;
    faults.expect(&function, at(0), Access::Write)?;
    faults.expect_none().map_err(|error| anyhow!("after the only holder was killed: {error:#}"))?;
    Ok(Outcome::Pass("nothing is left of it, its address is blocked".to_owned()))
}

const FILE_HOLDER_KILLED: Check = Check::new("file-and-device-of-killed-program", holder_killed);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "files",
    summary: "memory that iommufd maps from a file, which loses pages meanwhile, and whose mapper ends",
    checks: &[
        DEVICES,
        GROUPS,
        NO_FAULTS,
        FILE_SMALL,
        FILE_HUGE,
        FILE_TRANSPARENT,
        FILE_SHRUNK,
        FILE_MAPPER_GONE,
        FILE_HANDED_ON,
        FILE_HOLDER_KILLED,
        VIOLATIONS,
    ],
}];
