// SPDX-License-Identifier: GPL-2.0
//! The connection: channel messages of the guest and their answers.

use alloc::vec::Vec;

use crate::ids::{ConnectionId, VpIndex};
use crate::nt_status::NtStatus;
use crate::platform::{LogLevel, Platform};
use crate::report::Report;
use crate::status::Status;
use crate::synic::{Message, Sint, Synic, MESSAGE_PAYLOAD_MAX};

use super::channel::{Channel, Intent, Phase, Relid};
use super::gpadl::{GpadlHandle, Progress};
use super::message::{self, DecodeError, GuestMessage, InterruptChoice, Verdict};
use super::{Version, Vmbus};

/// The only message type that VMBus knows.
const CHANNEL_MESSAGE: u32 = 1;
/// Where messages go before 5.0.
const OLD_CONNECTION: ConnectionId = ConnectionId(1);
/// Where they go from 5.0 on.
const NEW_CONNECTION: ConnectionId = ConnectionId(4);
/// The first version with [`NEW_CONNECTION`], as in a message.
const FIRST_NEW_VERSION: u32 = 0x0005_0000;

/// Whether the guest has asked for offers: from then on new ones are sent unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offers {
    NotRequested,
    Requested,
}

/// An established connection.
#[derive(Clone, Copy, Debug)]
struct Link {
    version: Version,
    /// Who gets the host's messages.
    target: VpIndex,
    offers: Offers,
}

impl Link {
    fn connection_id(&self) -> ConnectionId {
        match self.version >= Version::V5_0 {
            true => NEW_CONNECTION,
            false => OLD_CONNECTION,
        }
    }
}

/// The state of the connection.
#[derive(Debug, Default)]
pub(super) struct Connection(Option<Link>);

impl Connection {
    /// Whether there is one.
    pub(super) fn is_up(&self) -> bool {
        self.0.is_some()
    }

    /// Who gets messages now; `None` without a connection.
    pub(super) fn target(&self) -> Option<VpIndex> {
        self.0.map(|link| link.target)
    }

    /// Who gets a new offer now; `None` when the guest has not asked for any.
    pub(super) fn offer_target(&self) -> Option<VpIndex> {
        self.0.filter(|link| link.offers == Offers::Requested).map(|link| link.target)
    }
}

/// Queues a message for which there is room.
pub(super) fn send(platform: &mut impl Platform, synic: &mut Synic, target: VpIndex, payload: Vec<u8>) {
    let posted = Message::new(payload).map(|message| synic.post_message(platform, target, Sint::VMBUS, message));
    if posted != Some(Ok(())) {
        platform.log(LogLevel::Error, format_args!("vmbus: message for vp {} lost: {posted:?}", target.0));
    }
}

impl Vmbus {
    /// `HvPostMessage`: a channel message from the guest, sent by `vp`.
    ///
    /// - [`Status::INVALID_CONNECTION_ID`]: not the connection that goes with the protocol version.
    /// - [`Status::INVALID_PARAMETER`]: the message cannot be read.
    /// - [`Status::INSUFFICIENT_BUFFERS`]: the answers have no room in the guest's message queue; nothing was done,
    ///   and the guest is to send the message again.
    pub fn post_message(
        &mut self,
        platform: &mut impl Platform,
        synic: &mut Synic,
        vp: VpIndex,
        connection: ConnectionId,
        message_type: u32,
        payload: &[u8],
    ) -> Status {
        if ![OLD_CONNECTION, NEW_CONNECTION].contains(&connection) {
            self.report.violation(platform, format_args!("message on unknown connection {:#x}", connection.0));
            return Status::INVALID_CONNECTION_ID;
        }
        if message_type != CHANNEL_MESSAGE || payload.len() > MESSAGE_PAYLOAD_MAX {
            let length = payload.len();
            self.report.violation(platform, format_args!("message of type {message_type}, {length} bytes"));
            return Status::INVALID_PARAMETER;
        }
        let request = match GuestMessage::decode(payload) {
            Ok(request) => request,
            Err(DecodeError::Length) => {
                self.report.violation(platform, format_args!("channel message of {} bytes", payload.len()));
                return Status::INVALID_PARAMETER;
            }
            Err(DecodeError::UnknownType(kind)) => {
                self.report.violation(platform, format_args!("channel message of type {kind}"));
                return Status::INVALID_PARAMETER;
            }
        };
        platform.log(LogLevel::Trace, format_args!("vmbus: vp {} sends {request:x?}", vp.0));
        if let GuestMessage::InitiateContact { version, target, interrupt } = request {
            return self.initiate_contact(platform, synic, connection, version, target, interrupt);
        }
        let Some(link) = self.connection.0 else {
            self.report.violation(platform, format_args!("channel message without a connection"));
            return Status::SUCCESS;
        };
        if link.connection_id() != connection {
            self.report.violation(platform, format_args!("message on connection {}", connection.0));
            return Status::INVALID_CONNECTION_ID;
        }
        let answers = match request {
            GuestMessage::RequestOffers => self.channels.iter().filter(|channel| channel.is_due()).count() + 1,
            _ => 1,
        };
        if synic.room(link.target, Sint::VMBUS) < answers {
            return Status::INSUFFICIENT_BUFFERS;
        }
        self.handle(platform, synic, link, request);
        Status::SUCCESS
    }

    fn initiate_contact(
        &mut self,
        platform: &mut impl Platform,
        synic: &mut Synic,
        connection: ConnectionId,
        version: u32,
        target: VpIndex,
        interrupt: InterruptChoice,
    ) -> Status {
        let is_new = version >= FIRST_NEW_VERSION;
        if is_new != (connection == NEW_CONNECTION) {
            self.report.violation(platform, format_args!("version {version:#x} on connection {}", connection.0));
            return Status::INVALID_CONNECTION_ID;
        }
        let elsewhere = is_new && (Sint::new(interrupt.sint()) != Some(Sint::VMBUS) || interrupt.vtl() != 0);
        if target.0 >= platform.vp_count() || elsewhere {
            self.report.violation(platform, format_args!("contact for vp {}, {interrupt:x?}", target.0));
            return Status::INVALID_PARAMETER;
        }
        // A kernel that starts over without UNLOAD finds the host as fresh as one that sent it.
        self.reset_connection(platform, synic);
        if synic.room(target, Sint::VMBUS) == 0 {
            return Status::INSUFFICIENT_BUFFERS;
        }
        let agreed = Version::from_wire(version).filter(|&version| version <= self.max_version);
        self.connection.0 = agreed.map(|version| Link { version, target, offers: Offers::NotRequested });
        let verdict = match agreed {
            Some(version) => {
                platform.log(LogLevel::Info, format_args!("vmbus: connected, version {version}"));
                Verdict::Supported
            }
            None => Verdict::Unsupported,
        };
        send(platform, synic, target, message::version_response(verdict, connection));
        Status::SUCCESS
    }

    /// Forgets everything that the guest set up, and messages that it has not been shown yet.
    fn reset_connection(&mut self, platform: &mut impl Platform, synic: &mut Synic) {
        let Some(link) = self.connection.0.take() else { return };
        platform.log(LogLevel::Info, format_args!("vmbus: disconnected"));
        synic.discard_messages(link.target, Sint::VMBUS);
        for channel in &mut self.channels {
            self.gpadls.remove_all_of(channel.relid());
            channel.unload(platform, &mut self.report, self.unload);
        }
    }

    fn handle(&mut self, platform: &mut impl Platform, synic: &mut Synic, link: Link, request: GuestMessage<'_>) {
        let answer = match request {
            GuestMessage::InitiateContact { .. } => None,
            GuestMessage::RequestOffers => {
                self.connection.0 = Some(Link { offers: Offers::Requested, ..link });
                for channel in self.channels.iter_mut().filter(|channel| channel.is_due()) {
                    send_offer(platform, synic, &mut self.report, link.target, channel);
                }
                Some(message::all_offers_delivered())
            }
            GuestMessage::OpenChannel { relid, open_id, ring, target, downstream_page } => {
                let result = self.open_channel(platform, relid, ring, target, downstream_page);
                Some(message::open_result(relid, open_id, result.err().unwrap_or(NtStatus::SUCCESS)))
            }
            GuestMessage::CloseChannel { relid } => {
                self.close_channel(platform, relid);
                None
            }
            GuestMessage::GpadlHeader { relid, handle, shape, pages } => {
                let progress = match self.gpadl_owner(platform, relid) {
                    Ok(()) => self.gpadls.begin(platform, handle, relid, shape, pages.iter()),
                    Err(status) => Progress::Refused(relid, status),
                };
                self.gpadl_answer(platform, handle, progress)
            }
            GuestMessage::GpadlBody { handle, pages } => {
                let progress = self.gpadls.append(platform, handle, pages.iter());
                self.gpadl_answer(platform, handle, progress)
            }
            GuestMessage::GpadlTeardown { relid, handle } => {
                self.tear_down_gpadl(platform, relid, handle);
                Some(message::gpadl_torndown(handle))
            }
            GuestMessage::RelidReleased { relid } => {
                self.release_relid(platform, synic, relid);
                None
            }
            GuestMessage::ModifyChannel { relid, target } => {
                let result = self.modify_channel(platform, link.version, relid, target);
                let status = result.err().unwrap_or(NtStatus::SUCCESS);
                (link.version >= Version::V5_3).then(|| message::modify_channel_response(relid, status))
            }
            GuestMessage::Unload => {
                self.reset_connection(platform, synic);
                Some(message::unload_response())
            }
        };
        if let Some(answer) = answer {
            send(platform, synic, link.target, answer);
        }
    }

    /// The channel with this number; counts a violation when there is none.
    fn channel(&mut self, platform: &mut impl Platform, relid: Relid) -> Option<&mut Channel> {
        let channel = self.channels.iter_mut().find(|channel| channel.relid() == relid);
        if channel.is_none() {
            self.report.violation(platform, format_args!("unknown relid {:#x}", relid.0));
        }
        channel
    }

    fn phase(&mut self, platform: &mut impl Platform, relid: Relid) -> Option<Phase> {
        self.channel(platform, relid).map(|channel| channel.phase())
    }

    fn open_channel(
        &mut self,
        platform: &mut impl Platform,
        relid: Relid,
        ring: GpadlHandle,
        target: VpIndex,
        downstream_page: u32,
    ) -> Result<(), NtStatus> {
        match self.phase(platform, relid) {
            Some(Phase::Offered) => {}
            // The rescind and the open crossed.
            Some(Phase::Rescinded) => return Err(NtStatus::UNSUCCESSFUL),
            Some(Phase::Open | Phase::Released) => {
                self.report.violation(platform, format_args!("relid {} cannot be opened", relid.0));
                return Err(NtStatus::UNSUCCESSFUL);
            }
            None => return Err(NtStatus::INVALID_PARAMETER),
        }
        let channel = self.channels.iter_mut().find(|channel| channel.relid() == relid);
        let opened = match (channel, self.gpadls.pages(ring, relid)) {
            (Some(channel), Some(pages)) if target.0 < platform.vp_count() => {
                channel.open(platform, ring, pages, downstream_page, target)
            }
            _ => Err(NtStatus::INVALID_PARAMETER),
        };
        match opened {
            Ok(()) => platform.log(LogLevel::Info, format_args!("vmbus: channel {} open", relid.0)),
            Err(_) => self.report.violation(platform, format_args!("open of relid {} with {ring:x?}", relid.0)),
        }
        opened
    }

    fn close_channel(&mut self, platform: &mut impl Platform, relid: Relid) {
        match self.phase(platform, relid) {
            Some(Phase::Offered | Phase::Released) => {
                self.report.violation(platform, format_args!("close of relid {}, which is not open", relid.0));
            }
            Some(Phase::Open) => {
                for channel in self.channels.iter_mut().filter(|channel| channel.relid() == relid) {
                    channel.close(platform, &mut self.report);
                }
                platform.log(LogLevel::Info, format_args!("vmbus: channel {} closed", relid.0));
            }
            Some(Phase::Rescinded) | None => {}
        }
    }

    /// Whether this channel may have GPADLs now.
    fn gpadl_owner(&mut self, platform: &mut impl Platform, relid: Relid) -> Result<(), NtStatus> {
        match self.phase(platform, relid) {
            Some(Phase::Offered | Phase::Open) => Ok(()),
            Some(Phase::Rescinded) => Err(NtStatus::UNSUCCESSFUL),
            Some(Phase::Released) => {
                self.report.violation(platform, format_args!("GPADL for relid {}, which is not offered", relid.0));
                Err(NtStatus::UNSUCCESSFUL)
            }
            None => Err(NtStatus::INVALID_PARAMETER),
        }
    }

    fn gpadl_answer(
        &mut self,
        platform: &mut impl Platform,
        handle: GpadlHandle,
        progress: Progress,
    ) -> Option<Vec<u8>> {
        match progress {
            Progress::Incomplete => None,
            Progress::Created(relid) => Some(message::gpadl_created(relid, handle, NtStatus::SUCCESS)),
            Progress::Refused(relid, status) => {
                if status == NtStatus::INVALID_PARAMETER {
                    self.report.violation(platform, format_args!("GPADL {:#x} makes no sense", handle.0));
                }
                Some(message::gpadl_created(relid, handle, status))
            }
            Progress::Unknown => {
                if !self.was_anything_rescinded() {
                    self.report.violation(platform, format_args!("body of unknown GPADL {:#x}", handle.0));
                }
                None
            }
        }
    }

    /// Whether a guest may still speak of GPADLs that the host has dropped with a channel.
    fn was_anything_rescinded(&self) -> bool {
        self.channels.iter().any(|channel| channel.phase() == Phase::Rescinded)
    }

    fn tear_down_gpadl(&mut self, platform: &mut impl Platform, relid: Relid, handle: GpadlHandle) {
        for channel in self.channels.iter_mut().filter(|channel| channel.uses(handle) && channel.relid() == relid) {
            self.report.violation(platform, format_args!("teardown of the rings of open relid {}", relid.0));
            channel.close(platform, &mut self.report);
        }
        if !self.gpadls.remove(handle, relid) && !self.was_anything_rescinded() {
            self.report.violation(platform, format_args!("teardown of unknown GPADL {:#x}", handle.0));
        }
    }

    fn release_relid(&mut self, platform: &mut impl Platform, synic: &mut Synic, relid: Relid) {
        match self.phase(platform, relid) {
            Some(Phase::Rescinded) => {}
            Some(Phase::Offered) => {
                // The guest does not want this offer: it gets it again only when the host says so.
                for channel in self.channels.iter_mut().filter(|channel| channel.relid() == relid) {
                    channel.set_intent(Intent::Withhold);
                }
            }
            Some(Phase::Open | Phase::Released) => {
                self.report.violation(platform, format_args!("release of relid {}", relid.0));
                return;
            }
            None => return,
        }
        self.gpadls.remove_all_of(relid);
        let offer_target = self.connection.offer_target();
        for channel in self.channels.iter_mut().filter(|channel| channel.relid() == relid) {
            channel.release();
            if let (true, Some(target)) = (channel.is_due(), offer_target) {
                send_offer(platform, synic, &mut self.report, target, channel);
            }
        }
    }

    fn modify_channel(
        &mut self,
        platform: &mut impl Platform,
        version: Version,
        relid: Relid,
        target: VpIndex,
    ) -> Result<(), NtStatus> {
        if version < Version::V4_1 || target.0 >= platform.vp_count() {
            self.report.violation(platform, format_args!("relid {} to vp {}, version {version}", relid.0, target.0));
            return Err(NtStatus::INVALID_PARAMETER);
        }
        self.channel(platform, relid).ok_or(NtStatus::INVALID_PARAMETER)?.set_target(target)
    }
}

/// Offers a channel to the guest; there must be room for the message.
pub(super) fn send_offer(
    platform: &mut impl Platform,
    synic: &mut Synic,
    report: &mut Report,
    target: VpIndex,
    channel: &mut Channel,
) {
    let relid = channel.relid();
    let instance = channel.bus().instance();
    platform.log(LogLevel::Info, format_args!("vmbus: offer {instance} as channel {}", relid.0));
    send(platform, synic, target, message::offer(instance, relid, channel.connection_id()));
    channel.mark_offered(report);
}
