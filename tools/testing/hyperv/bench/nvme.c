// SPDX-License-Identifier: GPL-2.0
/*
 * What an NVMe driver does: a queue of requests, each of some single pages; the oldest is unmapped
 * when it is full, and a new one mapped.
 */
#include <linux/dma-mapping.h>
#include <linux/slab.h>

#include "bench.h"
#include "lists.h"
#include "turns.h"

#define WARM_UP 600

static int map(struct device *dev, struct sg_table *request)
{
	struct scatterlist *sg = request->sgl;

	if (request->orig_nents > 1)
		return dma_map_sgtable(dev, request, DMA_FROM_DEVICE, 0);
	sg_dma_address(sg) = dma_map_page(dev, sg_page(sg), 0, PAGE_SIZE, DMA_FROM_DEVICE);
	return dma_mapping_error(dev, sg_dma_address(sg));
}

static void unmap(struct device *dev, struct sg_table *request)
{
	if (request->orig_nents > 1)
		dma_unmap_sgtable(dev, request, DMA_FROM_DEVICE, 0);
	else
		dma_unmap_page(dev, sg_dma_address(request->sgl), PAGE_SIZE, DMA_FROM_DEVICE);
}

static int replace(struct device *dev, struct sg_table *request, struct turns *turns)
{
	int ret;

	turns_begin(turns);
	unmap(dev, request);
	turns_end_unmap(turns);
	turns_begin(turns);
	ret = map(dev, request);
	turns_end_map(turns);
	return ret;
}

struct queue {
	unsigned int depth;
	unsigned int made;
	unsigned int mapped;
	struct sg_table requests[] __counted_by(depth);
};

static void destroy(struct device *dev, struct queue *queue)
{
	while (queue->mapped)
		unmap(dev, &queue->requests[--queue->mapped]);
	while (queue->made)
		list_free(&queue->requests[--queue->made]);
	kfree(queue);
}

static int fill(struct device *dev, struct queue *queue, unsigned int entries)
{
	int ret = 0;

	for (; queue->made < queue->depth && !ret; queue->made += !ret)
		ret = list_make(&queue->requests[queue->made], entries, 1);
	for (; queue->mapped < queue->made && !ret; queue->mapped += !ret)
		ret = map(dev, &queue->requests[queue->mapped]);
	return ret;
}

static int work(struct device *dev, struct queue *queue, unsigned int ops, struct turns *turns)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < ops && !ret; i++)
		ret = replace(dev, &queue->requests[i % queue->depth], turns);
	return ret;
}

static int run(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct turns turns = {}, warm_up = {};
	struct measure all = {};
	struct queue *queue;
	char prefix[32];
	int ret;

	if (!args->depth || !args->entries)
		return -EINVAL;
	queue = kzalloc(struct_size(queue, requests, args->depth), GFP_KERNEL);
	if (!queue)
		return -ENOMEM;
	queue->depth = args->depth;
	ret = dma_set_mask(dev, DMA_BIT_MASK(32)) ?: fill(dev, queue, args->entries) ?:
	      work(dev, queue, WARM_UP, &warm_up);
	if (!ret) {
		measure_begin(&all);
		ret = work(dev, queue, args->ops, &turns);
		measure_end(&all);
	}
	destroy(dev, queue);
	if (ret)
		return ret;
	snprintf(prefix, sizeof(prefix), "pattern/nvme/%uk", args->entries * 4);
	turns_print_all(out, prefix, &turns, &all, args->entries);
	return 0;
}

const struct bench_command bench_nvme = {
	.name = "nvme",
	.binding = BENCH_DMA_API,
	.defaults = { .entries = 1, .depth = 32, .ops = 2040 },
	.run = run,
};
