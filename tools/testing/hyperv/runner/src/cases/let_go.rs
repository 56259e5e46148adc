// SPDX-License-Identifier: GPL-2.0
//! Devices that the kernel has let go of while the host has them: hibernation, and another kernel.

use super::common::{says, with};
use super::power::{kernels, sleeps, SHORT_PAUSES};
use crate::case::Case;
use crate::expect::{self, Times};
use crate::mode;

fn power(name: &'static str) -> Case {
    with(Case::new("power", name, name), &mode::STRICT)
}

/// The cases.
pub fn cases() -> Vec<Case> {
    let on_the_way_out = "^hv_pviommu: .* devices are not blocked at shutdown$";
    vec![
        sleeps(power("hibernation-let-go"))
            .append(SHORT_PAUSES)
            .memory("640M")
            .expect(expect::taken_away(1))
            .expect(expect::device_refused()),
        kernels(power("kexec-detached"), &["kexec-arrived"])
            .expect(says(
                "devices are detached",
                r" IOMMU: not in the blocking domain, detached instead$",
                Times::AtMost(8),
            ))
            .expect(says("all of them are blocked", on_the_way_out, Times::Never)),
        kernels(power("kexec-loose"), &["kexec-arrived-loose"])
            .expect(says(
                "the removed device is not blocked",
                r" IOMMU: DMA is not blocked but by the device: HVCALL_ATTACH_DEVICE_DOMAIN: 0x71 ",
                Times::Exactly(2),
            ))
            // The core has no more use for the device's domain, which the device is still in.
            .violation("^0xc5 DELETE_DEVICE_DOMAIN: 0x19")
            .expect(says(
                "the domain stays",
                r"^hv_pviommu: HVCALL_DELETE_DEVICE_DOMAIN of domain \d+: 0x19 .*; its number is retired$",
                Times::Once,
            ))
            .expect(says("it is blocked in the end", on_the_way_out, Times::Never)),
    ]
}
