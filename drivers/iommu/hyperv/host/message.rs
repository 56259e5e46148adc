// SPDX-License-Identifier: GPL-2.0

//! What the driver writes to the kernel's log.
//!
//! Nearly all messages go through one function, which takes the words that differ as data. With the
//! kernel's macros, each message would take 150 to 300 bytes of code at its place.

use super::domain_ids::DomainId;
use kernel::{
    device,
    fmt,
    hyperv::{
        logical_device::LogicalDeviceId,
        status::HypercallError, //
    },
    prelude::*, //
};

/// How serious a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Something that an administrator may want to know.
    Info,
    /// Something went wrong, and the driver made up for it.
    Warn,
    /// Something went wrong, and something does not work.
    Err,
}

/// A word of a message.
#[derive(Clone, Copy)]
pub(crate) enum Word<'a> {
    /// A text as it is, such as a call's name.
    Text(&'a &'static str),
    /// The hypervisor's name of a device, hexadecimal.
    Device(LogicalDeviceId),
    /// A domain's number.
    Domain(DomainId),
    /// A hypercall's failure: the status and its name.
    Failure(HypercallError),
    /// An errno, negative.
    Errno(Error),
    /// A decimal number.
    Number(u64),
    /// A hexadecimal number, with 0x.
    Hex(u64),
}

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Word::Text(text) => f.write_str(text),
            Word::Device(id) => id.fmt(f),
            Word::Domain(id) => id.fmt(f),
            Word::Failure(failure) => failure.fmt(f),
            Word::Errno(error) => write!(f, "{}", error.to_errno()),
            Word::Number(number) => write!(f, "{number}"),
            Word::Hex(number) => write!(f, "{number:#x}"),
        }
    }
}

/// A text in which each `%` stands for a word.
pub(crate) struct Message<'a>(pub(crate) &'static str, pub(crate) &'a [Word<'a>]);

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for word in self.1 {
            let Some(at) = rest.bytes().position(|byte| byte == b'%') else {
                break;
            };
            f.write_str(rest.get(..at).unwrap_or_default())?;
            word.fmt(f)?;
            rest = rest.get(at.saturating_add(1)..).unwrap_or_default();
        }
        f.write_str(rest)
    }
}

/// Writes a message: `text`, with one of `words` in place of each `%`. With `dev`, the device's
/// name comes first.
///
/// Context: any, but not while the input of a hypercall is borrowed.
#[cold]
#[inline(never)]
pub(crate) fn say(
    level: Level,
    dev: Option<&device::Device>,
    text: &'static str,
    words: &[Word<'_>],
) {
    let message = Message(text, words);
    match (level, dev) {
        (Level::Info, None) => pr_info!("{message}\n"),
        (Level::Warn, None) => pr_warn!("{message}\n"),
        (Level::Err, None) => pr_err!("{message}\n"),
        (Level::Info, Some(dev)) => dev_info!(dev, "IOMMU: {message}\n"),
        (Level::Warn, Some(dev)) => dev_warn!(dev, "IOMMU: {message}\n"),
        (Level::Err, Some(dev)) => dev_err!(dev, "IOMMU: {message}\n"),
    }
}
