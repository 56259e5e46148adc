// SPDX-License-Identifier: GPL-2.0
//! Lines by which a kernel says that something is wrong with itself.

use regex::RegexSet;

/// What no healthy kernel prints. Matched against lines without their time stamp.
const PATTERNS: &[&str] = &[
    r"^WARNING: ",
    r"^BUG\b",
    r"-\[ cut here \]-",
    r"kernel BUG at",
    r"\bOops\b",
    r"Kernel panic",
    r"general protection fault",
    r"Call Trace:",
    r"^INFO: task .* blocked for more than",
    r"^INFO: rcu.*(stall|detected)",
    r"rcu: INFO: .*(stall|detected)",
    r"soft lockup|hard LOCKUP",
    r"^INFO: trying to register non-static key",
    r"possible .* detected",
    r"suspicious RCU usage",
    r"^turning off the locking correctness validator",
    r"lock held when returning to user space|bad unlock balance|held lock freed",
    r"sleeping function called from invalid context",
    r"scheduling while atomic",
    r"UBSAN: ",
    r"KASAN: ",
    r"KCSAN: ",
    r"list_(add|del) corruption",
    r"refcount_t: ",
    r"ODEBUG: ",
    r"rust_kernel: panicked",
    r"\bpanicked at\b",
    r"unable to handle (kernel|page fault)",
    r"unchecked MSR access",
    r"nobody cared",
    r"segfault at",
    r"invalid opcode:",
];

/// Finds such lines.
pub struct Detector {
    patterns: RegexSet,
    expected: RegexSet,
}

impl Detector {
    /// A detector that lets lines pass which match one of `expected`.
    ///
    /// # Errors
    /// When one of `expected` is no regular expression.
    pub fn new(expected: &[String]) -> Result<Detector, regex::Error> {
        Ok(Detector { patterns: RegexSet::new(PATTERNS)?, expected: RegexSet::new(expected)? })
    }

    /// Whether a line (without time stamp) is a splat that was not expected.
    pub fn is_splat(&self, message: &str) -> bool {
        self.patterns.is_match(message) && !self.expected.is_match(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splats_are_found() {
        let detector = Detector::new(&[]).unwrap();
        for line in [
            "WARNING: CPU: 0 PID: 1 at drivers/iommu/iommu.c:157",
            "WARNING: possible recursive locking detected",
            "BUG: kernel NULL pointer dereference, address: 0000000000000000",
            "BUG: sleeping function called from invalid context at mm/slab.c:1",
            "Oops: 0000 [#1] PREEMPT SMP",
            "Call Trace:",
            "INFO: task init:1 blocked for more than 120 seconds.",
            "UBSAN: array-index-out-of-bounds in x.c:1:2",
            "BUG: KASAN: use-after-free in f",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rust_kernel: panicked at 'attempt to add with overflow'",
            "list_del corruption. prev->next should be x",
            "Kernel panic - not syncing: Attempted to kill init!",
        ] {
            assert!(detector.is_splat(line), "{line}");
        }
    }

    #[test]
    fn ordinary_lines_are_not() {
        let detector = Detector::new(&[]).unwrap();
        for line in [
            "Warning: unable to open an initial console.",
            "Speculative Return Stack Overflow: WARNING: See the documentation for mitigation options.",
            "hv_pviommu: aperture 0x0-0x7fffffffffff (47 bits)",
            "ok 1 bug_test",
            "Command line: console=ttyS0 oops=panic panic=-1",
            "DEBUG: something",
            "rcu: Hierarchical RCU implementation.",
        ] {
            assert!(!detector.is_splat(line), "{line}");
        }
    }

    #[test]
    fn an_expected_splat_passes_and_others_do_not() {
        let detector = Detector::new(&["drop_flush".to_owned()]).unwrap();
        assert!(!detector.is_splat("WARNING: drop_flush is on"));
        assert!(detector.is_splat("WARNING: CPU: 0"));
    }
}
