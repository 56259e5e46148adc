// SPDX-License-Identifier: GPL-2.0
/* Domains: create, attach, detach, free. */
#include "bench.h"
#include "measure.h"
#include "owner.h"

#define WARM_UP 4

struct costs {
	struct measure create, attach, detach, free;
};

static int cycle(struct device *dev, struct costs *costs)
{
	struct iommu_domain *domain;
	int ret;

	measure_begin(&costs->create);
	domain = iommu_paging_domain_alloc(dev);
	measure_end(&costs->create);
	if (IS_ERR(domain))
		return PTR_ERR(domain);
	measure_begin(&costs->attach);
	ret = iommu_attach_device(domain, dev);
	measure_end(&costs->attach);
	if (!ret) {
		measure_begin(&costs->detach);
		iommu_detach_device(domain, dev);
		measure_end(&costs->detach);
	}
	measure_begin(&costs->free);
	iommu_domain_free(domain);
	measure_end(&costs->free);
	return ret;
}

static int cycles(struct device *dev, unsigned int count, struct costs *costs)
{
	int ret = 0;

	while (count-- && !ret)
		ret = cycle(dev, costs);
	return ret;
}

static void print(struct seq_buf *out, const char *name, const struct measure *cost,
		  unsigned int ops)
{
	measure_print(out, cost->clock, ops, "instructions", "domain/%s", name);
	measure_print_hypervisor(out, cost, ops, "domain/%s-hypervisor", name);
	if (measure_has_hypervisor())
		measure_print(out, cost->counts.calls, ops, "calls", "domain/%s/calls", name);
}

static int run(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	struct costs costs = {}, warm_up = {};
	int ret;

	if (!args->ops)
		return -EINVAL;
	ret = owner_claim(dev);
	if (ret)
		return ret;
	ret = cycles(dev, WARM_UP, &warm_up) ?: cycles(dev, args->ops, &costs);
	owner_release(dev);
	if (ret)
		return ret;
	print(out, "create", &costs.create, args->ops);
	print(out, "attach", &costs.attach, args->ops);
	print(out, "detach", &costs.detach, args->ops);
	print(out, "free", &costs.free, args->ops);
	return 0;
}

const struct bench_command bench_domain = {
	.name = "domain",
	.binding = BENCH_OWNER,
	.defaults = { .ops = 32 },
	.run = run,
};
