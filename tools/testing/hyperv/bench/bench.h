/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _IOMMU_BENCH_H
#define _IOMMU_BENCH_H

#include <linux/device.h>
#include <linux/seq_buf.h>

/* The numbers that a command can be given; each command has its own defaults. */
struct bench_args {
	unsigned int pages;	/* of one mapping */
	unsigned int entries;	/* of a scatter-gather list */
	unsigned int first;	/* bytes or pages before the mapping */
	unsigned int threads;
	unsigned int ops;	/* measured operations, each thread */
	unsigned int depth;	/* mappings that are there at once */
	unsigned int piece;	/* pages that one iommu_map() maps */
	unsigned int target;	/* page number of the memory that is mapped */
	unsigned int frames;	/* pages of that memory */
};

/* Who the device's DMA belongs to while a command runs. */
enum bench_binding {
	BENCH_DMA_API,		/* the kernel: mappings by the DMA API */
	BENCH_OWNER,		/* this module: domains of its own */
};

struct bench_command {
	const char *name;
	enum bench_binding binding;
	struct bench_args defaults;
	int (*run)(struct device *dev, const struct bench_args *args, struct seq_buf *out);
};

extern const struct bench_command bench_ktime, bench_dma, bench_unaligned;
extern const struct bench_command bench_sg, bench_nvme, bench_nic;
extern const struct bench_command bench_iommu_map, bench_iommu_range;
extern const struct bench_command bench_domain;
extern const struct bench_command bench_root_turns, bench_root_map, bench_root_unmap;
extern const struct bench_command bench_flush, bench_overhead;

struct iommu_domain;
struct iommu_iotlb_gather;

/* Returns. */
void bench_nothing(struct iommu_domain *domain, struct iommu_iotlb_gather *gather);

/* The device that is bound to this module, or NULL. */
struct device *bench_device(enum bench_binding binding);

int bench_command_init(void);
void bench_command_exit(void);

#endif /* _IOMMU_BENCH_H */
