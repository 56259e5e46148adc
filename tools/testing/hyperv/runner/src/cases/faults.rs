// SPDX-License-Identifier: GPL-2.0
//! Hypercalls that fail.

use super::common::with;
use crate::bench::COUNTED;
use crate::case::Case;
use crate::expect::{self, Times};
use crate::mode;

/// How many domains go wrong in each way in `undeletable-domains`.
const DOMAINS: usize = 32;
/// What is said of each.
const UNDELETABLE: [(&str, &str); 3] = [
    ("created", r": IOMMU: no new domain: HVCALL_CREATE_DEVICE_DOMAIN: 0x71 "),
    ("configured", r": IOMMU: no new domain: HVCALL_CONFIGURE_DEVICE_DOMAIN: 0x71 "),
    ("deleted", r"^hv_pviommu: HVCALL_DELETE_DEVICE_DOMAIN of domain \d+: 0x71 .*; its number is retired$"),
];

/// The second bus has an instance GUID of which its devices get the ids of the first bus's.
const SAME_IDS: &str = "ids=shared guid=1:12345678-1ee7-6050-6d69-6e6968760001";

/// How often a device is refused then: at boot, and twice when the first bus is offered before the second.
const SAME_ID_REFUSED: usize = 3;
/// How often the guest notices that a device was taken. Once it does not: the other device answers to the id.
const SAME_ID_LOST: usize = 2;

/// At shutdown a domain is deleted whatever its flush came to: its devices are blocked, and the next kernel is to find
/// nothing.
const DELETED_UNFLUSHED: &str =
    r"^cache: domain \d+: iova 0x[0-9a-f]+-0x[0-9a-f]+: deleted with \d+ pages unmapped and not flushed$";

/// The cases.
pub fn cases() -> Vec<Case> {
    let fault = |name, scenario| with(Case::new("faults", name, scenario), &mode::STRICT);
    vec![
        fault("domain-numbers-taken", "dma").hypervisor("inject=b1:65:1:3").expect(expect::driver_up()),
        fault("no-blocking-domain-at-boot", "dma")
            .hypervisor("inject=b1:b:1:1")
            .expect(expect::driver_up())
            .expect(expect::no_static_domain("blocking"))
            .expect(expect::never_detached()),
        // The domain is tried again for each device, and left out where that fails: the second and third
        // configuration are its own.
        fault("no-identity-for-passthrough", "edu")
            .devices(&["edu"])
            .append("iommu=pt")
            .hypervisor("inject=ce:71:2:2")
            .expect(expect::driver_up())
            .expect(expect::no_static_domain("identity")),
        fault("two-devices-of-one-id", "shared-id")
            .devices(&["edu", "edu"])
            .hypervisor(SAME_IDS)
            .expect(expect::driver_up())
            // As long as the other device is there, so is the id.
            .expect(expect::taken_away(SAME_ID_LOST).times(Times::AtMost(SAME_ID_LOST)))
            .expect(expect::id_is_taken().times(Times::Exactly(SAME_ID_REFUSED))),
        fault("no-identity-domain", "dma")
            .hypervisor("inject=b1:b:2:1")
            .expect(expect::driver_up())
            .expect(expect::no_static_domain("identity"))
            .thorough(),
        fault("five-levels-refused", "dma")
            .hypervisor("iova-width=57 s1-5lvl=on inject=ce:5:3:1")
            .expect(expect::five_levels_refused())
            .thorough(),
        fault("device-cannot-be-asked", "refused-device")
            .expect(expect::taken_away(1))
            .expect(expect::device_refused()),
        fault("attach-times-out", "unclear-attach")
            .devices(&["edu"])
            .expect(expect::driver_up())
            .expect(expect::unclear_attach(2)),
        fault("odd-answers", "odd-answers")
            .devices(&["edu"])
            .expect(expect::driver_up())
            .expect(expect::list_flush_failed())
            .thorough(),
        fault("all-ones-to-every-flush", "failing-flush")
            .devices(&["edu"])
            .hypervisor("inject=d1:0:1:all:result=ffffffffffffffff inject=d0:0:1:all:result=ffffffffffffffff")
            .violation(DELETED_UNFLUSHED)
            .expect(expect::list_flush_failed())
            .expect(expect::domain_given_up(1, 0)),
        fault("reserved-bits-in-every-result", "dma")
            .hypervisor(
                "inject=125:0:1:all:bits=f000f000ffff0000 inject=127:0:1:all:bits=f000f000ffff0000 \
                 inject=b1:0:1:all:bits=f000ffffffff0000 inject=b2:0:1:all:bits=f000f000ffff0000 \
                 inject=c5:0:1:all:bits=f000f000ffff0000 inject=ce:0:1:all:bits=f000f000ffff0000 \
                 inject=d0:0:1:all:bits=f000ffffffff0000 inject=d1:0:1:all:bits=f000f000ffff0000",
            )
            .expect(expect::driver_up())
            .thorough()
            .expect(expect::list_flush_failed().times(Times::Never)),
        fault("no-flush-works", "failing-flush")
            .devices(&["edu"])
            .hypervisor("inject=d1:71:1:all inject=d0:71:1:all")
            .violation(DELETED_UNFLUSHED)
            .expect(expect::list_flush_failed())
            .expect(expect::domain_given_up(1, 0)),
        fault("no-flush-and-no-block", "failing-flush-and-block")
            .devices(&["edu"])
            .expect(expect::list_flush_failed())
            .expect(expect::domain_given_up(0, 1)),
        fault("no-flush-two-devices", "failing-flush-of-two")
            .devices(&["edu", "edu"])
            .expect(expect::driver_up())
            .expect(expect::list_flush_failed())
            .expect(expect::domain_given_up(2, 0))
            .thorough(),
        fault("stale-domain", "stale-domain")
            .devices(&["edu"])
            .expect(expect::driver_up())
            .expect(expect::list_flush_failed())
            .expect(expect::stays_blocked())
            .expect(expect::domain_given_up(1, 0)),
        fault("last-domain", "last-domain")
            .devices(&["edu"])
            .expect(expect::driver_up())
            .expect(expect::list_flush_failed())
            .expect(expect::stays_blocked())
            .expect(expect::domain_given_up(1, 0)),
        fault("interrupts-off", "interrupts-off")
            .devices(&["edu"; 27])
            .counted()
            .append(COUNTED)
            .expect(expect::driver_up())
            .expect(expect::list_flush_failed())
            .expect(expect::domain_given_up(1, 0))
            .expect(expect::domain_given_up(9, 0))
            .expect(expect::domain_given_up(27, 0))
            .minutes(20)
            .thorough(),
        UNDELETABLE.iter().fold(
            fault("undeletable-domains", "undeletable-domains")
                .devices(&["edu"])
                .expect(expect::driver_up())
                .thorough(),
            |case, &(meaning, pattern)| case.expect(expect::domains_failed(meaning, pattern, DOMAINS)),
        ),
        with(Case::new("faults", "no-deferred-flush-works", "failing-deferred-flush"), &mode::DEFERRED)
            .devices(&["edu"])
            .hypervisor("inject=d1:71:1:all inject=d0:71:1:all")
            .violation(DELETED_UNFLUSHED)
            // The flush queue hands addresses out again, whatever a flush came to; the device is blocked by then.
            .violation(r"^cache: domain \d+: iova 0x[0-9a-f]+-0x[0-9a-f]+ mapped again before a flush covered it$")
            .expect(expect::list_flush_failed().times(Times::AtMost(1)))
            .expect(expect::domain_given_up(1, 0)),
    ]
}
