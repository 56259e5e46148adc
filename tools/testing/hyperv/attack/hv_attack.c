// SPDX-License-Identifier: GPL-2.0
/*
 * A driver that makes the DMA API mappings that user space asks for, and shows the memory behind
 * and around them. For tests of DMA protection only. See README.md for the commands of
 * /dev/hv_attack.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-mapping.h>
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/scatterlist.h>
#include <linux/sched.h>
#include <linux/seq_buf.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define ARENA_ORDER	10
#define ARENA_BYTES	(PAGE_SIZE << ARENA_ORDER)
#define MAPPINGS_MAX	32
#define PARTS_MAX	8
#define HELD_MAX	131072UL

static unsigned long reserved;
module_param(reserved, ulong, 0400);
MODULE_PARM_DESC(reserved, "physical address of memory that the kernel leaves alone, to be the arena");

enum kind {
	FREE,
	SINGLE,
	LIST,
	COHERENT,
};

struct mapping {
	enum kind kind;
	struct device *dev;
	dma_addr_t iova;
	size_t bytes;
	enum dma_data_direction dir;
	void *cpu;			/* of coherent memory */
	struct sg_table table;
};

/* Mappings of the start of the arena, made until no more could be had. */
struct held {
	struct device *dev;
	size_t bytes;			/* of each */
	size_t count;
	dma_addr_t *iovas;
};

/* Protects everything below, and keeps drivers from leaving while a command runs. */
static DEFINE_MUTEX(lock);
static struct mapping mappings[MAPPINGS_MAX];
static struct held held;
static struct page *pages;		/* the arena; NULL where it is reserved memory */
static char text[PAGE_SIZE];
static struct seq_buf answer;

static void undo(struct mapping *mapping)
{
	switch (mapping->kind) {
	case FREE:
		return;
	case SINGLE:
		dma_unmap_single(mapping->dev, mapping->iova, mapping->bytes, mapping->dir);
		break;
	case LIST:
		dma_unmap_sgtable(mapping->dev, &mapping->table, mapping->dir, 0);
		sg_free_table(&mapping->table);
		break;
	case COHERENT:
		dma_free_coherent(mapping->dev, mapping->bytes, mapping->cpu, mapping->iova);
		break;
	}
	*mapping = (struct mapping){};
}

static void let_go(void)
{
	size_t i;

	for (i = 0; i < held.count; i++) {
		dma_unmap_single(held.dev, held.iovas[i], held.bytes, DMA_TO_DEVICE);
		cond_resched();
	}
	kvfree(held.iovas);
	held = (struct held){};
}

static struct mapping *unused(void)
{
	unsigned int i;

	for (i = 0; i < MAPPINGS_MAX; i++)
		if (mappings[i].kind == FREE)
			return &mappings[i];
	return NULL;
}

static char *word(char **line)
{
	char *found;

	do {
		found = strsep(line, "\n ");
	} while (found && !*found);
	return found;
}

static int number(char **line, unsigned long *value)
{
	char *digits = word(line);

	return digits ? kstrtoul(digits, 0, value) : -EINVAL;
}

static int direction(char **line, enum dma_data_direction *dir)
{
	static const char *const names[] = { "both", "to", "from" };
	char *name = word(line);
	int found = name ? match_string(names, ARRAY_SIZE(names), name) : -EINVAL;

	if (found < 0)
		return -EINVAL;
	*dir = found;
	return 0;
}

static int handle(char **line, struct mapping **mapping)
{
	unsigned long index;
	int ret = number(line, &index);

	if (ret)
		return ret;
	if (index >= MAPPINGS_MAX || mappings[index].kind == FREE)
		return -ENOENT;
	*mapping = &mappings[index];
	return 0;
}

static int part(char **line, unsigned long *offset, unsigned long *bytes)
{
	int ret = number(line, offset) ?: number(line, bytes);

	if (ret)
		return ret;
	if (!pages || !*bytes || *offset >= ARENA_BYTES || *bytes > ARENA_BYTES - *offset)
		return -ERANGE;
	return 0;
}

static struct pci_driver driver;

/* The device of this name, if it is bound to this driver. The lock keeps it bound. */
static int device(char **line, struct device **dev)
{
	char *name = word(line);
	struct device *found = name ? bus_find_device_by_name(&pci_bus_type, NULL, name) : NULL;

	if (!found)
		return -ENODEV;
	put_device(found);
	if (found->driver != &driver.driver)
		return -ENODEV;
	*dev = found;
	return 0;
}

static void say(struct mapping *mapping)
{
	seq_buf_printf(&answer, "%td", mapping - mappings);
	if (mapping->kind == LIST) {
		struct scatterlist *entry;
		int i;

		for_each_sgtable_dma_sg(&mapping->table, entry, i)
			seq_buf_printf(&answer, " %pad", &sg_dma_address(entry));
	} else {
		seq_buf_printf(&answer, " %pad", &mapping->iova);
	}
}

static int map(char *line)
{
	struct mapping *mapping = unused();
	unsigned long offset, bytes;
	enum dma_data_direction dir;
	struct device *dev;
	dma_addr_t iova;
	int ret;

	ret = device(&line, &dev) ?: part(&line, &offset, &bytes) ?: direction(&line, &dir);
	if (ret)
		return ret;
	if (!mapping)
		return -ENOSPC;
	iova = dma_map_single(dev, page_address(pages) + offset, bytes, dir);
	if (dma_mapping_error(dev, iova))
		return -EIO;
	*mapping = (struct mapping){
		.kind = SINGLE, .dev = dev, .iova = iova, .bytes = bytes, .dir = dir,
	};
	say(mapping);
	return 0;
}

static int list(char *line)
{
	unsigned long offsets[PARTS_MAX], bytes[PARTS_MAX];
	struct mapping *mapping = unused();
	struct scatterlist *entry;
	unsigned int count = 0, i;
	enum dma_data_direction dir;
	struct device *dev;
	int ret;

	ret = device(&line, &dev) ?: direction(&line, &dir);
	if (ret)
		return ret;
	while (line && *line) {
		if (count == PARTS_MAX)
			return -E2BIG;
		ret = part(&line, &offsets[count], &bytes[count]);
		if (ret)
			return ret;
		count++;
	}
	if (!mapping || !count)
		return -EINVAL;
	ret = sg_alloc_table(&mapping->table, count, GFP_KERNEL);
	if (ret)
		return ret;
	for_each_sgtable_sg(&mapping->table, entry, i)
		sg_set_buf(entry, page_address(pages) + offsets[i], bytes[i]);
	ret = dma_map_sgtable(dev, &mapping->table, dir, 0);
	if (ret) {
		sg_free_table(&mapping->table);
		return ret;
	}
	mapping->kind = LIST;
	mapping->dev = dev;
	mapping->dir = dir;
	say(mapping);
	return 0;
}

static int coherent(char *line)
{
	struct mapping *mapping = unused();
	struct device *dev;
	unsigned long bytes;
	dma_addr_t iova;
	void *cpu;
	int ret;

	ret = device(&line, &dev) ?: number(&line, &bytes);
	if (ret)
		return ret;
	if (!mapping)
		return -ENOSPC;
	cpu = dma_alloc_coherent(dev, bytes, &iova, GFP_KERNEL);
	if (!cpu)
		return -ENOMEM;
	*mapping = (struct mapping){
		.kind = COHERENT, .dev = dev, .iova = iova, .bytes = bytes, .cpu = cpu,
	};
	say(mapping);
	return 0;
}

static int fill(char *line)
{
	struct mapping *mapping;
	unsigned long value;
	int ret = handle(&line, &mapping) ?: number(&line, &value);

	if (ret)
		return ret;
	if (mapping->kind != COHERENT || value > U8_MAX)
		return -EINVAL;
	memset(mapping->cpu, value, mapping->bytes);
	return 0;
}

static int count(char *line)
{
	struct mapping *mapping;
	unsigned long value;
	size_t i, found = 0;
	int ret = handle(&line, &mapping) ?: number(&line, &value);

	if (ret)
		return ret;
	if (mapping->kind != COHERENT)
		return -EINVAL;
	for (i = 0; i < mapping->bytes; i++)
		found += READ_ONCE(((u8 *)mapping->cpu)[i]) == value;
	seq_buf_printf(&answer, "%zu", found);
	return 0;
}

static int unmap(char *line)
{
	struct mapping *mapping;
	int ret = handle(&line, &mapping);

	if (!ret)
		undo(mapping);
	return ret;
}

static int untrusted(char *line)
{
	struct device *dev;
	unsigned long value;
	int ret = device(&line, &dev) ?: number(&line, &value);

	if (!ret)
		to_pci_dev(dev)->untrusted = !!value;
	return ret;
}

static int mask(char *line)
{
	struct device *dev;
	unsigned long bits;
	int ret = device(&line, &dev) ?: number(&line, &bits);

	if (ret)
		return ret;
	if (!bits || bits > 64)
		return -EINVAL;
	return dma_set_mask_and_coherent(dev, DMA_BIT_MASK(bits));
}

static int by_address(const void *a, const void *b)
{
	dma_addr_t left = *(const dma_addr_t *)a, right = *(const dma_addr_t *)b;

	return left < right ? -1 : left > right;
}

static void say_held(void)
{
	dma_addr_t none = 0, *lowest = &none, *highest = &none;
	size_t i, overlaps = 0;

	sort(held.iovas, held.count, sizeof(*held.iovas), by_address, NULL);
	for (i = 1; i < held.count; i++)
		overlaps += held.iovas[i] - held.iovas[i - 1] < held.bytes;
	if (held.count) {
		lowest = &held.iovas[0];
		highest = &held.iovas[held.count - 1];
	}
	seq_buf_printf(&answer, "%zu %pad %pad %zu", held.count, lowest, highest, overlaps);
}

static int exhaust(char *line)
{
	unsigned long bytes;
	struct device *dev;
	dma_addr_t iova;
	int ret;

	ret = device(&line, &dev) ?: number(&line, &bytes);
	if (ret)
		return ret;
	if (!pages || !bytes || bytes > ARENA_BYTES)
		return -ERANGE;
	if (held.count && (held.dev != dev || held.bytes != bytes))
		return -EBUSY;
	if (!held.iovas)
		held.iovas = kvmalloc_array(HELD_MAX, sizeof(*held.iovas), GFP_KERNEL);
	if (!held.iovas)
		return -ENOMEM;
	held.dev = dev;
	held.bytes = bytes;
	for (;;) {
		if (held.count == HELD_MAX)
			return -E2BIG;
		/* The device only reads: many mappings of one page are right then. */
		iova = dma_map_single(dev, page_address(pages), bytes, DMA_TO_DEVICE);
		if (dma_mapping_error(dev, iova))
			break;
		held.iovas[held.count++] = iova;
		cond_resched();
	}
	say_held();
	return 0;
}

static int release(char *line)
{
	let_go();
	return 0;
}

static phys_addr_t arena(void)
{
	return pages ? page_to_phys(pages) : reserved;
}

static int info(char *line)
{
	phys_addr_t physical = arena();

	seq_buf_printf(&answer, "%pap %lu", &physical, ARENA_BYTES);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(char *line);
} commands[] = {
	{ "info", info },
	{ "map", map },
	{ "list", list },
	{ "coherent", coherent },
	{ "fill", fill },
	{ "count", count },
	{ "unmap", unmap },
	{ "untrusted", untrusted },
	{ "mask", mask },
	{ "exhaust", exhaust },
	{ "release", release },
};

static ssize_t write(struct file *file, const char __user *from, size_t count, loff_t *pos)
{
	char *line __free(kfree) = memdup_user_nul(from, min(count, PAGE_SIZE));
	char *rest, *name;
	unsigned int i;
	int ret;

	if (IS_ERR(line))
		return PTR_ERR(no_free_ptr(line));
	rest = line;
	name = word(&rest);
	if (!name)
		return -EINVAL;
	guard(mutex)(&lock);
	seq_buf_init(&answer, text, sizeof(text));
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(name, commands[i].name))
			continue;
		ret = commands[i].run(rest);
		return ret ?: count;
	}
	return -EINVAL;
}

static ssize_t read(struct file *file, char __user *to, size_t count, loff_t *pos)
{
	guard(mutex)(&lock);
	/* Each read returns the whole answer: the position stays where it is. */
	*pos = 0;
	return simple_read_from_buffer(to, count, pos, text, seq_buf_used(&answer));
}

static int mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long bytes = vma->vm_end - vma->vm_start;

	if (vma->vm_pgoff || bytes > ARENA_BYTES)
		return -EINVAL;
	return remap_pfn_range(vma, vma->vm_start, PHYS_PFN(arena()), bytes, vma->vm_page_prot);
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.read = read,
	.write = write,
	.mmap = mmap,
};

static struct miscdevice misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "hv_attack",
	.fops = &operations,
	.mode = 0600,
};

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	int ret = pci_enable_device(pdev);

	if (!ret)
		pci_set_master(pdev);
	return ret;
}

static void remove(struct pci_dev *pdev)
{
	unsigned int i;

	guard(mutex)(&lock);
	for (i = 0; i < MAPPINGS_MAX; i++)
		if (mappings[i].dev == &pdev->dev)
			undo(&mappings[i]);
	if (held.dev == &pdev->dev)
		let_go();
	pdev->untrusted = 0;
	/* As the PCI core leaves it to each driver. */
	dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(32));
	pci_disable_device(pdev);
}

/* Bound by driver_override only. */
static struct pci_driver driver = {
	.name = "hv_attack",
	.probe = probe,
	.remove = remove,
};

static int __init attack_init(void)
{
	int ret;

	seq_buf_init(&answer, text, sizeof(text));
	if (!reserved) {
		pages = alloc_pages(GFP_KERNEL | __GFP_ZERO, ARENA_ORDER);
		if (!pages)
			return -ENOMEM;
	}
	ret = pci_register_driver(&driver);
	if (ret)
		goto free;
	ret = misc_register(&misc);
	if (ret)
		goto unregister;
	return 0;

unregister:
	pci_unregister_driver(&driver);
free:
	if (pages)
		__free_pages(pages, ARENA_ORDER);
	return ret;
}
module_init(attack_init);

static void __exit attack_exit(void)
{
	misc_deregister(&misc);
	pci_unregister_driver(&driver);
	if (pages)
		__free_pages(pages, ARENA_ORDER);
}
module_exit(attack_exit);

MODULE_DESCRIPTION("DMA mappings on demand, for tests of DMA protection");
MODULE_LICENSE("GPL");
