// SPDX-License-Identifier: GPL-2.0
//! Random sequences of calls against a model written a second time, as simply as possible.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ids::Iova;

const QUOTA: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Call {
    Create(u32),
    Configure(u32, Settings),
    Attach(u32, u64),
    Detach(u64),
    Delete(u32),
    Flush(u32),
    FlushList(u32, u64),
    Unplug(usize),
    Replug(usize),
}

/// Where the model has a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Default,
    Nowhere,
    In(u32),
}

#[derive(Clone, Copy, Debug)]
struct ModelDevice {
    id: u64,
    place: Place,
    plugged: bool,
}

struct Model {
    domains: BTreeMap<u32, Option<Translation>>,
    devices: [ModelDevice; 2],
}

fn meaning(settings: Settings) -> Option<Translation> {
    match settings {
        BYPASS => Some(Translation::Bypass),
        BLOCKED => Some(Translation::Blocked),
        PAGING => Some(stage1(ROOT, PagingLevels::Four)),
        _ => None,
    }
}

impl Model {
    fn new() -> Model {
        let device = |id| ModelDevice { id, place: Place::Default, plugged: true };
        Model { domains: BTreeMap::new(), devices: [DEVICE_0, DEVICE_1].map(device) }
    }

    fn device(&mut self, id: u64) -> Option<&mut ModelDevice> {
        self.devices.iter_mut().find(|device| device.id == id && device.plugged)
    }

    fn is_configured(&self, id: u32) -> bool {
        matches!(self.domains.get(&id), Some(Some(_)))
    }

    /// Follows the call and tells its status.
    fn apply(&mut self, call: Call) -> u16 {
        match call {
            // Not an id, whatever else is wrong.
            Call::Create(0) | Call::Configure(0, _) | Call::Attach(0, _) | Call::Delete(0) => 5,
            Call::Create(id) => match self.domains.contains_key(&id) {
                true => 0x65,
                false if self.domains.len() == QUOTA => 0x38,
                false => {
                    self.domains.insert(id, None);
                    0
                }
            },
            Call::Configure(id, settings) => match (self.domains.get(&id), meaning(settings)) {
                (Some(Some(_)), Some(_)) => 8,
                (Some(None), Some(translation)) => {
                    self.domains.insert(id, Some(translation));
                    0
                }
                // A five-level table is refused late, by a domain that has none yet.
                (Some(Some(_)), None) if settings == PAGING_5 => 8,
                _ => 5,
            },
            Call::Attach(id, device) => {
                let configured = self.is_configured(id);
                match self.device(device) {
                    None => 0x57,
                    Some(_) if !configured => 5,
                    Some(device) if device.place == Place::In(id) => 0x66,
                    Some(device) => {
                        device.place = Place::In(id);
                        0
                    }
                }
            }
            Call::Detach(device) => match self.device(device) {
                None => 0x57,
                Some(device) if matches!(device.place, Place::In(_)) => {
                    device.place = Place::Nowhere;
                    0
                }
                Some(_) => 0x58,
            },
            Call::Delete(id) => match self.devices.iter().any(|device| device.place == Place::In(id)) {
                true => 0x19,
                false if self.domains.remove(&id).is_some() => 0,
                false => 5,
            },
            Call::Flush(id) | Call::FlushList(id, _) if !self.is_configured(id) => 5,
            Call::FlushList(_, element) if element & 0xfff != 0 => 5,
            Call::Flush(_) | Call::FlushList(..) => 0,
            Call::Unplug(index) => {
                self.devices[index].plugged = false;
                self.devices[index].place = Place::Nowhere;
                0
            }
            Call::Replug(index) => {
                self.devices[index].plugged = true;
                0
            }
        }
    }

    fn translation(&self, device: ModelDevice) -> Translation {
        match device.place {
            Place::Default => Translation::Bypass,
            Place::Nowhere => Translation::Blocked,
            Place::In(id) => self.domains[&id].expect("devices are in configured domains"),
        }
    }
}

fn issue(guest: &mut Guest, call: Call) -> Status {
    match call {
        Call::Create(id) => guest.create(id),
        Call::Configure(id, settings) => guest.configure(id, settings),
        Call::Attach(id, device) => guest.attach(id, device),
        Call::Detach(device) => guest.detach(device),
        Call::Delete(id) => guest.delete(id),
        Call::Flush(id) => guest.flush(id),
        Call::FlushList(id, element) => guest.flush_list(id, &[element]).0,
        Call::Unplug(index) => {
            guest.control(Command::Unplug, 1, index as u32);
            Status(0)
        }
        Call::Replug(index) => {
            guest.control(Command::Unplug, 0, index as u32);
            Status(0)
        }
    }
}

/// What the hardware was told last of each device.
type Hardware = [Translation; 2];

fn check(guest: &mut Guest, model: &Model, hardware: &mut Hardware, call: Call) -> Result<(), TestCaseError> {
    let mut flushed = Vec::new();
    for event in guest.events() {
        match event {
            Event::SetTranslation { device, translation } => hardware[device.0] = translation,
            Event::FlushDevicePages(device, iova, shift) => {
                let Call::FlushList(_, element) = call else { panic!("{call:?} flushed pages") };
                prop_assert_eq!((iova, shift), (Iova(element), 0));
                flushed.push(device);
            }
            Event::FlushDevice(device) => {
                prop_assert!(matches!(call, Call::Flush(_)), "{call:?} flushed a device");
                flushed.push(device);
            }
            Event::FlushDeviceTlb(..) => {}
            other => panic!("{call:?} caused {other:?}"),
        }
    }
    let inside = |id| {
        let devices = model.devices.iter().enumerate().filter(move |(_, device)| device.place == Place::In(id));
        devices.map(|(index, _)| DeviceIndex(index)).collect::<Vec<_>>()
    };
    let expected = match call {
        Call::Flush(id) if model.is_configured(id) => inside(id),
        Call::FlushList(id, element) if model.is_configured(id) && element & 0xfff == 0 => inside(id),
        _ => Vec::new(),
    };
    prop_assert_eq!(flushed, expected, "a flush reaches the domain's devices and no other");
    for (index, device) in model.devices.iter().enumerate() {
        prop_assert_eq!(hardware[index], model.translation(*device));
    }
    prop_assert_eq!(guest.counter(Counter::LiveDomains, 0), model.domains.len() as u64);
    let attached = model.devices.iter().filter(|device| matches!(device.place, Place::In(_))).count();
    prop_assert_eq!(guest.counter(Counter::AttachedDevices, 0), attached as u64);
    Ok(())
}

fn any_call() -> impl Strategy<Value = Call> {
    let id = || 0u32..5;
    let device = || prop_oneof![8 => Just(DEVICE_0), 8 => Just(DEVICE_1), 1 => Just(0x1234u64)];
    let settings = prop::sample::select(vec![
        BYPASS,
        BLOCKED,
        PAGING,
        PAGING_5,
        Settings { flags: 2, root: 0 },
        Settings { flags: 1, root: ROOT + 1 },
    ]);
    let element = prop_oneof![4 => (0u64..64).prop_map(|page| page << 12), 1 => Just(0x1041u64)];
    prop_oneof![
        4 => id().prop_map(Call::Create),
        4 => (id(), settings).prop_map(|(id, settings)| Call::Configure(id, settings)),
        8 => (id(), device()).prop_map(|(id, device)| Call::Attach(id, device)),
        1 => device().prop_map(Call::Detach),
        3 => id().prop_map(Call::Delete),
        2 => id().prop_map(Call::Flush),
        3 => (id(), element).prop_map(|(id, element)| Call::FlushList(id, element)),
        1 => (0usize..2).prop_map(Call::Unplug),
        2 => (0usize..2).prop_map(Call::Replug),
    ]
}

proptest! {
    #[test]
    fn calls_follow_the_model(calls in prop::collection::vec(any_call(), 1..80)) {
        let mut guest = Guest::new(&format!("quota={QUOTA}"));
        let mut model = Model::new();
        let mut hardware = [Translation::Bypass; 2];
        for call in calls {
            let expected = model.apply(call);
            prop_assert_eq!(issue(&mut guest, call), Status(expected), "{:?}", call);
            check(&mut guest, &model, &mut hardware, call)?;
        }
    }
}
