// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's own share of a flush: its functions called directly, for the domain that the DMA API
 * uses, with interrupts on. The hypervisor's share, the kernel's way to it and the loop are left
 * out.
 */
#include <linux/iommu.h>

#include "bench.h"
#include "measure.h"

#define CALLS 64
#define ATTEMPTS 16
/* hv_std_hypercall(): ENDBR if need be; PUSH; MOV; MOV; MOV; MOV; CALL; POP; RET. */
#define WRAPPER (8 + IS_ENABLED(CONFIG_X86_KERNEL_IBT))
/* The hypercall page: VMMCALL; RET. */
#define HYPERCALL_PAGE 2
/* bench_nothing() itself: what is called in its stead has as much of it. */
#define NOTHING (1 + IS_ENABLED(CONFIG_X86_KERNEL_IBT))

typedef void (*flush_fn)(struct iommu_domain *domain, struct iommu_iotlb_gather *gather);

/* Never inlined, so that the loop is the same for all. */
static noinline void repeat(flush_fn flush, struct iommu_domain *domain,
			    struct iommu_iotlb_gather *gather)
{
	unsigned int i;

	for (i = 0; i < CALLS; i++)
		flush(domain, gather);
}

/* The cheapest of some attempts without other exits: interrupts come now and then. */
static u64 cost(flush_fn flush, struct iommu_domain *domain, struct iommu_iotlb_gather *gather,
		u64 *calls)
{
	u64 best = U64_MAX;
	unsigned int i;

	for (i = 0; i < ATTEMPTS; i++) {
		struct measure measure = {};
		u64 own;

		measure_begin(&measure);
		repeat(flush, domain, gather);
		measure_end(&measure);
		own = measure.clock - measure.hypervisor;
		if (own < best && measure.counts.exits == measure.counts.calls) {
			best = own;
			*calls = measure.counts.calls;
		}
	}
	return best;
}

static void print(struct seq_buf *out, const char *name, flush_fn flush,
		  struct iommu_domain *domain)
{
	struct iommu_iotlb_gather gather;
	u64 loop, own, calls;

	iommu_iotlb_gather_init(&gather);
	gather.start = 0xff000000;
	gather.end = gather.start + PAGE_SIZE - 1;
	loop = cost(bench_nothing, domain, &gather, &calls);
	own = cost(flush, domain, &gather, &calls) - loop;
	own += CALLS * NOTHING - calls * (WRAPPER + HYPERCALL_PAGE);
	measure_print(out, own, CALLS, "instructions", "flush/%s", name);
	measure_print(out, calls, CALLS, "calls", "flush/%s/calls", name);
}

static int run(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);

	if (!measure_has_hypervisor() || !domain)
		return -EOPNOTSUPP;
	if (!domain->ops->iotlb_sync || !domain->ops->flush_iotlb_all)
		return -EOPNOTSUPP;
	print(out, "iotlb-sync", domain->ops->iotlb_sync, domain);
	print(out, "flush-all", (flush_fn)(void *)domain->ops->flush_iotlb_all, domain);
	return 0;
}

const struct bench_command bench_flush = {
	.name = "flush",
	.binding = BENCH_DMA_API,
	.run = run,
};
