// SPDX-License-Identifier: GPL-2.0

use super::*;
use proptest::prelude::*;

fn parse(line: &str) -> Options {
    line.parse().unwrap()
}

#[test]
fn the_empty_line_is_the_default() {
    assert_eq!(parse(""), Options::default());
    assert_eq!(Options::default().to_string(), "");
}

#[test]
fn every_key() {
    let line = "vmbus=5.3 vpci=1.2 partition=l1vh pviommu=off s1=off s1-5lvl=on ats=on iova-width=255 \
                page-sizes=0x201000 unmanaged=1,3 inject=b2:57:1:all inject=d1:5:2:1:garbage hostile=0xbad quota=7 assign=03.0,04.0+04.1,1f.7 \
                guid=1:44c4f61d-4444-4400-9d52-802e27ede19f numa=1,0 drop-flush=on cache=strict firmware-iommu=broken taken=71 unload=keep \
                ids=shared start=blocked \
                interleave=7 selftest=on protection=off log=trace";
    let options = parse(line);
    assert_eq!(options.vmbus, vmbus::Version::V5_3);
    assert_eq!(options.vpci, vpci::Version::V1_2);
    assert_eq!(options.identity, Identity::L1vh);
    let capabilities = Capabilities {
        presence: Presence::Off,
        stage1: Switch::Off,
        five_levels: Switch::On,
        ats: Switch::On,
        iova_width: 255,
        page_sizes: 0x20_1000,
    };
    assert_eq!(options.capabilities, capabilities);
    assert_eq!(options.unmanaged, [DeviceIndex(1), DeviceIndex(3)]);
    assert_eq!(options.inject.len(), 2);
    assert_eq!(options.hostile.map(|seed| seed.0.get()), Some(0xbad));
    assert_eq!(options.quota, 7);
    let slots: Vec<_> = options.assigned().map(|slot| (slot.device(), slot.function())).collect();
    assert_eq!(slots, [(3, 0), (4, 0), (4, 1), (0x1f, 7)]);
    assert_eq!(options.assign.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 1]);
    assert_eq!(options.guids, [(BusIndex(1), Guid::VPCI)]);
    assert_eq!(options.numa, [NumaNode(1), NumaNode(0)]);
    assert_eq!((options.flushes, options.log), (Flushes::Dropped, LogLevel::Trace));
    assert_eq!(options.cache, Strictness::Strict);
    assert_eq!(options.firmware_iommu, FirmwareIommu::Broken);
    assert_eq!((options.taken, options.unload, options.ids), (Status(0x71), Unload::Keep, Ids::Shared));
    assert_eq!((options.start, options.interleave, options.self_test), (Start::Blocked, Some(7), Switch::On));
    assert_eq!(options.protection, Switch::Off);
    assert_eq!(options.to_string(), line);
}

#[test]
fn errors_name_the_word() {
    let error = |line: &str| line.parse::<Options>().unwrap_err().to_string();
    assert_eq!(error("s1=on bogus"), "option \"bogus\": key=value expected");
    assert_eq!(error("colour=red"), "option \"colour=red\": no such key");
    assert_eq!(error("s1=maybe"), "option \"s1=maybe\": on or off expected");
    assert_eq!(error("iova-width=256"), "option \"iova-width=256\": a number from 0 to 255 expected");
    assert_eq!(error("start=off"), "option \"start=off\": bypass or blocked expected");
    assert_eq!(error("interleave=x"), "option \"interleave=x\": a number expected");
    assert_eq!(error("taken=0"), "option \"taken=0\": a status of failure expected");
    assert_eq!(error("taken=10000"), "option \"taken=10000\": a status expected");
    assert!(error("vmbus=7.1").contains("known version"));
    assert!(error("page-sizes=0xzz").contains("hexadecimal"));
    assert!(error("hostile=0").contains("hexadecimal"));
    assert!(error("inject=b2").contains("CODE:STATUS"));
    assert!(error("guid=0:xyz").contains("GUID"));
    for assign in ["20.0", "3", "3.8", "3.0+", "3.0,", "0.0+0.1+0.2+0.3+0.4+0.5+0.6+0.7+1.0"] {
        assert!(error(&format!("assign={assign}")).contains("DEV.FN"), "{assign}");
    }
    let many = "inject=b2:57:1:1 ".repeat(inject::RULES_MAX + 1);
    assert!(error(&many).contains("more than 16 rules"));
}

#[test]
fn the_last_of_a_key_counts() {
    assert_eq!(parse("quota=1 quota=2").quota, 2);
    assert_eq!(parse("assign=3.0 assign=").assign, Vec::<Vec<Slot>>::new());
}

fn any_capabilities() -> impl Strategy<Value = Capabilities> {
    let switch = || prop_oneof![Just(Switch::On), Just(Switch::Off)];
    let presence = prop_oneof![Just(Presence::Present), Just(Presence::Absent), Just(Presence::Off)];
    (presence, switch(), switch(), switch(), any::<u8>(), any::<u64>()).prop_map(
        |(presence, stage1, five_levels, ats, iova_width, page_sizes)| Capabilities {
            presence,
            stage1,
            five_levels,
            ats,
            iova_width,
            page_sizes,
        },
    )
}

fn any_options() -> impl Strategy<Value = Options> {
    let slot = (0u8..32, 0u8..8).prop_map(|(device, function)| Slot::new(device, function).unwrap());
    let assign = prop::collection::vec(prop::collection::vec(slot, 1..=8), 0..4);
    let guids = prop::collection::vec((0usize..9, any::<[u8; 16]>()), 0..3);
    (
        any_capabilities(),
        prop::collection::vec(0usize..100, 0..4),
        prop::collection::vec(inject::strategy::any_rule(), 0..=inject::RULES_MAX),
        any::<u32>(),
        assign,
        guids,
        prop::sample::select(&vmbus::Version::ALL[..]),
        prop::sample::select(&vpci::Version::ALL[..]),
        prop::sample::select(&IDENTITY[..]),
        prop::sample::select(&[LogLevel::Error, LogLevel::Info, LogLevel::Trace][..]),
    )
        .prop_map(|(capabilities, unmanaged, inject, quota, assign, guids, vmbus, vpci, identity, log)| Options {
            vmbus,
            vpci,
            identity: identity.1,
            capabilities,
            unmanaged: unmanaged.into_iter().map(DeviceIndex).collect(),
            inject,
            hostile: core::num::NonZeroU64::new(u64::from(quota) << 7).map(Seed),
            quota,
            assign,
            guids: guids.into_iter().map(|(bus, guid)| (BusIndex(bus), Guid(guid))).collect(),
            numa: (0..quota as u16 % 4).map(|bus| NumaNode(quota as u16 >> bus)).collect(),
            flushes: DROP_FLUSH[quota as usize % DROP_FLUSH.len()].1,
            cache: CACHE[quota as usize % CACHE.len()].1,
            firmware_iommu: FIRMWARE_IOMMU[quota as usize / 19 % FIRMWARE_IOMMU.len()].1,
            taken: Status(quota as u16 | 1),
            unload: UNLOAD[quota as usize / 13 % UNLOAD.len()].1,
            ids: IDS[quota as usize / 17 % IDS.len()].1,
            start: START[quota as usize / 3 % START.len()].1,
            interleave: (quota % 5 == 0).then_some(u64::from(quota) << 30),
            self_test: SWITCH[quota as usize / 7 % SWITCH.len()].1,
            protection: SWITCH[quota as usize / 11 % SWITCH.len()].1,
            log,
        })
}

proptest! {
    #[test]
    fn the_line_survives_the_round_trip(options in any_options()) {
        prop_assert_eq!(options.to_string().parse(), Ok(options));
    }

    #[test]
    fn parsing_never_panics(line in "([a-z0-9-]{1,12}=[0-9a-fx:.,+-]{0,20} ?){0,4}|\\PC{0,40}") {
        let _ = line.parse::<Options>();
    }
}
