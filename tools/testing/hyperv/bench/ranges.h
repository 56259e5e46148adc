/* SPDX-License-Identifier: GPL-2.0 */
/* A range that stays mapped from one command to the next. */
#ifndef _IOMMU_BENCH_RANGES_H
#define _IOMMU_BENCH_RANGES_H

struct device;

/* The device goes: its range goes, too. */
void ranges_release(struct device *dev);

#endif /* _IOMMU_BENCH_RANGES_H */
