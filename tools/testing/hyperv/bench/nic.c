// SPDX-License-Identifier: GPL-2.0
/*
 * What a network driver does: a ring of receive buffers, half a page each, and one of frames to be
 * sent. For each frame in either direction, the oldest buffer is unmapped and a new one mapped.
 */
#include <linux/dma-mapping.h>
#include <linux/slab.h>

#include "bench.h"
#include "turns.h"

#define WARM_UP 2048
#define BUFFER_BYTES (PAGE_SIZE / 2)
#define FRAME_BYTES 1514
/* Before a frame, as the network stack leaves it for headers. */
#define HEADROOM 64

struct ring {
	enum dma_data_direction direction;
	size_t offset, bytes;	/* of what is mapped, in a buffer */
	unsigned int size;
	unsigned int mapped;
	void *memory;
	dma_addr_t *addresses;
	struct turns turns;
};

static int map(struct device *dev, struct ring *ring, unsigned int slot)
{
	void *data = ring->memory + slot * BUFFER_BYTES + ring->offset;

	ring->addresses[slot] = dma_map_single(dev, data, ring->bytes, ring->direction);
	return dma_mapping_error(dev, ring->addresses[slot]);
}

static void unmap(struct device *dev, struct ring *ring, unsigned int slot)
{
	dma_unmap_single(dev, ring->addresses[slot], ring->bytes, ring->direction);
}

static int fill(struct device *dev, struct ring *ring)
{
	int ret = 0;

	ring->memory = alloc_pages_exact(ring->size * BUFFER_BYTES, GFP_KERNEL);
	ring->addresses = kcalloc(ring->size, sizeof(*ring->addresses), GFP_KERNEL);
	if (!ring->memory || !ring->addresses)
		return -ENOMEM;
	for (; ring->mapped < ring->size && !ret; ring->mapped += !ret)
		ret = map(dev, ring, ring->mapped);
	return ret;
}

static void destroy(struct device *dev, struct ring *ring)
{
	while (ring->mapped)
		unmap(dev, ring, --ring->mapped);
	kfree(ring->addresses);
	if (ring->memory)
		free_pages_exact(ring->memory, ring->size * BUFFER_BYTES);
}

static int replace(struct device *dev, struct ring *ring, unsigned int slot)
{
	int ret;

	turns_begin(&ring->turns);
	unmap(dev, ring, slot);
	turns_end_unmap(&ring->turns);
	turns_begin(&ring->turns);
	ret = map(dev, ring, slot);
	turns_end_map(&ring->turns);
	return ret;
}

static int work(struct device *dev, struct ring *rx, struct ring *tx, unsigned int ops)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < ops && !ret; i++)
		ret = replace(dev, rx, i % rx->size) ?: replace(dev, tx, i % tx->size);
	return ret;
}

static int run(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct ring rx = {
		.direction = DMA_FROM_DEVICE,
		.bytes = BUFFER_BYTES,
		.size = args->depth,
	};
	struct ring tx = {
		.direction = DMA_TO_DEVICE,
		.bytes = FRAME_BYTES,
		.offset = HEADROOM,
		.size = args->depth,
	};
	struct measure all = {};
	struct turns both;
	int ret;

	if (!args->depth)
		return -EINVAL;
	ret = dma_set_mask(dev, DMA_BIT_MASK(32)) ?: fill(dev, &rx) ?: fill(dev, &tx) ?:
	      work(dev, &rx, &tx, WARM_UP);
	if (!ret) {
		rx.turns = (struct turns){};
		tx.turns = (struct turns){};
		measure_begin(&all);
		ret = work(dev, &rx, &tx, args->ops);
		measure_end(&all);
	}
	destroy(dev, &tx);
	destroy(dev, &rx);
	if (ret)
		return ret;
	both = (struct turns){
		.map = rx.turns.map + tx.turns.map,
		.unmap = rx.turns.unmap + tx.turns.unmap,
		.ops = rx.turns.ops + tx.turns.ops,
	};
	turns_print(out, "pattern/nic/rx", &rx.turns);
	turns_print(out, "pattern/nic/tx", &tx.turns);
	turns_print_all(out, "pattern/nic", &both, &all, 1);
	return 0;
}

const struct bench_command bench_nic = {
	.name = "nic",
	.binding = BENCH_DMA_API,
	.defaults = { .depth = 1024, .ops = 4096 },
	.run = run,
};
