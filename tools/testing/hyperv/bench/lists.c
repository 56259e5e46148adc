// SPDX-License-Identifier: GPL-2.0
#include <linux/gfp.h>

#include "lists.h"

/* Behind each block is a page of its own, so that no two blocks touch whatever memory is free. */
#define GAP PAGE_SIZE

void list_free(struct sg_table *table)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_sg(table, sg, i)
		if (sg_page(sg))
			free_pages_exact(sg_virt(sg), sg->length + GAP);
	sg_free_table(table);
}

int list_make(struct sg_table *table, unsigned int entries, unsigned int pages)
{
	size_t bytes = (size_t)pages * PAGE_SIZE;
	struct scatterlist *sg;
	unsigned int i;
	int ret;

	ret = sg_alloc_table(table, entries, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sgtable_sg(table, sg, i) {
		void *block = alloc_pages_exact(bytes + GAP, GFP_KERNEL);

		if (!block) {
			list_free(table);
			return -ENOMEM;
		}
		sg_set_buf(sg, block, bytes);
	}
	return 0;
}
