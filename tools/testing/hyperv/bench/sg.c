// SPDX-License-Identifier: GPL-2.0
/* dma_map_sgtable() and dma_unmap_sgtable(), one list at a time. */
#include <linux/dma-mapping.h>

#include "bench.h"
#include "lists.h"
#include "turns.h"

#define WARM_UP 300

static int rounds(struct device *dev, struct sg_table *list, unsigned int ops, struct turns *turns)
{
	while (ops--) {
		int ret;

		turns_begin(turns);
		ret = dma_map_sgtable(dev, list, DMA_BIDIRECTIONAL, 0);
		turns_end_map(turns);
		if (ret)
			return ret;
		turns_begin(turns);
		dma_unmap_sgtable(dev, list, DMA_BIDIRECTIONAL, 0);
		turns_end_unmap(turns);
	}
	return 0;
}

static int run(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct turns turns = {}, warm_up = {};
	struct measure all = {};
	struct sg_table list;
	char prefix[32];
	int ret;

	ret = dma_set_mask(dev, DMA_BIT_MASK(32)) ?: list_make(&list, args->entries, args->pages);
	if (ret)
		return ret;
	ret = rounds(dev, &list, WARM_UP, &warm_up);
	measure_begin(&all);
	ret = ret ?: rounds(dev, &list, args->ops, &turns);
	measure_end(&all);
	list_free(&list);
	if (ret)
		return ret;
	snprintf(prefix, sizeof(prefix), "sg/%ux%up", args->entries, args->pages);
	turns_print_all(out, prefix, &turns, &all, args->entries * args->pages);
	return 0;
}

const struct bench_command bench_sg = {
	.name = "sg",
	.binding = BENCH_DMA_API,
	.defaults = { .entries = 16, .pages = 1, .ops = 1020 },
	.run = run,
};
