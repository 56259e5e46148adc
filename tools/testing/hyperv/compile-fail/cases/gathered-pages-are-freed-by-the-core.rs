// SPDX-License-Identifier: GPL-2.0
//! The pages that an unmap took out of a table are freed after the flush, and by nobody but the container.

use kernel::iommu::gather::Gather;
use kernel::iommu::Iova;

pub fn unmap(gather: &mut Gather, iova: Iova) {
    gather.add_range(iova, 4096);
    #[cfg(misuse)]
    gather.free_pages(); //~ E0624: method `free_pages` is private
}
