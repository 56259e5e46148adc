// SPDX-License-Identifier: GPL-2.0
//! What the log of the caches ([`crate::cachelog`]) learns outside hypercalls, and what it has to say.

use super::Partition;
use crate::cachelog::{Operation, WriteOutcome};
use crate::hypercall::calls::IommuCall;
use crate::ids::{DomainId, Gpa};
use crate::platform::Platform;
use crate::request::iommu::Subject;
use crate::test_interface::StaleField;

impl Partition {
    /// The guest, at `rip`, writes the 64-bit word at `gpa`, which [`Platform::watch`] kept from it.
    pub fn watched_write(
        &mut self,
        platform: &mut impl Platform,
        gpa: Gpa,
        operation: Operation,
        rip: u64,
    ) -> WriteOutcome {
        let outcome = self.iommu.cache_log_mut().write(platform, gpa, operation, rip);
        self.report_caches(platform);
        outcome
    }

    /// The guest, at `rip`, writes to the page of `gpa`, which [`Platform::watch`] kept from it, but not a 64-bit word.
    pub fn watched_foreign_write(&mut self, platform: &mut impl Platform, gpa: Gpa, rip: u64) -> WriteOutcome {
        let outcome = self.iommu.cache_log_mut().foreign_write(platform, gpa, rip);
        self.report_caches(platform);
        outcome
    }

    /// The guest's kernel gives up all hypercalls: the next one uses the memory as it likes, and cannot know what domains
    /// there are.
    pub(super) fn kernel_left(&mut self, platform: &mut impl Platform) {
        self.iommu.cache_log_mut().forget_all(platform);
        self.iommu.domains_mut().kernel_leaves();
        if let Some(root) = &mut self.root {
            root.kernel_left(platform);
        }
    }

    /// Counts and logs what has been found.
    pub(super) fn report_caches(&mut self, platform: &mut impl Platform) {
        if self.hostility.confuses() {
            // The guest was told of flushes that were none, or the other way round.
            self.iommu.cache_log_mut().forget_all(platform);
            self.iommu.cache_log_mut().take_findings();
        }
        let mut found = self.iommu.cache_log_mut().take_findings();
        if let Some(root) = &mut self.root {
            found.append(&mut root.take_findings());
        }
        for finding in found {
            self.violation(platform, format_args!("{finding}"));
        }
    }

    /// A rule answered a call with success that was not carried out: the guest goes by that.
    pub(super) fn believed(&mut self, platform: &mut impl Platform, call: IommuCall, subject: Subject) {
        let Some(domain) = subject.domain else { return };
        match call {
            IommuCall::Flush | IommuCall::FlushList => {
                let devices = self.iommu.domains().attached(domain).count();
                self.iommu.cache_log_mut().flushed_all(platform, domain, devices);
            }
            IommuCall::Delete => self.iommu.cache_log_mut().forget(platform, domain),
            _ => {}
        }
    }

    /// What is stale of a domain; `None` when it is not followed.
    pub(super) fn stale_field(&self, domain: DomainId, field: StaleField) -> Option<u64> {
        let stale = match &self.root {
            Some(root) => root.stale(domain)?,
            None => self.iommu.cache_log().stale(domain)?,
        };
        Some(match field {
            StaleField::Pages => stale.pages,
            StaleField::First => stale.first.map_or(0, |range| range.first().0),
            StaleField::Tables => stale.tables,
        })
    }
}
