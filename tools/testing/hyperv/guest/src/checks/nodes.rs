// SPDX-License-Identifier: GPL-2.0
//! Where page tables lie in a guest with two NUMA nodes.

use anyhow::{bail, Context as _, Result};
use hvcore::ids::NumaNode;
use linkme::distributed_slice;

use crate::check::{Check, Context, Scenario, SCENARIOS};
use crate::checks::counters::{NO_FAULTS, VIOLATIONS};
use crate::checks::groups::{DEVICES, GROUPS};
use crate::checks::nvme::NVME_QUICK;
use crate::nodes;
use crate::report::Outcome;

/// What minihv is told for the case (`numa=1,0`): the first bus is near the second node, and the other way round. Tables
/// that lay wherever their CPU is would be wrong for one of the two.
const NODES: [NumaNode; 2] = [NumaNode(1), NumaNode(0)];

/// The kernel has put each device on the node that the host names, and the root of its table, too.
fn tables_are_near(context: &mut Context<'_>) -> Result<Outcome> {
    let minihv = context.minihv()?;
    let mut seen = 0;
    for function in &context.functions {
        let bus = function.bus().with_context(|| format!("{} is on no bus", function.address))?;
        let expected = *NODES.get(bus.0).with_context(|| format!("bus {} has no node", bus.0))?;
        let said = std::fs::read_to_string(function.file("numa_node")).context("numa_node")?;
        if said.trim() != expected.0.to_string() {
            bail!("{} is on node {} instead of {}", function.address, said.trim(), expected.0);
        }
        let id = function.logical_id().with_context(|| format!("{} has no logical id", function.address))?;
        let domain = minihv.device_domain(id)?.with_context(|| format!("{} is in no domain", function.address))?;
        let root = minihv.domain_root(domain)?;
        let node = nodes::node_of(root)?.with_context(|| format!("{:#x} is no memory", root.0))?;
        if node != expected {
            bail!(
                "the table of {} is at {:#x}, on node {} instead of {}",
                function.address,
                root.0,
                node.0,
                expected.0
            );
        }
        context.reporter.note(&format!("{}: node {}, table at {:#x}", function.address, node.0, root.0));
        seen += 1;
    }
    match seen {
        2.. => Ok(Outcome::Pass(format!("{seen} devices"))),
        _ => bail!("{seen} devices show nothing"),
    }
}

/// The scenarios.
#[distributed_slice(SCENARIOS)]
static OURS: &[Scenario] = &[Scenario {
    name: "nodes",
    summary: "the table of a device lies on the device's NUMA node",
    checks: &[DEVICES, GROUPS, Check::new("tables-are-near", tables_are_near), NVME_QUICK, NO_FAULTS, VIOLATIONS],
}];
