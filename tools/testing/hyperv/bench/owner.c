// SPDX-License-Identifier: GPL-2.0
#include <linux/err.h>

#include "owner.h"

static char owner;

int owner_claim(struct device *dev)
{
	return iommu_device_claim_dma_owner(dev, &owner);
}

void owner_release(struct device *dev)
{
	iommu_device_release_dma_owner(dev);
}

struct iommu_domain *owner_domain_get(struct device *dev)
{
	struct iommu_domain *domain;
	int ret;

	ret = owner_claim(dev);
	if (ret)
		return ERR_PTR(ret);
	domain = iommu_paging_domain_alloc(dev);
	if (IS_ERR(domain))
		goto release;
	ret = iommu_attach_device(domain, dev);
	if (!ret)
		return domain;
	iommu_domain_free(domain);
	domain = ERR_PTR(ret);
release:
	owner_release(dev);
	return domain;
}

void owner_domain_put(struct iommu_domain *domain, struct device *dev)
{
	iommu_detach_device(domain, dev);
	iommu_domain_free(domain);
	owner_release(dev);
}
