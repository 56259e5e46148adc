/* SPDX-License-Identifier: GPL-2.0 */
/* Memory that the root partition has given to the hypervisor. */
#ifndef _IOMMU_BENCH_DEPOSITS_H
#define _IOMMU_BENCH_DEPOSITS_H

/*
 * Takes back what the hypervisor has no use for, so that it asks for memory as it did when the
 * machine had just started.
 */
int deposits_withdraw(void);

#endif /* _IOMMU_BENCH_DEPOSITS_H */
