// SPDX-License-Identifier: GPL-2.0

//! Registry of the logical device ids of Hyper-V's PCI buses.
//!
//! `pci-hyperv` derives from a bus's VMBus instance GUID how the hypervisor names the functions on
//! that bus. An IOMMU driver needs that name, but knows only the PCI device. So `pci-hyperv`
//! registers an entry for each PCI domain before it scans the bus, and removes the entry after the
//! root bus is gone.
//!
//! The registry is built in, as IOMMU drivers are; `pci-hyperv` may be a module. Only integers
//! cross the interface, nothing of VMBus.

use kernel::{
    error::from_result,
    ffi::c_int,
    fmt,
    prelude::*,
    rbtree::{
        Entry,
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::global_lock, //
};

/// Prefix of the messages of this file.
const __LOG_PREFIX: &[u8] = b"hv_pci_dev_id\0";

/// A PCI domain number (`pci-hyperv` uses 1..=0xffff).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct DomainNumber(u32);

impl DomainNumber {
    /// The number, as the C side passes it.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if the number is negative.
    fn new(number: c_int) -> Result<DomainNumber> {
        Ok(DomainNumber(number.try_into().map_err(|_| EINVAL)?))
    }
}

impl fmt::Display for DomainNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}", self.0)
    }
}

/// The upper bits of the logical device ids of a bus. The low three bits are the function's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix(u32);

impl Prefix {
    /// The prefix, as the C side passes it.
    ///
    /// # Errors
    ///
    /// [`EINVAL`] if one of the low three bits is set.
    fn new(prefix: u32) -> Result<Prefix> {
        if prefix & 0x7 != 0 {
            return Err(EINVAL);
        }
        Ok(Prefix(prefix))
    }
}

/// The entries.
struct Registry {
    /// Made with the first entry, because a `static` cannot be initialised with a tree.
    prefixes: Option<RBTree<DomainNumber, Prefix>>,
}

impl Registry {
    const fn new() -> Registry {
        Registry { prefixes: None }
    }

    /// Adds an entry.
    ///
    /// # Errors
    ///
    /// [`EEXIST`]: the domain has an entry, which stays as it is. [`ENOMEM`].
    fn insert(&mut self, domain: DomainNumber, prefix: Prefix) -> Result {
        let reservation = RBTreeNodeReservation::new(GFP_KERNEL)?;
        match self.prefixes.get_or_insert_with(RBTree::new).entry(domain) {
            Entry::Vacant(vacant) => {
                vacant.insert(prefix, reservation);
                Ok(())
            }
            Entry::Occupied(_) => Err(EEXIST),
        }
    }

    fn remove(&mut self, domain: DomainNumber) {
        if let Some(prefixes) = &mut self.prefixes {
            prefixes.remove(&domain);
        }
    }

    fn get(&self, domain: DomainNumber) -> Option<Prefix> {
        self.prefixes.as_ref()?.get(&domain).copied()
    }
}

global_lock! {
    // SAFETY: `hv_pci_dev_id_init` initialises it once, before any bus exists.
    unsafe(uninit) static REGISTRY: Mutex<Registry> = Registry::new();
}

/// Sets the registry up, as a `core_initcall`. This cannot fail. If it could, a guest short of
/// memory would lose all its vPCI buses, even on a host without an IOMMU.
///
/// # Safety
///
/// Must be called once, before any other function of this file.
#[export]
pub unsafe extern "C" fn hv_pci_dev_id_init() -> c_int {
    // SAFETY: An initcall runs once. This one runs before anything that uses the registry.
    unsafe { REGISTRY.init() };
    0
}

/// Enters the bus of a PCI domain.
///
/// Context: may sleep.
///
/// Returns 0, `-EEXIST` if the domain has an entry (which stays as it is), `-EINVAL` for a negative
/// number or a prefix whose low three bits are not 0, or `-ENOMEM`.
///
/// # Safety
///
/// None beyond the C prototype's.
#[export]
pub unsafe extern "C" fn hv_pci_register_dev_id(
    pci_domain_nr: c_int,
    logical_dev_id_prefix: u32,
) -> c_int {
    from_result(|| {
        let domain = DomainNumber::new(pci_domain_nr)?;
        let prefix = Prefix::new(logical_dev_id_prefix)?;
        let inserted = REGISTRY.lock().insert(domain, prefix);
        if inserted == Err(EEXIST) {
            pr_err!("PCI domain {domain} has a logical device id already\n");
        }
        inserted.map(|()| 0)
    })
}

/// Removes the entry of a PCI domain. Does nothing if there is none.
///
/// Context: may sleep. All devices of the domain must have been released before, because the
/// release of a device needs its id.
///
/// # Safety
///
/// None beyond the C prototype's.
#[export]
pub unsafe extern "C" fn hv_pci_unregister_dev_id(pci_domain_nr: c_int) {
    if let Ok(domain) = DomainNumber::new(pci_domain_nr) {
        REGISTRY.lock().remove(domain);
    }
}

/// Finds the prefix of a PCI domain's bus.
///
/// Context: may sleep.
///
/// Returns 0 or `-ENODEV`.
///
/// # Safety
///
/// `logical_dev_id_prefix` must be valid for a write.
#[export]
pub unsafe extern "C" fn hv_pci_lookup_dev_id(
    pci_domain_nr: c_int,
    logical_dev_id_prefix: *mut u32,
) -> c_int {
    from_result(|| {
        let domain = DomainNumber::new(pci_domain_nr).map_err(|_| ENODEV)?;
        let prefix = REGISTRY.lock().get(domain).ok_or(ENODEV)?;
        // SAFETY: The caller promises that the pointer is valid for a write.
        unsafe { logical_dev_id_prefix.write(prefix.0) };
        Ok(0)
    })
}

#[kunit_tests(hv_pci_dev_id)]
mod tests {
    use super::*;

    fn domain(number: c_int) -> Result<DomainNumber> {
        DomainNumber::new(number)
    }

    #[test]
    fn entries_are_found_by_their_domain() -> Result {
        let mut registry = Registry::new();
        registry.insert(domain(0x1ee7)?, Prefix::new(0x1ee7_6050)?)?;
        registry.insert(domain(0xffff)?, Prefix::new(0)?)?;
        assert_eq!(registry.get(domain(0x1ee7)?), Some(Prefix(0x1ee7_6050)));
        assert_eq!(registry.get(domain(0xffff)?), Some(Prefix(0)));
        assert_eq!(registry.get(domain(1)?), None);
        Ok(())
    }

    #[test]
    fn an_entry_is_never_overwritten() -> Result {
        let mut registry = Registry::new();
        registry.insert(domain(7)?, Prefix::new(8)?)?;
        assert!(registry.insert(domain(7)?, Prefix::new(16)?) == Err(EEXIST));
        assert!(registry.insert(domain(7)?, Prefix::new(8)?) == Err(EEXIST));
        assert_eq!(registry.get(domain(7)?), Some(Prefix(8)));
        Ok(())
    }

    #[test]
    fn a_removed_domain_can_be_used_again() -> Result {
        let mut registry = Registry::new();
        registry.insert(domain(7)?, Prefix::new(8)?)?;
        registry.remove(domain(7)?);
        registry.remove(domain(7)?);
        assert_eq!(registry.get(domain(7)?), None);
        registry.insert(domain(7)?, Prefix::new(16)?)?;
        assert_eq!(registry.get(domain(7)?), Some(Prefix(16)));
        Ok(())
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(DomainNumber::new(-1).is_err());
        assert!(Prefix::new(0x1ee7_6051).is_err());
        assert!(Prefix::new(0x1ee7_6057).is_err());
    }

    #[test]
    fn the_c_interface_agrees_with_the_table() {
        // No bus has this number, as pci-hyperv stops at 0xffff.
        const NUMBER: c_int = 0x7fff_0001;
        let lookup = || {
            let mut prefix = 0;
            // SAFETY: `prefix` is valid for a write.
            let errno = unsafe { hv_pci_lookup_dev_id(NUMBER, &mut prefix) };
            (errno, prefix)
        };
        // SAFETY: The function has no requirement beyond its types.
        let register = |number, prefix| unsafe { hv_pci_register_dev_id(number, prefix) };
        assert_eq!(lookup(), (ENODEV.to_errno(), 0));
        assert_eq!(register(NUMBER, 0xe7e7_6050), 0);
        assert_eq!(lookup(), (0, 0xe7e7_6050));
        // SAFETY: The function has no requirement beyond its types.
        unsafe { hv_pci_unregister_dev_id(NUMBER) };
        assert_eq!(lookup(), (ENODEV.to_errno(), 0));
        assert_eq!(register(-1, 0), EINVAL.to_errno());
        assert_eq!(register(NUMBER, 1), EINVAL.to_errno());
    }
}
