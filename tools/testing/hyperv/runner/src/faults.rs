// SPDX-License-Identifier: GPL-2.0
//! DMA faults: what minihv logged against what the case names and what the guest program announced.
//!
//! Every fault must have been named or announced, and every fault that was named or announced must have happened.

use hvcore::ids::{BusIndex, Guid, Iova, LogicalDeviceId};
use hvprotocol::faults::{hex, Access, Provoked};

/// What minihv logs of a fault.
const FAULT: &str = "iommu: DMA fault: ";
/// Lines by which minihv says that faults happened which it does not log.
const LOST: [&str; 2] = ["vtd: DMA faults were lost", "vtd: too many faults pending"];
/// minihv's count at the end.
const COUNTER: &str = "counter dma-faults ";
/// Faults named in complaints.
const SHOWN: usize = 5;

/// Function `function` of bus number `bus`, where no `guid=` says otherwise.
pub fn on_bus(bus: usize, function: u8) -> LogicalDeviceId {
    Guid::default_instance(BusIndex(bus)).logical_device_id(function)
}

/// A fault that minihv logged.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault<'a> {
    line: &'a str,
    /// `None`: it is none of the guest's devices, or the line cannot be read.
    fault: Option<(LogicalDeviceId, Access, Iova)>,
}

/// Reads `device 0x1ee76050 write iova 0x2040009000 reason 0x71`.
fn parse_fault(text: &str) -> Option<(LogicalDeviceId, Access, Iova)> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["device", device, access, "iova", iova, "reason", _] = words[..] else { return None };
    Some((LogicalDeviceId(hex(device)?), access.parse().ok()?, Iova(hex(iova)?)))
}

fn faults(hypervisor: &[String]) -> Vec<Fault<'_>> {
    let fault = |line: &'_ String| line.find(FAULT).map(|at| at + FAULT.len());
    hypervisor.iter().filter_map(|line| fault(line).map(|at| Fault { line, fault: parse_fault(&line[at..]) })).collect()
}

/// What is wrong with minihv's log as far as DMA faults go, one sentence each.
pub fn judge(hypervisor: &[String], named: &[Provoked]) -> Vec<String> {
    let mut seen = vec![0_usize; named.len()];
    let mut strays = Vec::new();
    let faults = faults(hypervisor);
    for Fault { line, fault } in &faults {
        let fits = |named: &Provoked| {
            fault.is_some_and(|(device, access, iova)| {
                named.device == device
                    && named.addresses.contains(&iova)
                    && named.access.is_none_or(|wanted| wanted == access)
            })
        };
        let open = (0..named.len()).filter(|&i| fits(&named[i]) && seen[i] < *named[i].count.end());
        // One that is owed before one that is only allowed, a narrow one before a wide one.
        let order = |&i: &usize| {
            let Provoked { addresses, count, .. } = &named[i];
            (seen[i] >= *count.start(), addresses.end().0 - addresses.start().0)
        };
        match open.min_by_key(order) {
            Some(i) => seen[i] += 1,
            None => strays.push(*line),
        }
    }
    let mut complaints: Vec<String> =
        strays.iter().take(SHOWN).map(|line| format!("a DMA fault that nothing names: minihv: {line}")).collect();
    if strays.len() > SHOWN {
        complaints.push(format!("and {} more such DMA faults", strays.len() - SHOWN));
    }
    for (named, seen) in named.iter().zip(seen).filter(|(named, seen)| seen < named.count.start()) {
        complaints.push(format!("DMA faults are missing ({named}): minihv logged {seen}"));
    }
    let lost = hypervisor.iter().filter(|line| LOST.iter().any(|words| line.contains(words)));
    complaints.extend(lost.take(1).map(|line| format!("minihv: {line}")));
    // Once for each time that the machine was on.
    let counts: Vec<usize> =
        hypervisor.iter().filter_map(|line| line.split_once(COUNTER)?.1.trim().parse().ok()).collect();
    let counted = counts.iter().sum::<usize>();
    if !counts.is_empty() && counted != faults.len() {
        complaints.push(format!("minihv counted {counted} DMA faults and logged {}", faults.len()));
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: &str = "[1.0] iommu: DMA fault: device 0x1ee76050 write iova 0x2040009000 reason 0x71";
    const READ: &str = "[1.1] iommu: DMA fault: device 0x1ee76050 read iova 0x2040009000 reason 0x71";
    const STRANGER: &str = "[1.2] iommu: DMA fault: rid 0x0018 read iova 0x1000 reason 0x2";

    fn log(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| (*line).to_owned()).collect()
    }

    fn named(texts: &[&str]) -> Vec<Provoked> {
        texts.iter().map(|text| Provoked::read(&format!("fault expected {text}")).unwrap().unwrap()).collect()
    }

    fn count(lines: &[&str], texts: &[&str]) -> usize {
        judge(&log(lines), &named(texts)).len()
    }

    const ONE: &str = "dev=0x1ee76050 iova=0x2040009000 access=write";

    #[test]
    fn an_announced_fault_passes_and_another_does_not() {
        assert_eq!(count(&[WRITE], &[ONE]), 0);
        assert_eq!(count(&[READ], &[ONE]), 2, "one stray, one missing");
        assert_eq!(count(&[WRITE, READ], &[ONE]), 1);
        assert_eq!(count(&[WRITE, WRITE], &[ONE]), 1);
        assert_eq!(count(&[WRITE, WRITE], &[ONE, ONE]), 0);
        assert_eq!(count(&[WRITE], &[]), 1);
        assert_eq!(count(&[], &[ONE]), 1, "announced and not there");
        assert_eq!(count(&[], &[]), 0);
        assert_eq!(count(&[WRITE], &["dev=0x1fe76050 iova=0x2040009000"]), 2, "another device");
        assert_eq!(count(&[WRITE], &["dev=0x1ee76050 iova=0x204000a000"]), 2, "another address");
        assert_eq!(count(&[WRITE], &["dev=0x1ee76050 iova=0x2040009000"]), 0, "either access");
    }

    #[test]
    fn none_of_the_guests_devices_can_be_named() {
        assert_eq!(count(&[STRANGER], &["dev=0x18 iova=0x0-0xffffffffffffffff count=0-9"]), 1);
        assert_eq!(count(&["[1.0] iommu: DMA fault: who knows"], &[]), 1);
    }

    #[test]
    fn counts_have_bounds() {
        let some = "dev=0x1ee76050 iova=0x2040000000-0x204000ffff count=1-2";
        assert_eq!(count(&[], &[some]), 1);
        assert_eq!(count(&[READ], &[some]), 0);
        assert_eq!(count(&[READ, WRITE], &[some]), 0);
        assert_eq!(count(&[READ, WRITE, WRITE], &[some]), 1);
        // Whoever is owed a fault gets it, whatever the order.
        assert_eq!(count(&[WRITE, READ], &["dev=0x1ee76050 iova=0x0-0xffffffffffffffff count=0-9", ONE]), 0);
        assert_eq!(count(&[READ, WRITE, READ], &[some, ONE]), 0);
    }

    #[test]
    fn many_strays_are_counted() {
        let complaints = judge(&log(&[WRITE; 8]), &[]);
        assert_eq!(complaints.len(), SHOWN + 1);
        assert_eq!(complaints[SHOWN], "and 3 more such DMA faults");
    }

    #[test]
    fn lost_faults_and_a_count_that_differs_are_noticed() {
        assert_eq!(count(&["[1.0] vtd: DMA faults were lost"], &[]), 1);
        assert_eq!(count(&["[1.0] vtd: too many faults pending, dropped DmaFault"], &[]), 1);
        assert_eq!(count(&["[9.0] counter dma-faults 1"], &[]), 1);
        assert_eq!(count(&[WRITE, "[9.0] counter dma-faults 1"], &[ONE]), 0);
    }

    #[test]
    fn devices_are_named_by_bus() {
        assert_eq!([on_bus(0, 0), on_bus(1, 2)], [LogicalDeviceId(0x1ee7_6050), LogicalDeviceId(0x1fe7_6152)]);
    }
}
