// SPDX-License-Identifier: GPL-2.0
/*
 * dma_map_single() and dma_unmap_single(): several threads map a number of buffers each, then unmap
 * them in the same order. The clock counts the instructions of all processors.
 */
#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/slab.h>

#include "bench.h"
#include "measure.h"
#include "threads.h"

#define WARM_UP_ROUNDS 16

struct load {
	struct device *dev;
	size_t offset;		/* of the mapping in the buffer */
	size_t bytes;
	unsigned int depth;
	unsigned int rounds;
	struct measure empty, map, unmap;
};

static int map_all(const struct load *load, void *buffer, dma_addr_t *addresses)
{
	unsigned int i;

	for (i = 0; i < load->depth; i++) {
		addresses[i] = dma_map_single(load->dev, buffer + load->offset, load->bytes,
					      DMA_BIDIRECTIONAL);
		if (dma_mapping_error(load->dev, addresses[i]))
			return -ENOMEM;
	}
	return 0;
}

static void unmap_all(const struct load *load, const dma_addr_t *addresses)
{
	unsigned int i;

	for (i = 0; i < load->depth; i++)
		dma_unmap_single(load->dev, addresses[i], load->bytes, DMA_BIDIRECTIONAL);
}

static void begin(struct threads *threads, unsigned int number, struct measure *measure,
		  unsigned int *step)
{
	threads_meet(threads, ++*step);
	if (!number)
		measure_begin(measure);
	threads_meet(threads, ++*step);
}

static void end(struct threads *threads, unsigned int number, struct measure *measure,
		unsigned int *step)
{
	threads_meet(threads, ++*step);
	if (!number)
		measure_end(measure);
	threads_meet(threads, ++*step);
}

static int measured_rounds(struct threads *threads, unsigned int number, void *buffer,
			   dma_addr_t *addresses)
{
	struct load *load = threads->context;
	unsigned int i, step = 0;
	int ret = 0;

	for (i = 0; i < WARM_UP_ROUNDS + load->rounds; i++) {
		if (i == WARM_UP_ROUNDS && !number) {
			load->empty = (struct measure){};
			load->map = (struct measure){};
			load->unmap = (struct measure){};
		}
		begin(threads, number, &load->empty, &step);
		end(threads, number, &load->empty, &step);
		begin(threads, number, &load->map, &step);
		/* A thread that fails still meets the others. */
		ret = ret ?: map_all(load, buffer, addresses);
		end(threads, number, &load->map, &step);
		begin(threads, number, &load->unmap, &step);
		if (!ret)
			unmap_all(load, addresses);
		end(threads, number, &load->unmap, &step);
	}
	return ret;
}

static int work(struct threads *threads, unsigned int number)
{
	const struct load *load = threads->context;
	size_t size = load->offset + load->bytes;
	void *buffer = alloc_pages_exact(size, GFP_KERNEL);
	dma_addr_t *addresses = kcalloc(load->depth, sizeof(*addresses), GFP_KERNEL);
	int ret = -ENOMEM;

	if (buffer && addresses)
		ret = measured_rounds(threads, number, buffer, addresses);
	kfree(addresses);
	if (buffer)
		free_pages_exact(buffer, size);
	return ret;
}

static void subtract(struct measure *from, const struct measure *what)
{
	from->clock -= what->clock;
	from->hypervisor -= what->hypervisor;
}

static int measure_load(struct load *load, const struct bench_args *args, const char *prefix,
			struct seq_buf *out)
{
	struct threads threads = { .count = args->threads, .work = work, .context = load };
	u64 ops, needed;
	int ret;

	if (!args->depth || args->ops < args->depth)
		return -EINVAL;
	load->depth = args->depth;
	load->rounds = args->ops / args->depth;
	ret = dma_set_mask(load->dev, DMA_BIT_MASK(32)) ?: threads_run(&threads);
	if (ret)
		return ret;
	ops = (u64)load->rounds * load->depth * args->threads;
	needed = DIV_ROUND_UP(load->offset + load->bytes, PAGE_SIZE);
	subtract(&load->map, &load->empty);
	subtract(&load->unmap, &load->empty);
	measure_print(out, load->map.clock, ops, "instructions", "%s/map", prefix);
	measure_print(out, load->unmap.clock, ops, "instructions", "%s/unmap", prefix);
	/* The clock runs on for other processors while the hypervisor works for one. */
	if (args->threads == 1) {
		measure_print_hypervisor(out, &load->map, ops, "%s/map-hypervisor", prefix);
		measure_print_hypervisor(out, &load->unmap, ops, "%s/unmap-hypervisor", prefix);
	}
	measure_print_counts(out, &load->unmap, ops, needed, prefix);
	return 0;
}

static int run_dma(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct load load = { .dev = dev, .bytes = (size_t)args->pages * PAGE_SIZE };
	char prefix[32];

	snprintf(prefix, sizeof(prefix), "dma/%up/%ut", args->pages, args->threads);
	return measure_load(&load, args, prefix, out);
}

static int run_unaligned(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct load load = {
		.dev = dev,
		.bytes = (size_t)args->pages * PAGE_SIZE,
		.offset = args->first,
	};
	char prefix[32];

	if (args->first >= PAGE_SIZE)
		return -EINVAL;
	snprintf(prefix, sizeof(prefix), "unaligned/%u+%up", args->first, args->pages);
	return measure_load(&load, args, prefix, out);
}

const struct bench_command bench_dma = {
	.name = "dma",
	.binding = BENCH_DMA_API,
	.defaults = { .pages = 1, .threads = 1, .ops = 2048, .depth = 32 },
	.run = run_dma,
};

/* @first is a number of bytes, below a page. */
const struct bench_command bench_unaligned = {
	.name = "unaligned",
	.binding = BENCH_DMA_API,
	.defaults = { .pages = 3, .threads = 1, .ops = 1024, .depth = 32 },
	.run = run_unaligned,
};
