// SPDX-License-Identifier: GPL-2.0
//! Attaching against giving up, shutting down and releasing: every interleaving with up to three preemptions, by loom.
//!
//! The hypervisor of the model knows where each device really is, and which domains' memory was reused. A device that is
//! in such a domain and still does DMA is what must never be.

use crate::protocol::{
    attach, block, give_up, release, shut_down, Answer, Attached, AttachedDevice, Caller, Device, Devices, Flag,
    GivenUp, Place,
};
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

const DEVICES: usize = 3;
const BLOCKING: u32 = 1;
const STALE: u32 = 2;
const OTHER: u32 = 3;

/// What the hypervisor and the devices really do.
#[derive(Default)]
struct World {
    /// The domain that each device is in; none at first.
    place: [Option<u32>; DEVICES],
    /// Devices that were told to stay off the bus.
    off_the_bus: [bool; DEVICES],
    /// The memory that [`STALE`] leads to was reused.
    stale_reused: bool,
    /// The next kernel owns the memory.
    handed_over: bool,
    /// The hypervisor fails to block this device.
    stubborn: Option<usize>,
    /// The hypervisor fails all attaches.
    failing: bool,
    /// The hypervisor carries out attaches, and says that it may do so.
    unclear: bool,
    /// The host took this device away.
    gone: Option<usize>,
    /// Who had devices blocked.
    callers: Vec<Caller>,
}

impl World {
    /// Panics when a device reaches memory that is not its own any more.
    fn check(&self) {
        for (device, place) in self.place.iter().enumerate() {
            let reaches = place.is_some_and(|domain| domain != BLOCKING) && !self.off_the_bus[device];
            assert!(!(self.stale_reused && reaches && *place == Some(STALE)), "device {device} reaches reused memory");
            assert!(!(self.handed_over && reaches), "device {device} reaches the next kernel's memory");
        }
    }
}

/// A device, as the guest knows it.
struct Endpoint {
    number: usize,
    state: Mutex<Place<u32, ()>>,
    world: Arc<Mutex<World>>,
}

impl Device for Endpoint {
    type Domain = u32;
    type Blocked = ();
    type NotBlocked = ();
    type Requests = ();
    type Entered = ();
    type Failure = ();
    type State = Place<u32, ()>;

    fn locked<R>(&self, f: impl FnOnce(&mut Self::State) -> R) -> R {
        f(&mut self.state.lock().unwrap())
    }

    fn place(state: &mut Self::State) -> &mut Place<u32, ()> {
        state
    }

    fn call_attach(&self, _: &mut Self::State, domain: u32, (): ()) -> Answer<(), (), ()> {
        let mut world = self.world.lock().unwrap();
        if world.gone == Some(self.number) {
            return Answer::Gone(());
        }
        if world.failing {
            return Answer::Failed(());
        }
        world.place[self.number] = Some(domain);
        world.check();
        if world.unclear {
            return Answer::Unclear(());
        }
        Answer::Entered(())
    }

    fn call_block(&self, _: &mut Self::State, blocking: Option<u32>, caller: Caller) -> Result<(), ()> {
        let mut world = self.world.lock().unwrap();
        world.callers.push(caller);
        if world.stubborn == Some(self.number) {
            world.off_the_bus[self.number] = true;
            return Err(());
        }
        world.place[self.number] = blocking;
        Ok(())
    }
}

struct LoomFlag(AtomicBool);

impl Flag for LoomFlag {
    fn is_raised(&self) -> bool {
        // No stronger than the driver's.
        self.0.load(Ordering::Relaxed)
    }

    fn raise(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    fn is_raised_and_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The guest's side: the list, and the two flags.
struct Guest {
    list: Mutex<Vec<Arc<Endpoint>>>,
    stale: LoomFlag,
    emptied: LoomFlag,
    shut_down: LoomFlag,
    /// How often the list was searched.
    searches: AtomicUsize,
    world: Arc<Mutex<World>>,
}

impl Devices for Guest {
    type Device = Endpoint;

    fn each(&self, mut f: impl FnMut(&Endpoint)) {
        self.searches.fetch_add(1, Ordering::Relaxed);
        let mut after = None;
        loop {
            // As in the driver: the list is free while a device is dealt with.
            let list = self.list.lock().unwrap();
            let Some(next) = list.iter().find(|endpoint| Some(endpoint.number) > after).cloned() else { break };
            drop(list);
            after = Some(next.number);
            f(&next);
        }
    }

    fn remove(&self, device: &Endpoint) {
        self.list.lock().unwrap().retain(|endpoint| endpoint.number != device.number);
    }
}

impl Guest {
    fn new() -> Arc<Guest> {
        Guest::with(World::default())
    }

    fn with(world: World) -> Arc<Guest> {
        Arc::new(Guest {
            list: Mutex::new(Vec::new()),
            stale: LoomFlag(AtomicBool::new(false)),
            emptied: LoomFlag(AtomicBool::new(false)),
            searches: AtomicUsize::new(0),
            shut_down: LoomFlag(AtomicBool::new(false)),
            world: Arc::new(Mutex::new(world)),
        })
    }

    /// A device turns up: it is entered, and is in no domain.
    fn probe(&self, number: usize) -> Arc<Endpoint> {
        let endpoint = Arc::new(Endpoint { number, state: Mutex::new(Place::Initial), world: self.world.clone() });
        self.list.lock().unwrap().push(endpoint.clone());
        endpoint
    }

    fn attach(&self, endpoint: &Endpoint, domain: u32) -> AttachedDevice<Endpoint> {
        let attached = if domain == STALE {
            attach(endpoint, domain, (), &[&self.stale, &self.shut_down], Some(BLOCKING))
        } else {
            attach(endpoint, domain, (), &[&self.shut_down], Some(BLOCKING))
        };
        if matches!(attached, Attached::StaysBlocked) {
            assert!(endpoint.locked(|place| *place == Place::Blocked(())));
        }
        attached
    }

    /// A flush fails: the domain is given up, and what its table led to is reused.
    fn flush_fails(&self) -> GivenUp {
        let (given_up, _) = give_up(self, &self.stale, &self.emptied, STALE, Some(BLOCKING));
        let mut world = self.world.lock().unwrap();
        world.stale_reused = true;
        world.check();
        given_up
    }

    fn reboot(&self) {
        let tally = shut_down(self, &self.shut_down, Some(BLOCKING));
        let mut world = self.world.lock().unwrap();
        assert!(tally.lost == usize::from(world.stubborn.is_some()));
        world.handed_over = true;
        world.check();
    }

    fn release(&self, endpoint: &Endpoint) {
        release(self, endpoint, || {
            let _ = block(endpoint, Some(BLOCKING));
        });
        let world = self.world.lock().unwrap();
        assert!(world.place[endpoint.number] == Some(BLOCKING), "released, not blocked");
    }

    /// What must hold when all is quiet: the guest knows where its devices are.
    fn settle(&self) {
        self.world.lock().unwrap().check();
        for endpoint in self.list.lock().unwrap().iter() {
            let known = endpoint.locked(|place| *place);
            let real = self.world.lock().unwrap().place[endpoint.number];
            match known {
                Place::Initial => assert_eq!(real, None),
                Place::In(domain) => assert_eq!(real, Some(domain)),
                Place::Blocked(()) => assert_eq!(real, Some(BLOCKING)),
            }
        }
    }
}

/// All interleavings with up to so many preemptions; any number of switches where a thread waits.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Another processor does something with the guest.
fn beside<T: 'static>(guest: &Arc<Guest>, f: impl FnOnce(&Guest) -> T + 'static) -> thread::JoinHandle<T> {
    let guest = guest.clone();
    thread::spawn(move || f(&guest))
}

#[test]
fn an_attach_races_with_giving_up() {
    explore(|| {
        let guest = Guest::new();
        let (first, second) = (guest.probe(0), guest.probe(1));
        let _ = guest.attach(&first, STALE);
        let racer = beside(&guest, move |guest| guest.attach(&second, STALE));
        assert_eq!(guest.flush_fails(), GivenUp::Now);
        let attached = racer.join().unwrap();
        let place = guest.list.lock().unwrap()[1].locked(|place| *place);
        match attached {
            Attached::Yes(()) => assert_eq!(place, Place::Blocked(()), "attached, and forgotten"),
            Attached::Refused => assert_eq!(place, Place::Initial),
            _ => panic!("neither attached nor refused"),
        }
        assert_eq!(guest.world.lock().unwrap().place[0], Some(BLOCKING), "not each device is blocked");
        guest.settle();
    });
}

/// What may be done to a device depends on who wants it blocked.
#[test]
fn a_failed_flush_is_told_from_the_core() {
    explore(|| {
        let guest = Guest::new();
        let (first, second, third) = (guest.probe(0), guest.probe(1), guest.probe(2));
        let _ = guest.attach(&first, STALE);
        let _ = guest.attach(&second, OTHER);
        let _ = guest.attach(&third, OTHER);
        guest.flush_fails();
        guest.release(&second);
        guest.reboot();
        // The last two by the reboot, the first of which was blocked already.
        let callers = [Caller::Flush, Caller::Core, Caller::Core, Caller::Core];
        assert_eq!(guest.world.lock().unwrap().callers, callers);
    });
}

#[test]
fn two_flushes_fail_at_once() {
    explore(|| {
        let guest = Guest::new();
        let device = guest.probe(0);
        let _ = guest.attach(&device, STALE);
        let other = beside(&guest, move |guest| guest.flush_fails());
        let here = guest.flush_fails();
        let there = other.join().unwrap();
        assert!((here == GivenUp::Now) != (there == GivenUp::Now), "reported twice, or never");
        guest.settle();
    });
}

#[test]
fn a_domain_that_is_empty_is_not_searched_again() {
    explore(|| {
        let guest = Guest::new();
        let device = guest.probe(0);
        let _ = guest.attach(&device, STALE);
        let other = beside(&guest, move |guest| guest.flush_fails());
        let _ = guest.flush_fails();
        other.join().unwrap();
        let searches = guest.searches.load(Ordering::Relaxed);
        assert_eq!(guest.flush_fails(), GivenUp::Before);
        assert_eq!(guest.searches.load(Ordering::Relaxed), searches);
        guest.settle();
    });
}

#[test]
fn a_domain_with_a_device_that_cannot_be_blocked_is_searched_again() {
    explore(|| {
        let guest = Guest::with(World { stubborn: Some(0), ..World::default() });
        let device = guest.probe(0);
        let _ = guest.attach(&device, STALE);
        let _ = guest.flush_fails();
        guest.world.lock().unwrap().stubborn = None;
        let _ = guest.flush_fails();
        assert!(device.locked(|place| *place == Place::Blocked(())));
    });
}

#[test]
fn a_device_turns_up_while_a_domain_is_given_up() {
    explore(|| {
        let guest = Guest::new();
        let racer = beside(&guest, move |guest| {
            let device = guest.probe(0);
            let _ = guest.attach(&device, STALE);
        });
        let _ = guest.flush_fails();
        racer.join().unwrap();
        guest.settle();
    });
}

#[test]
fn a_device_that_cannot_be_blocked_is_told_to_stay_off_the_bus() {
    explore(|| {
        let guest = Guest::with(World { stubborn: Some(0), ..World::default() });
        let (first, second) = (guest.probe(0), guest.probe(1));
        let _ = guest.attach(&first, STALE);
        let racer = beside(&guest, move |guest| {
            let _ = guest.attach(&second, STALE);
        });
        let _ = guest.flush_fails();
        racer.join().unwrap();
        assert!(guest.world.lock().unwrap().off_the_bus[0]);
        guest.settle();
    });
}

#[test]
fn an_attach_races_with_shutting_down() {
    explore(|| {
        let guest = Guest::new();
        let device = guest.probe(0);
        let racer = beside(&guest, move |guest| {
            let _ = guest.attach(&device, OTHER);
            let late = guest.probe(1);
            let _ = guest.attach(&late, OTHER);
        });
        guest.reboot();
        racer.join().unwrap();
        guest.settle();
    });
}

#[test]
fn giving_up_races_with_shutting_down_and_moving() {
    explore(|| {
        let guest = Guest::new();
        let device = guest.probe(0);
        let _ = guest.attach(&device, STALE);
        let flusher = beside(&guest, move |guest| {
            let _ = guest.flush_fails();
        });
        let mover = beside(&guest, move |guest| {
            let _ = guest.attach(&device, OTHER);
        });
        guest.reboot();
        flusher.join().unwrap();
        mover.join().unwrap();
        guest.settle();
    });
}

#[test]
fn releasing_races_with_giving_up() {
    explore(|| {
        let guest = Guest::new();
        let device = guest.probe(0);
        let _ = guest.attach(&device, STALE);
        let racer = beside(&guest, move |guest| guest.release(&device));
        let _ = guest.flush_fails();
        racer.join().unwrap();
        assert!(guest.list.lock().unwrap().is_empty());
        guest.settle();
    });
}

#[test]
fn a_blocked_device_stays_blocked() {
    explore(|| {
        let guest = Guest::new();
        let device = guest.probe(0);
        let _ = guest.attach(&device, STALE);
        let flusher = beside(&guest, move |guest| {
            let _ = guest.flush_fails();
        });
        // As after a reset: the core attaches the device to the domain again.
        let attached = guest.attach(&device, STALE);
        assert!(matches!(attached, Attached::Yes(()) | Attached::Refused | Attached::StaysBlocked));
        flusher.join().unwrap();
        assert!(matches!(guest.attach(&device, STALE), Attached::StaysBlocked));
        assert!(matches!(guest.attach(&device, OTHER), Attached::Yes(())), "another domain brings it back");
        guest.settle();
    });
}

#[test]
fn a_device_that_may_be_in_the_domain_is_blocked() {
    explore(|| {
        let guest = Guest::new();
        let device = guest.probe(0);
        guest.world.lock().unwrap().unclear = true;
        let flusher = beside(&guest, move |guest| {
            let _ = guest.flush_fails();
        });
        match guest.attach(&device, STALE) {
            Attached::Unclear((), blocked) => assert!(blocked.is_ok()),
            other => assert!(matches!(other, Attached::Refused)),
        }
        flusher.join().unwrap();
        guest.settle();
    });
}

#[test]
fn a_failed_attach_leaves_the_device_where_it_is() {
    explore(|| {
        let guest = Guest::new();
        let (first, second) = (guest.probe(0), guest.probe(1));
        let _ = guest.attach(&first, STALE);
        let _ = guest.attach(&second, OTHER);
        guest.world.lock().unwrap().failing = true;
        let moved = first.clone();
        let racer = beside(&guest, move |guest| {
            assert!(matches!(guest.attach(&moved, OTHER), Attached::Failed(()) | Attached::Yes(())));
        });
        assert!(matches!(guest.attach(&second, STALE), Attached::Failed(())));
        let _ = guest.flush_fails();
        racer.join().unwrap();
        assert!(first.locked(|place| *place == Place::Blocked(())));
        assert!(second.locked(|place| *place == Place::In(OTHER)), "another domain's device was blocked");
        guest.settle();
    });
}

#[test]
fn a_device_that_is_gone_counts_as_blocked() {
    explore(|| {
        let guest = Guest::with(World { gone: Some(0), ..World::default() });
        let device = guest.probe(0);
        assert!(matches!(guest.attach(&device, OTHER), Attached::Gone));
        assert!(device.locked(|place| *place == Place::Blocked(())));
        assert!(guest.flush_fails() == GivenUp::Now);
        assert!(matches!(guest.attach(&device, STALE), Attached::StaysBlocked));
    });
}
