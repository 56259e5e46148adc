// SPDX-License-Identifier: GPL-2.0
#include <linux/irqflags.h>
#include <linux/math64.h>
#include <linux/string.h>

#include "bench.h"
#include "measure.h"

static bool has_hypervisor;
/* An empty measurement. */
static struct measure empty;
/* What an exit costs besides the hypervisor's ticks: the world switch. */
static u64 world_switch;

bool measure_has_hypervisor(void)
{
	return has_hypervisor;
}

u64 measure_clock_cost(void)
{
	return empty.clock;
}

void measure_begin(struct measure *measure)
{
	if (has_hypervisor)
		hypervisor_read_before(&measure->before);
	measure->start = measure_clock();
}

void measure_end(struct measure *measure)
{
	struct hypervisor_counts *sum = &measure->counts, *before = &measure->before, after = {};
	u64 end = measure_clock();
	u64 exits, ticks;

	measure->clock += end - measure->start - empty.clock;
	if (!has_hypervisor)
		return;
	hypervisor_read_after(&after);
	exits = after.exits - before->exits - empty.counts.exits;
	ticks = after.ticks - before->ticks - empty.counts.ticks;
	sum->exits += exits;
	sum->ticks += ticks;
	sum->calls += after.calls - before->calls;
	sum->descriptors += after.descriptors - before->descriptors;
	sum->pages += after.pages - before->pages;
	measure->hypervisor += ticks + exits * world_switch;
}

static void calibrate(void)
{
	struct measure nothing = {}, exits = {}, nops = {};
	u64 others;

	measure_begin(&nothing);
	measure_end(&nothing);
	empty = nothing;
	if (!has_hypervisor)
		return;
	measure_begin(&exits);
	hypervisor_exits();
	measure_end(&exits);
	measure_begin(&nops);
	hypervisor_no_exits();
	measure_end(&nops);
	others = nops.clock + exits.counts.ticks;
	/* The loop may seem to have taken longer without exits where instructions are not counted. */
	if (exits.clock > others)
		world_switch = div_u64(exits.clock - others, exits.counts.exits);
}

void measure_init(void)
{
	unsigned long flags;

	has_hypervisor = hypervisor_is_there();
	local_irq_save(flags);
	calibrate();
	local_irq_restore(flags);
}

static void print(struct seq_buf *out, u64 total, u64 ops, const char *unit,
		  struct va_format *metric)
{
	u64 thousandths;

	/* What measuring costs may have seemed to be more where instructions are not counted. */
	if ((s64)total < 0)
		total = 0;
	/* Rounded up: what is just above a limit stays above it. */
	thousandths = mul_u64_u64_div_u64_roundup(total, 1000, ops);
	seq_buf_printf(out, "%pV %llu.%03u %s\n", metric, thousandths / 1000,
		       (u32)(thousandths % 1000), unit);
}

void measure_print(struct seq_buf *out, u64 total, u64 ops, const char *unit, const char *name, ...)
{
	struct va_format metric = { .fmt = name };
	va_list args;

	va_start(args, name);
	metric.va = &args;
	print(out, total, ops, unit, &metric);
	va_end(args);
}

void measure_print_hypervisor(struct seq_buf *out, const struct measure *measure, u64 ops,
			      const char *name, ...)
{
	struct va_format metric = { .fmt = name };
	va_list args;

	if (!has_hypervisor)
		return;
	va_start(args, name);
	metric.va = &args;
	print(out, measure->hypervisor, ops, "instructions", &metric);
	va_end(args);
}

void measure_print_counts(struct seq_buf *out, const struct measure *unmap, u64 ops, u64 needed,
			  const char *prefix)
{
	if (!has_hypervisor)
		return;
	measure_print(out, unmap->counts.calls, ops, "calls", "%s/calls", prefix);
	measure_print(out, unmap->counts.descriptors, ops, "descriptors", "%s/descriptors", prefix);
	measure_print(out, unmap->counts.pages, ops, "pages", "%s/flushed", prefix);
	measure_print(out, needed, 1, "pages", "%s/needed", prefix);
}

static int run(struct device *dev, const struct bench_args *args, struct seq_buf *out)
{
	measure_print(out, world_switch, 1, "instructions", "overhead/world-switch");
	measure_print(out, empty.clock, 1, "instructions", "overhead/clock");
	return 0;
}

/* What was found out at the start. */
const struct bench_command bench_overhead = {
	.name = "overhead",
	.binding = BENCH_DMA_API,
	.run = run,
};
