// SPDX-License-Identifier: GPL-2.0
//! What a caller asks for: the one place where the input of a hypercall is decoded, and the types that it becomes.
//!
//! Decoding knows nothing of the hypervisor's state. Whatever the bytes are, they become a [`Request`] or a [`Refusal`].

pub mod interrupts;
pub mod iommu;
pub mod list;
pub mod messages;
pub mod refusal;
pub mod retarget;
pub mod root;
pub mod root_domains;
#[cfg(test)]
mod tests;

use crate::hypercall::calls::{Call, IommuCall, RootCall};
use crate::hypercall::frame::{Frame, Output};
use crate::hypercall::list::Span;
use crate::hypercall::table::Spec;
use crate::status::Status;
use iommu::{IommuRequest, Subject};
use messages::{MmioRead, MmioWrite, PostMessage, SignalEvent};
use refusal::Refusal;
use retarget::RetargetInterrupt;
use root::RootRequest;

/// What a caller asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Request<'a> {
    /// A message to a connection.
    PostMessage(PostMessage<'a>),
    /// An event for a connection.
    SignalEvent(SignalEvent),
    /// Another processor or vector for a device's interrupt.
    RetargetInterrupt(RetargetInterrupt),
    /// A read of memory-mapped I/O.
    MmioRead(MmioRead),
    /// A write to memory-mapped I/O.
    MmioWrite(MmioWrite),
    /// Something of the para-virtual IOMMU.
    Iommu(IommuRequest),
    /// Something that only a root partition may ask for.
    Root(RootRequest),
}

/// A call with its input decoded.
#[derive(Clone, Copy, Debug)]
pub struct Hypercall<'a> {
    /// What is fixed about the call.
    pub spec: &'static Spec,
    /// What it names, whatever else is wrong with it; nothing for a call that is not about device domains.
    pub subject: Subject,
    /// Which elements are to be processed, for a rep call.
    pub span: Option<Span>,
    /// Where its output goes, if it has one.
    pub output: Option<Output>,
    /// What it asks for, or why that is refused.
    pub request: Result<Request<'a>, Refusal>,
}

impl<'a> Hypercall<'a> {
    /// Decodes the input of a call whose form is sound.
    pub fn decode(frame: &Frame<'a>) -> Hypercall<'a> {
        let subject = match frame.spec.call {
            Call::Iommu(call) => Subject::decode(call, frame.input),
            Call::Root(RootCall::Domain(call)) => Subject::of_root(call, frame.input),
            _ => Subject::default(),
        };
        let Frame { spec, span, output, .. } = *frame;
        Hypercall { spec, subject, span, output, request: Request::decode(frame) }
    }

    /// Which call of the IOMMU it is; `None` for any other.
    pub fn iommu(&self) -> Option<IommuCall> {
        match self.spec.call {
            Call::Iommu(call) => Some(call),
            _ => None,
        }
    }

    /// How many elements of its list are done when nothing is done: those before the first one.
    pub fn none_done(&self) -> u16 {
        self.span.map_or(0, Span::start)
    }

    /// How many are done when all are.
    pub fn all_done(&self) -> u16 {
        self.span.map_or(0, Span::end)
    }
}

impl<'a> Request<'a> {
    fn decode(frame: &Frame<'a>) -> Result<Request<'a>, Refusal> {
        let input = frame.input;
        Ok(match frame.spec.call {
            Call::PostMessage => Request::PostMessage(PostMessage::decode(input)?),
            Call::SignalEvent => Request::SignalEvent(SignalEvent::decode(input)?),
            Call::RetargetInterrupt => {
                let decoded = RetargetInterrupt::decode(input.bytes());
                Request::RetargetInterrupt(decoded.map_err(|status| Refusal::violation(status, "no sound retarget"))?)
            }
            Call::MmioRead => {
                let output = frame.output.ok_or(Refusal::from(Status::INVALID_PARAMETER))?;
                Request::MmioRead(MmioRead::decode(input, output)?)
            }
            Call::MmioWrite => Request::MmioWrite(MmioWrite::decode(input)?),
            Call::Iommu(call) => Request::Iommu(IommuRequest::decode(call, frame)?),
            Call::Root(call) => Request::Root(RootRequest::decode(call, frame)?),
        })
    }
}
