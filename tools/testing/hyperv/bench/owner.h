/* SPDX-License-Identifier: GPL-2.0 */
/* A device whose DMA belongs to this module. */
#ifndef _IOMMU_BENCH_OWNER_H
#define _IOMMU_BENCH_OWNER_H

#include <linux/iommu.h>

/* Takes @dev's DMA over: it is blocked until a domain is attached. */
int owner_claim(struct device *dev);
void owner_release(struct device *dev);

/* The same with a domain of its own; released by owner_domain_put(). */
struct iommu_domain *owner_domain_get(struct device *dev);
void owner_domain_put(struct iommu_domain *domain, struct device *dev);

#endif /* _IOMMU_BENCH_OWNER_H */
