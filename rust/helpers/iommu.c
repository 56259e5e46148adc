// SPDX-License-Identifier: GPL-2.0

#include <linux/device.h>
#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>
#include <linux/kmemleak.h>
#include <linux/pci.h>

#ifdef CONFIG_IOMMU_API
/* Functions that only IOMMU drivers may use. */
#include "../../drivers/iommu/dma-iommu.h"
#include "../../drivers/iommu/iommu-pages.h"
#endif

#ifdef CONFIG_IOMMU_API
__rust_helper void *rust_helper_dev_iommu_priv_get(struct device *dev)
{
	return dev_iommu_priv_get(dev);
}
#endif

__rust_helper void rust_helper_device_lock(struct device *dev)
{
	device_lock(dev);
}

__rust_helper void rust_helper_device_unlock(struct device *dev)
{
	device_unlock(dev);
}

__rust_helper int rust_helper_dev_to_node(struct device *dev)
{
	return dev_to_node(dev);
}

#ifdef CONFIG_PCI
__rust_helper int rust_helper_pci_domain_nr(struct pci_bus *bus)
{
	return pci_domain_nr(bus);
}
#endif

#ifndef CONFIG_DEBUG_KMEMLEAK
__rust_helper void rust_helper_kmemleak_not_leak(const void *ptr)
{
	kmemleak_not_leak(ptr);
}
#endif

#ifdef CONFIG_IOMMU_API
__rust_helper void rust_helper_iommu_put_pages_list(struct iommu_pages_list *list)
{
	iommu_put_pages_list(list);
}

__rust_helper void
rust_helper_iommu_iotlb_gather_add_page(struct iommu_domain *domain,
					struct iommu_iotlb_gather *gather,
					unsigned long iova, size_t size)
{
	iommu_iotlb_gather_add_page(domain, gather, iova, size);
}

__rust_helper void
rust_helper_iommu_iotlb_gather_add_range(struct iommu_iotlb_gather *gather,
					 unsigned long iova, size_t size)
{
	iommu_iotlb_gather_add_range(gather, iova, size);
}

__rust_helper bool
rust_helper_iommu_iotlb_gather_queued(struct iommu_iotlb_gather *gather)
{
	return iommu_iotlb_gather_queued(gather);
}
#endif

#ifdef CONFIG_IOMMU_API
__rust_helper void rust_helper_iommu_get_described_regions(struct device *dev,
							   struct list_head *head)
{
	iommu_dma_get_resv_regions(dev, head);
}
#endif

#ifdef CONFIG_GENERIC_PT
__rust_helper void rust_helper_pt_iommu_deinit(struct pt_iommu *iommu_table)
{
	pt_iommu_deinit(iommu_table);
}
#endif
