// SPDX-License-Identifier: GPL-2.0
//! A hostile host.

use super::*;
use crate::test_interface::ToldField;

fn told(guest: &mut Guest, field: ToldField, device: u64) -> u64 {
    guest.control(Command::Told, field as u32, device as u32)
}

fn set_seed(guest: &mut Guest, seed: u64) -> u64 {
    guest.control(Command::Hostile, seed as u32, (seed >> 32) as u32)
}

/// The words that a guest gets for the same calls.
fn answers(options: &str, seed: u64) -> Vec<u64> {
    let mut guest = Guest::new(options);
    if seed != 0 {
        set_seed(&mut guest, seed);
    }
    let mut words = Vec::new();
    for round in 1..=8u32 {
        for (code, input) in [
            (0x125, vec![SELF, 0]),
            (0x127, vec![SELF, DEVICE_0, 10]),
            (0xb1, vec![SELF, 0, domain(round), 1]),
            (0xce, vec![SELF, 0, domain(round), 1, ROOT]),
            (0xb2, vec![SELF, 0, domain(round), DEVICE_0]),
            (0xd0, vec![SELF, 0, domain(round), 0]),
            (0xd1 | 2 << 32, vec![SELF, 0, domain(round), 1, 0x1000, 0x2000]),
            (0xc4, vec![SELF, DEVICE_0]),
            (0xc5, vec![SELF, 0, domain(round)]),
        ] {
            words.push(guest.raw_call(code, &input));
        }
    }
    words
}

#[test]
fn a_seed_is_an_option_or_a_command_and_reproduces() {
    assert_eq!(answers("hostile=0xc0ffee", 0), answers("", 0xc0ffee));
    assert_eq!(answers("", 0xc0ffee), answers("", 0xc0ffee));
    assert_ne!(answers("", 0xc0ffee), answers("", 0xc0ffef));
    assert!(answers("", 0).iter().all(|&word| word as u16 == 0));
    // A host that does not know the calls at all says nothing else.
    assert!(answers("pviommu=absent hostile=1", 0).iter().all(|&word| word == 2));
}

#[test]
fn what_was_told_is_remembered_true_or_not() {
    let mut guest = Guest::new("");
    assert_eq!(guest.refused(Command::Told, ToldField::Flags as u32, 0), 2);
    guest.call(0x125, &[SELF, 0]);
    let fields = [ToldField::Result, ToldField::Flags, ToldField::Width, ToldField::PageSizes];
    assert_eq!(fields.map(|field| told(&mut guest, field, 0)), [0, 5, 48, 0x4020_1000]);
    assert_eq!(guest.refused(Command::Told, ToldField::DeviceResult as u32, DEVICE_0 as u32), 2);
    let mut lies = 0;
    for seed in 1..200 {
        set_seed(&mut guest, seed);
        let result = guest.raw_call(0x127, &[SELF, DEVICE_0, 10]);
        assert_eq!(told(&mut guest, ToldField::DeviceResult, DEVICE_0), result);
        let property = guest.platform.get_u64(OUTPUT);
        assert_eq!(told(&mut guest, ToldField::DeviceProperty, DEVICE_0), property);
        lies += u32::from(result as u16 == 0 && property & 1 == 0);
        let result = guest.raw_call(0x125, &[SELF, 0]);
        let output = [0, 8, 16].map(|offset| guest.platform.get_u64(OUTPUT + offset));
        let expected = [result, output[1], output[0] >> 48 & 0xff, output[2]];
        assert_eq!(fields.map(|field| told(&mut guest, field, 0)), expected);
    }
    assert!(lies > 5, "{lies}");
}

/// Success is true where a guest relies on it.
#[test]
fn success_means_that_it_was_done() {
    let mut flushed = 0;
    for seed in 1..400 {
        let mut guest = Guest::new("");
        guest.domain(1, PAGING);
        guest.domain(2, PAGING);
        assert_eq!(guest.attach(1, DEVICE_1), Status(0));
        set_seed(&mut guest, seed);
        if guest.raw_call(0xb2, &[SELF, 0, domain(1), DEVICE_0]) as u16 == 0 {
            assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 0), 1, "seed {seed}");
        }
        guest.events();
        let word = guest.raw_call(0xd1 | 2 << 32, &[SELF, 0, domain(1), 1, 0x1000, 0x2000]);
        let pages = guest.events().iter().filter(|event| matches!(event, Event::FlushDevicePages(..))).count() as u64;
        if word as u16 == 0 && word >> 32 & 0xfff <= 2 {
            assert!(pages >= word >> 32 & 0xfff, "seed {seed}: {word:#x}");
            flushed += pages;
        }
        if guest.raw_call(0xd0, &[SELF, 0, domain(1), 0]) as u16 == 0 {
            assert!(guest.events().iter().any(|event| matches!(event, Event::FlushDevice(_))), "seed {seed}");
        }
        if guest.raw_call(0xc4, &[SELF, DEVICE_0]) as u16 == 0 {
            assert_eq!(guest.control(Command::Device, DEVICE_0 as u32, 1), 1, "seed {seed}");
        }
    }
    assert!(flushed > 200, "{flushed}");
}

/// A guest that is told that a flush failed does not delete the domain: what it would free may be cached.
#[test]
fn what_could_not_be_flushed_goes_with_the_next_seed() {
    let mut guest = Guest::new("");
    let mut kept = 0;
    for seed in 1..200 {
        guest.domain(1, PAGING);
        set_seed(&mut guest, seed);
        let flushed = guest.raw_call(0xd0, &[SELF, 0, domain(1), 0]) as u16 == 0;
        set_seed(&mut guest, 0);
        assert_eq!(guest.counter(Counter::LiveDomains, 0), u64::from(flushed), "seed {seed}");
        kept += u32::from(!flushed);
        if flushed {
            assert_eq!(guest.call(0xc5, &[SELF, 0, domain(1)]), Status(0), "seed {seed}");
        }
    }
    assert!(kept > 5, "{kept}");
    // In use, it stays.
    guest.domain(2, PAGING);
    assert_eq!(guest.call(0xb2, &[SELF, 0, domain(2), DEVICE_0]), Status(0));
    for seed in 1..100 {
        set_seed(&mut guest, seed);
        let _ = guest.raw_call(0xd0, &[SELF, 0, domain(2), 0]);
    }
    set_seed(&mut guest, 0);
    assert_eq!(guest.counter(Counter::LiveDomains, 0), 1);
}

#[test]
fn what_the_host_kept_goes_with_the_next_seed() {
    let mut guest = Guest::new("");
    let (mut kept, mut hidden) = (0, 0);
    for seed in 1..200 {
        set_seed(&mut guest, seed);
        let created = guest.raw_call(0xb1, &[SELF, 0, domain(1), 1]) as u16 == 0;
        let live = guest.counter(Counter::LiveDomains, 0);
        if created && live == 1 && guest.raw_call(0xc5, &[SELF, 0, domain(1)]) as u16 != 0 {
            kept += guest.counter(Counter::LiveDomains, 0);
        }
        hidden += u64::from(!created) * live;
        let wrong = set_seed(&mut guest, 0);
        assert!(created || wrong > 0);
        // Unless the guest, having been told so, left it.
        if guest.counter(Counter::LiveDomains, 0) != 0 {
            assert_eq!(guest.call(0xc5, &[SELF, 0, domain(1)]), Status(0), "seed {seed}");
        }
    }
    assert!(kept > 5 && hidden > 5, "{kept} {hidden}");
    assert_eq!(guest.counter(Counter::Violations, 0), 0);
}
