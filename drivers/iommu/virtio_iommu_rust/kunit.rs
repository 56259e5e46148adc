// SPDX-License-Identifier: GPL-2.0

//! KUnit tests of how the driver reads the device's answers, of its copy of the mappings, and of
//! where the endpoints of its devices are.

use super::{
    homes::{
        Admission,
        Homes, //
    },
    ids::EndpointIds,
    mappings::{
        Mapping,
        Mappings,
        NewMapping, //
    },
    protocol::{
        self,
        EndpointId,
        Fault,
        MapFlags,
        Properties,
        Property,
        Region, //
    }, //
};
use kernel::{
    iommu::Iova,
    prelude::*,
    sync::Arc,
    uapi, //
};

/// Numbers of property types and of subtypes of reserved memory. The driver does not know `OTHER`
/// as either.
const RESERVED_MEMORY: u8 = uapi::VIRTIO_IOMMU_PROBE_T_RESV_MEM as u8;
const MSI: u8 = uapi::VIRTIO_IOMMU_RESV_MEM_T_MSI as u8;
const OTHER: u8 = 9;

/// A property of reserved memory, as a device writes it.
fn reserved(subtype: u8, first: u64, last: u64) -> [u8; 24] {
    let mut bytes = [0; 24];
    let fields: [&[u8]; 4] = [
        &[RESERVED_MEMORY, 0, 20, 0],
        &[subtype, 0, 0, 0],
        &first.to_le_bytes(),
        &last.to_le_bytes(),
    ];
    for (place, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
        *place = *byte;
    }
    bytes
}

/// The list of all properties in some bytes.
fn properties(parts: &[&[u8]]) -> Result<KVec<Property>> {
    let mut bytes = KVec::new();
    for part in parts {
        bytes.extend_from_slice(part, GFP_KERNEL)?;
    }
    let mut list = KVec::new();
    for property in Properties::new(&bytes) {
        list.push(property, GFP_KERNEL)?;
    }
    Ok(list)
}

/// Unmaps a range. Returns the last byte that was unmapped, if any.
fn removed(mappings: &mut Mappings, first: u64, last: u64) -> Option<u64> {
    let end = mappings.remove(Iova::new(first), Iova::new(last))?;
    Some(end.as_u64())
}

/// The mappings of a domain. Each range is mapped to the same addresses with bit 32 inverted.
fn mappings(ranges: &[(u64, u64)]) -> Result<Mappings> {
    let mut mappings = Mappings::new();
    for (first, last) in ranges {
        let mapping = Mapping {
            first: Iova::new(*first),
            phys: *first ^ (1 << 32),
            flags: MapFlags::READ,
        };
        mappings.insert(NewMapping::new(Iova::new(*last), mapping, GFP_KERNEL)?);
    }
    Ok(mappings)
}

/// A device with some endpoints.
fn device(ids: &[u32]) -> Result<Arc<EndpointIds>> {
    Ok(Arc::new(EndpointIds::new(ids)?, GFP_KERNEL)?)
}

/// Places where endpoints can be: three domains with mappings, and the blocking domain.
const U: &str = "U";
const V: &str = "V";
const W: &str = "W";
const BLOCKED: &str = "blocked";

/// An endpoint that two devices have.
const SHARED: EndpointId = EndpointId(7);
/// An endpoint that one device has.
const OWN: EndpointId = EndpointId(8);

#[kunit_tests(virtio_iommu_rust)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read_up_to_the_end_of_the_list() -> Result {
        let region = Region {
            first: Iova::new(0x1000),
            bytes: 0x2000,
        };
        let list = properties(&[
            &reserved(OTHER, 0x1000, 0x2fff),
            &[OTHER, 0, 3, 0, 1, 2, 3],
            &reserved(MSI, 0x1000, 0x2fff),
            &[0; 4],
            &reserved(MSI, 0x1000, 0x2fff),
        ])?;
        assert_eq!(list.len(), 3);
        assert!(list.first() == Some(&Property::Reserved(region)));
        assert!(list.get(1) == Some(&Property::Unknown(OTHER.into())));
        assert!(list.get(2) == Some(&Property::Msi(region)));
        // A list that fills all bytes, without an end mark.
        assert_eq!(properties(&[&reserved(MSI, 0, 0)])?.len(), 1);
        assert_eq!(properties(&[&[0; 3]])?.len(), 0);
        Ok(())
    }

    #[test]
    fn properties_that_make_no_sense_are_not_passed_over() -> Result {
        let malformed = |bytes: &[u8]| -> Result<bool> {
            let list = properties(&[bytes])?;
            Ok(list.len() == 1 && list.first() == Some(&Property::Malformed))
        };
        let whole = reserved(MSI, 0x1000, 0x1fff);
        let (cut, _) = whole.split_at(23);
        assert!(malformed(cut)?);
        assert!(malformed(&[RESERVED_MEMORY, 0, 0, 0])?);
        assert!(malformed(&[RESERVED_MEMORY, 0, 1, 0])?);
        assert!(malformed(&reserved(MSI, 0x1000, 0xfff))?);
        assert!(malformed(&reserved(MSI, 0, u64::MAX))?);
        Ok(())
    }

    #[test]
    fn faults_are_read() -> Result {
        let mut bytes = [0; protocol::EVENT_BYTES];
        let address = 0x1234_5678_9abc_u64.to_le_bytes();
        let fields: [&[u8]; 4] = [
            &[2, 0, 0, 0],
            &[2, 1, 0, 0],
            &[0x28, 1, 0, 0, 0, 0, 0, 0],
            &address,
        ];
        for (place, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *place = *byte;
        }
        let fault = Fault::parse(&bytes).ok_or(EINVAL)?;
        assert!(fault.endpoint() == EndpointId(0x128));
        assert!(fault.access() == "write");
        assert!(fault.reason() == "no mapping allows it");
        assert!(fault.address() == Some(Iova::new(0x1234_5678_9abc)));
        // Without its flag, the address is not valid.
        bytes[5] = 0;
        assert!(Fault::parse(&bytes).ok_or(EINVAL)?.address().is_none());
        // An event of another kind, and one that is cut off.
        bytes[3] = 1;
        assert!(Fault::parse(&bytes).is_none());
        let (cut, _) = bytes.split_at(protocol::EVENT_BYTES - 1);
        assert!(Fault::parse(cut).is_none());
        Ok(())
    }

    #[test]
    fn only_a_whole_answer_can_be_a_success() {
        assert!(protocol::outcome(&[0; 4], 4) == Ok(()));
        assert!(protocol::outcome(&[1, 2, 0, 0, 0, 0], 6) == Ok(()));
        assert!(protocol::outcome(&[0; 3], 4) == Err(EIO));
        assert!(protocol::outcome(&[], 4) == Err(EIO));
        let refused = |status: u32| protocol::outcome(&[status as u8, 0, 0, 0], 4);
        assert!(refused(uapi::VIRTIO_IOMMU_S_NOENT) == Err(ENOENT));
        assert!(refused(uapi::VIRTIO_IOMMU_S_DEVERR) == Err(EIO));
        assert!(refused(0xff) == Err(EIO));
    }

    #[test]
    fn a_search_goes_by_what_is_mapped_now() -> Result {
        const RANGES: [(u64, u64); 2] = [(0x1000, 0x2fff), (0x4000, 0x4fff)];
        let mut mapped = mappings(&RANGES)?;
        // The first and the last byte of each mapping, and the bytes beside it. Each of them is
        // looked up after each other one, which may have left its mapping as the last one found.
        const BYTES: [(u64, bool); 8] = [
            (0xfff, false),
            (0x1000, true),
            (0x2fff, true),
            (0x3000, false),
            (0x3fff, false),
            (0x4000, true),
            (0x4fff, true),
            (0x5000, false),
        ];
        for (before, _) in BYTES {
            for (byte, is_mapped) in BYTES {
                let _ = mapped.find(Iova::new(before));
                let expected = is_mapped.then_some(byte ^ (1 << 32));
                assert!(mapped.find(Iova::new(byte)) == expected);
            }
        }
        // A mapping that was unmapped must not be found again.
        let _ = mapped.find(Iova::new(0x2000));
        assert!(removed(&mut mapped, 0x1000, 0x2fff) == Some(0x2fff));
        assert!(mapped.find(Iova::new(0x2000)).is_none());
        Ok(())
    }

    #[test]
    fn an_unmap_takes_whole_mappings_up_to_a_gap() -> Result {
        const RANGES: [(u64, u64); 3] = [(0x1000, 0x1fff), (0x2000, 0x3fff), (0x5000, 0x5fff)];
        let mut mapped = mappings(&RANGES)?;
        assert!(mapped.find(Iova::new(0x2abc)) == Some((1 << 32) + 0x2abc));
        assert!(mapped.find(Iova::new(0x4000)).is_none());
        // Nothing is unmapped from the middle of a mapping, or where there is none.
        assert!(removed(&mut mapped, 0x3000, 0x5fff).is_none());
        assert!(removed(&mut mapped, 0x4000, 0x5fff).is_none());
        assert_eq!(mapped.iter().count(), RANGES.len());
        // An unmap stops at a gap.
        assert!(removed(&mut mapped, 0x1000, 0x5fff) == Some(0x3fff));
        assert_eq!(mapped.iter().count(), 1);
        // A mapping that extends beyond the range is unmapped as a whole.
        let mut mapped = mappings(&RANGES)?;
        assert!(removed(&mut mapped, 0x1000, 0x2fff) == Some(0x3fff));
        assert!(mapped.find(Iova::new(0x3000)).is_none());
        // The last byte of the address space.
        let mut mapped = mappings(&[(u64::MAX - 0xfff, u64::MAX)])?;
        assert!(removed(&mut mapped, u64::MAX - 0xfff, u64::MAX) == Some(u64::MAX));
        Ok(())
    }

    #[test]
    fn an_endpoint_is_kept_until_its_last_device_is_removed() -> Result {
        let (first, second) = (device(&[7, 8])?, device(&[7])?);
        let mut homes = Homes::new();
        homes.add(&first, Admission::Admitted)?;
        homes.note_arrived(SHARED, U);
        homes.note_arrived(OWN, U);
        // A device that is probed later leaves the endpoint where it is.
        homes.add(&second, Admission::Admitted)?;
        assert!(homes.is_at(SHARED, &U));
        // The first device is released: its own endpoint is blocked, the shared one is not.
        assert!(homes.has_other_user(SHARED, &first));
        assert!(!homes.has_other_user(OWN, &first));
        homes.remove(&first);
        homes.note_arrived(OWN, BLOCKED);
        homes.forget_unused();
        assert!(homes.is_at(SHARED, &U));
        assert!(homes.endpoint(0) == Some(SHARED));
        assert!(homes.endpoint(1).is_none());
        // A device that is not there.
        homes.remove(&first);
        assert!(!homes.has_other_user(SHARED, &second));
        homes.remove(&second);
        homes.forget_unused();
        assert!(homes.endpoint(0).is_none());
        Ok(())
    }

    #[test]
    fn a_device_that_has_an_endpoint_twice_is_one_device() -> Result {
        let (twice, other) = (device(&[7, 7])?, device(&[7, 7])?);
        let mut homes = Homes::<&str>::new();
        homes.add(&twice, Admission::Admitted)?;
        assert!(homes.endpoint(0) == Some(SHARED));
        assert!(homes.endpoint(1).is_none());
        assert!(!homes.has_other_user(SHARED, &twice));
        homes.add(&other, Admission::Admitted)?;
        assert!(homes.has_other_user(SHARED, &twice));
        homes.remove(&other);
        assert!(!homes.has_other_user(SHARED, &twice));
        homes.remove(&twice);
        homes.forget_unused();
        assert!(homes.endpoint(0).is_none());
        Ok(())
    }

    #[test]
    fn an_endpoint_that_is_there_already_is_not_attached_again() -> Result {
        let mut homes = Homes::new();
        homes.add(&device(&[7])?, Admission::Admitted)?;
        homes.add(&device(&[7, 8])?, Admission::Admitted)?;
        // An endpoint that the IOMMU was never told of is nowhere.
        assert!(homes.known(SHARED) == Some(""));
        assert!(!homes.is_at(SHARED, &U));
        // The first device has moved, the second one has not.
        homes.note_arrived(SHARED, U);
        assert!(homes.is_at(SHARED, &U));
        assert!(!homes.is_at(OWN, &U));
        Ok(())
    }

    #[test]
    fn an_endpoint_leaves_the_home_to_which_another_device_took_it() -> Result {
        let mut homes = Homes::new();
        homes.add(&device(&[7])?, Admission::Admitted)?;
        homes.add(&device(&[7, 8])?, Admission::Admitted)?;
        homes.note_arrived(SHARED, U);
        homes.note_arrived(OWN, U);
        // The first device moves to V. The core still has the second one in U.
        homes.note_arrived(SHARED, V);
        assert!(!homes.may_be_at(SHARED, &U));
        assert!(homes.is_at(OWN, &U));
        // When the second device moves, its endpoints leave different domains.
        assert!(homes.places(SHARED) == [V, V]);
        assert!(homes.places(OWN) == [U, U]);
        homes.note_arrived(SHARED, W);
        homes.note_arrived(OWN, W);
        // Nothing says any more that V has the endpoint, so an ATTACH would be sent.
        assert!(!homes.is_at(SHARED, &V));
        assert!(!homes.may_be_at(SHARED, &V));
        Ok(())
    }

    #[test]
    fn a_device_that_may_only_be_blocked_leaves_shared_endpoints_alone() -> Result {
        let (admitted, unknown) = (device(&[7])?, device(&[7, 8])?);
        let mut homes = Homes::<&str>::new();
        homes.add(&unknown, Admission::BlockedOnly)?;
        assert!(!homes.has_other_user(SHARED, &unknown));
        homes.add(&admitted, Admission::Admitted)?;
        assert!(homes.has_other_user(SHARED, &unknown));
        assert!(!homes.has_other_user(OWN, &unknown));
        // When the admitted device is released, nobody else may use the endpoint.
        assert!(!homes.has_other_user(SHARED, &admitted));
        Ok(())
    }

    #[test]
    fn an_endpoint_may_be_in_two_places_until_it_moves_for_certain() -> Result {
        let owner = device(&[7])?;
        let mut homes = Homes::new();
        homes.add(&owner, Admission::Admitted)?;
        homes.note_arrived(SHARED, U);
        homes.note_lost(SHARED, V);
        assert!(homes.known(SHARED).is_none());
        assert!(homes.may_be_at(SHARED, &U) && homes.may_be_at(SHARED, &V));
        // An ATTACH to either place would be sent.
        assert!(!homes.is_at(SHARED, &U) && !homes.is_at(SHARED, &V));
        // It cannot be blocked, either, and its device is released. It stays in the record.
        homes.note_lost(SHARED, BLOCKED);
        homes.remove(&owner);
        homes.forget_unused();
        assert!(homes.places(SHARED) == [U, V]);
        // At last it can be blocked.
        homes.note_arrived(SHARED, BLOCKED);
        assert!(!homes.may_be_at(SHARED, &U) && !homes.may_be_at(SHARED, &V));
        homes.forget_unused();
        assert!(homes.endpoint(0).is_none());
        Ok(())
    }
}
