// SPDX-License-Identifier: GPL-2.0

//! Domains of the IOMMU that is told of each page.

use super::{
    counters::{
        CountedDomain,
        Counters, //
    },
    driver::Mock, //
};
use kernel::{
    alloc::Flags,
    io::PhysAddr,
    iommu::{
        domain::{
            Config,
            Domain,
            Mapped,
            Mapping,
            NewDomain,
            PagingDomain,
            Pasid,
            SelfMapped,
            Unmapping, //
        },
        gather::Gather,
        probed::AttachTarget,
        Iova, //
    },
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNode, //
    },
    sync::{
        new_spinlock_irq,
        Arc,
        SpinLockIrq, //
    },
};

const PAGE_BYTES: u64 = 4096;

/// The driver's part of a domain.
#[pin_data]
pub(crate) struct MappedDomain {
    /// The physical address of each mapped page, by its IOVA.
    #[pin]
    pages: SpinLockIrq<RBTree<u64, PhysAddr>>,
    counters: CountedDomain,
}

impl MappedDomain {
    pub(crate) fn allocate(counters: &Arc<Counters>) -> Result<NewDomain<Mock>> {
        let config = Config {
            aperture: Iova::new(0)..=Iova::new((1 << 40) - 1),
            page_sizes: PAGE_BYTES as usize,
        };
        SelfMapped::allocate(
            config,
            pin_init!(MappedDomain {
                pages <- new_spinlock_irq!(RBTree::new()),
                counters: CountedDomain::new(counters),
            }),
        )
    }

    fn map_page(&self, iova: u64, phys: PhysAddr, flags: Flags) -> Result {
        let node = RBTreeNode::new(iova, phys, flags)?;
        let replaced = self.pages.lock().insert(node);
        match replaced {
            None => Ok(()),
            Some(_) => Err(EEXIST),
        }
    }

    fn unmap_page(&self, iova: u64) -> Option<RBTreeNode<u64, PhysAddr>> {
        self.pages.lock().remove_node(&iova)
    }
}

#[vtable]
impl Domain for MappedDomain {
    type Driver = Mock;

    fn attach(&self, _target: &AttachTarget<'_, Mock>) -> Result {
        self.counters.attaches.count();
        Ok(())
    }

    fn set_pasid(&self, _target: &AttachTarget<'_, Mock>, _pasid: Pasid) -> Result {
        self.counters.pasids.count();
        Ok(())
    }

    fn flush_all(&self) {
        self.counters.whole_flushes.count();
    }
}

#[vtable]
impl PagingDomain for MappedDomain {
    fn map(&self, mapping: &Mapping, flags: Flags) -> Mapped {
        let mut bytes = 0;
        while bytes < mapping.pages * mapping.page_bytes {
            let (iova, phys) = (
                mapping.iova.as_u64() + bytes as u64,
                mapping.phys + bytes as PhysAddr,
            );
            if let Err(error) = self.map_page(iova, phys, flags) {
                return Mapped {
                    bytes,
                    result: Err(error),
                };
            }
            bytes += mapping.page_bytes;
        }
        Mapped {
            bytes,
            result: Ok(()),
        }
    }

    fn unmap(&self, unmapping: &Unmapping<'_>, gather: &mut Gather) -> usize {
        let Unmapping {
            domain,
            iova,
            page_bytes,
            ..
        } = *unmapping;
        let mut pages = 0;
        while pages < unmapping.pages
            && self
                .unmap_page(iova.as_u64() + (pages * page_bytes) as u64)
                .is_some()
        {
            pages += 1;
        }
        gather.add_pages(domain, iova, page_bytes, pages);
        pages * page_bytes
    }

    fn flush(&self, gather: &Gather) {
        self.counters.flushed(gather.first(), gather.last());
    }

    fn iova_to_phys(&self, iova: Iova) -> Option<PhysAddr> {
        let inside = iova.as_u64() % PAGE_BYTES;
        let pages = self.pages.lock();
        let page = pages.get(&(iova.as_u64() - inside))?;
        Some(*page + inside)
    }
}
