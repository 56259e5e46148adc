// SPDX-License-Identifier: GPL-2.0
/* iommu_map() and iommu_unmap() on a domain with the device in it, one mapping at a time. */
#include <linux/sizes.h>

#include "bench.h"
#include "owner.h"
#include "turns.h"

#define WARM_UP 16
/* Where mappings lie, and what they point to. The device does no DMA: nothing needs to be there. */
#define BASE (4UL * SZ_1G)
#define TARGET SZ_1G

static int rounds(struct iommu_domain *domain, unsigned long iova, size_t bytes, unsigned int ops,
		  struct turns *turns)
{
	while (ops--) {
		size_t unmapped;
		int ret;

		turns_begin(turns);
		ret = iommu_map(domain, iova, TARGET, bytes, IOMMU_READ | IOMMU_WRITE, GFP_KERNEL);
		turns_end_map(turns);
		if (ret)
			return ret;
		turns_begin(turns);
		unmapped = iommu_unmap(domain, iova, bytes);
		turns_end_unmap(turns);
		if (unmapped != bytes)
			return -EIO;
	}
	return 0;
}

static int measure(struct device *dev, const struct bench_args *args, const char *prefix,
		   size_t leaf, struct seq_buf *out)
{
	unsigned long iova = BASE + args->first * PAGE_SIZE;
	size_t bytes = (size_t)args->pages * PAGE_SIZE;
	struct iommu_domain *domain = owner_domain_get(dev);
	struct turns turns = {}, warm_up = {};
	struct measure all = {};
	int ret = 0;

	if (IS_ERR(domain))
		return PTR_ERR(domain);
	if (!(domain->pgsize_bitmap & leaf))
		ret = -EOPNOTSUPP;
	ret = ret ?: rounds(domain, iova, bytes, WARM_UP, &warm_up);
	measure_begin(&all);
	ret = ret ?: rounds(domain, iova, bytes, args->ops, &turns);
	measure_end(&all);
	owner_domain_put(domain, dev);
	if (!ret)
		turns_print_all(out, prefix, &turns, &all, args->pages);
	return ret;
}

static int run_leaf(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	size_t bytes = (size_t)args->pages * PAGE_SIZE;

	switch (bytes) {
	case SZ_2M:
		return measure(dev, args, "iommu/2m", bytes, out);
	case SZ_1G:
		return measure(dev, args, "iommu/1g", bytes, out);
	default:
		return -EINVAL;
	}
}

static int run_range(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	char prefix[32];

	snprintf(prefix, sizeof(prefix), "iommu/%u+%up", args->first, args->pages);
	return measure(dev, args, prefix, PAGE_SIZE, out);
}

/* One leaf of the table: 512 or 262144 pages. */
const struct bench_command bench_iommu_map = {
	.name = "iommu",
	.binding = BENCH_OWNER,
	.defaults = { .pages = 512, .ops = 1024 },
	.run = run_leaf,
};

/* Pages that begin @first pages behind a boundary of every block size. */
const struct bench_command bench_iommu_range = {
	.name = "iommu-range",
	.binding = BENCH_OWNER,
	.defaults = { .pages = 3, .first = 1, .ops = 1024 },
	.run = run_range,
};
