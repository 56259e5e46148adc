// SPDX-License-Identifier: GPL-2.0
/*
 * The file "iommu_bench" in debugfs. Writing "COMMAND [NUMBER=VALUE]..." runs a measurement;
 * reading shows the results of the last one, a line "METRIC VALUE UNIT" each.
 */
#include <linux/debugfs.h>
#include <linux/jiffies.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "bench.h"

static const struct bench_command *const commands[] = {
	&bench_ktime, &bench_dma, &bench_unaligned, &bench_sg, &bench_nvme, &bench_nic,
	&bench_iommu_map, &bench_iommu_range, &bench_domain, &bench_flush, &bench_overhead,
	&bench_root_turns, &bench_root_map, &bench_root_unmap,
};

static const struct {
	const char *name;
	size_t offset;
} numbers[] = {
	{ "pages", offsetof(struct bench_args, pages) },
	{ "entries", offsetof(struct bench_args, entries) },
	{ "first", offsetof(struct bench_args, first) },
	{ "threads", offsetof(struct bench_args, threads) },
	{ "ops", offsetof(struct bench_args, ops) },
	{ "depth", offsetof(struct bench_args, depth) },
	{ "piece", offsetof(struct bench_args, piece) },
	{ "target", offsetof(struct bench_args, target) },
	{ "frames", offsetof(struct bench_args, frames) },
};

static struct dentry *file;
static DEFINE_MUTEX(lock);
static char text[PAGE_SIZE];
static struct seq_buf results;

static int set_number(struct bench_args *args, char *word)
{
	char *name = strsep(&word, "=");
	unsigned int i;

	if (!word)
		return -EINVAL;
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		void *number = (void *)args + numbers[i].offset;

		if (!strcmp(name, numbers[i].name))
			return kstrtouint(word, 10, number);
	}
	return -EINVAL;
}

static const struct bench_command *find(const char *name)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(name, commands[i]->name))
			return commands[i];
	return NULL;
}

/* Two boots then have their timer interrupts in the same places. */
static void wait_for_tick(void)
{
	unsigned long next = jiffies + 1;

	while (time_before(jiffies, next))
		cpu_relax();
}

static int run(char *line)
{
	const struct bench_command *command = find(strsep(&line, " "));
	struct bench_args args;
	struct device *dev;
	char *word;
	int ret;

	if (!command)
		return -EINVAL;
	args = command->defaults;
	while ((word = strsep(&line, " "))) {
		ret = *word ? set_number(&args, word) : 0;
		if (ret)
			return ret;
	}
	dev = bench_device(command->binding);
	if (!dev)
		return -ENODEV;
	wait_for_tick();
	ret = command->run(dev, &args, &results);
	if (!ret && seq_buf_has_overflowed(&results))
		ret = -E2BIG;
	return ret;
}

static ssize_t write(struct file *filp, const char __user *from, size_t count, loff_t *pos)
{
	char *line __free(kfree) = memdup_user_nul(from, min(count, PAGE_SIZE));
	int ret;

	if (IS_ERR(line))
		return PTR_ERR(no_free_ptr(line));
	guard(mutex)(&lock);
	seq_buf_init(&results, text, sizeof(text));
	ret = run(strim(line));
	return ret ?: count;
}

static ssize_t read(struct file *filp, char __user *to, size_t count, loff_t *pos)
{
	guard(mutex)(&lock);
	return simple_read_from_buffer(to, count, pos, text, seq_buf_used(&results));
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.read = read,
	.write = write,
};

int bench_command_init(void)
{
	seq_buf_init(&results, text, sizeof(text));
	file = debugfs_create_file("iommu_bench", 0600, NULL, NULL, &operations);
	return PTR_ERR_OR_ZERO(file);
}

void bench_command_exit(void)
{
	debugfs_remove(file);
}
