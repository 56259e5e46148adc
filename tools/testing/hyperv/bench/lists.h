/* SPDX-License-Identifier: GPL-2.0 */
/* Scatter-gather lists of blocks of pages that nowhere touch. */
#ifndef _IOMMU_BENCH_LISTS_H
#define _IOMMU_BENCH_LISTS_H

#include <linux/scatterlist.h>

/* Makes a list of @entries blocks of @pages pages each. */
int list_make(struct sg_table *table, unsigned int entries, unsigned int pages);
void list_free(struct sg_table *table);

#endif /* _IOMMU_BENCH_LISTS_H */
