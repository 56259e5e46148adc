// SPDX-License-Identifier: GPL-2.0
//! `hvrun boot`: one guest, as asked for on the command line.

use anyhow::{Context, Result};
use hvprotocol::report::PREFIX;

use crate::boot::{Plan, Root};
use crate::cli::BootArgs;
use crate::console::message;
use crate::demands::{Demands, Unnamed, HYPERVISOR_CHECKS};
use crate::device::Devices;
use crate::expect;
use crate::image::Kernel;
use crate::initramfs::Fio;
use crate::initramfs::Pack;
use crate::job::Outcome;
use crate::progress::{tail, Progress};
use crate::qemu::{Clock, Console, Iommu, Logs, Trace};
use crate::tools::Tools;
use crate::verdict::verdict;

/// Scenarios that need fio.
const WITH_FIO: [&str; 2] = ["main", "shell"];
/// Console lines that are shown of a failing boot.
const TAIL: usize = 30;

fn plan(args: &BootArgs) -> Result<Plan> {
    let scenario = if args.shell { "shell" } else { &args.scenario };
    let (name, root, steering) = match &args.initramfs {
        None => (scenario, Root::Built, format!("hvtest.scenario={scenario} ")),
        Some(file) => ("installed", Root::Installed(file.clone()), String::new()),
    };
    Ok(Plan {
        name: name.to_owned(),
        kernel: Kernel::from_parts(&args.kernel, args.modules.as_deref())?,
        root,
        cpus: args.cpus,
        memory: args.guest.memory.clone(),
        devices: Devices::new(&args.devices)?,
        iommu: Iommu::Intel,
        clock: Clock::Host,
        threads: args.guest.threads,
        append: format!("{steering}{}", args.append).trim_end().to_owned(),
        hypervisor: args.hypervisor.parse()?,
        power_cycles: Vec::new(),
        fio: if WITH_FIO.contains(&scenario) { Fio::Packed } else { Fio::Left },
        packs: args.tools.samples.iter().map(|_| Pack::Samples).collect(),
        padding: 0,
        console: if args.shell { Console::Terminal } else { Console::Log },
        trace: if args.trace { Trace::Vtd } else { Trace::Off },
        patience: args.guest.patience(),
    })
}

/// What is asked of the boot. A scenario may be any, with anything in the log. An installed system has the driver in service
/// and nothing out of the ordinary.
fn demands(args: &BootArgs, tools: &Tools) -> Demands {
    let skippable = match tools.minihv {
        Some(_) => Vec::new(),
        None => HYPERVISOR_CHECKS.iter().map(|check| (*check).to_owned()).collect(),
    };
    let demands = Demands { skippable, ..Demands::default() };
    match &args.initramfs {
        None => Demands { unnamed: Unnamed::Passes, ..demands },
        Some(_) => Demands { unnamed: Unnamed::Fails, log: expect::ordinary(&[], 1), ..demands },
    }
}

/// Boots the guest; without a shell its checks make the verdict.
///
/// # Errors
/// When it cannot be started.
pub fn boot(args: &BootArgs) -> Result<Outcome> {
    let progress = Progress::new();
    let (plan, tools) = (plan(args)?, args.tools.tools()?);
    let directory = args.tools.host.logs().join("single");
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let work = args.guest.leftovers().directory(&directory)?;
    let mut watch = |line: &str, _| {
        if let (Console::Log, Some(report)) = (plan.console, message(line).strip_prefix(PREFIX)) {
            progress.stage("guest", report);
        }
    };
    progress.stage("boot", &format!("{}: {} processors, {}", plan.name, plan.cpus, plan.memory));
    let record = plan.boot(&tools, work.path(), Logs::new(&directory), &mut watch)?;
    progress.stage("end", &format!("{:?}, logs in {}", record.end, directory.display()));
    if args.shell {
        return Ok(Outcome::Passed);
    }
    let verdict = verdict(&record, &demands(args, &tools))?;
    if verdict.passed() {
        progress.stage("verdict", "PASS");
        return Ok(Outcome::Passed);
    }
    for line in tail(&record.serial, TAIL) {
        println!("  | {line}");
    }
    for complaint in &verdict.complaints {
        progress.stage("complaint", complaint);
    }
    progress.stage("verdict", "FAIL");
    Ok(Outcome::Failed)
}
