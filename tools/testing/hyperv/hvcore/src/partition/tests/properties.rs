// SPDX-License-Identifier: GPL-2.0
//! The two calls with an output.

use super::*;

fn capabilities(guest: &mut Guest) -> (Status, [u64; 3]) {
    let status = guest.call(0x125, &[SELF, 0]);
    (status, [0, 8, 16].map(|offset| guest.platform.get_u64(OUTPUT + offset)))
}

fn property(guest: &mut Guest, device: u64) -> (Status, u64) {
    let status = guest.call(0x127, &[SELF, device, 10]);
    (status, guest.platform.get_u64(OUTPUT))
}

#[test]
fn capabilities_follow_the_options() {
    let mut guest = Guest::new("");
    assert_eq!(capabilities(&mut guest), (Status(0), [0x0030_0000_0000_0018, 0b101, 0x4020_1000]));
    let mut guest = Guest::new("s1-5lvl=on ats=on iova-width=57 page-sizes=0x1000");
    assert_eq!(capabilities(&mut guest), (Status(0), [0x0039_0000_0000_0018, 0b10_1101, 0x1000]));
    let mut guest = Guest::new("pviommu=off");
    assert_eq!(capabilities(&mut guest).1[1], 0);
    let mut guest = Guest::new("pviommu=absent");
    assert_eq!(capabilities(&mut guest), (Status(2), [0; 3]));
    // Whoever asks for the first time cannot know.
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
    for width in [0, 39, 47, 64, 255] {
        let mut guest = Guest::new(&format!("iova-width={width}"));
        assert_eq!(capabilities(&mut guest).1[0] >> 48, width);
    }
}

#[test]
fn capability_input_is_checked() {
    let mut guest = Guest::new("");
    assert_eq!(guest.call(0x125, &[0, 0]), Status(0x0d));
    assert_eq!(guest.call(0x125, &[SELF, 1]), Status(5));
    assert_eq!(guest.platform.get_u64(OUTPUT), 0);
    assert_eq!(guest.counter(Counter::Violations, 0), 2);
}

/// Linux puts the output right behind the input.
#[test]
fn output_in_the_input_page() {
    let mut guest = Guest::new("");
    guest.platform.put_u64(INPUT, SELF);
    let result = guest.partition.hypercall(&mut guest.platform, VpIndex(1), 0x125, INPUT, INPUT + 0x10);
    assert_eq!((result, guest.platform.get_u64(INPUT + 0x18)), (0, 0b101));
}

#[test]
fn device_property() {
    let mut guest = Guest::new("unmanaged=1");
    guest.platform.put_u64(OUTPUT + 8, 0x55);
    assert_eq!(property(&mut guest, DEVICE_0), (Status(0), 1));
    assert_eq!(guest.platform.get_u64(OUTPUT + 8), 0);
    assert_eq!(property(&mut guest, DEVICE_1), (Status(0), 0));
    assert_eq!(property(&mut guest, DEVICE_0 + 1).0, Status(0x57));
    assert_eq!(guest.call(0x127, &[SELF, DEVICE_0, 11]), Status(9));
    let mut guest = Guest::new("pviommu=off");
    assert_eq!(property(&mut guest, DEVICE_0), (Status(0), 0));
}

#[test]
fn functions_of_one_bus_differ_in_the_low_bits() {
    let mut guest = Guest::with_devices("assign=03.0+04.0,05.0", 3);
    for device in [DEVICE_0, DEVICE_0 + 1, DEVICE_1] {
        assert_eq!(property(&mut guest, device), (Status(0), 1), "{device:#x}");
    }
    assert_eq!(guest.counter(Counter::Buses, 0), 2);
}
