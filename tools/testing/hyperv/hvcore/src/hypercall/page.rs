// SPDX-License-Identifier: GPL-2.0
//! The hypercall page, and the two MSRs that it depends on.
//!
//! The page is an overlay: while it is in force the guest sees the call sequence where its own memory was, and that memory
//! is as before once the page is gone. Here the sequence is written to the guest's memory and the content is kept aside, so
//! that devices see the overlay, too. What the guest writes to the page meanwhile is lost.

use alloc::boxed::Box;
use alloc::vec;

use crate::ids::Gpa;
use crate::overlay::Place;
use crate::platform::{BadGpa, Platform};

/// `HV_X64_MSR_GUEST_OS_ID`.
pub const GUEST_OS_ID: u32 = 0x4000_0000;
/// `HV_X64_MSR_HYPERCALL`.
pub const HYPERCALL: u32 = 0x4000_0001;

/// HYPERCALL: the page is in force.
const ENABLE: u64 = 1;
const PAGE_BYTES: usize = 4096;
/// `vmmcall; ret`
const CALL_SEQUENCE: [u8; 4] = [0x0f, 0x01, 0xd9, 0xc3];
/// Fills the rest of the page: a breakpoint instruction stops who runs off the sequence.
const FILLER: u8 = 0xcc;

/// What a write to one of the MSRs did to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is in force, or not, as before.
    None,
    /// It came into force.
    Enabled,
    /// It was in force and is no more: the kernel that used it makes way, or sleeps.
    Disabled,
}

/// Guest memory under the overlay.
struct Covered {
    gpa: Gpa,
    content: Box<[u8]>,
}

/// The hypercall page of a partition.
pub struct HypercallPage {
    place: Place,
    guest_os_id: u64,
    /// HYPERCALL without the enable bit.
    register: u64,
    /// Present while the page is in force.
    covered: Option<Covered>,
}

impl HypercallPage {
    /// Not in force, both MSRs zero.
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        HypercallPage { place: Place::Anywhere, guest_os_id: 0, register: 0, covered: None }
    }

    /// Not in force, at a place that the guest cannot change.
    pub const fn fixed(page: Gpa) -> Self {
        HypercallPage { place: Place::Fixed, guest_os_id: 0, register: page.0, covered: None }
    }

    /// Whether the guest may make hypercalls.
    pub fn is_enabled(&self) -> bool {
        self.covered.is_some()
    }

    /// What GUEST_OS_ID reads as.
    pub fn guest_os_id(&self) -> u64 {
        self.guest_os_id
    }

    /// What HYPERCALL reads as.
    pub fn register(&self) -> u64 {
        self.register | if self.is_enabled() { ENABLE } else { 0 }
    }

    /// The guest writes GUEST_OS_ID. Zero ends the page.
    pub fn set_guest_os_id(&mut self, platform: &mut impl Platform, value: u64) -> Change {
        self.guest_os_id = value;
        if value != 0 {
            return Change::None;
        }
        self.uncover(platform)
    }

    /// The guest writes HYPERCALL. Without a GUEST_OS_ID the page does not come into force.
    ///
    /// # Errors
    /// [`BadGpa`] when the page would not lie in guest RAM, or is another one than the hypervisor has chosen; nothing changes
    /// then.
    pub fn set_register(&mut self, platform: &mut impl Platform, value: u64) -> Result<Change, BadGpa> {
        let gpa = Gpa(value & !0xfff);
        if self.place == Place::Fixed && (value ^ self.register) & !0xfff != 0 {
            return Err(BadGpa(gpa));
        }
        let enable = value & ENABLE != 0 && self.guest_os_id != 0;
        if enable && !platform.is_guest_ram(gpa, PAGE_BYTES as u64) {
            return Err(BadGpa(gpa));
        }
        self.register = value & !ENABLE;
        match (enable, &self.covered) {
            (true, Some(covered)) if covered.gpa == gpa => Ok(Change::None),
            (true, _) => {
                let was = self.uncover(platform);
                self.cover(platform, gpa)?;
                // A page that moves was in force before and is in force now.
                Ok(if was == Change::Disabled { Change::None } else { Change::Enabled })
            }
            (false, _) => Ok(self.uncover(platform)),
        }
    }

    fn cover(&mut self, platform: &mut impl Platform, gpa: Gpa) -> Result<(), BadGpa> {
        let mut content = vec![0; PAGE_BYTES].into_boxed_slice();
        platform.read(gpa, &mut content)?;
        let mut overlay = [FILLER; PAGE_BYTES];
        for (byte, code) in overlay.iter_mut().zip(CALL_SEQUENCE) {
            *byte = code;
        }
        platform.write(gpa, &overlay)?;
        self.covered = Some(Covered { gpa, content });
        Ok(())
    }

    fn uncover(&mut self, platform: &mut impl Platform) -> Change {
        let Some(Covered { gpa, content }) = self.covered.take() else { return Change::None };
        // It was guest RAM when it was covered; RAM does not go away.
        let _ = platform.write(gpa, &content);
        Change::Disabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{function, MockPlatform, RAM_BYTES};

    const PAGE: u64 = 0x5000;
    const OTHER: u64 = 0x7000;

    fn start() -> (HypercallPage, MockPlatform) {
        let mut platform = MockPlatform::new(vec![function(3)]);
        for (index, byte) in platform.ram.iter_mut().enumerate() {
            *byte = (index / 3) as u8;
        }
        let mut page = HypercallPage::new();
        assert_eq!(page.set_guest_os_id(&mut platform, 0x8100 << 48), Change::None);
        (page, platform)
    }

    fn is_overlay(platform: &MockPlatform, at: u64) -> bool {
        let page = &platform.ram[at as usize..][..PAGE_BYTES];
        page[..4] == [0x0f, 0x01, 0xd9, 0xc3] && page[4..].iter().all(|&byte| byte == 0xcc)
    }

    fn is_untouched(platform: &MockPlatform) -> bool {
        platform.ram.iter().enumerate().all(|(index, &byte)| byte == (index / 3) as u8)
    }

    #[test]
    fn nothing_is_there_before_the_guest_names_itself() {
        let (mut page, mut platform) = start();
        page.set_guest_os_id(&mut platform, 0);
        assert_eq!(page.set_register(&mut platform, PAGE | 1), Ok(Change::None));
        assert!(!page.is_enabled() && is_untouched(&platform));
        assert_eq!((page.guest_os_id(), page.register()), (0, PAGE));
    }

    #[test]
    fn what_was_under_the_page_comes_back() {
        let (mut page, mut platform) = start();
        assert_eq!(page.set_register(&mut platform, PAGE | 1), Ok(Change::Enabled));
        assert!(page.is_enabled() && is_overlay(&platform, PAGE));
        assert_eq!(page.register(), PAGE | 1);
        // The guest may write to it: that is lost.
        platform.put_u64(PAGE + 0x800, 0x1234);
        assert_eq!(page.set_register(&mut platform, PAGE), Ok(Change::Disabled));
        assert!(!page.is_enabled() && is_untouched(&platform));
        assert_eq!(page.register(), PAGE);
        assert_eq!(page.set_register(&mut platform, PAGE), Ok(Change::None));
    }

    #[test]
    fn without_a_name_the_page_goes() {
        let (mut page, mut platform) = start();
        page.set_register(&mut platform, PAGE | 1).unwrap();
        assert_eq!(page.set_guest_os_id(&mut platform, 7), Change::None);
        assert!(page.is_enabled());
        assert_eq!(page.set_guest_os_id(&mut platform, 0), Change::Disabled);
        assert!(!page.is_enabled() && is_untouched(&platform));
        // It does not come back by itself.
        assert_eq!(page.set_guest_os_id(&mut platform, 7), Change::None);
        assert!(!page.is_enabled());
        assert_eq!(page.register(), PAGE);
    }

    #[test]
    fn the_page_moves() {
        let (mut page, mut platform) = start();
        page.set_register(&mut platform, PAGE | 1).unwrap();
        assert_eq!(page.set_register(&mut platform, OTHER | 1), Ok(Change::None));
        assert!(is_overlay(&platform, OTHER) && !is_overlay(&platform, PAGE));
        assert_eq!(page.set_register(&mut platform, OTHER | 1), Ok(Change::None));
        page.set_register(&mut platform, 0).unwrap();
        assert!(is_untouched(&platform));
    }

    #[test]
    fn a_page_that_the_hypervisor_placed_stays_there() {
        let (_, mut platform) = start();
        let mut page = HypercallPage::fixed(Gpa(PAGE));
        page.set_guest_os_id(&mut platform, 7);
        assert_eq!(page.register(), PAGE);
        assert_eq!(page.set_register(&mut platform, OTHER | 1), Err(BadGpa(Gpa(OTHER))));
        assert_eq!(page.set_register(&mut platform, 0), Err(BadGpa(Gpa(0))));
        assert!(!page.is_enabled() && is_untouched(&platform));
        assert_eq!(page.set_register(&mut platform, PAGE | 1), Ok(Change::Enabled));
        assert!(is_overlay(&platform, PAGE));
        assert_eq!(page.set_register(&mut platform, PAGE), Ok(Change::Disabled));
        assert_eq!(page.register(), PAGE);
    }

    #[test]
    fn a_page_outside_ram_is_refused() {
        let (mut page, mut platform) = start();
        let outside = RAM_BYTES as u64;
        assert_eq!(page.set_register(&mut platform, outside | 1), Err(BadGpa(Gpa(outside))));
        assert_eq!((page.is_enabled(), page.register()), (false, 0));
        page.set_register(&mut platform, PAGE | 1).unwrap();
        assert!(page.set_register(&mut platform, outside | 1).is_err());
        assert!(page.is_enabled() && is_overlay(&platform, PAGE));
        assert_eq!(page.register(), PAGE | 1);
        // A page that is not to come into force may be anywhere.
        assert_eq!(page.set_register(&mut platform, outside), Ok(Change::Disabled));
    }
}
