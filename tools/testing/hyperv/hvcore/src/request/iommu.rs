// SPDX-License-Identifier: GPL-2.0
//! The calls of the para-virtual IOMMU, by literal offset.
//!
//! On purpose independent of the guest's header: two descriptions of the same layout check each other.

use super::list::{Element, List};
use super::refusal::Refusal;
use crate::hypercall::calls::{DomainCall, IommuCall};
use crate::hypercall::fields::Input;
use crate::hypercall::frame::{Frame, Output};
use crate::ids::{DomainId, Gpa, Iova, LogicalDeviceId};
use crate::platform::{PagingLevels, Translation};
use crate::status::Status;

const SELF_PARTITION: u64 = u64::MAX;
const DOMAIN_TYPE_S1: u32 = 1;
const DOMAIN_ID_DEFAULT: u32 = 0;
const DOMAIN_ID_NULL: u32 = u32::MAX;
/// Device-id types other than LOGICAL: bits 63:62.
const DEVICE_ID_TYPE: u64 = 3 << 62;

/// What a guest asks of the para-virtual IOMMU.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IommuRequest {
    /// What the IOMMU can do.
    GetCapabilities(Output),
    /// Whether a device is behind it.
    GetDeviceProperty(LogicalDeviceId, Output),
    /// A domain of a number that the guest chose.
    Create(DomainId),
    /// Its translation; a root is page-aligned, but nothing else is known of it.
    Configure(DomainId, Translation),
    /// A device is to be in a domain.
    Attach(DomainId, LogicalDeviceId),
    /// A device is to be in none.
    Detach(LogicalDeviceId),
    /// The end of a domain.
    Delete(DomainId),
    /// All of a domain is to be dropped from the caches.
    Flush(DomainId),
    /// These ranges of a domain are.
    FlushList(DomainId, List<FlushRange>),
}

/// What a call of the IOMMU names, whatever else is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The domain; `None` for a call that names none.
    pub domain: Option<DomainId>,
    /// The device; `None` for a call that names none, or when its id is not LOGICAL.
    pub device: Option<LogicalDeviceId>,
}

impl Subject {
    /// Of this input.
    pub(super) fn decode(call: IommuCall, input: Input<'_>) -> Subject {
        let domain = || Some(DomainId(input.u32(0x14)));
        let device = |offset| device_id(input.u64(offset)).ok();
        match call {
            IommuCall::GetCapabilities => Subject::default(),
            IommuCall::GetDeviceProperty | IommuCall::Detach => Subject { domain: None, device: device(0x08) },
            IommuCall::Attach => Subject { domain: domain(), device: device(0x18) },
            IommuCall::Create | IommuCall::Configure | IommuCall::Delete | IommuCall::Flush | IommuCall::FlushList => {
                Subject { domain: domain(), device: None }
            }
        }
    }
}

impl Subject {
    /// Of this input of a root partition's call.
    pub(super) fn of_root(call: DomainCall, input: Input<'_>) -> Subject {
        match call {
            DomainCall::Detach => Subject::default(),
            // The requester is no logical device.
            _ => Subject { domain: Some(DomainId(input.u32(0x14))), device: None },
        }
    }
}

impl IommuRequest {
    /// Decodes the input of a call.
    ///
    /// # Errors
    /// The first of these that holds, the partition before all others:
    /// - [`Status::INVALID_PARTITION_ID`]: any partition but the own one.
    /// - [`Status::UNKNOWN_PROPERTY`]: another property is asked for than the one that there is.
    /// - [`Status::INVALID_PARAMETER`]: a field that is not zero and must be, a level or type of domain that there is
    ///   not, one of the two numbers that are no domain's, flags that are not known or do not go together, a root that
    ///   must not be there or is misaligned.
    /// - [`Status::INVALID_DEVICE_ID`]: an id that is not LOGICAL.
    pub(super) fn decode(call: IommuCall, frame: &Frame<'_>) -> Result<IommuRequest, Refusal> {
        let input = frame.input;
        let output = || frame.output.ok_or(Refusal::from(Status::INVALID_PARAMETER));
        Ok(match call {
            IommuCall::GetCapabilities => {
                partition_id(input)?;
                zero::<8>(input, 0x08)?;
                IommuRequest::GetCapabilities(output()?)
            }
            IommuCall::GetDeviceProperty => IommuRequest::GetDeviceProperty(property(input)?, output()?),
            IommuCall::Create => IommuRequest::Create(create(input)?),
            IommuCall::Configure => configure(input).map(|(id, how)| IommuRequest::Configure(id, how))?,
            IommuCall::Attach => IommuRequest::Attach(device_domain(input)?, device_id(input.u64(0x18))?),
            IommuCall::Detach => {
                partition_id(input)?;
                IommuRequest::Detach(device_id(input.u64(0x08))?)
            }
            IommuCall::Delete => IommuRequest::Delete(device_domain(input)?),
            IommuCall::Flush => {
                let domain = device_domain(input)?;
                // No flag is known.
                zero::<8>(input, 0x18)?;
                IommuRequest::Flush(domain)
            }
            IommuCall::FlushList => IommuRequest::FlushList(flush_list(input)?, List::of(frame.list)?),
        })
    }
}

fn partition_id(input: Input<'_>) -> Result<(), Status> {
    match input.u64(0x00) {
        SELF_PARTITION => Ok(()),
        _ => Err(Status::INVALID_PARTITION_ID),
    }
}

fn zero<const N: usize>(input: Input<'_>, offset: usize) -> Result<(), Status> {
    match input.is_zero::<N>(offset) {
        true => Ok(()),
        false => Err(Status::INVALID_PARAMETER),
    }
}

/// The 24-byte prefix that names a domain: partition id, VTL (own or 0 explicitly), padding, type, id.
fn device_domain(input: Input<'_>) -> Result<DomainId, Status> {
    const EXPLICIT_VTL_0: u8 = 1 << 4;
    partition_id(input)?;
    let vtl = input.u8(0x08);
    if vtl & !EXPLICIT_VTL_0 != 0 {
        return Err(Status::INVALID_PARAMETER);
    }
    zero::<7>(input, 0x09)?;
    if input.u32(0x10) != DOMAIN_TYPE_S1 {
        return Err(Status::INVALID_PARAMETER);
    }
    match input.u32(0x14) {
        DOMAIN_ID_DEFAULT | DOMAIN_ID_NULL => Err(Status::INVALID_PARAMETER),
        id => Ok(DomainId(id)),
    }
}

fn device_id(raw: u64) -> Result<LogicalDeviceId, Status> {
    match raw & DEVICE_ID_TYPE {
        0 => Ok(LogicalDeviceId(raw)),
        _ => Err(Status::INVALID_DEVICE_ID),
    }
}

/// Device at 0x08, the one property that there is at 0x10, reserved at 0x14.
fn property(input: Input<'_>) -> Result<LogicalDeviceId, Status> {
    const PVIOMMU: u32 = 10;
    partition_id(input)?;
    zero::<4>(input, 0x14)?;
    if input.u32(0x10) != PVIOMMU {
        return Err(Status::UNKNOWN_PROPERTY);
    }
    device_id(input.u64(0x08))
}

/// Prefix; flags at 0x18.
fn create(input: Input<'_>) -> Result<DomainId, Status> {
    // Neither flag changes anything here: there is one VTL, and no page fault of a device is ever retried.
    const FORWARD_PROGRESS_REQUIRED: u32 = 1 << 0;
    const INHERIT_OWNING_VTL: u32 = 1 << 1;
    let domain = device_domain(input)?;
    if input.u32(0x18) & !(FORWARD_PROGRESS_REQUIRED | INHERIT_OWNING_VTL) != 0 {
        return Err(Status::INVALID_PARAMETER);
    }
    Ok(domain)
}

const TRANSLATION_ENABLED: u64 = 1 << 0;
const BLOCKED: u64 = 1 << 1;
const FIVE_LEVELS: u64 = 1 << 2;

/// Prefix; flags at 0x18, root at 0x20.
fn configure(input: Input<'_>) -> Result<(DomainId, Translation), Status> {
    const ROOT_MASK: u64 = 0x000f_ffff_ffff_f000;
    const PAGING_4: u64 = TRANSLATION_ENABLED;
    const PAGING_5: u64 = TRANSLATION_ENABLED | FIVE_LEVELS;
    const ALL_BLOCKED: u64 = TRANSLATION_ENABLED | BLOCKED;
    let domain = device_domain(input)?;
    let translation = match (input.u64(0x18), input.u64(0x20)) {
        (0, 0) => Translation::Bypass,
        (ALL_BLOCKED, 0) => Translation::Blocked,
        (PAGING_4, root) if root & !ROOT_MASK == 0 => {
            Translation::Stage1 { root: Gpa(root), levels: PagingLevels::Four }
        }
        (PAGING_5, root) if root & !ROOT_MASK == 0 => {
            Translation::Stage1 { root: Gpa(root), levels: PagingLevels::Five }
        }
        _ => return Err(Status::INVALID_PARAMETER),
    };
    Ok((domain, translation))
}

/// The flags with which a translation is configured.
pub fn configure_flags(translation: Translation) -> u64 {
    match translation {
        Translation::Bypass => 0,
        Translation::Blocked => TRANSLATION_ENABLED | BLOCKED,
        Translation::Stage1 { levels: PagingLevels::Four, .. } => TRANSLATION_ENABLED,
        Translation::Stage1 { levels: PagingLevels::Five, .. } => TRANSLATION_ENABLED | FIVE_LEVELS,
    }
}

/// Prefix; at 0x18 flags, which ask for the one entry format that is known; reserved at 0x1c.
fn flush_list(input: Input<'_>) -> Result<DomainId, Status> {
    const IOMMU_FORMAT: u32 = 1 << 0;
    let domain = device_domain(input)?;
    if input.u32(0x18) != IOMMU_FORMAT {
        return Err(Status::INVALID_PARAMETER);
    }
    zero::<4>(input, 0x1c)?;
    Ok(domain)
}

/// An aligned block of pages, from an element of a flush list.
///
/// # Invariants
/// `page_shift <= 52`; `iova` is a multiple of `1 << page_shift` pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushRange {
    iova: Iova,
    page_shift: u8,
}

impl FlushRange {
    /// Shift of the range that is the whole address space.
    pub const EVERYTHING: u8 = 52;

    /// The whole address space.
    pub const ALL: FlushRange = FlushRange { iova: Iova(0), page_shift: FlushRange::EVERYTHING };

    /// First byte.
    pub fn iova(self) -> Iova {
        self.iova
    }

    /// Base-2 logarithm of the number of 4-KiB pages, 0..=52.
    pub fn page_shift(self) -> u8 {
        self.page_shift
    }

    /// Number of 4-KiB pages.
    pub fn pages(self) -> u64 {
        1 << self.page_shift
    }
}

/// Page number in bits 63:12, aligned to the shift in bits 5:0; the others are reserved.
impl Element for FlushRange {
    const BYTES: usize = 8;

    fn decode([element, _]: [u64; 2]) -> Result<Self, Refusal> {
        const RESERVED: u64 = 0xfc0;
        let page_shift = (element & 0x3f) as u8;
        let page_number = element >> 12;
        if element & RESERVED != 0 || page_shift > Self::EVERYTHING || page_number & ((1u64 << page_shift) - 1) != 0 {
            return Err(Status::INVALID_PARAMETER.into());
        }
        Ok(FlushRange { iova: Iova(page_number << 12), page_shift })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn input(words: &[u64]) -> Input<'static> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        Input::new(bytes.leak())
    }

    const SELF: u64 = u64::MAX;
    const S1_ID_7: u64 = 0x0000_0007_0000_0001;

    #[test]
    fn device_domain_prefix() {
        let id = |words: &[u64]| device_domain(input(words));
        assert_eq!(id(&[SELF, 0, S1_ID_7]), Ok(DomainId(7)));
        assert_eq!(id(&[SELF, 0x10, S1_ID_7]), Ok(DomainId(7)));
        assert_eq!(id(&[SELF, 0, 0xffff_fffe_0000_0001]), Ok(DomainId(0xffff_fffe)));
        for (words, status) in [
            ([0, 0, S1_ID_7], 0x0d),
            ([1, 0, S1_ID_7], 0x0d),
            ([SELF, 0x01, S1_ID_7], 5),
            ([SELF, 0x11, S1_ID_7], 5),
            ([SELF, 0x20, S1_ID_7], 5),
            ([SELF, 0x100, S1_ID_7], 5),
            ([SELF, 1 << 63, S1_ID_7], 5),
            ([SELF, 0, 0x0000_0007_0000_0000], 5),
            ([SELF, 0, 0x0000_0007_0000_0002], 5),
            ([SELF, 0, 0x0000_0007_0000_0011], 5),
            ([SELF, 0, 0x0000_0007_8000_0001], 5),
            ([SELF, 0, 0x0000_0000_0000_0001], 5),
            ([SELF, 0, 0xffff_ffff_0000_0001], 5),
        ] {
            assert_eq!(id(&words), Err(Status(status)), "{words:x?}");
        }
    }

    #[test]
    fn create_flags_and_short_form() {
        let create = |flags| super::create(input(&[SELF, 0, S1_ID_7, flags]));
        for flags in 0..4 {
            assert_eq!(create(flags), Ok(DomainId(7)));
        }
        assert_eq!(create(4), Err(Status(5)));
        assert_eq!(create(0x8000_0000), Err(Status(5)));
        // What older headers leave out is not looked at.
        assert_eq!(create(0xffff_ffff_0000_0001), Ok(DomainId(7)));
    }

    #[test]
    fn configure_table() {
        let configure = |flags, root| super::configure(input(&[SELF, 0, S1_ID_7, flags, root]));
        let ok = |translation| Ok((DomainId(7), translation));
        let stage1 = |root, levels| ok(Translation::Stage1 { root: Gpa(root), levels });
        assert_eq!(configure(0, 0), ok(Translation::Bypass));
        assert_eq!(configure(3, 0), ok(Translation::Blocked));
        assert_eq!(configure(1, 0x1234_5000), stage1(0x1234_5000, PagingLevels::Four));
        assert_eq!(configure(5, 0x1234_5000), stage1(0x1234_5000, PagingLevels::Five));
        for (flags, root) in [
            (0, 0x1000),
            (2, 0),
            (3, 0x1000),
            (4, 0),
            (6, 0),
            (7, 0),
            (8, 0),
            (9, 0x1000),
            (1 << 63, 0),
            (1, 0x1001),
            (1, 0x1800),
            (5, 0x8),
            (1, 1 << 52),
            (1, 1 << 63),
        ] {
            assert_eq!(configure(flags, root), Err(Status(5)), "flags {flags:#x} root {root:#x}");
        }
    }

    #[test]
    fn device_ids() {
        assert_eq!(device_id(0x1ee7_6050), Ok(LogicalDeviceId(0x1ee7_6050)));
        for kind in 1..=3 {
            assert_eq!(device_id(kind << 62 | 0x1ee7_6050), Err(Status(0x57)));
        }
    }

    #[test]
    fn property() {
        let decode = |words: &[u64]| super::property(input(words));
        assert_eq!(decode(&[SELF, 0x50, 10]), Ok(LogicalDeviceId(0x50)));
        assert_eq!(decode(&[SELF, 0x50, 9]), Err(Status(9)));
        assert_eq!(decode(&[SELF, 0x50, 1 << 32 | 10]), Err(Status(5)));
        assert_eq!(decode(&[SELF, 1 << 62, 10]), Err(Status(0x57)));
        assert_eq!(decode(&[0, 0x50, 10]), Err(Status(0x0d)));
    }

    #[test]
    fn flush_headers() {
        assert_eq!(flush_list(input(&[SELF, 0, S1_ID_7, 1])), Ok(DomainId(7)));
        for flags in [0, 2, 3, 1 << 32 | 1] {
            assert_eq!(flush_list(input(&[SELF, 0, S1_ID_7, flags])), Err(Status(5)));
        }
    }

    #[test]
    fn flush_elements() {
        let range = |element| FlushRange::decode([element, 0]).map(|range| (range.iova().0, range.page_shift()));
        assert_eq!(range(0x1234_5000), Ok((0x1234_5000, 0)));
        assert_eq!(range(0x0020_0009), Ok((0x0020_0000, 9)));
        assert_eq!(range(0x34), Ok((0, 52)));
        assert_eq!(range(0xffff_ffff_ffff_f000), Ok((0xffff_ffff_ffff_f000, 0)));
        for element in [0x1234_5001, 0x0010_0009, 0x35, 0x3f, 0x1034, 0x40, 0x800, 0x1234_5fc0] {
            assert_eq!(range(element), Err(Status(5).into()), "{element:#x}");
        }
    }

    proptest! {
        #[test]
        fn accepted_elements_are_aligned_and_encode_back(element: u64) {
            if let Ok(range) = FlushRange::decode([element, 0]) {
                prop_assert_eq!(range.iova().0 | u64::from(range.page_shift()), element);
                prop_assert_eq!((range.iova().0 >> 12) % range.pages(), 0);
            }
        }

        #[test]
        fn aligned_elements_are_accepted(page: u64, shift in 0u8..=52) {
            let base = (page & ((1 << 52) - 1)) >> shift << shift;
            let range = FlushRange::decode([base << 12 | u64::from(shift), 0]).unwrap();
            prop_assert_eq!((range.iova(), range.page_shift()), (Iova(base << 12), shift));
        }

        #[test]
        fn translations_survive_the_round_trip(flags in 0u64..16, page in 0u64..1 << 40) {
            let words = [SELF, 0, S1_ID_7, flags, page << 12];
            if let Ok((_, translation)) = configure(input(&words)) {
                prop_assert_eq!(configure_flags(translation), flags);
            }
        }
    }
}
