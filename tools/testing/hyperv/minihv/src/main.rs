// SPDX-License-Identifier: GPL-2.0
//! minihv: a bare-metal SVM hypervisor that shows the Hyper-V interface to one Linux guest.
//!
//! What the guest sees is [`hvcore`]'s business; this crate boots, runs the guest's processors and drives the IOMMU.
//! Everything up to the guest's first instruction happens in [`boot_processor_main`], from top to bottom.
#![no_std]
#![no_main]

extern crate alloc;

mod apic;
mod boot;
mod bridge;
mod console;
mod cpuid;
mod heap;
mod io;
mod kick;
mod lapic;
mod legacy;
mod linux;
mod machine;
mod memory;
mod msr;
mod npt;
mod paging;
mod panic;
mod pci;
mod platform;
mod power;
mod root;
mod self_test;
mod selfcheck;
mod smp;
mod start_info;
mod startup;
mod svm;
mod time;
mod vtd;

use alloc::vec::Vec;

use hvcore::acpi;
use hvcore::cachelog::Strictness;
use hvcore::identity::Identity;
use hvcore::ids::{Gpa, Rid, VpIndex};
use hvcore::iommu::capabilities::Switch;
use hvcore::memory_map;
use hvcore::options::Options;
use hvcore::partition::Partition;
use hvcore::platform::FunctionInfo;
use hvcore::vpci::Slot;

use console::{fatal, log};
use memory::GuestMemory;
use platform::{Hardware, Others};
use svm::vcpu::{Shared, Start, Vcpu};
use vtd::Vtd;

/// Called by entry.s on the boot processor.
#[no_mangle]
extern "C" fn boot_processor_main(start_info: u32) -> ! {
    heap::init();
    boot::load_exception_table();
    legacy::mask_interrupt_controllers();
    time::calibrate();
    log!("minihv", "version {}, tsc {} Hz", env!("CARGO_PKG_VERSION"), time::hertz());
    if !svm::is_available() {
        fatal!("no SVM with nested paging: start QEMU with -cpu EPYC or -cpu max")
    }

    // SAFETY: the PVH loader's argument, and nothing has been written outside minihv's own memory.
    let info = match unsafe { start_info::read(start_info) } {
        Ok(info) => info,
        Err(error) => fatal!("start info: {error:?}"),
    };
    let options: Options = match info.command_line.parse() {
        Ok(options) => options,
        Err(error) => fatal!("{error}"),
    };
    console::set_level(options.log);
    let is_root = options.identity == Identity::Root;
    let regions = memory_map::guest_regions(&info.regions, &memory::carved(options.identity));
    let guest_memory = GuestMemory::new(&regions);
    let processors = smp::count();
    if processors as usize > smp::MAX_PROCESSORS {
        fatal!("{processors} processors are too many: at most {}", smp::MAX_PROCESSORS)
    }
    log!("minihv", "{processors} processors, {} MiB of guest RAM", guest_memory.bytes() >> 20);

    let nested_root = if is_root { npt::build_for_root() } else { npt::build(&regions) };
    let shared = Shared { nested_root, permissions: svm::Permissions::new(options.identity) };
    smp::start_others(processors, shared);

    let functions = if is_root { Vec::new() } else { assigned_functions(&options) };
    let started = if is_root { Vtd::start_for_root(&guest_memory) } else { Vtd::start(&functions, &guest_memory) };
    let vtd = match started {
        Ok(vtd) => vtd,
        Err(missing) => fatal!("{}: start QEMU with {}", missing.name(), vtd::qemu_device(options.identity)),
    };

    let tables = match is_root {
        true => root::firmware_tables(info.rsdp),
        false => acpi::build(memory::acpi_range().start, processors, &io::ACPI_MACHINE, options.firmware_iommu),
    };
    let entry = guest_memory
        .write(Gpa(memory::acpi_range().start), &tables.image)
        .and_then(|()| if is_root { root::fill_overlays(&guest_memory) } else { Ok(()) })
        .map_err(linux::Error::from)
        .and_then(|()| match options.self_test {
            Switch::Off => linux::load(&guest_memory, &regions, info.bundle, tables.rsdp),
            Switch::On => Ok(self_test::load(&guest_memory)),
        });
    let entry = match entry {
        Ok(entry) => entry,
        Err(error) => fatal!("{error}"),
    };
    let (identity, cache, self_test) = (options.identity, options.cache, options.self_test);
    let infos: Vec<FunctionInfo> = functions.iter().map(pci::Function::info).collect();
    let mut hardware =
        Hardware { memory: guest_memory, functions, vtd, processors, others: Others::Current, protection: Switch::On };
    if cache != Strictness::Off && !is_root {
        if let Err(failure) = selfcheck::run(&mut hardware) {
            fatal!("{failure}");
        }
    }
    hardware.protection = options.protection;
    let partition = match is_root {
        true => Partition::new_root(options, processors, memory::overlays(), cpuid::privileges(identity)),
        false => Partition::new(options, processors, &infos),
    };
    let mut partition = match partition {
        Ok(partition) => partition,
        Err(error) => fatal!("{error}"),
    };
    match (self_test, is_root) {
        (Switch::On, false) => self_test::run(&mut hardware),
        (Switch::On, true) => self_test::root::run(&mut partition, &mut hardware),
        (Switch::Off, _) => {}
    }
    partition.start(&mut hardware);
    machine::init(partition, hardware, identity);
    if self_test == Switch::On && is_root {
        // The small guest of the self-test is none that owns the machine.
        io::guest_power_off()
    }
    log!("minihv", "starting the guest");
    smp::run(&mut Vcpu::new(VpIndex(0), &shared), Some(Start::Kernel(entry)))
}

/// The functions of physical bus 0 that the options name, in their order. A root port stands for the one behind it.
fn assigned_functions(options: &Options) -> Vec<pci::Function> {
    let Some(config) = pci::ConfigSpace::find() else {
        fatal!("no PCI Express configuration space: start QEMU with -machine q35")
    };
    let mut functions: Vec<pci::Function> = Vec::new();
    for slot in options.assigned() {
        let Some(function) = pci::Function::probe(config, bus_0(slot)) else {
            fatal!("assign: there is no function {slot}")
        };
        if functions.iter().any(|other| other.rid() == function.rid()) {
            fatal!("assign: {slot} is named twice")
        }
        log!(
            "pci",
            "{slot} is {:08x}, class {:06x}",
            function.info().vendor_device,
            function.info().class_revision >> 8
        );
        functions.push(function);
    }
    functions
}

fn bus_0(slot: Slot) -> Rid {
    Rid(u16::from(slot.device()) << 3 | u16::from(slot.function()))
}
