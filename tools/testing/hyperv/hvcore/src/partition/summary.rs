// SPDX-License-Identifier: GPL-2.0
//! The counters as log lines, `counter NAME [INDEX] VALUE`, for the runner to read at power-off.

use super::Partition;
use crate::platform::{LogLevel, Platform};

/// How often faults are collected before they are counted.
const COLLECT_TIMES: usize = 8;

impl Partition {
    /// Logs every counter; those with an index only where they are not 0.
    pub fn summary(&mut self, platform: &mut impl Platform) {
        // Each time a bounded number; a device that is still at work may add some.
        for _ in 0..COLLECT_TIMES {
            self.collect_faults(platform);
        }
        let report = LogLevel::Report;
        for (code, count) in self.counters.nonzero_calls() {
            platform.log(report, format_args!("counter calls {code:#x} {count}"));
        }
        for (status, count) in self.counters.nonzero_statuses() {
            platform.log(report, format_args!("counter status {status:#x} {count}"));
        }
        let counters = &self.counters;
        let plain = [
            ("flush-descriptors", counters.flush_descriptors),
            ("flush-pages", counters.flush_pages),
            ("dma-faults", counters.dma_faults),
            ("live-domains", self.iommu.domains().count() as u64),
            ("attached-devices", self.iommu.domains().attached_count() as u64),
            ("injected", counters.injected),
            ("violations", self.violations()),
            ("buses", self.vmbus.bus_count() as u64),
            ("switches", counters.switches),
            ("abandoned", counters.abandoned),
            ("device-tlb-flushes", counters.device_tlb_flushes),
            ("device-tlb-pages", counters.device_tlb_pages),
            ("overtakes", self.schedule.overtakes()),
            ("refused-messages", self.vmbus.refused()),
        ];
        for (name, value) in plain {
            platform.log(report, format_args!("counter {name} {value}"));
        }
        self.root_summary(platform);
    }
}
