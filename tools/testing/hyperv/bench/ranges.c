// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of any size in a domain of the root partition's IOMMU. The hypervisor keeps the tables, and
 * looks whether the partition has the memory. So a range leads to memory that is there and that
 * nobody uses, and one that is larger leads to it again and again.
 */
#include <linux/sizes.h>
#include <hyperv/hv_root_iommu.h>
#include <asm/mshyperv.h>

#include "bench.h"
#include "deposits.h"
#include "owner.h"
#include "measure.h"
#include "ranges.h"

#define WARM_UP 16
/* Where ranges begin in the domain. */
#define BASE (4UL * SZ_1G)

/* The domain that a range stays mapped in from one command to the next. */
static struct {
	struct iommu_domain *domain;
	size_t bytes;
} kept;
static DEFINE_MUTEX(kept_lock);

static size_t bytes_of(u64 pages)
{
	return pages << PAGE_SHIFT;
}

static bool is_sound(const struct bench_args *args)
{
	return args->ops && args->piece && args->pages && args->pages % args->piece == 0 &&
		args->frames >= args->piece && args->target;
}

/* Maps piece by piece; the last piece of the memory is the first one that is used. */
static int map(struct iommu_domain *domain, const struct bench_args *args)
{
	size_t bytes = bytes_of(args->pages), piece = bytes_of(args->piece), done;
	phys_addr_t first = PFN_PHYS(args->target), end, phys;
	int ret;

	end = first + rounddown(bytes_of(args->frames), piece);
	phys = end;
	for (done = 0; done < bytes; done += piece) {
		phys -= piece;
		ret = iommu_map(domain, BASE + done, phys, piece, IOMMU_READ | IOMMU_WRITE,
				GFP_KERNEL);
		if (ret) {
			iommu_unmap(domain, BASE, done);
			return ret;
		}
		if (phys == first)
			phys = end;
	}
	return 0;
}

static int unmap(struct iommu_domain *domain, size_t bytes)
{
	return iommu_unmap(domain, BASE, bytes) == bytes ? 0 : -EIO;
}

/* What it took, and calls of the hypervisor. */
struct cost {
	struct measure measure;
	u64 calls, deposits;
};

static void begin(struct cost *cost, u32 call)
{
	cost->calls -= hypervisor_calls(call);
	cost->deposits -= hypervisor_calls(HVCALL_DEPOSIT_MEMORY);
	measure_begin(&cost->measure);
}

static void end(struct cost *cost, u32 call)
{
	measure_end(&cost->measure);
	cost->calls += hypervisor_calls(call);
	cost->deposits += hypervisor_calls(HVCALL_DEPOSIT_MEMORY);
}

static void print(struct seq_buf *out, const char *name, const struct cost *cost, unsigned int ops)
{
	measure_print(out, cost->measure.clock, ops, "instructions", "root/%s", name);
	measure_print_hypervisor(out, &cost->measure, ops, "root/%s-hypervisor", name);
	measure_print(out, cost->calls, ops, "calls", "root/%s/calls", name);
	measure_print(out, cost->deposits, ops, "calls", "root/%s/deposits", name);
}

static int rounds(struct iommu_domain *domain, const struct bench_args *args, unsigned int count,
		  struct cost *mapping, struct cost *unmapping)
{
	int ret;

	while (count--) {
		begin(mapping, HVCALL_MAP_DEVICE_GPA_PAGES);
		ret = map(domain, args);
		end(mapping, HVCALL_MAP_DEVICE_GPA_PAGES);
		if (ret)
			return ret;
		begin(unmapping, HVCALL_UNMAP_DEVICE_GPA_PAGES);
		ret = unmap(domain, bytes_of(args->pages));
		end(unmapping, HVCALL_UNMAP_DEVICE_GPA_PAGES);
		if (ret)
			return ret;
	}
	return 0;
}

static int run_turns(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct cost mapping = {}, unmapping = {}, warm_up = {};
	struct iommu_domain *domain;
	int ret;

	if (!measure_has_hypervisor())
		return -EOPNOTSUPP;
	if (!is_sound(args))
		return -EINVAL;
	domain = owner_domain_get(dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	ret = rounds(domain, args, WARM_UP, &warm_up, &warm_up);
	ret = ret ?: rounds(domain, args, args->ops, &mapping, &unmapping);
	owner_domain_put(domain, dev);
	if (ret)
		return ret;
	print(out, "map", &mapping, args->ops);
	print(out, "unmap", &unmapping, args->ops);
	return 0;
}

static int run_map(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct iommu_domain *domain;
	struct cost mapping = {};
	int ret;

	if (!measure_has_hypervisor())
		return -EOPNOTSUPP;
	if (!is_sound(args))
		return -EINVAL;
	guard(mutex)(&kept_lock);
	if (kept.domain)
		return -EBUSY;
	ret = deposits_withdraw();
	if (ret)
		return ret;
	domain = owner_domain_get(dev);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	begin(&mapping, HVCALL_MAP_DEVICE_GPA_PAGES);
	ret = map(domain, args);
	end(&mapping, HVCALL_MAP_DEVICE_GPA_PAGES);
	if (ret) {
		owner_domain_put(domain, dev);
		return ret;
	}
	kept.domain = domain;
	kept.bytes = bytes_of(args->pages);
	print(out, "map", &mapping, 1);
	return 0;
}

static int run_unmap(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct cost unmapping = {};
	int ret;

	guard(mutex)(&kept_lock);
	if (!kept.domain)
		return -ENOENT;
	begin(&unmapping, HVCALL_UNMAP_DEVICE_GPA_PAGES);
	ret = unmap(kept.domain, kept.bytes);
	end(&unmapping, HVCALL_UNMAP_DEVICE_GPA_PAGES);
	owner_domain_put(kept.domain, dev);
	kept.domain = NULL;
	if (ret)
		return ret;
	print(out, "unmap", &unmapping, 1);
	return 0;
}

void ranges_release(struct device *dev)
{
	guard(mutex)(&kept_lock);
	if (!kept.domain)
		return;
	unmap(kept.domain, kept.bytes);
	owner_domain_put(kept.domain, dev);
	kept.domain = NULL;
}

/* Maps and unmaps in turns, when all tables are there. */
const struct bench_command bench_root_turns = {
	.name = "root-turns",
	.binding = BENCH_OWNER,
	.defaults = { .pages = 1, .piece = 1, .frames = 1, .ops = 256 },
	.run = run_turns,
};

/* Maps for the first time in a new domain; the range stays until "root-unmap". */
const struct bench_command bench_root_map = {
	.name = "root-map",
	.binding = BENCH_OWNER,
	.defaults = { .pages = 1, .piece = 1, .frames = 1, .ops = 1 },
	.run = run_map,
};

/* Unmaps what "root-map" has mapped. */
const struct bench_command bench_root_unmap = {
	.name = "root-unmap",
	.binding = BENCH_OWNER,
	.run = run_unmap,
};
