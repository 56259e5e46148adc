/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Maps and unmaps that take turns: each is timed for itself, the hypervisor is asked about all at
 * once.
 */
#ifndef _IOMMU_BENCH_TURNS_H
#define _IOMMU_BENCH_TURNS_H

#include "measure.h"

struct turns {
	u64 map;		/* instructions of all maps */
	u64 unmap;
	u64 ops;		/* of either */
	u64 start;
};

static inline void turns_begin(struct turns *turns)
{
	turns->start = measure_clock();
}

static inline void turns_end_map(struct turns *turns)
{
	turns->map += measure_clock() - turns->start - measure_clock_cost();
	turns->ops++;
}

static inline void turns_end_unmap(struct turns *turns)
{
	turns->unmap += measure_clock() - turns->start - measure_clock_cost();
}

/* Adds map and unmap to @out. */
static inline void turns_print(struct seq_buf *out, const char *prefix, const struct turns *turns)
{
	measure_print(out, turns->map, turns->ops, "instructions", "%s/map", prefix);
	measure_print(out, turns->unmap, turns->ops, "instructions", "%s/unmap", prefix);
}

/* The same, and what the hypervisor did in @all of it for each unmap of @needed pages. */
static inline void turns_print_all(struct seq_buf *out, const char *prefix,
				   const struct turns *turns, const struct measure *all,
				   u64 needed)
{
	turns_print(out, prefix, turns);
	measure_print_hypervisor(out, all, turns->ops, "%s/unmap-hypervisor", prefix);
	measure_print_counts(out, all, turns->ops, needed, prefix);
}

#endif /* _IOMMU_BENCH_TURNS_H */
