// SPDX-License-Identifier: GPL-2.0
//! One virtual PCI bus: protocol state, power, functions. Its configuration window is in [`super::window`].

use alloc::vec::Vec;

use crate::ids::{DeviceIndex, Gpa, Guid, LogicalDeviceId, NumaNode};
use crate::nt_status::NtStatus;
use crate::platform::{LogLevel, Platform};
use crate::report::{Event, Report, ResetCause};
use crate::request::retarget::RetargetInterrupt;
use crate::status::Status;

use super::config::visible_bars;
use super::interrupt::InterruptTable;
use super::message::{self, DecodeError, Form, FunctionDescription, InterruptRequest, Request};
use super::refusal::Refusals;
use super::{Plug, Refusal, Slot, Version, WINDOW_BYTES};

/// What the server has to say to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing.
    None,
    /// The content of the completion, for when the guest asked for one.
    Completion(Vec<u8>),
    /// A message of its own.
    InBand(Vec<u8>),
}

impl Reply {
    fn status(status: NtStatus) -> Reply {
        Reply::Completion(message::status(status))
    }
}

/// Where a function stands with the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It is there.
    Present,
    /// It is, but the guest was asked to let go of it.
    Ejecting,
    /// The guest has let go of it.
    Ejected,
}

#[derive(Debug)]
pub(super) struct Function {
    pub(super) slot: Slot,
    pub(super) device: DeviceIndex,
    pub(super) presence: Presence,
}

/// Power, and with it the configuration window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    /// Off: no window.
    Off,
    /// On, with the window at this address.
    D0(Gpa),
    /// The offer was withdrawn while power was on: the window reads all ones until the guest has cleaned up.
    Gone(Gpa),
}

impl Power {
    /// Where the window is, if there is one.
    pub(super) fn window(self) -> Option<Gpa> {
        match self {
            Power::Off => None,
            Power::D0(window) | Power::Gone(window) => Some(window),
        }
    }
}

/// A virtual PCI bus.
#[derive(Debug)]
pub(crate) struct Bus {
    instance: Guid,
    max_version: Version,
    version: Option<Version>,
    pub(super) power: Power,
    pub(super) plug: Plug,
    /// The slot selector as the guest wrote it.
    pub(super) selector: u32,
    pub(super) functions: Vec<Function>,
    node: Option<NumaNode>,
    interrupts: InterruptTable,
    refusals: Refusals,
}

impl Bus {
    /// A bus that is off, with all functions present.
    pub(crate) fn new(
        instance: Guid,
        functions: impl IntoIterator<Item = (Slot, DeviceIndex)>,
        max_version: Version,
    ) -> Bus {
        let present = |(slot, device)| Function { slot, device, presence: Presence::Present };
        Bus {
            instance,
            max_version,
            version: None,
            power: Power::Off,
            plug: Plug::Connected,
            selector: 0,
            functions: functions.into_iter().map(present).collect(),
            node: None,
            interrupts: InterruptTable::default(),
            refusals: Refusals::default(),
        }
    }

    /// The same bus, with functions that the guest is told to be near this node.
    pub(crate) fn on_node(self, node: Option<NumaNode>) -> Bus {
        Bus { node, ..self }
    }

    /// The bus's instance GUID.
    pub(crate) fn instance(&self) -> Guid {
        self.instance
    }

    /// Pulls the card or puts it back.
    pub(crate) fn set_plug(&mut self, plug: Plug) {
        self.plug = plug;
    }

    /// Whether the card is in its socket.
    pub(crate) fn plug(&self) -> Plug {
        self.plug
    }

    /// Has messages refused from now on.
    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.refusals.add(refusal);
    }

    /// Ends that.
    pub(crate) fn clear_refusals(&mut self) {
        self.refusals.clear();
    }

    /// Messages refused since the start.
    pub(crate) fn refused(&self) -> u64 {
        self.refusals.refused()
    }

    /// The slot of a logical device id, if it is one of this bus's functions.
    pub(crate) fn slot_of(&self, id: LogicalDeviceId) -> Option<Slot> {
        let matches = |slot: &Slot| self.instance.logical_device_id(slot.function()) == id;
        self.functions.iter().map(|function| function.slot).find(matches)
    }

    /// The function with a logical device id.
    pub(crate) fn device_for_logical_id(&self, id: LogicalDeviceId) -> Option<DeviceIndex> {
        let slot = self.slot_of(id)?;
        self.functions.iter().find(|function| function.slot == slot).map(|function| function.device)
    }

    /// The logical device id of a function, if it is one of this bus's.
    pub(crate) fn logical_id_of(&self, device: DeviceIndex) -> Option<LogicalDeviceId> {
        let function = self.functions.iter().find(|function| function.device == device)?;
        Some(self.instance.logical_device_id(function.slot.function()))
    }

    /// The bus's functions.
    pub(crate) fn devices(&self) -> impl Iterator<Item = DeviceIndex> + '_ {
        self.functions.iter().map(|function| function.device)
    }

    /// Whether `device` is on this bus and was not ejected; `None` when it is not on this bus.
    pub(crate) fn has_present(&self, device: DeviceIndex) -> Option<bool> {
        let function = self.functions.iter().find(|function| function.device == device)?;
        Some(function.presence != Presence::Ejected)
    }

    /// Answers a message of the guest. `foreign` are the configuration windows of other buses.
    pub(crate) fn receive(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        foreign: &[Gpa],
        payload: &[u8],
    ) -> Reply {
        let request = match Request::decode(payload) {
            Ok(request) => request,
            Err(DecodeError::Short) => {
                report.violation(platform, format_args!("vpci: short message of {} bytes", payload.len()));
                return Reply::status(NtStatus::INVALID_PARAMETER);
            }
            Err(DecodeError::UnknownType(kind)) => {
                report.violation(platform, format_args!("vpci: unknown message {kind:#x}"));
                return Reply::status(NtStatus::NOT_SUPPORTED);
            }
        };
        platform.log(LogLevel::Trace, format_args!("vpci {}: {request:?}", self.instance));
        if let Some(status) = self.refusals.check(&request) {
            platform.log(LogLevel::Info, format_args!("vpci {}: {:#x} by a rule", self.instance, status.0));
            return Reply::Completion(message::refusal(&request, status));
        }
        self.answer(platform, report, foreign, request).unwrap_or_else(|status| {
            platform.log(LogLevel::Info, format_args!("vpci {}: refused, {:#x}", self.instance, status.0));
            Reply::status(status)
        })
    }

    fn answer(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        foreign: &[Gpa],
        request: Request,
    ) -> Result<Reply, NtStatus> {
        let done = Ok(Reply::status(NtStatus::SUCCESS));
        match request {
            Request::QueryProtocolVersion { version } => self.negotiate(version).and(done),
            Request::QueryBusRelations => self.relations(platform),
            Request::QueryResourceRequirements { slot } => {
                let device = self.present(platform, report, slot)?.1;
                let bars = visible_bars(platform.function_info(device).bar_probe);
                Ok(Reply::Completion(message::resource_requirements(bars)))
            }
            Request::BusD0Entry { window } => self.power_on(platform, report, foreign, window).and(done),
            Request::BusD0Exit => {
                self.power_off(platform, report);
                done
            }
            Request::ResourcesAssigned { form, slot } => {
                self.check_form(platform, report, form, Form::of_assigned)?;
                self.present(platform, report, slot)?;
                self.check_power()?;
                done
            }
            Request::ResourcesReleased { slot } => self.known(platform, report, slot).map(|_| Reply::None),
            Request::CreateInterrupt { form, slot, request } => {
                self.check_form(platform, report, form, Form::of_create)?;
                self.create_interrupt(platform, report, slot, &request)
            }
            Request::DeleteInterrupt { slot, message, count } => {
                let slot = self.known(platform, report, slot)?.0;
                if !self.interrupts.delete(platform, slot, message, count) {
                    report.violation(platform, format_args!("vpci: delete of unknown interrupt {message:x?}"));
                }
                Ok(Reply::None)
            }
            Request::EjectionComplete { slot } => self.finish_ejection(platform, report, slot),
            Request::Unimplemented { kind } => {
                platform.log(LogLevel::Info, format_args!("vpci: message {kind:#x} is not implemented"));
                Err(NtStatus::NOT_SUPPORTED)
            }
        }
    }

    fn negotiate(&mut self, wanted: u32) -> Result<(), NtStatus> {
        let version = Version::from_wire(wanted).filter(|&version| version <= self.max_version);
        self.version = Some(version.ok_or(NtStatus::REVISION_MISMATCH)?);
        Ok(())
    }

    fn negotiated(&self) -> Result<Version, NtStatus> {
        self.version.ok_or(NtStatus::INVALID_DEVICE_STATE)
    }

    fn check_power(&self) -> Result<(), NtStatus> {
        match self.power {
            Power::D0(_) => Ok(()),
            Power::Off | Power::Gone(_) => Err(NtStatus::INVALID_DEVICE_STATE),
        }
    }

    /// A message must have the form that goes with the version agreed on.
    fn check_form(
        &self,
        platform: &mut impl Platform,
        report: &mut Report,
        form: Form,
        expected: impl Fn(Version) -> Form,
    ) -> Result<(), NtStatus> {
        if self.version.map(expected) == Some(form) {
            return Ok(());
        }
        report.violation(platform, format_args!("vpci: {form:?} form of a message, version {:?}", self.version));
        Err(NtStatus::INVALID_PARAMETER)
    }

    /// The function in a slot that a message names, ejected or not.
    fn known(
        &self,
        platform: &mut impl Platform,
        report: &mut Report,
        slot: u32,
    ) -> Result<(Slot, DeviceIndex, Presence), NtStatus> {
        let found = Slot::from_wire(slot).and_then(|slot| self.functions.iter().find(|f| f.slot == slot));
        match found {
            Some(function) => Ok((function.slot, function.device, function.presence)),
            None => {
                report.violation(platform, format_args!("vpci: no function in slot {slot:#x}"));
                Err(NtStatus::DEVICE_DOES_NOT_EXIST)
            }
        }
    }

    /// The function in a slot that a message names, not ejected.
    fn present(
        &self,
        platform: &mut impl Platform,
        report: &mut Report,
        slot: u32,
    ) -> Result<(Slot, DeviceIndex), NtStatus> {
        match self.known(platform, report, slot)? {
            (_, _, Presence::Ejected) => Err(NtStatus::DEVICE_DOES_NOT_EXIST),
            (slot, device, Presence::Present | Presence::Ejecting) => Ok((slot, device)),
        }
    }

    fn relations(&self, platform: &impl Platform) -> Result<Reply, NtStatus> {
        let version = self.negotiated()?;
        let describe = |function: &Function| FunctionDescription {
            slot: function.slot,
            info: platform.function_info(function.device),
            serial: function.device.0 as u32 + 1,
            node: self.node,
        };
        let present = self.functions.iter().filter(|function| function.presence != Presence::Ejected);
        let list: Vec<FunctionDescription> = present.map(describe).collect();
        Ok(Reply::InBand(message::bus_relations(version, &list)))
    }

    fn power_on(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        foreign: &[Gpa],
        window: Gpa,
    ) -> Result<(), NtStatus> {
        self.negotiated()?;
        if self.power != Power::Off {
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        let collides = foreign.iter().any(|other| other.0.abs_diff(window.0) < WINDOW_BYTES);
        let fits = window.page_offset() == 0 && window.checked_add(WINDOW_BYTES).is_some();
        let pages = [Some(window), window.checked_add(WINDOW_BYTES / 2)];
        let in_ram = pages.into_iter().flatten().any(|page| platform.is_guest_ram(page, WINDOW_BYTES / 2));
        if collides || !fits || in_ram {
            report.violation(platform, format_args!("vpci: configuration window at {:#x}", window.0));
            return Err(NtStatus::INVALID_PARAMETER);
        }
        self.power = Power::D0(window);
        self.selector = 0;
        Ok(())
    }

    /// The configuration window, while power is on.
    pub(crate) fn powered_window(&self) -> Option<Gpa> {
        self.power.window().filter(|_| self.check_power().is_ok())
    }

    fn create_interrupt(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        slot: u32,
        request: &InterruptRequest,
    ) -> Result<Reply, NtStatus> {
        let (slot, device) = self.present(platform, report, slot)?;
        self.check_power()?;
        let message = self.interrupts.create(platform, device, slot, request)?;
        platform.log(LogLevel::Trace, format_args!("vpci: interrupt {message:x?} for slot {slot}"));
        Ok(Reply::Completion(message::interrupt_created(message, request.count)))
    }

    /// Points an interrupt of the function in `slot` elsewhere; see [`crate::vmbus::Vmbus::retarget`].
    pub(crate) fn retarget(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        slot: Slot,
        input: &RetargetInterrupt,
    ) -> Status {
        // A guest whose bus has just been withdrawn cannot know yet: only with power on is this a violation.
        let powered = self.check_power().is_ok();
        let handle = self.interrupts.find(slot, input.message).filter(|_| powered && input.vp.0 < platform.vp_count());
        match handle {
            Some(handle) => {
                platform.remap_retarget(handle, input.vp, input.vector);
                Status::SUCCESS
            }
            None if powered => {
                report.violation(platform, format_args!("retarget of slot {slot}: {input:x?}"));
                Status::INVALID_PARAMETER
            }
            None => Status::INVALID_PARAMETER,
        }
    }

    /// Starts an ejection; gives the message for the guest, `None` when no function that can be ejected is there.
    pub(crate) fn start_ejection(&mut self, slot: Slot) -> Option<Vec<u8>> {
        let is_there = |function: &&mut Function| function.slot == slot && function.presence == Presence::Present;
        let function = self.functions.iter_mut().find(is_there)?;
        function.presence = Presence::Ejecting;
        Some(message::eject(slot))
    }

    fn finish_ejection(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        slot: u32,
    ) -> Result<Reply, NtStatus> {
        let (slot, device, presence) = self.known(platform, report, slot)?;
        if presence != Presence::Ejecting {
            report.violation(platform, format_args!("vpci: slot {slot} was not to be ejected"));
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        self.interrupts.release_slot(platform, slot);
        let mut of_slot = self.functions.iter_mut().filter(|function| function.slot == slot);
        of_slot.by_ref().for_each(|function| function.presence = Presence::Ejected);
        reset(platform, report, device, ResetCause::Ejected);
        Ok(Reply::None)
    }

    /// The bus leaves D0, by message or because its channel closes. Nothing happens when it is off.
    pub(crate) fn power_off(&mut self, platform: &mut impl Platform, report: &mut Report) {
        if self.check_power().is_err() {
            return;
        }
        self.power = Power::Off;
        self.interrupts.make_stale();
        for function in self.functions.iter().filter(|function| function.presence != Presence::Ejected) {
            reset(platform, report, function.device, ResetCause::PoweredOff);
        }
    }

    /// The channel is closed: the next one starts with the choice of a version.
    pub(crate) fn disconnect(&mut self, platform: &mut impl Platform, report: &mut Report) {
        self.power_off(platform, report);
        self.version = None;
    }

    /// The guest loses the bus: interrupts are dropped, functions reset, ejections forgotten.
    ///
    /// A configuration window stays behind, reading all ones, until [`Bus::forget_window`].
    pub(crate) fn withdraw(&mut self, platform: &mut impl Platform, report: &mut Report, cause: ResetCause) {
        self.let_go(platform);
        for function in &self.functions {
            reset(platform, report, function.device, cause);
        }
    }

    /// As [`Bus::withdraw`] because the guest has dropped its connection, but the functions are not reset.
    pub(crate) fn abandon(&mut self, platform: &mut impl Platform, report: &mut Report) {
        self.let_go(platform);
        for function in &self.functions {
            report.event(Event::FunctionReset { device: function.device, cause: ResetCause::Unloaded });
        }
    }

    fn let_go(&mut self, platform: &mut impl Platform) {
        self.version = None;
        self.power = self.power.window().map_or(Power::Off, Power::Gone);
        self.interrupts.release_all(platform);
        for function in &mut self.functions {
            function.presence = Presence::Present;
        }
    }

    /// The guest has cleaned up after [`Bus::withdraw`].
    pub(crate) fn forget_window(&mut self) {
        if let Power::Gone(_) = self.power {
            self.power = Power::Off;
        }
    }
}

fn reset(platform: &mut impl Platform, report: &mut Report, device: DeviceIndex, cause: ResetCause) {
    platform.reset_function(device);
    report.event(Event::FunctionReset { device, cause });
}
