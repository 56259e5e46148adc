// SPDX-License-Identifier: GPL-2.0
//! A channel: the offer of one vPCI bus and, while it is open, its rings.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::ids::{BusIndex, ConnectionId, DeviceIndex, Gpa, VpIndex};
use crate::nt_status::NtStatus;
use crate::platform::Platform;
use crate::report::{Event, Report, ResetCause};
use crate::synic::{EventFlag, Sint, Synic};
use crate::vpci::{self, Bus, Plug, Reply, Slot};

use super::config::{BusConfig, Unload};
use super::gpadl::GpadlHandle;
use super::offers::OfferError;
use super::ring::{Completion, Incoming, Notify, Outgoing, Packet, PacketKind, RingError, Sent};
use super::Availability;

/// Connection id of the first channel's signals; message connections have small numbers.
const FIRST_SIGNAL_CONNECTION: u32 = 0x100;
/// Packets handled in one go. A guest that keeps the host busy for longer is broken.
const PACKET_BUDGET: u32 = 1 << 16;

/// A channel's number as the guest knows it; also its event flag. Starts at 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Relid(pub(super) u32);

/// Where a channel stands with the guest.
#[derive(Debug)]
enum State {
    /// The guest knows nothing of it.
    Released,
    /// It may be opened.
    Offered,
    /// It is open.
    Open(Box<Open>),
    /// The offer was withdrawn, and the guest has not let go of the relid yet.
    Rescinded,
}

/// Where a channel stands, for those who need no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Released,
    Offered,
    Open,
    Rescinded,
}

/// What the host wants of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// The guest shall have it.
    Offer,
    /// It shall not.
    Withhold,
}

/// Whether the guest has lost the bus since it was last offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum History {
    Kept,
    Lost,
}

/// Whether a pair of rings can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Health {
    Sound,
    /// The guest corrupted one: nothing moves until the channel is closed.
    Broken,
}

/// What an open channel has.
#[derive(Debug)]
struct Open {
    ring: GpadlHandle,
    target: VpIndex,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Packets that found no room in the ring. No further packet is taken from the guest until all are sent, which
    /// bounds this to one packet's answers and one ejection per function.
    backlog: VecDeque<Packet>,
    health: Health,
}

impl Open {
    /// Sends what waits and handles what has come, until the rings are empty or full.
    fn run(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        bus: &mut Bus,
        foreign: &[Gpa],
        notify: &mut Notify,
    ) -> Result<(), Stop> {
        for _ in 0..PACKET_BUDGET {
            self.flush(platform, notify)?;
            if !self.backlog.is_empty() {
                return Ok(());
            }
            let Some((packet, room)) = self.incoming.receive(platform)? else { return Ok(()) };
            if room == Notify::Guest {
                *notify = Notify::Guest;
            }
            self.handle(platform, report, bus, foreign, packet);
        }
        Err(Stop::Endless)
    }

    fn flush(&mut self, platform: &mut impl Platform, notify: &mut Notify) -> Result<(), RingError> {
        while let Some(packet) = self.backlog.front() {
            match self.outgoing.send(platform, packet)? {
                Sent::Full => break,
                Sent::Yes(wish) => {
                    if wish == Notify::Guest {
                        *notify = Notify::Guest;
                    }
                    self.backlog.pop_front();
                }
            }
        }
        Ok(())
    }

    fn handle(
        &mut self,
        platform: &mut impl Platform,
        report: &mut Report,
        bus: &mut Bus,
        foreign: &[Gpa],
        packet: Packet,
    ) {
        if packet.kind != PacketKind::InBand {
            report.violation(platform, format_args!("channel: {:?} packet", packet.kind));
            return;
        }
        let completion = match bus.receive(platform, report, foreign, &packet.payload) {
            Reply::None => vpci::plain_completion(NtStatus::SUCCESS),
            Reply::Completion(payload) => payload,
            Reply::InBand(payload) => {
                self.queue(PacketKind::InBand, 0, payload);
                vpci::plain_completion(NtStatus::SUCCESS)
            }
        };
        if packet.completion == Completion::Requested {
            self.queue(PacketKind::Completion, packet.transaction, completion);
        }
    }

    fn queue(&mut self, kind: PacketKind, transaction: u64, payload: Vec<u8>) {
        self.backlog.push_back(Packet { kind, completion: Completion::Unwanted, transaction, payload });
    }
}

/// Why an open channel came to a halt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// A ring cannot be used.
    Ring(RingError),
    /// The guest sends faster than the host can ever read.
    Endless,
}

impl From<RingError> for Stop {
    fn from(error: RingError) -> Stop {
        Stop::Ring(error)
    }
}

/// One channel.
#[derive(Debug)]
pub(super) struct Channel {
    index: BusIndex,
    bus: Bus,
    state: State,
    intent: Intent,
    history: History,
}

impl Channel {
    /// A channel to be offered as soon as the guest asks.
    pub(super) fn new(index: BusIndex, config: BusConfig, max_version: vpci::Version) -> Channel {
        let functions = config.functions.iter().map(|function| (function.slot, function.device));
        Channel {
            index,
            bus: Bus::new(config.instance, functions, max_version).on_node(config.node),
            state: State::Released,
            intent: Intent::Offer,
            history: History::Kept,
        }
    }

    pub(super) fn relid(&self) -> Relid {
        Relid(self.index.0 as u32 + 1)
    }

    /// The connection on which the guest signals this channel.
    pub(super) fn connection_id(&self) -> ConnectionId {
        ConnectionId(FIRST_SIGNAL_CONNECTION + self.index.0 as u32)
    }

    pub(super) fn bus(&self) -> &Bus {
        &self.bus
    }

    pub(super) fn bus_mut(&mut self) -> &mut Bus {
        &mut self.bus
    }

    pub(super) fn phase(&self) -> Phase {
        match self.state {
            State::Released => Phase::Released,
            State::Offered => Phase::Offered,
            State::Open(_) => Phase::Open,
            State::Rescinded => Phase::Rescinded,
        }
    }

    pub(super) fn intent(&self) -> Intent {
        self.intent
    }

    pub(super) fn set_intent(&mut self, intent: Intent) {
        self.intent = intent;
    }

    /// Whether an offer is due: wanted by the host and unknown to the guest.
    pub(super) fn is_due(&self) -> bool {
        self.intent == Intent::Offer && self.phase() == Phase::Released
    }

    /// The offer has gone out.
    pub(super) fn mark_offered(&mut self, report: &mut Report) {
        self.state = State::Offered;
        if self.history == History::Lost {
            self.bus.devices().for_each(|device| report.event(Event::FunctionReturned { device }));
        }
        self.history = History::Kept;
    }

    /// See [`super::Vmbus::availability`]; `None` when the function is not on this bus.
    pub(super) fn availability(&self, device: DeviceIndex) -> Option<Availability> {
        let present = self.bus.has_present(device)?;
        Some(match (self.phase(), self.bus.plug()) {
            (Phase::Released | Phase::Rescinded, _) => Availability::Gone,
            (Phase::Offered | Phase::Open, _) if !present => Availability::Gone,
            (Phase::Offered | Phase::Open, Plug::Unplugged) => Availability::Unplugged,
            (Phase::Offered | Phase::Open, Plug::Connected) => Availability::Present,
        })
    }

    /// Opens an offered channel whose rings are `pages`, the second one from `downstream` on.
    pub(super) fn open(
        &mut self,
        platform: &mut impl Platform,
        ring: GpadlHandle,
        pages: &[Gpa],
        downstream: u32,
        target: VpIndex,
    ) -> Result<(), NtStatus> {
        let split = usize::try_from(downstream).ok().and_then(|at| pages.split_at_checked(at));
        let (to_host, to_guest) = split.ok_or(NtStatus::INVALID_PARAMETER)?;
        let incoming = Incoming::open(platform, to_host).ok_or(NtStatus::INVALID_PARAMETER)?;
        let outgoing = Outgoing::open(platform, to_guest).ok_or(NtStatus::INVALID_PARAMETER)?;
        let backlog = VecDeque::new();
        self.state = State::Open(Box::new(Open { ring, target, incoming, outgoing, backlog, health: Health::Sound }));
        Ok(())
    }

    /// Closes an open channel; it stays offered.
    pub(super) fn close(&mut self, platform: &mut impl Platform, report: &mut Report) {
        if let State::Open(_) = self.state {
            self.state = State::Offered;
            self.bus.disconnect(platform, report);
        }
    }

    /// Whether the channel is open with its rings in this GPADL.
    pub(super) fn uses(&self, gpadl: GpadlHandle) -> bool {
        matches!(&self.state, State::Open(open) if open.ring == gpadl)
    }

    /// Sends the channel's interrupts elsewhere from now on.
    pub(super) fn set_target(&mut self, target: VpIndex) -> Result<(), NtStatus> {
        match &mut self.state {
            State::Open(open) => {
                open.target = target;
                Ok(())
            }
            State::Released | State::Offered | State::Rescinded => Err(NtStatus::UNSUCCESSFUL),
        }
    }

    /// The host withdraws an offered or open channel; the guest has yet to release it.
    pub(super) fn rescind(&mut self, platform: &mut impl Platform, report: &mut Report) {
        self.state = State::Rescinded;
        self.history = History::Lost;
        self.bus.withdraw(platform, report, ResetCause::Rescinded);
    }

    /// The guest has let go of the channel.
    pub(super) fn release(&mut self) {
        self.state = State::Released;
        self.bus.forget_window();
    }

    /// The connection is gone, and with it whatever the guest knew.
    pub(super) fn unload(&mut self, platform: &mut impl Platform, report: &mut Report, unload: Unload) {
        if matches!(self.phase(), Phase::Offered | Phase::Open) {
            match unload {
                Unload::Reset => self.bus.withdraw(platform, report, ResetCause::Unloaded),
                Unload::Keep => self.bus.abandon(platform, report),
            }
        }
        self.release();
    }

    /// Moves packets in both directions; nothing happens unless the channel is open.
    ///
    /// `foreign` are the configuration windows of other buses.
    pub(super) fn service(
        &mut self,
        platform: &mut impl Platform,
        synic: &mut Synic,
        report: &mut Report,
        foreign: &[Gpa],
    ) {
        let relid = self.relid();
        let State::Open(open) = &mut self.state else { return };
        if open.health == Health::Broken {
            return;
        }
        let mut notify = Notify::Silent;
        if let Err(stop) = open.run(platform, report, &mut self.bus, foreign, &mut notify) {
            open.health = Health::Broken;
            report.violation(platform, format_args!("channel {}: {stop:x?}", relid.0));
        }
        if let (Notify::Guest, Some(flag)) = (notify, EventFlag::new(relid.0)) {
            synic.signal_event(platform, open.target, Sint::VMBUS, flag);
        }
    }

    /// Puts the request to give up a function in line for the guest; [`Channel::service`] sends it.
    pub(super) fn eject(&mut self, slot: Slot) -> Result<(), OfferError> {
        let State::Open(open) = &mut self.state else { return Err(OfferError::WrongState) };
        let message = self.bus.start_ejection(slot).ok_or(OfferError::NoSuchSlot)?;
        open.queue(PacketKind::InBand, 0, message);
        Ok(())
    }
}
