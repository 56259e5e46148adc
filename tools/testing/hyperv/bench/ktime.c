// SPDX-License-Identifier: GPL-2.0
/*
 * The method of the kernel's own benchmark (kernel/dma/map_benchmark.c), without its rounding to
 * 100 ns: one thread on any processor, one mapping at a time in both directions of a buffer that is
 * filled first, two readings of the kernel's clock around each operation.
 */
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/timekeeping.h>

#include "bench.h"
#include "measure.h"

/* Before anything is measured: the flush queue has been full, the caches of IOVAs are filled. */
#define WARM_UP 300
/* At most so many find the hypervisor's share: whole rounds of the flush queue. */
#define HYPERVISOR_OPS 5100U

struct sums {
	u64 map;
	u64 unmap;
};

static int pair(struct device *dev, void *buffer, size_t bytes, struct sums *sums,
		struct measure *unmap)
{
	ktime_t start, end;
	dma_addr_t address;

	memset(buffer, 0x66, bytes);
	start = ktime_get();
	address = dma_map_single(dev, buffer, bytes, DMA_BIDIRECTIONAL);
	if (dma_mapping_error(dev, address))
		return -ENOMEM;
	end = ktime_get();
	sums->map += ktime_to_ns(ktime_sub(end, start));

	if (unmap)
		measure_begin(unmap);
	start = ktime_get();
	dma_unmap_single(dev, address, bytes, DMA_BIDIRECTIONAL);
	end = ktime_get();
	if (unmap)
		measure_end(unmap);
	sums->unmap += ktime_to_ns(ktime_sub(end, start));
	return 0;
}

static int pairs(struct device *dev, void *buffer, size_t bytes, u64 ops, struct sums *sums,
		 struct measure *unmap)
{
	int ret = 0;

	for (; ops && !ret; ops--) {
		ret = pair(dev, buffer, bytes, sums, unmap);
		cond_resched();
	}
	return ret;
}

static int run(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	size_t bytes = (size_t)args->pages * PAGE_SIZE;
	struct sums sums = {}, ignored = {};
	u64 hypervisor_ops = min(args->ops, HYPERVISOR_OPS);
	struct measure unmap = {};
	void *buffer;
	int ret;

	ret = dma_set_mask(dev, DMA_BIT_MASK(32));
	if (ret)
		return ret;
	buffer = alloc_pages_exact(bytes, GFP_KERNEL);
	if (!buffer)
		return -ENOMEM;
	ret = pairs(dev, buffer, bytes, WARM_UP, &ignored, NULL) ?:
	      pairs(dev, buffer, bytes, args->ops, &sums, NULL);
	/* The hypervisor's share in rounds of its own: asking for it is no part of the method. */
	if (!ret && measure_has_hypervisor())
		ret = pairs(dev, buffer, bytes, hypervisor_ops, &ignored, &unmap);
	free_pages_exact(buffer, bytes);
	if (ret)
		return ret;
	measure_print(out, sums.map, args->ops, "instructions", "ktime/%up/map", args->pages);
	measure_print(out, sums.unmap, args->ops, "instructions", "ktime/%up/unmap", args->pages);
	measure_print_hypervisor(out, &unmap, hypervisor_ops, "ktime/%up/unmap-hypervisor",
				 args->pages);
	return 0;
}

const struct bench_command bench_ktime = {
	.name = "ktime",
	.binding = BENCH_DMA_API,
	.defaults = { .pages = 1, .ops = 2048 },
	.run = run,
};
