// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::ids::{BusIndex, DeviceIndex, Gpa, Guid, VpIndex};
use crate::inject::Occurrences;
use crate::nt_status::NtStatus;
use crate::platform::AccessSize;
use crate::report::{Event, Report, ResetCause};
use crate::request::retarget::{InterruptMessage, RetargetInterrupt};
use crate::status::Status;
use crate::testing::{self, function, MockPlatform};
use crate::wire::{u32_at, u64_at, Writer};
use core::num::NonZeroU16;
use proptest::prelude::*;

const BASE: u32 = 0x4249_0000;
const WINDOW: u64 = 0xd000_0000;

/// A bus with a device of two functions, 00.0 and 00.1.
struct Setup {
    platform: MockPlatform,
    report: Report,
    bus: Bus,
}

impl Setup {
    fn new(max_version: Version) -> Setup {
        let slots = [(Slot::new(0, 0).unwrap(), DeviceIndex(0)), (Slot::new(0, 1).unwrap(), DeviceIndex(1))];
        Setup {
            platform: MockPlatform::new(vec![function(3), function(4)]),
            report: Report::default(),
            bus: Bus::new(Guid::default_instance(BusIndex(0)), slots, max_version),
        }
    }

    /// One in D0.
    fn powered(version: Version) -> Setup {
        let mut setup = Setup::new(version);
        let (major, minor) = version.parts();
        assert_eq!(setup.status(message(0x13).u32((u32::from(major) << 16) | u32::from(minor))), NtStatus::SUCCESS);
        assert_eq!(setup.enter_d0(WINDOW), NtStatus::SUCCESS);
        setup
    }

    fn send(&mut self, message: Writer) -> Reply {
        self.bus.receive(&mut self.platform, &mut self.report, &[Gpa(0xd800_0000)], &message.finish())
    }

    fn status(&mut self, message: Writer) -> NtStatus {
        match self.send(message) {
            Reply::Completion(payload) => NtStatus(u32_at(&payload, 0).unwrap()),
            other => panic!("{other:?} is no completion"),
        }
    }

    fn enter_d0(&mut self, window: u64) -> NtStatus {
        self.status(message(0x07).u32(0).u64(window))
    }

    fn create(&mut self, slot: u32) -> InterruptMessage {
        let Reply::Completion(reply) = self.send(message(0x1b).u32(slot).bytes(&create_body())) else {
            panic!("no completion");
        };
        assert_eq!(u32_at(&reply, 0), Some(0), "{:x?}", self.platform.lines);
        InterruptMessage { data: u32_at(&reply, 12).unwrap(), address: u64_at(&reply, 16).unwrap() }
    }

    fn delete(&mut self, slot: u32, interrupt: InterruptMessage) {
        let head = message(0x15).u32(slot).u16(0).u16(1);
        assert_eq!(self.send(head.u32(interrupt.data).u64(interrupt.address)), Reply::None);
    }

    fn read(&mut self, offset: u64, size: AccessSize) -> Result<u32, Status> {
        let offset = self.bus.window_offset(Gpa(WINDOW + offset)).expect("in the window");
        self.bus.window_read(&mut self.platform, &mut self.report, offset, size)
    }

    fn write(&mut self, offset: u64, size: AccessSize, value: u32) -> Status {
        let offset = self.bus.window_offset(Gpa(WINDOW + offset)).expect("in the window");
        self.bus.window_write(&mut self.platform, &mut self.report, offset, size, value)
    }

    fn select(&mut self, slot: u32) {
        assert_eq!(self.write(0, AccessSize::Dword, slot), Status::SUCCESS);
    }

    fn resets(&mut self) -> Vec<(usize, ResetCause)> {
        let cause = |event: Event| match event {
            Event::FunctionReset { device, cause } => (device.0, cause),
            Event::FunctionReturned { .. } | Event::ExtendedConfigWritten { .. } | Event::BusMasterEnabled { .. } => {
                panic!("{event:?}")
            }
        };
        self.report.take_events().into_iter().map(cause).collect()
    }

    fn retarget(&mut self, slot: Slot, message: InterruptMessage, vp: u32) -> Status {
        let device = self.bus.instance().logical_device_id(slot.function());
        let input = RetargetInterrupt { device, message, vector: 0x44, vp: VpIndex(vp) };
        self.bus.retarget(&mut self.platform, &mut self.report, slot, &input)
    }
}

fn message(kind: u32) -> Writer {
    Writer::new().u32(BASE + kind)
}

/// A `CREATE_INTERRUPT3` from its vector on: vector 0x31, fixed, one vector, for processor 1.
fn create_body() -> Vec<u8> {
    Writer::new().u32(0x31).u8(0).u8(0).u16(1).u16(1).u16(1).zeroes_to(80).finish()
}

#[test]
fn versions_step_down() {
    let mut setup = Setup::new(Version::V1_2);
    for wire in [0x0001_0004, 0x0001_0003, 0x0001_0000, 0x0002_0000, u32::MAX] {
        assert_eq!(setup.status(message(0x13).u32(wire)), NtStatus::REVISION_MISMATCH, "{wire:#x}");
    }
    assert_eq!(setup.status(message(0x01)), NtStatus::INVALID_DEVICE_STATE);
    assert_eq!(setup.status(message(0x13).u32(0x0001_0002)), NtStatus::SUCCESS);
    assert!(matches!(setup.send(message(0x01)), Reply::InBand(_)));
    assert_eq!(setup.report.violations(), 0);
}

#[test]
fn functions_are_listed_in_the_form_of_the_version() {
    for (version, kind, line) in
        [(Version::V1_1, 0, 20), (Version::V1_2, 0, 20), (Version::V1_3, 0x19, 28), (Version::V1_4, 0x19, 28)]
    {
        let mut setup = Setup::powered(version);
        let Reply::InBand(list) = setup.send(message(0x01)) else { panic!("no list") };
        assert_eq!((u32_at(&list, 0), u32_at(&list, 4)), (Some(BASE + kind), Some(2)));
        assert_eq!(list.len(), 8 + 2 * line);
        assert_eq!(u32_at(&list, 8 + 12), Some(0));
        assert_eq!(u32_at(&list, 8 + line + 12), Some(0x20));
    }
}

#[test]
fn resource_requirements_hide_io_bars() {
    let mut setup = Setup::powered(Version::V1_4);
    setup.platform.functions[1].bar_probe = [0xffff_ff01, 0xffff_f000, 0, 0, 0, 0];
    let Reply::Completion(bars) = setup.send(message(0x05).u32(0x20)) else { panic!("no completion") };
    let words: Vec<_> = (0..7).filter_map(|i| u32_at(&bars, 4 * i)).collect();
    assert_eq!(words, [0, 0, 0xffff_f000, 0, 0, 0, 0]);
    assert_eq!(setup.status(message(0x05).u32(0x40)), NtStatus::DEVICE_DOES_NOT_EXIST);
    assert_eq!(setup.status(message(0x05).u32(0x100)), NtStatus::DEVICE_DOES_NOT_EXIST);
    assert_eq!(setup.report.violations(), 2);
}

#[test]
fn windows_that_cannot_be() {
    let mut setup = Setup::new(Version::V1_4);
    assert_eq!(setup.enter_d0(WINDOW), NtStatus::INVALID_DEVICE_STATE);
    assert_eq!(setup.status(message(0x13).u32(0x0001_0004)), NtStatus::SUCCESS);
    let in_ram = testing::RAM_BYTES as u64 - 0x1000;
    for bad in [WINDOW + 1, u64::MAX - 0xfff, in_ram, 0x1000, 0xd800_0000, 0xd800_1000, 0xd7ff_f000] {
        assert_eq!(setup.enter_d0(bad), NtStatus::INVALID_PARAMETER, "{bad:#x}");
    }
    assert_eq!(setup.report.violations(), 7);
    assert_eq!(setup.bus.powered_window(), None);
    assert_eq!(setup.enter_d0(0xd7ff_e000), NtStatus::SUCCESS);
}

#[test]
fn power_goes_on_once_and_off() {
    let mut setup = Setup::powered(Version::V1_4);
    assert_eq!(setup.enter_d0(WINDOW), NtStatus::INVALID_DEVICE_STATE);
    assert_eq!(setup.status(message(0x08)), NtStatus::SUCCESS);
    assert_eq!(setup.resets(), [(0, ResetCause::PoweredOff), (1, ResetCause::PoweredOff)]);
    assert_eq!(setup.bus.window_offset(Gpa(WINDOW)), None);
    assert_eq!(setup.status(message(0x08)), NtStatus::SUCCESS);
    assert_eq!(setup.resets(), []);
    assert_eq!(setup.enter_d0(WINDOW), NtStatus::SUCCESS);
    assert_eq!(setup.report.violations(), 0);
}

#[test]
fn messages_must_have_the_form_of_the_version() {
    let assigned = [message(0x10).u32(0).zeroes_to(148).finish(), message(0x16).u32(0).zeroes_to(202).finish()];
    let create = [
        message(0x14).u32(0).u8(0x31).u8(0).u16(1).u32(0).u64(u64::MAX).finish(),
        message(0x17).u32(0).u8(0x31).u8(0).u16(1).u16(1).zeroes_to(78).finish(),
        message(0x1b).u32(0).bytes(&create_body()).finish(),
    ];
    for (version, assigned_form, create_form) in
        [(Version::V1_1, 0, 0), (Version::V1_2, 1, 1), (Version::V1_3, 1, 1), (Version::V1_4, 1, 2)]
    {
        let mut setup = Setup::powered(version);
        for (forms, good) in [(&assigned[..], assigned_form), (&create[..], create_form)] {
            for (form, bytes) in forms.iter().enumerate() {
                let expected = if form == good { NtStatus::SUCCESS } else { NtStatus::INVALID_PARAMETER };
                assert_eq!(setup.status(Writer::new().bytes(bytes)), expected, "{version} {form}");
            }
        }
        assert_eq!(setup.report.violations(), 3);
    }
}

#[test]
fn resources_and_interrupts_need_power() {
    let mut setup = Setup::powered(Version::V1_4);
    setup.status(message(0x08));
    assert_eq!(setup.status(message(0x16).u32(0).zeroes_to(202)), NtStatus::INVALID_DEVICE_STATE);
    let create = message(0x1b).u32(0).bytes(&create_body());
    assert_eq!(setup.status(create), NtStatus::INVALID_DEVICE_STATE);
    assert_eq!(setup.send(message(0x11).u32(0)), Reply::None);
}

#[test]
fn an_interrupts_life() {
    let mut setup = Setup::powered(Version::V1_4);
    let (first, second) = (setup.create(0), setup.create(0x20));
    assert_ne!(first, second);
    let (slot, other) = (Slot::new(0, 0).unwrap(), Slot::new(0, 1).unwrap());
    assert_eq!(setup.retarget(slot, first, 0), Status::SUCCESS);
    let target = |setup: &Setup, handle: u16| setup.platform.remap[&crate::platform::RemapHandle(handle)];
    assert_eq!(target(&setup, 0), (DeviceIndex(0), VpIndex(0), 0x44));
    assert_eq!(target(&setup, 1), (DeviceIndex(1), VpIndex(1), 0x31));
    // Another function's interrupt, and a processor that does not exist.
    assert_eq!(setup.retarget(other, first, 0), Status::INVALID_PARAMETER);
    assert_eq!(setup.retarget(slot, first, 2), Status::INVALID_PARAMETER);
    assert_eq!(setup.report.violations(), 2);
    setup.delete(0, first);
    assert_eq!(setup.retarget(slot, first, 0), Status::INVALID_PARAMETER);
    setup.delete(0, first);
    assert_eq!(setup.report.violations(), 4);
    assert_eq!(setup.platform.remap.len(), 1);
}

/// Hibernation: the guest deletes each old interrupt only when it creates the new one.
#[test]
fn interrupts_outlive_power_until_deleted() {
    let mut setup = Setup::powered(Version::V1_4);
    let old = [setup.create(0), setup.create(0)];
    setup.bus.disconnect(&mut setup.platform, &mut setup.report);
    assert_eq!(setup.retarget(Slot::new(0, 0).unwrap(), old[0], 0), Status::INVALID_PARAMETER);
    setup.status(message(0x13).u32(0x0001_0004));
    assert_eq!(setup.enter_d0(WINDOW), NtStatus::SUCCESS);
    let mut new = Vec::new();
    for interrupt in old {
        setup.delete(0, interrupt);
        new.push(setup.create(0));
    }
    for interrupt in new {
        assert_eq!(setup.retarget(Slot::new(0, 0).unwrap(), interrupt, 1), Status::SUCCESS);
    }
    assert_eq!((setup.platform.remap.len(), setup.report.violations()), (2, 0));
}

#[test]
fn configuration_space() {
    let mut setup = Setup::powered(Version::V1_4);
    setup.platform.config[1][0x40] = 0x55;
    setup.platform.config[1][0xfff] = 0x66;
    setup.select(0x20);
    assert_eq!(setup.read(0, AccessSize::Dword), Ok(0x20));
    assert_eq!(setup.read(0x1000, AccessSize::Word), Ok(0x1b36));
    assert_eq!(setup.read(0x1040, AccessSize::Byte), Ok(0x55));
    assert_eq!(setup.read(0x1fff, AccessSize::Byte), Ok(0x66));
    assert_eq!(setup.read(0x100e, AccessSize::Byte), Ok(0x80));
    assert_eq!(setup.write(0x1004, AccessSize::Word, 0xabcd_0406), Status::SUCCESS);
    assert_eq!(setup.platform.config[1][4..8], [0x06, 0x04, 0, 0]);
    // A BAR that was announced is there, one that was not is not.
    assert_eq!(setup.write(0x1014, AccessSize::Dword, 0x10), Status::SUCCESS);
    assert_eq!(setup.write(0x1018, AccessSize::Dword, 0x10), Status::SUCCESS);
    assert_eq!((setup.platform.config[1][0x14], setup.platform.config[1][0x18]), (0x10, 0));
    setup.select(0);
    assert_eq!(setup.read(0x1040, AccessSize::Byte), Ok(0));
    assert_eq!(setup.report.violations(), 0);
}

#[test]
fn accesses_that_are_not_allowed() {
    let mut setup = Setup::powered(Version::V1_4);
    let bad = [(1, AccessSize::Byte), (0, AccessSize::Word), (4, AccessSize::Dword), (0x1001, AccessSize::Word)];
    for (offset, size) in bad.into_iter().chain([(0x1002, AccessSize::Dword), (0x1fff, AccessSize::Word)]) {
        assert_eq!(setup.read(offset, size), Err(Status::INVALID_PARAMETER), "{offset:#x}");
        assert_eq!(setup.write(offset, size, 0), Status::INVALID_PARAMETER);
    }
    assert_eq!(setup.report.violations(), 12);
    assert_eq!(setup.bus.window_offset(Gpa(WINDOW - 1)), None);
    assert_eq!(setup.bus.window_offset(Gpa(WINDOW + 0x1fff)), Some(0x1fff));
    assert_eq!(setup.bus.window_offset(Gpa(WINDOW + 0x2000)), None);
}

#[test]
fn nobody_home_reads_all_ones() {
    let mut setup = Setup::powered(Version::V1_4);
    for selector in [0x40, 0x100, u32::MAX] {
        setup.select(selector);
        assert_eq!(setup.read(0x1000, AccessSize::Dword), Ok(u32::MAX));
    }
    setup.select(0);
    setup.bus.set_plug(Plug::Unplugged);
    assert_eq!(setup.read(0x1000, AccessSize::Word), Ok(0xffff));
    assert_eq!(setup.write(0x1004, AccessSize::Word, 6), Status::SUCCESS);
    setup.bus.set_plug(Plug::Connected);
    assert_eq!(setup.read(0x1000, AccessSize::Word), Ok(0x1b36));
    assert_eq!(setup.read(0x1004, AccessSize::Word), Ok(0));
}

#[test]
fn ejection() {
    let mut setup = Setup::powered(Version::V1_4);
    let slot = Slot::new(0, 1).unwrap();
    let interrupt = setup.create(0x20);
    let complete = || message(0x0f).u32(0x20).u32(0);
    assert_eq!(setup.status(complete()), NtStatus::INVALID_DEVICE_STATE);
    assert_eq!(setup.report.violations(), 1);
    assert_eq!(setup.bus.start_ejection(slot), Some(message(0x0b).u32(0x20).finish()));
    assert_eq!(setup.bus.start_ejection(slot), None);
    assert_eq!(setup.bus.start_ejection(Slot::new(1, 1).unwrap()), None);
    // Until the guest has answered, everything works.
    assert_eq!(setup.retarget(slot, interrupt, 0), Status::SUCCESS);
    assert_eq!(setup.send(complete()), Reply::None);
    assert_eq!(setup.resets(), [(1, ResetCause::Ejected)]);
    assert_eq!((setup.platform.remap.len(), setup.bus.has_present(DeviceIndex(1))), (0, Some(false)));
    setup.select(0x20);
    assert_eq!(setup.read(0x1000, AccessSize::Word), Ok(0xffff));
    let Reply::InBand(list) = setup.send(message(0x01)) else { panic!("no list") };
    assert_eq!(u32_at(&list, 4), Some(1));
    assert_eq!(setup.status(message(0x05).u32(0x20)), NtStatus::DEVICE_DOES_NOT_EXIST);
    // A late delete crosses with the answer.
    assert_eq!(setup.send(message(0x11).u32(0x20)), Reply::None);
    setup.bus.withdraw(&mut setup.platform, &mut setup.report, ResetCause::Rescinded);
    assert_eq!(setup.bus.has_present(DeviceIndex(1)), Some(true));
}

#[test]
fn withdrawal_drops_everything_but_the_window() {
    let mut setup = Setup::powered(Version::V1_4);
    let interrupt = setup.create(0);
    setup.bus.withdraw(&mut setup.platform, &mut setup.report, ResetCause::Rescinded);
    assert_eq!(setup.resets(), [(0, ResetCause::Rescinded), (1, ResetCause::Rescinded)]);
    assert_eq!((setup.platform.remap.len(), setup.bus.powered_window()), (0, None));
    setup.select(0);
    assert_eq!(setup.read(0x1000, AccessSize::Word), Ok(0xffff));
    assert_eq!(setup.retarget(Slot::new(0, 0).unwrap(), interrupt, 0), Status::INVALID_PARAMETER);
    assert_eq!(setup.report.violations(), 0);
    setup.bus.forget_window();
    assert_eq!(setup.bus.window_offset(Gpa(WINDOW)), None);
}

#[test]
fn ids_lead_to_functions_and_back() {
    let setup = Setup::new(Version::V1_4);
    for device in [DeviceIndex(0), DeviceIndex(1)] {
        let id = setup.bus.logical_id_of(device).unwrap();
        assert_eq!(setup.bus.device_for_logical_id(id), Some(device));
        assert_eq!(id.0, 0x1ee7_6050 + device.0 as u64);
    }
    assert_eq!(setup.bus.logical_id_of(DeviceIndex(2)), None);
    assert_eq!(setup.bus.device_for_logical_id(crate::ids::LogicalDeviceId(0x1_1ee7_6050)), None);
}

#[test]
fn what_is_not_implemented_is_said_so() {
    let mut setup = Setup::powered(Version::V1_4);
    assert_eq!(setup.status(message(0x09).zeroes_to(16)), NtStatus::NOT_SUPPORTED);
    assert_eq!(setup.report.violations(), 0);
    assert_eq!(setup.status(message(0x1c)), NtStatus::NOT_SUPPORTED);
    assert_eq!(setup.status(Writer::new().u8(1)), NtStatus::INVALID_PARAMETER);
    assert_eq!(setup.report.violations(), 2);
}

/// What is refused has no effect, and the same message works afterwards.
#[test]
fn refused_messages() {
    let failure = NtStatus::INSUFFICIENT_RESOURCES;
    let mut setup = Setup::new(Version::V1_4);
    let once = Occurrences::Times(NonZeroU16::MIN);
    for kind in MessageKind::ALL {
        setup.bus.refuse(Refusal { kind, status: failure, occurrences: once });
    }
    let version = || message(0x13).u32(0x0001_0004);
    let assigned = || message(0x16).u32(0).zeroes_to(202);
    let create = || message(0x1b).u32(0).bytes(&create_body());
    assert_eq!([version(), version()].map(|m| setup.status(m)), [failure, NtStatus::SUCCESS]);
    assert_eq!(setup.status(message(0x01)), failure);
    assert!(matches!(setup.send(message(0x01)), Reply::InBand(_)));
    assert_eq!([0x05, 0x05].map(|kind| setup.status(message(kind).u32(0))), [failure, NtStatus::SUCCESS]);
    // Two rules are about a window in low MMIO space.
    assert_eq!([WINDOW; 3].map(|window| setup.enter_d0(window)), [failure, failure, NtStatus::SUCCESS]);
    assert_eq!([assigned(), assigned()].map(|m| setup.status(m)), [failure, NtStatus::SUCCESS]);
    let Reply::Completion(refused) = setup.send(create()) else { panic!("no completion") };
    assert_eq!((u32_at(&refused, 0), refused.len(), setup.platform.remap.len()), (Some(failure.0), 24, 0));
    setup.create(0);
    assert_eq!((setup.bus.refused(), setup.report.violations()), (7, 0));
}

#[test]
fn refusals_outlive_a_withdrawal() {
    let mut setup = Setup::powered(Version::V1_4);
    let status = NtStatus(0xc037_0048);
    setup.bus.refuse(Refusal { kind: MessageKind::PowerOnLow, status, occurrences: Occurrences::All });
    setup.bus.withdraw(&mut setup.platform, &mut setup.report, ResetCause::Rescinded);
    setup.bus.forget_window();
    assert_eq!(setup.status(message(0x13).u32(0x0001_0004)), NtStatus::SUCCESS);
    // The guest tries again after it has powered off.
    assert_eq!(setup.enter_d0(WINDOW), status);
    assert_eq!(setup.status(message(0x08)), NtStatus::SUCCESS);
    assert_eq!(setup.enter_d0(WINDOW), status);
    assert_eq!(setup.enter_d0(0x10_0000_0000), NtStatus::SUCCESS);
    assert_eq!(setup.report.violations(), 0);
}

#[test]
fn slots() {
    assert_eq!((Slot::new(32, 0), Slot::new(0, 8), Slot::from_wire(256)), (None, None, None));
    for wire in 0..256 {
        assert_eq!(Slot::from_wire(wire).map(Slot::to_wire), Some(wire));
    }
    assert_eq!(Slot::new(3, 1).map(Slot::to_wire), Some(0x23));
    assert_eq!(Slot::new(3, 1).unwrap().to_string(), "03.1");
    assert_eq!(Version::from_parts(1, 4).unwrap().to_string(), "1.4");
}

/// Anything that a guest or a test can do to a bus.
#[derive(Clone, Debug)]
enum Step {
    Message(u32, Vec<u8>),
    Read(u64, u8),
    Write(u64, u8, u32),
    Eject(u8),
    Disconnect,
    Withdraw,
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let small = prop_oneof![Just(0_u8), Just(0x20), Just(0x31), Just(1), any::<u8>()];
    let body = proptest::collection::vec(small, 0..220);
    prop_oneof![
        8 => (0_u32..0x1e, body).prop_map(|(kind, body)| Step::Message(kind, body)),
        1 => Just(Step::Message(0x13, vec![4, 0, 1, 0])),
        1 => Just(Step::Message(7, vec![0, 0, 0, 0, 0, 0, 0, 0xd0, 0, 0, 0, 0])),
        2 => Just(Step::Message(0x1b, [&[0; 4][..], &create_body()].concat())),
        1 => (0_u64..0x2000, 0_u8..3).prop_map(|(offset, size)| Step::Read(offset, size)),
        1 => (0_u64..0x2000, 0_u8..3, 0_u32..0x40).prop_map(|(offset, size, value)| Step::Write(offset, size, value)),
        1 => (0_u8..8).prop_map(Step::Eject),
        1 => prop_oneof![Just(Step::Disconnect), Just(Step::Withdraw), Just(Step::Forget)],
    ]
}

proptest! {
    /// The mock panics on any misuse of the machine, such as a handle freed twice.
    #[test]
    fn no_sequence_of_steps_breaks_a_bus(steps in proptest::collection::vec(step(), 1..60)) {
        let mut setup = Setup::new(Version::V1_4);
        let size = |number| [AccessSize::Byte, AccessSize::Word, AccessSize::Dword][usize::from(number)];
        for step in steps {
            let Setup { platform, report, bus } = &mut setup;
            match step {
                Step::Message(kind, body) => {
                    bus.receive(platform, report, &[], &message(kind).bytes(&body).finish());
                }
                Step::Read(offset, width) => {
                    if let Some(offset) = bus.window_offset(Gpa(WINDOW + offset)) {
                        let _ = bus.window_read(platform, report, offset, size(width));
                    }
                }
                Step::Write(offset, width, value) => {
                    if let Some(offset) = bus.window_offset(Gpa(WINDOW + offset)) {
                        bus.window_write(platform, report, offset, size(width), value);
                    }
                }
                Step::Eject(function) => {
                    bus.start_ejection(Slot::new(0, function).unwrap());
                }
                Step::Disconnect => bus.disconnect(platform, report),
                Step::Withdraw => bus.withdraw(platform, report, ResetCause::Rescinded),
                Step::Forget => bus.forget_window(),
            }
        }
        setup.bus.withdraw(&mut setup.platform, &mut setup.report, ResetCause::Unloaded);
        prop_assert!(setup.platform.remap.is_empty());
        prop_assert!(setup.report.take_events().len() <= 8);
    }
}
