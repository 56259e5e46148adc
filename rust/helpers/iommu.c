// SPDX-License-Identifier: GPL-2.0

#include <linux/generic_pt/iommu.h>
#include <linux/iommu.h>

#ifdef CONFIG_IOMMU_API
__rust_helper void *rust_helper_dev_iommu_priv_get(struct device *dev)
{
	return dev_iommu_priv_get(dev);
}
#endif

#ifdef CONFIG_IOMMU_PT
__rust_helper void rust_helper_pt_iommu_deinit(struct pt_iommu *iommu_table)
{
	pt_iommu_deinit(iommu_table);
}
#endif
