/* SPDX-License-Identifier: GPL-2.0 */
/* What a stretch of code costs. */
#ifndef _IOMMU_BENCH_MEASURE_H
#define _IOMMU_BENCH_MEASURE_H

#include <linux/seq_buf.h>
#include <linux/types.h>
#include <asm/msr.h>

#include "hypervisor.h"

/* The sum over all begin/end pairs, without what measuring costs itself. */
struct measure {
	u64 clock;			/* instructions, the hypervisor's included */
	u64 hypervisor;			/* the hypervisor's, world switches included */
	struct hypervisor_counts counts;
	/* At the beginning. */
	u64 start;
	struct hypervisor_counts before;
};

/* Finds out what measuring costs. */
void measure_init(void);
bool measure_has_hypervisor(void);

static inline u64 measure_clock(void)
{
	return rdtsc();
}

/* What two readings of the clock cost, one after the other. */
u64 measure_clock_cost(void);

void measure_begin(struct measure *measure);
void measure_end(struct measure *measure);

/* Adds to @out the line "@name @total/@ops @unit". */
__printf(5, 6)
void measure_print(struct seq_buf *out, u64 total, u64 ops, const char *unit, const char *name,
		   ...);

/* The same for the hypervisor's share of @ops operations, where it is below. */
__printf(4, 5)
void measure_print_hypervisor(struct seq_buf *out, const struct measure *measure, u64 ops,
			      const char *name, ...);

/*
 * Adds what it was asked for by @ops unmaps of @needed pages each: calls, descriptors, flushed and
 * needed pages.
 */
void measure_print_counts(struct seq_buf *out, const struct measure *unmap, u64 ops, u64 needed,
			  const char *prefix);

#endif /* _IOMMU_BENCH_MEASURE_H */
