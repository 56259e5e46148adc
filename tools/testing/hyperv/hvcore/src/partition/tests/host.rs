// SPDX-License-Identifier: GPL-2.0
//! What the host does of its own accord: start, unplug, and options that do not go together.

use super::*;
use crate::ids::BusIndex;
use crate::partition::PartitionError;
use crate::vmbus::ConfigError;

#[test]
fn every_device_starts_in_bypass() {
    let functions = [function(3), function(4)];
    let mut platform = MockPlatform::new(functions.to_vec());
    let mut partition = Partition::new(Default::default(), 2, &functions).unwrap();
    partition.start(&mut platform);
    let switches: Vec<_> =
        platform.take_events().into_iter().filter(|event| matches!(event, Event::SetTranslation { .. })).collect();
    let expected =
        [0, 1].map(|index| Event::SetTranslation { device: DeviceIndex(index), translation: Translation::Bypass });
    assert_eq!(switches, expected);
}

#[test]
fn devices_can_start_blocked() {
    let functions = [function(3)];
    let mut platform = MockPlatform::new(functions.to_vec());
    let mut partition = Partition::new("start=blocked".parse().unwrap(), 2, &functions).unwrap();
    partition.start(&mut platform);
    let start = Event::SetTranslation { device: DeviceIndex(0), translation: Translation::Blocked };
    assert!(platform.take_events().contains(&start));

    let mut guest = Guest { partition, platform };
    let device = |guest: &mut Guest| [0, 1].map(|field| guest.control(Command::Device, DEVICE_0 as u32, field));
    assert_eq!(device(&mut guest), [0, 1]);
    guest.domain(1, PAGING);
    guest.domain(2, BLOCKED);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    // Blocked in a domain of the guest's is no change for the device.
    assert_eq!(guest.counter(Counter::Switches, 0), 1);
    guest.partition.drop_device(&mut guest.platform, DeviceIndex(0));
    guest.events();
    guest.partition.iommu.domains_mut().reset(DeviceIndex(0)).perform(&mut guest.platform);
    assert_eq!(guest.switch().1, Translation::Blocked);
    assert_eq!(device(&mut guest), [0, 1]);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    assert_eq!(guest.counter(Counter::Switches, 0), 1);
}

#[test]
fn an_unplugged_device_leaves_its_domain() {
    let mut guest = Guest::new("");
    guest.domain(1, PAGING);
    guest.domain(2, BLOCKED);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    guest.events();
    guest.control(Command::Unplug, 1, 0);
    assert_eq!(guest.switch().1, Translation::Blocked);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0x57));
    assert_eq!(guest.detach(DEVICE_0), Status(0x57));
    assert_eq!(guest.call(0x127, &[SELF, DEVICE_0, 10]), Status(0x57));
    assert_eq!(guest.delete(1), Status(0));
    assert_eq!(guest.attach(2, DEVICE_1), Status(0));
    guest.events();
    guest.control(Command::Unplug, 0, 0);
    // Plugged in again, it stays blocked until it is attached.
    assert_eq!(guest.events(), []);
    assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 1), 1);
    assert_eq!(guest.attach(2, DEVICE_0), Status(0));
    assert_eq!(guest.refused(Command::Unplug, 1, 2), 2);
    assert_eq!(guest.refused(Command::Unplug, 2, 0), 3);
}

#[test]
fn host_requests_for_unknown_buses() {
    let mut guest = Guest::new("");
    for command in [Command::Rescind, Command::Offer, Command::Eject] {
        assert_eq!(guest.refused(command, 2, 0), 2, "{command:?}");
    }
    assert_eq!(guest.refused(Command::Eject, 0, 0x100), 3);
}

#[test]
fn a_rescinded_device_is_withdrawn_until_offered_again() {
    let mut guest = Guest::new("");
    guest.domain(1, PAGING);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
    guest.events();
    guest.partition.drop_device(&mut guest.platform, DeviceIndex(0));
    assert_eq!(guest.switch().1, Translation::Blocked);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0x57));
    guest.partition.iommu.domains_mut().reset(DeviceIndex(0)).perform(&mut guest.platform);
    assert_eq!(guest.switch().1, Translation::Bypass);
    assert_eq!(guest.attach(1, DEVICE_0), Status(0));
}

#[test]
fn options_that_do_not_fit_the_machine() {
    let error = |options: &str, count: u8| {
        let functions: Vec<_> = (0..count).map(|index| function(3 + index)).collect();
        Partition::new(options.parse().unwrap(), 2, &functions).err()
    };
    assert_eq!(error("", 0), None);
    assert_eq!(error("assign=03.0", 2), Some(PartitionError::DeviceCount { assigned: 1, found: 2 }));
    assert_eq!(error("unmanaged=2", 2), Some(PartitionError::NoSuchDevice(DeviceIndex(2))));
    let guid = "44c4f61d-4444-4400-9d52-802e27ede19f";
    assert_eq!(error(&format!("guid=2:{guid}"), 2), Some(PartitionError::NoSuchBus(BusIndex(2))));
    let twice = format!("guid=0:{guid} guid=1:{guid}");
    assert_eq!(error(&twice, 2), Some(PartitionError::Buses(ConfigError::DuplicateInstance)));
    assert_eq!(error(&format!("guid=1:{guid}"), 2), None);
}

#[test]
fn a_configured_guid_decides_the_device_id() {
    let mut guest = Guest::new("guid=1:12345678-abcd-ef01-2345-6789abcdef01");
    guest.domain(1, BYPASS);
    assert_eq!(guest.attach(1, DEVICE_1), Status(0x57));
    assert_eq!(guest.attach(1, 0xabcd_ef00), Status(0));
}
