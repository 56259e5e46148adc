// SPDX-License-Identifier: GPL-2.0
//! CPUID as the guest sees it: the processor's, without SVM and with Hyper-V's leaves, and the test interface.

use core::arch::x86_64::__cpuid_count;

use hvcore::identity::Identity;
use hvcore::root::domains;
use hvcore::test_interface;

use crate::{machine, msr, smp};

const VENDOR: u32 = 0x4000_0000;
const INTERFACE: u32 = 0x4000_0001;
const VERSION: u32 = 0x4000_0002;
const FEATURES: u32 = 0x4000_0003;
const HINTS: u32 = 0x4000_0004;
const LIMITS: u32 = 0x4000_0005;
const HARDWARE: u32 = 0x4000_0006;
const ISOLATION: u32 = 0x4000_000c;
const LAST_HYPERVISOR_LEAF: u32 = 0x4000_ffff;
/// Highest leaf that means anything.
const HIGHEST: u32 = ISOLATION;

/// Features, EAX.
mod feature_a {
    pub const REFERENCE_COUNTER: u32 = 1 << 1;
    pub const SYNIC: u32 = 1 << 2;
    pub const APIC_MSRS: u32 = 1 << 4;
    pub const HYPERCALL_MSRS: u32 = 1 << 5;
    pub const VP_INDEX: u32 = 1 << 6;
    pub const REFERENCE_TSC: u32 = 1 << 9;
    pub const FREQUENCY_MSRS: u32 = 1 << 11;
    pub const TSC_INVARIANT: u32 = 1 << 15;
}

/// Features, EBX.
mod feature_b {
    pub const POST_MESSAGES: u32 = 1 << 4;
    pub const SIGNAL_EVENTS: u32 = 1 << 5;
}

/// Features, EDX.
mod feature_d {
    pub const FREQUENCY_MSRS: u32 = 1 << 8;
    pub const DEVICE_DOMAINS: u32 = 1 << 24;
    pub const S1_DEVICE_DOMAINS: u32 = 1 << 25;
}

/// Hints, EAX.
mod hint {
    pub const APIC_MSRS: u32 = 1 << 3;
    pub const RELAXED_TIMING: u32 = 1 << 5;
    /// The guest owns the real local APIC, so it has to end the SynIC's interrupts itself.
    pub const NO_AUTO_EOI: u32 = 1 << 9;
    /// Spares the hypervisor decoding accesses to configuration space.
    pub const MMIO_HYPERCALLS: u32 = 1 << 21;
}

const SPINLOCK_RETRIES: u32 = 0xfff;
const MAX_PROCESSORS: u32 = smp::MAX_PROCESSORS as u32;

/// What the guest asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query {
    /// EAX.
    pub leaf: u32,
    /// ECX: the subleaf; a command of the test interface.
    pub ecx: u32,
    /// EBX: only the test interface looks at it.
    pub ebx: u32,
    /// EDX: only the test interface looks at it.
    pub edx: u32,
}

/// What the guest gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// Answers a query of a processor whose CR4 is `cr4`.
pub fn emulate(query: Query, cr4: u64) -> Answer {
    match query.leaf {
        test_interface::LEAF => test_interface(query),
        VENDOR..=LAST_HYPERVISOR_LEAF => hypervisor(query.leaf),
        _ => processor(query, cr4),
    }
}

/// Features, EAX. A root partition sees the processor's own time-stamp counter, and reference time that the hypervisor
/// makes of it.
fn features(identity: Identity) -> u32 {
    let time = match identity {
        Identity::Root => feature_a::REFERENCE_COUNTER | feature_a::REFERENCE_TSC,
        Identity::Guest | Identity::Isolated | Identity::L1vh => feature_a::TSC_INVARIANT,
    };
    feature_a::SYNIC
        | feature_a::APIC_MSRS
        | feature_a::HYPERCALL_MSRS
        | feature_a::VP_INDEX
        | feature_a::FREQUENCY_MSRS
        | time
}

/// Features, EBX. A root partition has no VMBus.
fn high_privileges(identity: Identity) -> u32 {
    let connections = match identity {
        Identity::Root => 0,
        Identity::Guest | Identity::Isolated | Identity::L1vh => feature_b::POST_MESSAGES | feature_b::SIGNAL_EVENTS,
    };
    connections | identity.privileges()
}

/// Features, EDX.
fn misc_features(identity: Identity) -> u32 {
    let domains = match identity {
        Identity::Root => feature_d::DEVICE_DOMAINS,
        Identity::Guest | Identity::Isolated | Identity::L1vh => feature_d::S1_DEVICE_DOMAINS,
    };
    feature_d::FREQUENCY_MSRS | domains
}

/// The privileges of a partition: features, EAX and EBX.
pub fn privileges(identity: Identity) -> u64 {
    u64::from(high_privileges(identity)) << 32 | u64::from(features(identity))
}

fn test_interface(query: Query) -> Answer {
    let (reply, value) = machine::control(query.ecx, query.ebx, query.edx);
    Answer { eax: reply, ebx: value as u32, ecx: 0, edx: (value >> 32) as u32 }
}

fn hypervisor(leaf: u32) -> Answer {
    let ascii = |text: &[u8; 4]| u32::from_le_bytes(*text);
    match leaf {
        VENDOR => Answer { eax: HIGHEST, ebx: ascii(b"Micr"), ecx: ascii(b"osof"), edx: ascii(b"t Hv") },
        INTERFACE => Answer { eax: ascii(b"Hv#1"), ..Answer::default() },
        // Build number, major version.
        VERSION => Answer { eax: 1, ebx: 10 << 16, ..Answer::default() },
        FEATURES => Answer {
            eax: features(machine::identity()),
            ebx: high_privileges(machine::identity()),
            ecx: 0,
            edx: misc_features(machine::identity()),
        },
        HINTS => Answer {
            eax: hint::APIC_MSRS | hint::RELAXED_TIMING | hint::NO_AUTO_EOI | hint::MMIO_HYPERCALLS,
            ebx: SPINLOCK_RETRIES,
            ..Answer::default()
        },
        LIMITS => Answer { eax: MAX_PROCESSORS, ebx: MAX_PROCESSORS, ..Answer::default() },
        // The width of IOVAs.
        HARDWARE if machine::identity() == Identity::Root => Answer { ebx: domains::IOVA_BITS, ..Answer::default() },
        ISOLATION => Answer { ebx: machine::identity().isolation(), ..Answer::default() },
        _ => Answer::default(),
    }
}

fn processor(query: Query, cr4: u64) -> Answer {
    const BASIC: u32 = 1;
    const STRUCTURED: u32 = 7;
    const EXTENDED: u32 = 0x8000_0001;
    const EXTENDED_SVM: u32 = 1 << 2;
    const POWER: u32 = 0x8000_0007;
    const POWER_INVARIANT_TSC: u32 = 1 << 8;
    const SVM: u32 = 0x8000_000a;
    const CR4_OSXSAVE: u64 = 1 << 18;
    const CR4_PKE: u64 = 1 << 22;
    // SAFETY: every processor that runs in long mode has CPUID.
    let raw = unsafe { __cpuid_count(query.leaf, query.ecx) };
    let mut answer = Answer { eax: raw.eax, ebx: raw.ebx, ecx: raw.ecx, edx: raw.edx };
    // Two bits mirror CR4, and it is the hypervisor's CR4 that the instruction has just seen.
    let mirror = |word: u32, bit: u32, of: u64| word & !(1 << bit) | u32::from(cr4 & of != 0) << bit;
    match (query.leaf, query.ecx) {
        (BASIC, _) => {
            const HYPERVISOR_PRESENT: u32 = 1 << 31;
            answer.ecx = mirror(answer.ecx, 27, CR4_OSXSAVE) | HYPERVISOR_PRESENT;
        }
        (STRUCTURED, 0) => answer.ecx = mirror(answer.ecx, 4, CR4_PKE),
        (EXTENDED, _) => answer.ecx &= !EXTENDED_SVM,
        // Hyper-V's rule: the bit appears once the guest has asked for it by MSR. A root partition sees the machine's: the
        // emulated counter is invariant, whatever the processor model says.
        (POWER, _) if machine::identity() == Identity::Root || msr::tsc_invariant() => {
            answer.edx |= POWER_INVARIANT_TSC
        }
        (SVM, _) => answer = Answer::default(),
        _ => {}
    }
    answer
}
