// SPDX-License-Identifier: GPL-2.0
//! Several vectors of one function's MSI capability: a USB host controller whose transfers name the interrupter, and by
//! it the vector, that they are reported by.
//!
//! What is counted comes from the device. VFIO could signal the events of its own accord, too; nothing here asks it to.

use anyhow::{ensure, Context as _, Result};
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::device_events::{Events, Source};
use crate::hotplug::{bind, wait_until};
use crate::interrupts::Irq;
use crate::memory::DmaBuffer;
use crate::pci::PciFunction;
use crate::processors::{online, switch, State};
use crate::report::Outcome;
use crate::session::{BackEnd, Session};
use crate::usb::UsbDevice;
use crate::witness::at;
use crate::xhci::Controller;

/// Vectors that the device has, as many as its interrupters.
const VECTORS: usize = 16;
const KERNEL_DRIVER: &str = "xhci_hcd";
/// An interrupt's move to another processor is put off to its next occurrence, and its old place cleaned up at the one
/// after that.
const UNTIL_MOVED: usize = 2;

fn host_controller(context: &Context<'_>) -> Result<PciFunction> {
    context.functions.iter().find(|f| f.is_xhci()).cloned().context("the guest has no USB host controller")
}

/// Waits until a vector has come `raised` times; `seen` counts.
fn await_vector(vectors: &Events, vector: usize, seen: &mut u64, raised: u64) -> Result<()> {
    wait_until(&format!("vector {vector} comes ({raised})"), || {
        *seen += vectors.take(vector)?;
        Ok(*seen >= raised)
    })
}

/// The controller in this program's hands, with some of its vectors enabled.
struct Rig {
    session: Session,
    vectors: Events,
    irqs: Vec<Irq>,
    controller: Controller,
    /// How often each vector was made to come, and has come.
    raised: Vec<u64>,
    seen: Vec<u64>,
    /// What the kernel had counted before.
    before: Vec<u64>,
}

impl Rig {
    fn open(function: &PciFunction, back_end: BackEnd, count: usize) -> Result<Rig> {
        let session = Session::open_by(function, back_end)?;
        let available = Events::available(session.device(), Source::Msi)?;
        ensure!(available == VECTORS, "the device has {available} vectors, not {VECTORS}");
        let vectors = Events::enable(session.device(), Source::Msi, count)?;
        let irqs = Irq::all_of(function)?;
        ensure!(irqs.len() == count, "{count} vectors have {irqs:?}");
        let before = irqs.iter().map(|irq| Ok(irq.handled()?.total())).collect::<Result<_>>()?;
        session.enable_bus_master()?;
        let memory = DmaBuffer::new(Controller::pages(count))?;
        session.map(at(0), &memory, 0, memory.pages()).context("mapping memory for the controller")?;
        let (mut raised, mut seen) = (vec![0; count], vec![0; count]);
        let interrupted = || {
            raised[0] += 1;
            await_vector(&vectors, 0, &mut seen[0], raised[0])
        };
        let controller = Controller::start(session.map_bar0()?, memory, at(0), count, interrupted)?;
        Ok(Rig { session, vectors, irqs, controller, raised, seen, before })
    }

    /// The device raises a vector.
    fn raise(&mut self, vector: usize) -> Result<()> {
        self.controller.transfer(vector)?;
        self.raised[vector] += 1;
        await_vector(&self.vectors, vector, &mut self.seen[vector], self.raised[vector])
    }

    fn raise_all(&mut self) -> Result<()> {
        (0..self.vectors.count()).try_for_each(|vector| self.raise(vector))
    }

    /// Every vector has come as often as the device raised it, by the events and by the kernel's counts.
    fn expect_exact(&mut self) -> Result<()> {
        for vector in 0..self.vectors.count() {
            self.seen[vector] += self.vectors.take(vector)?;
        }
        let counted = self.irqs.iter().zip(&self.before).map(|(irq, before)| Ok(irq.handled()?.total() - before));
        let counted: Vec<u64> = counted.collect::<Result<_>>()?;
        ensure!(self.seen == self.raised, "raised {:?}, events {:?}", self.raised, self.seen);
        ensure!(counted == self.raised, "raised {:?}, counted by the kernel {counted:?}", self.raised);
        Ok(())
    }

    /// Sends a vector to a processor; from then on it comes there.
    fn send(&mut self, vector: usize, cpu: u32) -> Result<()> {
        let irq = self.irqs[vector];
        irq.send_to(cpu)?;
        (0..UNTIL_MOVED).try_for_each(|_| self.raise(vector))?;
        self.expect_on(vector, cpu)
    }

    /// A vector comes on this processor.
    fn expect_on(&mut self, vector: usize, cpu: u32) -> Result<()> {
        let irq = self.irqs[vector];
        let goes_to = irq.goes_to()?;
        ensure!(goes_to == cpu, "vector {vector} goes to processor {goes_to}, not to {cpu}");
        let before = irq.handled()?.on(cpu)?;
        self.raise(vector)?;
        let count = irq.handled()?.on(cpu)? - before;
        ensure!(count == 1, "vector {vector} came {count} times on processor {cpu}, not once");
        Ok(())
    }

    fn close(self) -> Result<()> {
        self.controller.stop()?;
        self.vectors.disable(self.session.device())
    }
}

/// The kernel's driver enables several vectors (of which it uses one). The one that it uses comes wherever it is sent to.
fn of_kernel_driver(context: &mut Context<'_>) -> Result<Outcome> {
    let function = host_controller(context)?;
    wait_until("a device behind the USB host controller", || Ok(UsbDevice::behind(&function).is_ok()))?;
    let cpus = online()?;
    let irqs = Irq::all_of(&function)?;
    // One for each processor, and one.
    ensure!(irqs.len() == cpus.len() + 1, "{KERNEL_DRIVER} has {irqs:?} with processors {cpus:?}");
    let used = irqs.iter().map(|irq| irq.counts()).collect::<Result<Vec<_>>>()?.iter().flatten().count();
    ensure!(used == 1, "{used} interrupts of {KERNEL_DRIVER} have a handler");
    let (irq, device) = (irqs[0], UsbDevice::behind(&function)?);
    let comes_on = |cpu: u32| -> Result<()> {
        let before = irq.handled()?.on(cpu)?;
        device.status()?;
        wait_until(&format!("an interrupt on processor {cpu}"), || Ok(irq.handled()?.on(cpu)? > before))
    };
    for &cpu in cpus.iter().rev() {
        irq.send_to(cpu)?;
        (0..UNTIL_MOVED).try_for_each(|_| device.status().map(drop))?;
        comes_on(cpu)?;
    }
    let last = *cpus.last().context("no processor is online")?;
    irq.send_to(last)?;
    (0..UNTIL_MOVED).try_for_each(|_| device.status().map(drop))?;
    switch(last, State::Offline)?;
    comes_on(irq.goes_to()?).context("while a processor is away")?;
    switch(last, State::Online)?;
    comes_on(irq.goes_to()?).context("after a processor's return")?;
    Ok(Outcome::Pass(format!("{} vectors, 1 of them used, on each of {} processors", irqs.len(), cpus.len())))
}

const VECTORS_KERNEL: Check = Check::new("several-vectors-of-kernel-driver", of_kernel_driver);

/// Each vector comes when the device raises it, and no other one does, whichever number of them is enabled.
fn all(context: &mut Context<'_>) -> Result<Outcome> {
    let function = host_controller(context)?;
    for back_end in BackEnd::ALL {
        for count in [2, VECTORS] {
            let mut rig = Rig::open(&function, back_end, count)?;
            for vector in 0..count {
                rig.raise(vector)?;
                rig.expect_exact().with_context(|| format!("{back_end:?}, {count} vectors, after vector {vector}"))?;
            }
            rig.close()?;
        }
    }
    bind(&function, KERNEL_DRIVER)?;
    wait_until("the device is back", || Ok(UsbDevice::behind(&function).is_ok_and(|device| device.status().is_ok())))?;
    Ok(Outcome::Pass(format!("2 and {VECTORS} vectors, by type 1 and iommufd, then {KERNEL_DRIVER} again")))
}

const VECTORS_ALL: Check = Check::new("each-vector-comes-from-device", all);

/// Each vector is sent to each processor by itself.
fn moved(context: &mut Context<'_>) -> Result<Outcome> {
    let cpus = online()?;
    ensure!(cpus.len() > 1, "there is one processor only");
    let mut rig = Rig::open(&host_controller(context)?, BackEnd::Iommufd, VECTORS)?;
    for round in 0..cpus.len() {
        // Neighbours go to different processors.
        let place = |vector: usize| cpus[(vector + round) % cpus.len()];
        (0..VECTORS).try_for_each(|vector| rig.send(vector, place(vector)))?;
        (0..VECTORS).try_for_each(|vector| rig.expect_on(vector, place(vector)))?;
    }
    rig.expect_exact()?;
    rig.close()?;
    Ok(Outcome::Pass(format!("{VECTORS} vectors on each of {} processors", cpus.len())))
}

const VECTORS_MOVED: Check = Check::new("vectors-follow-affinity", moved);

/// Processors go and come back; the vectors that went to one of them still come.
fn processors_go(context: &mut Context<'_>) -> Result<Outcome> {
    let cpus = online()?;
    ensure!(cpus.len() > 1, "there is one processor only");
    let mut rig = Rig::open(&host_controller(context)?, BackEnd::Iommufd, VECTORS)?;
    for &cpu in cpus.iter().skip(1) {
        (0..VECTORS).try_for_each(|vector| rig.send(vector, cpu))?;
        switch(cpu, State::Offline)?;
        rig.raise_all().with_context(|| format!("without processor {cpu}"))?;
        for (vector, irq) in rig.irqs.iter().enumerate() {
            ensure!(irq.goes_to()? != cpu, "vector {vector} goes to processor {cpu}, which is away");
        }
        switch(cpu, State::Online)?;
        rig.raise_all().with_context(|| format!("after the return of processor {cpu}"))?;
        (0..VECTORS).try_for_each(|vector| rig.send(vector, cpu)).context("back to the processor")?;
    }
    rig.expect_exact()?;
    rig.close()?;
    Ok(Outcome::Pass(format!("{VECTORS} vectors, {} processors went and came back", cpus.len() - 1)))
}

const VECTORS_HOTPLUG: Check = Check::new("vectors-outlive-processors", processors_go);

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "vectors",
    summary: "a function with several vectors of MSI, in the hands of the kernel and of a program",
    checks: &[DEVICES, GROUPS, VECTORS_KERNEL, VECTORS_ALL, VECTORS_MOVED, VECTORS_HOTPLUG, NO_FAULTS, VIOLATIONS],
}];
