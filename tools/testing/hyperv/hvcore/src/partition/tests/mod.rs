// SPDX-License-Identifier: GPL-2.0
//! The partition as a guest sees it: by hypercalls with literal layouts, and by the test interface.

mod answers;
mod arbitrary;
mod caches;
mod domains;
mod flush;
mod host;
mod hostile;
mod inject;
mod mistakes;
mod model;
mod page;
mod properties;
mod test_interface;
mod vmbus;

use alloc::vec::Vec;

use super::Partition;
use crate::ids::{DeviceIndex, VpIndex};
use crate::platform::{PagingLevels, Translation};
use crate::status::Status;
use crate::test_interface::{Command, Counter, Reply};
use crate::testing::{function, Event, MockPlatform};

/// Where the input block of every call is.
const INPUT: u64 = 0x8000;
/// Where the output block is.
const OUTPUT: u64 = 0x8800;
/// A page of RAM, for root tables.
const ROOT: u64 = 0x2_0000;
const SELF: u64 = u64::MAX;
/// Logical device ids of the first two buses' functions 0, by hand from their default GUIDs.
const DEVICE_0: u64 = 0x1ee7_6050;
const DEVICE_1: u64 = 0x1fe7_6150;

/// A translation that a guest can configure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    flags: u64,
    root: u64,
}

const BYPASS: Settings = Settings { flags: 0, root: 0 };
const BLOCKED: Settings = Settings { flags: 3, root: 0 };
const PAGING: Settings = Settings { flags: 1, root: ROOT };
const PAGING_5: Settings = Settings { flags: 5, root: ROOT };

fn stage1(root: u64, levels: PagingLevels) -> Translation {
    Translation::Stage1 { root: crate::ids::Gpa(root), levels }
}

/// A guest with two devices, each on its own bus.
struct Guest {
    partition: Partition,
    platform: MockPlatform,
}

impl Guest {
    /// A guest with these options; nothing is recorded of the start.
    fn new(options: &str) -> Guest {
        Guest::with_devices(options, 2)
    }

    fn with_devices(options: &str, devices: u8) -> Guest {
        let functions: Vec<_> = (0..devices).map(|index| function(3 + index)).collect();
        let mut platform = MockPlatform::new(functions.clone());
        let mut partition = Partition::new(options.parse().unwrap(), 2, &functions).unwrap();
        partition.start(&mut platform);
        platform.take_events();
        Guest { partition, platform }
    }

    /// Writes the input block and issues the call; returns the result word.
    fn raw_call(&mut self, control: u64, words: &[u64]) -> u64 {
        for (index, word) in words.iter().enumerate() {
            self.platform.put_u64(INPUT + 8 * index as u64, *word);
        }
        self.partition.hypercall(&mut self.platform, VpIndex(0), control, INPUT, OUTPUT)
    }

    fn call(&mut self, control: u64, words: &[u64]) -> Status {
        let result = self.raw_call(control, words);
        assert_eq!(result >> 16, 0, "a simple call has no reps");
        Status(result as u16)
    }

    fn create(&mut self, id: u32) -> Status {
        self.call(0xb1, &[SELF, 0, domain(id), 1])
    }

    fn configure(&mut self, id: u32, settings: Settings) -> Status {
        self.call(0xce, &[SELF, 0, domain(id), settings.flags, settings.root])
    }

    fn attach(&mut self, id: u32, device: u64) -> Status {
        self.call(0xb2, &[SELF, 0, domain(id), device])
    }

    fn detach(&mut self, device: u64) -> Status {
        self.call(0xc4, &[SELF, device])
    }

    fn delete(&mut self, id: u32) -> Status {
        self.call(0xc5, &[SELF, 0, domain(id)])
    }

    fn flush(&mut self, id: u32) -> Status {
        self.call(0xd0, &[SELF, 0, domain(id), 0])
    }

    /// Issues a list flush; returns status and reps completed.
    fn flush_list(&mut self, id: u32, elements: &[u64]) -> (Status, u64) {
        let mut words = vec![SELF, 0, domain(id), 1];
        words.extend_from_slice(elements);
        let result = self.raw_call(0xd1 | (elements.len() as u64) << 32, &words);
        (Status(result as u16), result >> 32)
    }

    /// Creates and configures a domain.
    fn domain(&mut self, id: u32, settings: Settings) {
        assert_eq!(self.create(id), Status::SUCCESS);
        assert_eq!(self.configure(id, settings), Status::SUCCESS);
    }

    /// The same, with a device in it: flushes show. Nothing is recorded of that.
    fn domain_in_use(&mut self, id: u32, settings: Settings) {
        self.domain(id, settings);
        assert_eq!(self.attach(id, DEVICE_0), Status::SUCCESS);
        self.events();
    }

    /// A command of the test interface that succeeds.
    fn control(&mut self, command: Command, ebx: u32, edx: u32) -> u64 {
        let (reply, value) = self.partition.control(&mut self.platform, command as u32, ebx, edx);
        assert_eq!(reply, Reply::Ok as u32, "{command:?} {ebx:#x} {edx:#x}");
        value
    }

    /// A command of the test interface that does not.
    fn refused(&mut self, command: Command, ebx: u32, edx: u32) -> u32 {
        let (reply, value) = self.partition.control(&mut self.platform, command as u32, ebx, edx);
        assert_eq!(value, 0);
        assert_ne!(reply, Reply::Ok as u32, "{command:?} {ebx:#x} {edx:#x}");
        reply
    }

    fn counter(&mut self, counter: Counter, index: u32) -> u64 {
        self.control(Command::Counter, counter as u32, index)
    }

    fn events(&mut self) -> Vec<Event> {
        self.platform.take_events()
    }

    /// The one switch of translation since the events were last taken.
    fn switch(&mut self) -> (DeviceIndex, Translation) {
        let events = self.events();
        match events[..] {
            [Event::SetTranslation { device, translation }, Event::FlushDeviceTlb(flushed, _, 52)] => {
                assert_eq!(flushed, device);
                (device, translation)
            }
            _ => panic!("not one switch: {events:?}"),
        }
    }

    fn has_line(&self, part: &str) -> bool {
        self.platform.lines.iter().any(|(_, line)| line.contains(part))
    }
}

/// The word at 0x10 of an input: type S1, id.
fn domain(id: u32) -> u64 {
    u64::from(id) << 32 | 1
}
