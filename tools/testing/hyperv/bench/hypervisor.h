/* SPDX-License-Identifier: GPL-2.0 */
/* What the test hypervisor counts, asked for by CPUID (hvcore/src/test_interface.rs). */
#ifndef _IOMMU_BENCH_HYPERVISOR_H
#define _IOMMU_BENCH_HYPERVISOR_H

#include <linux/types.h>

/* Counts since boot. */
struct hypervisor_counts {
	u64 calls;		/* IOMMU hypercalls */
	u64 descriptors;	/* of list flushes */
	u64 pages;		/* that list flushes covered */
	u64 exits;
	u64 ticks;		/* of the hypervisor in handling exits */
};

/* Hypercalls with this call code, since boot. */
u64 hypervisor_calls(u32 code);

/* Whether it is below; all counts are 0 otherwise. */
bool hypervisor_is_there(void);

/* A number of exits that do nothing, and the same code with an instruction that does not exit. */
void hypervisor_exits(void);
void hypervisor_no_exits(void);

/* Reads exits and ticks; the ticks last, so that no other exit follows. */
void hypervisor_read_before(struct hypervisor_counts *counts);
/* The same, the ticks first. */
void hypervisor_read_after(struct hypervisor_counts *counts);

#endif /* _IOMMU_BENCH_HYPERVISOR_H */
