// SPDX-License-Identifier: GPL-2.0
//! What a root partition has and other partitions do not: its calls, and pages that the hypervisor placed.

use super::{Partition, PartitionError};
use crate::hypercall::page::HypercallPage;
use crate::hypercall::table::{Spec, GUEST_TABLE, ROOT_TABLE};
use crate::ids::VpIndex;
use crate::options::Options;
use crate::overlay::{Moved, Overlays};
use crate::platform::{LogLevel, Platform};
use crate::root::sleep::Wish;
use crate::root::RootHost;
use crate::synic::{MsrOutcome, Synic};

impl Partition {
    /// A root partition on a machine with `processors` processors. The devices that the options assign are none of
    /// vPCI's: it finds the machine's own. `privileges` are CPUID 0x40000003 EAX and EBX, as the partition sees them.
    ///
    /// # Errors
    /// See [`PartitionError`].
    pub fn new_root(
        options: Options,
        processors: u32,
        overlays: Overlays,
        privileges: u64,
    ) -> Result<Partition, PartitionError> {
        let options = Options { assign: Default::default(), ..options };
        Ok(Partition {
            synic: Synic::with_overlays(processors, overlays),
            page: HypercallPage::fixed(overlays.hypercall()),
            root: Some(RootHost::new(processors, overlays, privileges, options.capabilities, options.cache)),
            ..Partition::new(options, processors, &[])?
        })
    }

    /// Whether the virtual processor is there to be started. All of an ordinary guest's are; a root partition creates its
    /// own first.
    pub fn may_start(&mut self, platform: &mut impl Platform, vp: VpIndex) -> bool {
        let exists = self.root.as_ref().is_none_or(|root| root.has_vp(vp));
        if !exists {
            self.violation(platform, format_args!("vp {} started, which was not created", vp.0));
        }
        exists
    }

    /// The calls that the partition may make.
    pub(super) fn offered(&self) -> &'static [Spec] {
        match self.root {
            Some(_) => ROOT_TABLE,
            None => GUEST_TABLE,
        }
    }

    /// A write to a register that only differs for a root partition; `None` for any other.
    pub(super) fn root_msr_write(
        &mut self,
        platform: &mut impl Platform,
        vp: VpIndex,
        msr: u32,
        value: u64,
    ) -> Option<MsrOutcome> {
        match self.root.as_mut()?.msr_write(vp, msr, value)? {
            Ok(()) => Some(MsrOutcome::Handled),
            Err(Moved) => {
                self.violation(platform, format_args!("MSR {msr:#x} written with {value:#x}"));
                Some(MsrOutcome::Fault)
            }
        }
    }

    pub(super) fn wants_power_off(&self) -> bool {
        self.root.as_ref().is_some_and(|root| root.wish() == Wish::Off)
    }

    pub(super) fn root_summary(&self, platform: &mut impl Platform) {
        let Some(root) = &self.root else { return };
        let census = root.census();
        for (name, value) in [
            ("logical-processors", census.logical_processors),
            ("virtual-processors", census.virtual_processors),
            ("deposited-pages", census.pages),
            ("mapped-interrupts", root.mapped_interrupts()),
            ("root-domains", root.live_domains()),
        ] {
            platform.log(LogLevel::Report, format_args!("counter {name} {value}"));
        }
    }
}
