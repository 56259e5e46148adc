// SPDX-License-Identifier: GPL-2.0
//! minihv's command line: words of the form `key=value`, separated by spaces.
//!
//! The runner builds the line by [`Options`]' `Display` from the type that minihv parses it into.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use crate::acpi::FirmwareIommu;
use crate::cachelog::Strictness;
use crate::guid::ParseGuidError;
use crate::hostile::random::Seed;
use crate::identity::Identity;
use crate::ids::{BusIndex, DeviceIndex, Guid, NumaNode};
use crate::inject::{self, Rule};
use crate::iommu::capabilities::{Capabilities, Presence, Switch};
use crate::iommu::domains::Start;
use crate::iommu::flush::Flushes;
use crate::platform::LogLevel;
use crate::status::Status;
use crate::vmbus::{self, Ids, Unload};
use crate::vpci::{self, Slot};

/// Everything that can be chosen at start-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `vmbus=MAJOR.MINOR`: newest VMBus version accepted.
    pub vmbus: vmbus::Version,
    /// `vpci=MAJOR.MINOR`: newest vPCI version accepted.
    pub vpci: vpci::Version,
    /// `partition=guest|isolated|root|l1vh`: what the guest is told that it is.
    pub identity: Identity,
    /// `pviommu=present|absent|off`, `s1=on|off`, `s1-5lvl=on|off`, `ats=on|off`, `iova-width=0..255` (bits),
    /// `page-sizes=HEX` (bit n: pages of `1 << n` bytes).
    pub capabilities: Capabilities,
    /// `unmanaged=INDEX[,INDEX]`: devices that the guest may not put into domains.
    pub unmanaged: Vec<DeviceIndex>,
    /// `inject=RULE`, repeatable; see [`Rule`].
    pub inject: Vec<Rule>,
    /// `hostile=SEED` (hexadecimal): the IOMMU's calls are answered by a hostile host; see [`crate::hostile`].
    pub hostile: Option<Seed>,
    /// `quota=N`: most domains at once.
    pub quota: u32,
    /// `assign=DEV.FN[+DEV.FN][,DEV.FN...]`: functions of the physical bus 0 (device in hexadecimal) that the guest
    /// gets; a comma starts a new vPCI bus. They are numbered from 0 in this order.
    pub assign: Vec<Vec<Slot>>,
    /// `guid=BUS:GUID`, repeatable: instance GUID of a vPCI bus.
    pub guids: Vec<(BusIndex, Guid)>,
    /// `numa=NODE[,NODE]`: the NUMA node that each vPCI bus tells the guest, in their order; buses behind the last tell none.
    pub numa: Vec<NumaNode>,
    /// `drop-flush=on|off|device-tlb`: whether flushes invalidate nothing, or nothing in the devices.
    pub flushes: Flushes,
    /// `cache=strict|deferred|off`: whether it is logged, and held against the guest, what caches may still hold; with
    /// `deferred`, the guest may defer flushes.
    pub cache: Strictness,
    /// `firmware-iommu=none|broken`: whether the ACPI tables announce an IOMMU, which does not work.
    pub firmware_iommu: FirmwareIommu,
    /// `taken=HEX`: the status for a domain number that is in use.
    pub taken: Status,
    /// `unload=reset|keep`: what happens to the devices of a guest that drops its VMBus connection, as it does when it
    /// crashes.
    pub unload: Unload,
    /// `ids=unique|shared`: whether functions may share a logical device id, which is then that of the first one.
    pub ids: Ids,
    /// `start=bypass|blocked`: what happens to the DMA of devices that the guest has not attached yet.
    pub start: Start,
    /// `interleave=SEED`: calls of several processors overtake one another, and lists are paused; see
    /// [`crate::hypercall::schedule`].
    pub interleave: Option<u64>,
    /// `selftest=on|off`: whether minihv tests itself, with a guest of its own, instead of starting the guest.
    pub self_test: Switch,
    /// `protection=on|off`: whether domains protect anything. Off, every call is answered as usual, but all of the guest's
    /// memory is open to every device: a control of tests that expect protection.
    pub protection: Switch,
    /// `log=error|info|trace`: how much is logged.
    pub log: LogLevel,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            vmbus: vmbus::Version::V6_0,
            vpci: vpci::Version::V1_4,
            identity: Identity::Guest,
            capabilities: Capabilities {
                presence: Presence::Present,
                stage1: Switch::On,
                five_levels: Switch::Off,
                ats: Switch::Off,
                iova_width: 48,
                page_sizes: 0x4020_1000,
            },
            unmanaged: Vec::new(),
            inject: Vec::new(),
            hostile: None,
            quota: 4096,
            assign: Vec::new(),
            guids: Vec::new(),
            numa: Vec::new(),
            flushes: Flushes::Performed,
            cache: Strictness::Off,
            firmware_iommu: FirmwareIommu::None,
            taken: Status::KEY_ALREADY_EXISTS,
            unload: Unload::Reset,
            ids: Ids::Unique,
            start: Start::Bypass,
            interleave: None,
            self_test: Switch::Off,
            protection: Switch::On,
            log: LogLevel::Info,
        }
    }
}

impl Options {
    /// Functions that the guest gets, in the order of their device indices.
    pub fn assigned(&self) -> impl Iterator<Item = Slot> + '_ {
        self.assign.iter().flatten().copied()
    }
}

/// Most functions on one vPCI bus: they become functions 0..=7 of its device 0.
pub const FUNCTIONS_PER_BUS: usize = 8;

/// A word of the command line that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionError {
    /// The word.
    pub word: String,
    /// What was expected.
    pub reason: Reason,
}

/// What was expected of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The form `key=value`.
    KeyValue,
    /// A key that exists.
    KnownKey,
    /// One of the values of this key.
    OneOf(&'static str),
    /// A rule.
    Rule(inject::ParseRuleError),
    /// At most this many rules.
    RuleCount(usize),
    /// A GUID.
    Guid(ParseGuidError),
}

impl fmt::Display for OptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "option \"{}\": ", self.word)?;
        match self.reason {
            Reason::KeyValue => f.write_str("key=value expected"),
            Reason::KnownKey => f.write_str("no such key"),
            Reason::OneOf(values) => write!(f, "{values} expected"),
            Reason::Rule(error) => error.fmt(f),
            Reason::RuleCount(most) => write!(f, "more than {most} rules"),
            Reason::Guid(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for OptionError {}

impl FromStr for Options {
    type Err = OptionError;

    /// Of a key given twice the last one counts; `inject` and `guid` add up.
    fn from_str(line: &str) -> Result<Options, OptionError> {
        let mut options = Options::default();
        for word in line.split_ascii_whitespace() {
            let (key, value) = match word.split_once('=') {
                Some(pair) => pair,
                None => return Err(OptionError { word: word.to_string(), reason: Reason::KeyValue }),
            };
            options.set(key, value).map_err(|reason| OptionError { word: word.to_string(), reason })?;
        }
        Ok(options)
    }
}

impl Options {
    fn set(&mut self, key: &str, value: &str) -> Result<(), Reason> {
        let capabilities = &mut self.capabilities;
        match key {
            "vmbus" => self.vmbus = version(value, vmbus::Version::from_parts)?,
            "vpci" => self.vpci = version(value, vpci::Version::from_parts)?,
            "partition" => self.identity = choice(value, "guest, isolated, root or l1vh", &IDENTITY)?,
            "pviommu" => capabilities.presence = choice(value, "present, absent or off", &PRESENCE)?,
            "s1" => capabilities.stage1 = switch(value)?,
            "s1-5lvl" => capabilities.five_levels = switch(value)?,
            "ats" => capabilities.ats = switch(value)?,
            "iova-width" => capabilities.iova_width = parsed(value, "a number from 0 to 255")?,
            "page-sizes" => capabilities.page_sizes = hexadecimal(value)?,
            "unmanaged" => self.unmanaged = list(value, |index| parsed(index, NUMBERS).map(DeviceIndex))?,
            "inject" if self.inject.len() >= inject::RULES_MAX => return Err(Reason::RuleCount(inject::RULES_MAX)),
            "inject" => self.inject.push(value.parse().map_err(Reason::Rule)?),
            "hostile" => self.hostile = Some(value.parse().map_err(|_| Reason::OneOf(SEED))?),
            "quota" => self.quota = parsed(value, "a number")?,
            "assign" => self.assign = list(value, bus)?,
            "guid" => self.guids.push(bus_guid(value)?),
            "numa" => self.numa = list(value, |node| parsed(node, NUMBERS).map(NumaNode))?,
            "drop-flush" => self.flushes = choice(value, "on, off or device-tlb", &DROP_FLUSH)?,
            "cache" => self.cache = choice(value, "strict, deferred or off", &CACHE)?,
            "firmware-iommu" => self.firmware_iommu = choice(value, "none or broken", &FIRMWARE_IOMMU)?,
            "taken" => self.taken = status(value)?,
            "unload" => self.unload = choice(value, "reset or keep", &UNLOAD)?,
            "ids" => self.ids = choice(value, "unique or shared", &IDS)?,
            "start" => self.start = choice(value, "bypass or blocked", &START)?,
            "interleave" => self.interleave = Some(parsed(value, "a number")?),
            "selftest" => self.self_test = switch(value)?,
            "protection" => self.protection = switch(value)?,
            "log" => self.log = choice(value, "error, info or trace", &LOG)?,
            _ => return Err(Reason::KnownKey),
        }
        Ok(())
    }
}

const ON_OFF: &str = "on or off";
const SEED: &str = "a hexadecimal number that is not 0";
const NUMBERS: &str = "numbers separated by commas";
const SLOTS: &str = "DEV.FN[+DEV.FN][,DEV.FN...] with at most 8 functions per bus";

const IDENTITY: [(&str, Identity); 4] =
    [("guest", Identity::Guest), ("isolated", Identity::Isolated), ("root", Identity::Root), ("l1vh", Identity::L1vh)];
const PRESENCE: [(&str, Presence); 3] =
    [("present", Presence::Present), ("absent", Presence::Absent), ("off", Presence::Off)];
const SWITCH: [(&str, Switch); 2] = [("on", Switch::On), ("off", Switch::Off)];
const DROP_FLUSH: [(&str, Flushes); 3] =
    [("on", Flushes::Dropped), ("off", Flushes::Performed), ("device-tlb", Flushes::DeviceTlbsDropped)];
const CACHE: [(&str, Strictness); 3] =
    [("strict", Strictness::Strict), ("deferred", Strictness::Deferred), ("off", Strictness::Off)];
const FIRMWARE_IOMMU: [(&str, FirmwareIommu); 2] = [("none", FirmwareIommu::None), ("broken", FirmwareIommu::Broken)];
const UNLOAD: [(&str, Unload); 2] = [("reset", Unload::Reset), ("keep", Unload::Keep)];
const IDS: [(&str, Ids); 2] = [("unique", Ids::Unique), ("shared", Ids::Shared)];
const START: [(&str, Start); 2] = [("bypass", Start::Bypass), ("blocked", Start::Blocked)];
const LOG: [(&str, LogLevel); 3] = [("error", LogLevel::Error), ("info", LogLevel::Info), ("trace", LogLevel::Trace)];

fn choice<T: Copy>(value: &str, expected: &'static str, choices: &[(&str, T)]) -> Result<T, Reason> {
    let found = choices.iter().find(|(name, _)| *name == value);
    found.map(|&(_, choice)| choice).ok_or(Reason::OneOf(expected))
}

fn name<T: PartialEq>(value: &T, choices: &[(&'static str, T)]) -> &'static str {
    choices.iter().find(|(_, choice)| choice == value).map_or("", |(name, _)| name)
}

fn switch(value: &str) -> Result<Switch, Reason> {
    choice(value, ON_OFF, &SWITCH)
}

fn parsed<T: FromStr>(value: &str, expected: &'static str) -> Result<T, Reason> {
    value.parse().map_err(|_| Reason::OneOf(expected))
}

fn version<T>(value: &str, from_parts: impl FnOnce(u16, u16) -> Option<T>) -> Result<T, Reason> {
    const EXPECTED: &str = "a known version MAJOR.MINOR";
    let (major, minor) = value.split_once('.').ok_or(Reason::OneOf(EXPECTED))?;
    from_parts(parsed(major, EXPECTED)?, parsed(minor, EXPECTED)?).ok_or(Reason::OneOf(EXPECTED))
}

fn hexadecimal(value: &str) -> Result<u64, Reason> {
    let digits = value.strip_prefix("0x").unwrap_or(value);
    u64::from_str_radix(digits, 16).map_err(|_| Reason::OneOf("a hexadecimal number"))
}

fn status(value: &str) -> Result<Status, Reason> {
    let code = hexadecimal(value)?.try_into().map(Status).map_err(|_| Reason::OneOf("a status"))?;
    match code {
        Status::SUCCESS => Err(Reason::OneOf("a status of failure")),
        code => Ok(code),
    }
}

/// The elements of a comma-separated list; none for the empty string.
fn list<T>(value: &str, element: impl Fn(&str) -> Result<T, Reason>) -> Result<Vec<T>, Reason> {
    match value {
        "" => Ok(Vec::new()),
        _ => value.split(',').map(element).collect(),
    }
}

fn bus(value: &str) -> Result<Vec<Slot>, Reason> {
    let slots: Vec<Slot> = value.split('+').map(slot).collect::<Result<_, _>>()?;
    match slots.len() {
        1..=FUNCTIONS_PER_BUS => Ok(slots),
        _ => Err(Reason::OneOf(SLOTS)),
    }
}

fn slot(value: &str) -> Result<Slot, Reason> {
    let parts = || {
        let (device, function) = value.split_once('.')?;
        Slot::new(u8::from_str_radix(device, 16).ok()?, function.parse().ok()?)
    };
    parts().ok_or(Reason::OneOf(SLOTS))
}

fn bus_guid(value: &str) -> Result<(BusIndex, Guid), Reason> {
    let (bus, guid) = value.split_once(':').ok_or(Reason::OneOf("BUS:GUID"))?;
    Ok((BusIndex(parsed(bus, "BUS:GUID")?), guid.parse().map_err(Reason::Guid)?))
}

/// The command line; what has its default value is left out.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Options::default();
        let (now, was) = (&self.capabilities, &default.capabilities);
        let mut words = Words { f, separator: "" };
        words.changed("vmbus", &self.vmbus, &default.vmbus, &self.vmbus)?;
        words.changed("vpci", &self.vpci, &default.vpci, &self.vpci)?;
        words.changed("partition", &self.identity, &default.identity, &name(&self.identity, &IDENTITY))?;
        words.changed("pviommu", &now.presence, &was.presence, &name(&now.presence, &PRESENCE))?;
        words.changed("s1", &now.stage1, &was.stage1, &name(&now.stage1, &SWITCH))?;
        words.changed("s1-5lvl", &now.five_levels, &was.five_levels, &name(&now.five_levels, &SWITCH))?;
        words.changed("ats", &now.ats, &was.ats, &name(&now.ats, &SWITCH))?;
        words.changed("iova-width", &now.iova_width, &was.iova_width, &now.iova_width)?;
        words.changed("page-sizes", &now.page_sizes, &was.page_sizes, &format_args!("{:#x}", now.page_sizes))?;
        let unmanaged = Joined(&self.unmanaged, ",", |index, f| index.0.fmt(f));
        words.changed("unmanaged", &self.unmanaged, &default.unmanaged, &unmanaged)?;
        for rule in &self.inject {
            words.add("inject", rule)?;
        }
        if let Some(seed) = self.hostile {
            words.add("hostile", &seed)?;
        }
        words.changed("quota", &self.quota, &default.quota, &self.quota)?;
        let assign = Joined(&self.assign, ",", |bus, f| Joined(bus.as_slice(), "+", |slot, f| slot.fmt(f)).fmt(f));
        words.changed("assign", &self.assign, &default.assign, &assign)?;
        for (bus, guid) in &self.guids {
            words.add("guid", &format_args!("{}:{guid}", bus.0))?;
        }
        let numa = Joined(&self.numa, ",", |node, f| node.0.fmt(f));
        words.changed("numa", &self.numa, &default.numa, &numa)?;
        let drop_flush = name(&self.flushes, &DROP_FLUSH);
        words.changed("drop-flush", &self.flushes, &default.flushes, &drop_flush)?;
        words.changed("cache", &self.cache, &default.cache, &name(&self.cache, &CACHE))?;
        let firmware_iommu = name(&self.firmware_iommu, &FIRMWARE_IOMMU);
        words.changed("firmware-iommu", &self.firmware_iommu, &default.firmware_iommu, &firmware_iommu)?;
        words.changed("taken", &self.taken, &default.taken, &format_args!("{:x}", self.taken.0))?;
        words.changed("unload", &self.unload, &default.unload, &name(&self.unload, &UNLOAD))?;
        words.changed("ids", &self.ids, &default.ids, &name(&self.ids, &IDS))?;
        words.changed("start", &self.start, &default.start, &name(&self.start, &START))?;
        if let Some(seed) = self.interleave {
            words.add("interleave", &seed)?;
        }
        words.changed("selftest", &self.self_test, &default.self_test, &name(&self.self_test, &SWITCH))?;
        words.changed("protection", &self.protection, &default.protection, &name(&self.protection, &SWITCH))?;
        words.changed("log", &self.log, &default.log, &name(&self.log, &LOG))
    }
}

struct Words<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    separator: &'static str,
}

impl Words<'_, '_> {
    fn add(&mut self, key: &str, value: &dyn fmt::Display) -> fmt::Result {
        let separator = core::mem::replace(&mut self.separator, " ");
        write!(self.f, "{separator}{key}={value}")
    }

    fn changed<T: PartialEq>(&mut self, key: &str, now: &T, default: &T, value: &dyn fmt::Display) -> fmt::Result {
        match now == default {
            true => Ok(()),
            false => self.add(key, value),
        }
    }
}

struct Joined<'a, T>(&'a [T], &'static str, fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result);

impl<T> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, element) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(self.1)?;
            }
            (self.2)(element, f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
