// SPDX-License-Identifier: GPL-2.0

//! Who may enter a domain, and when. Attaching a device races with giving a domain up, shutting
//! down and releasing a device.
//!
//! One rule keeps this right. Whoever closes a domain first raises a flag, and then looks at every
//! device under that device's lock. Whoever attaches a device looks at the flags under that lock,
//! and makes the hypercall before it drops the lock. So either the attach sees the flag, or the
//! search sees the attached device.
//!
//! No kernel types: this file is also built outside the kernel, where tests try all interleavings
//! with up to three preemptions.

/// Where the device's DMA goes, as far as the hypervisor said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place<D, B> {
    /// Where the kernel found it: its DMA is not translated, or the host blocks it. After a crash:
    /// where the crashed kernel had it.
    Initial,
    /// In a domain.
    In(D),
    /// Kept from doing DMA.
    Blocked(B),
}

/// A flag that closes domains. It is lowered only while nothing else runs.
pub(crate) trait Flag {
    /// Whether it is raised. The flag itself orders nothing: the devices' locks order this after a
    /// `raise`.
    fn is_raised(&self) -> bool;

    /// Raises it, ordered after everything before and before everything after. Returns whether it
    /// was lowered until then.
    fn raise(&self) -> bool;

    /// Whether it is raised. If so, everything that preceded the raise is visible, too.
    fn is_raised_and_done(&self) -> bool;
}

/// What the hypervisor said about an attach.
pub(crate) enum Answer<B, T, E> {
    /// The device is in the domain.
    Entered(T),
    /// The host has taken the device away.
    Gone(B),
    /// The device is where it was.
    Failed(E),
    /// The device is where it was, or is in the domain, or will be. It could not be put back.
    Unclear(E),
}

/// Who wants a device to be blocked. This decides what may be done to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// The core, in process context. The core serialises changes of the device's translation.
    Core,
    /// A flush that failed, in any context. Nothing is serialised with other users of the device.
    Flush,
}

/// A device with its lock.
pub(crate) trait Device {
    /// Names a domain.
    type Domain: Copy + PartialEq;
    /// How the device was blocked.
    type Blocked: Copy;
    /// Why it could not be blocked.
    type NotBlocked;
    /// What it may do in a domain.
    type Requests;
    /// What else is known about a device that was attached.
    type Entered;
    /// Why it could not be attached.
    type Failure;
    /// What the lock protects.
    type State;

    /// Calls `f` with the device's lock held.
    fn locked<R>(&self, f: impl FnOnce(&mut Self::State) -> R) -> R;

    /// The device's place. The lock is held over the hypercalls, so it never lags behind the
    /// hypervisor.
    fn place(state: &mut Self::State) -> &mut Place<Self::Domain, Self::Blocked>;

    /// Has the hypervisor put the device into a domain, in place of the one it is in.
    fn call_attach(
        &self,
        state: &mut Self::State,
        domain: Self::Domain,
        requests: Self::Requests,
    ) -> Answer<Self::Blocked, Self::Entered, Self::Failure>;

    /// Has the hypervisor block the device. If that fails, tells the device itself to stay off the
    /// bus.
    fn call_block(
        &self,
        state: &mut Self::State,
        blocking: Option<Self::Domain>,
        caller: Caller,
    ) -> Result<Self::Blocked, Self::NotBlocked>;
}

/// Every device that was probed and not released.
pub(crate) trait Devices {
    /// A device.
    type Device: Device;

    /// Calls `f` for each device that is in the list throughout, and perhaps for others that come
    /// or go meanwhile. Holds no lock that a call about another device would wait for.
    fn each(&self, f: impl FnMut(&Self::Device));

    /// Takes a device out.
    fn remove(&self, device: &Self::Device);
}

/// What became of an attach.
pub(crate) enum Attached<T, E, R> {
    /// The device is in the domain.
    Yes(T),
    /// The domain is closed, and the device is where it was.
    Refused,
    /// The domain is closed, and the device stays blocked.
    StaysBlocked,
    /// The host has taken the device away.
    Gone,
    /// The hypervisor refused, and the device is where it was.
    Failed(E),
    /// The hypervisor did not say what it did. The device was blocked, with this result.
    Unclear(E, R),
}

/// How many devices were blocked, and how many were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Devices that were blocked.
    pub(crate) blocked: usize,
    /// Devices that may still do DMA if they master the bus although they were told not to.
    pub(crate) lost: usize,
}

impl Tally {
    fn count<B, E>(&mut self, result: Result<B, E>) {
        let counter = match result {
            Ok(_) => &mut self.blocked,
            Err(_) => &mut self.lost,
        };
        *counter = counter.saturating_add(1);
    }
}

/// When a domain was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenUp {
    Now,
    Before,
}

/// What became of the attach of a `D`.
pub(crate) type AttachedDevice<D> = Attached<
    <D as Device>::Entered,
    <D as Device>::Failure,
    Result<<D as Device>::Blocked, <D as Device>::NotBlocked>,
>;

/// Puts a device into a domain, in place of the one it is in, unless a flag closes the domain.
/// `blocking` is asked for when it is not clear where the device is: a device in a domain that it
/// is not known to be in would be missed by whoever closes that domain.
pub(crate) fn attach<D: Device, F: Flag>(
    device: &D,
    domain: D::Domain,
    requests: D::Requests,
    closed_by: &[&F],
    blocking: Option<D::Domain>,
) -> AttachedDevice<D> {
    device.locked(|state| {
        if closed_by.iter().any(|flag| flag.is_raised()) {
            return match *D::place(state) {
                Place::Blocked(_) => Attached::StaysBlocked,
                Place::Initial | Place::In(_) => Attached::Refused,
            };
        }
        match device.call_attach(state, domain, requests) {
            Answer::Entered(more) => {
                *D::place(state) = Place::In(domain);
                Attached::Yes(more)
            }
            Answer::Gone(how) => {
                *D::place(state) = Place::Blocked(how);
                Attached::Gone
            }
            Answer::Failed(failure) => Attached::Failed(failure),
            Answer::Unclear(failure) => {
                let blocked = block_locked(device, state, blocking, Caller::Core);
                Attached::Unclear(failure, blocked)
            }
        }
    })
}

/// Blocks a device, whichever domain it is in.
pub(crate) fn block<D: Device>(
    device: &D,
    blocking: Option<D::Domain>,
) -> Result<D::Blocked, D::NotBlocked> {
    device.locked(|state| block_locked(device, state, blocking, Caller::Core))
}

fn block_if_in<D: Device>(
    device: &D,
    domain: D::Domain,
    blocking: Option<D::Domain>,
) -> Option<Result<D::Blocked, D::NotBlocked>> {
    device.locked(|state| match *D::place(state) {
        Place::In(current) if current == domain => {
            Some(block_locked(device, state, blocking, Caller::Flush))
        }
        _ => None,
    })
}

fn block_locked<D: Device>(
    device: &D,
    state: &mut D::State,
    blocking: Option<D::Domain>,
    caller: Caller,
) -> Result<D::Blocked, D::NotBlocked> {
    let result = device.call_block(state, blocking, caller);
    if let Ok(how) = result {
        *D::place(state) = Place::Blocked(how);
    }
    result
}

/// Gives up a domain that cannot be flushed: blocks its devices before memory that they may still
/// reach is reused.
///
/// Every caller frees such memory, not only the first one. So each caller searches until a search
/// has emptied the domain, and none returns before the devices are blocked.
pub(crate) fn give_up<L: Devices, F: Flag>(
    devices: &L,
    stale: &F,
    emptied: &F,
    domain: <L::Device as Device>::Domain,
    blocking: Option<<L::Device as Device>::Domain>,
) -> (GivenUp, Tally) {
    if emptied.is_raised_and_done() {
        return (GivenUp::Before, Tally::default());
    }
    // The flag comes first, so no device enters after the search has looked at it.
    let given_up = if stale.raise() {
        GivenUp::Now
    } else {
        GivenUp::Before
    };
    let mut tally = Tally::default();
    devices.each(|device| {
        if let Some(result) = block_if_in(device, domain, blocking) {
            tally.count(result);
        }
    });
    // If a device could not be blocked, the next caller tries again.
    if tally.lost == 0 {
        let _ = emptied.raise();
    }
    (given_up, tally)
}

/// Closes all domains and blocks all devices.
pub(crate) fn shut_down<L: Devices, F: Flag>(
    devices: &L,
    shut_down: &F,
    blocking: Option<<L::Device as Device>::Domain>,
) -> Tally {
    // The flag comes first, so no device enters a domain after it was looked at.
    let _ = shut_down.raise();
    let mut tally = Tally::default();
    devices.each(|device| tally.count(block(device, blocking)));
    tally
}

/// Releases a device: has `block` block it, unless it is blocked already, and takes it out of the
/// list.
pub(crate) fn release<L: Devices>(devices: &L, device: &L::Device, block: impl FnOnce()) {
    // Blocked first: a search must find the device as long as it may be in a domain.
    if !device.locked(|state| matches!(*<L::Device as Device>::place(state), Place::Blocked(_))) {
        block();
    }
    devices.remove(device);
}
