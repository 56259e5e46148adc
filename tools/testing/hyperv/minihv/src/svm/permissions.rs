// SPDX-License-Identifier: GPL-2.0
//! Which I/O ports and MSRs of the guest cause an exit: the two bitmaps that VMCBs point at.

use alloc::boxed::Box;

use hvcore::identity::Identity;

use crate::{io, msr};

const IO_BYTES: usize = 0x3000;
const MSR_BYTES: usize = 0x2000;

#[repr(C, align(4096))]
struct Bitmap<const N: usize>([u8; N]);

/// How the guest may not use an MSR by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MsrIntercept {
    /// Reads pass.
    Write,
    /// Nothing passes.
    ReadWrite,
}

/// The bitmaps, shared by all processors. MSRs outside the map's three ranges, such as all of Hyper-V's, exit anyway.
#[derive(Clone, Copy)]
pub struct Permissions {
    io: &'static Bitmap<IO_BYTES>,
    msr: &'static Bitmap<MSR_BYTES>,
}

impl Permissions {
    /// Intercepts what [`io`] and [`msr`] handle.
    pub fn new(identity: Identity) -> Permissions {
        let mut ports = Box::new(Bitmap([0; IO_BYTES]));
        for port in io::intercepted(identity).iter().flat_map(|range| range.clone()).map(usize::from) {
            ports.0[port / 8] |= 1 << (port % 8);
        }
        let mut msrs = Box::new(Bitmap([0; MSR_BYTES]));
        for (msr, intercept) in msr::INTERCEPTED {
            let Some(bit) = msr_bit(*msr) else { continue };
            msrs.0[bit / 8] |= match intercept {
                MsrIntercept::Write => 0b10 << (bit % 8),
                MsrIntercept::ReadWrite => 0b11 << (bit % 8),
            };
        }
        Permissions { io: Box::leak(ports), msr: Box::leak(msrs) }
    }

    /// Physical address of the I/O permission map.
    pub fn io_address(&self) -> u64 {
        self.io as *const Bitmap<IO_BYTES> as u64
    }

    /// Physical address of the MSR permission map.
    pub fn msr_address(&self) -> u64 {
        self.msr as *const Bitmap<MSR_BYTES> as u64
    }
}

/// Position of an MSR's read bit in the map; its write bit follows.
fn msr_bit(msr: u32) -> Option<usize> {
    const RANGE: u32 = 0x2000;
    const RANGES: [u32; 3] = [0, 0xc000_0000, 0xc001_0000];
    RANGES.iter().enumerate().find_map(|(i, first)| {
        let offset = msr.checked_sub(*first).filter(|offset| *offset < RANGE)?;
        Some((i * RANGE as usize + offset as usize) * 2)
    })
}
