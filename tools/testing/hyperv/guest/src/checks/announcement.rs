// SPDX-License-Identifier: GPL-2.0
//! What the driver's start tells the rest of the kernel, read from the kernel's own variables.
//!
//! Neither is visible otherwise: no function of an emulated device has access control services, and what else looks at
//! `iommu_detected` has run before.

use std::fs;

use anyhow::{bail, ensure, Context as _, Result};
use hvcore::ids::Gpa;

use crate::check::{Check, Context};
use crate::minihv::Minihv;
use crate::report::Outcome;

/// Where the kernel's image is mapped; it is loaded where it was linked for.
const KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;

/// Where a symbol lies in guest memory.
fn place(symbols: &str, name: &str) -> Result<Gpa> {
    let lines = symbols.lines().filter(|line| line.split_whitespace().nth(2) == Some(name));
    let [line] = lines.collect::<Vec<_>>()[..] else { bail!("the kernel does not have exactly one {name}") };
    let digits = line.split_whitespace().next().unwrap_or_default();
    let address = u64::from_str_radix(digits, 16).with_context(|| format!("the address of {name}: {line:?}"))?;
    Ok(Gpa(address.checked_sub(KERNEL_MAP).with_context(|| format!("{name} is not in the kernel's image"))?))
}

/// An `int` of the kernel.
fn int(minihv: Minihv, symbols: &str, name: &str) -> Result<i32> {
    let Gpa(gpa) = place(symbols, name)?;
    let word = minihv.peek(Gpa(gpa & !7))?;
    Ok((word >> (8 * (gpa & 4))) as i32)
}

/// Devices are to be kept apart (`pci_request_acs()`), and there is an IOMMU (`iommu_detected`).
fn announced(context: &mut Context<'_>) -> Result<Outcome> {
    let Some(minihv) = context.minihv else { return Ok(Outcome::Skip("needs minihv".to_owned())) };
    let symbols = fs::read_to_string("/proc/kallsyms").context("/proc/kallsyms")?;
    // A text that is known, to see that the right memory is read.
    let Gpa(banner) = place(&symbols, "linux_banner")?;
    let word = minihv.peek(Gpa(banner & !7))? >> (8 * (banner & 7));
    ensure!(word as u8 == b'L', "linux_banner is read as {word:#x}");
    let variables = ["pci_acs_enable", "iommu_detected"];
    let values = variables.map(|name| int(minihv, &symbols, name));
    for (name, value) in variables.into_iter().zip(values) {
        let value = value?;
        ensure!(value == 1, "{name} is {value}");
    }
    Ok(Outcome::Pass(variables.join(", ")))
}

pub const ANNOUNCED: Check = Check::new("kernel-knows-of-iommu", announced);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_by_their_whole_name() {
        let symbols = "ffffffff82345678 d pci_acs_enable_more\nffffffff82345674 d pci_acs_enable\n\
                       ffff888000000000 d elsewhere\nffffffff81000000 t twice\nffffffff81000008 t twice\n";
        assert_eq!(place(symbols, "pci_acs_enable").unwrap(), Gpa(0x234_5674));
        for name in ["pci_acs", "elsewhere", "twice"] {
            assert!(place(symbols, name).is_err(), "{name}");
        }
    }
}
