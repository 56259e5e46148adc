// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <sys/mman.h>

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/io.h>

#include "kselftest.h"
#include "nvme.h"

/* Registers in BAR 0. */
#define REG_CAP		0x00
#define REG_CC		0x14
#define REG_CSTS	0x1c
#define REG_AQA		0x24
#define REG_ASQ		0x28
#define REG_ACQ		0x30
#define REG_DOORBELLS	0x1000

/* 4 KiB pages, entries of 64 and of 16 bytes, the NVM command set. */
#define CC_ENABLED	(4 << 20 | 6 << 16 | 1)

#define CSTS_READY	BIT(0)
#define CSTS_FATAL	BIT(1)

enum {
	ADMIN_CREATE_SQ = 0x01,
	ADMIN_CREATE_CQ = 0x05,
	ADMIN_IDENTIFY = 0x06,
	ADMIN_SET_FEATURES = 0x09,
};

#define IDENTIFY_NAMESPACE	0
#define IDENTIFY_CONTROLLER	1
#define IDENTIFY_ACTIVE		2

#define FEATURE_QUEUES		7

#define ENTRIES		16
#define COMMAND_TIMEOUT	10	/* seconds */

/* Pages of the controller's memory. */
enum {
	PAGE_ADMIN_SQ,
	PAGE_ADMIN_CQ,
	PAGE_IO_SQ,
	PAGE_IO_CQ,
	PAGE_IDENTITY,
	PAGE_DATA,
	PAGES = PAGE_DATA + NVME_DATA_PAGES,
};

struct command {
	__u8 opcode, flags;
	__u16 id;
	__u32 namespace;
	__u64 reserved, metadata;
	__u64 data[2];
	__u32 arguments[6];
};

static_assert(sizeof(struct command) == 64, "layout of a command");

struct completion {
	__u32 result, reserved;
	__u16 sq_head, sq_id;
	__u16 id, status;
};

static __u32 read32(struct nvme *nvme, size_t offset)
{
	return readl(nvme->registers + offset);
}

static void write32(struct nvme *nvme, size_t offset, __u32 value)
{
	writel(value, nvme->registers + offset);
}

static void write64(struct nvme *nvme, size_t offset, __u64 value)
{
	write32(nvme, offset, value);
	write32(nvme, offset + 4, value >> 32);
}

static __u64 capabilities(struct nvme *nvme)
{
	return read32(nvme, REG_CAP) | (__u64)read32(nvme, REG_CAP + 4) << 32;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void pause_shortly(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

/* Waits until the controller is or is not ready. The time limit is its own. */
static int wait_ready(struct nvme *nvme, __u32 wanted)
{
	double end = now() + ((capabilities(nvme) >> 24 & 0xff) + 1) / 2.0;

	while ((read32(nvme, REG_CSTS) & CSTS_READY) != wanted) {
		if (now() > end)
			return -ETIMEDOUT;
		pause_shortly();
	}
	return 0;
}

static struct nvme_queue queue(unsigned int number, unsigned int sq_page, unsigned int cq_page)
{
	return (struct nvme_queue){
		.number = number,
		.submission = sq_page * NVME_PAGE,
		.completion = cq_page * NVME_PAGE,
		.phase = true,
	};
}

/* Runs one command to its end. */
static int run(struct nvme *nvme, struct nvme_queue *queue, struct command command)
{
	size_t doorbell = REG_DOORBELLS + 2 * queue->number * nvme->stride;
	const struct completion *completion =
		(void *)(nvme->memory + queue->completion + queue->head * sizeof(*completion));
	double end = now() + COMMAND_TIMEOUT;
	__u16 status;

	command.id = queue->tail;
	memcpy(nvme->memory + queue->submission + queue->tail * sizeof(command), &command,
	       sizeof(command));
	queue->tail = (queue->tail + 1) % ENTRIES;
	/* The command is in memory before the controller is told of it. */
	__sync_synchronize();
	write32(nvme, doorbell, queue->tail);

	while (((status = READ_ONCE(completion->status)) & 1) != queue->phase) {
		if (read32(nvme, REG_CSTS) & CSTS_FATAL)
			return NVME_FATAL;
		if (now() > end)
			return NVME_NO_ANSWER;
		pause_shortly();
	}
	queue->head = (queue->head + 1) % ENTRIES;
	if (!queue->head)
		queue->phase = !queue->phase;
	write32(nvme, doorbell + nvme->stride, queue->head);
	/* What the controller wrote before it told of the end is read after it. */
	__sync_synchronize();
	/* Code and type of the status, without the phase and what follows. */
	return status >> 1 & 0x7ff;
}

static int identify(struct nvme *nvme, unsigned int namespace, __u32 what, __u64 iova)
{
	struct command command = {
		.opcode = ADMIN_IDENTIFY,
		.namespace = namespace,
		.data = { iova },
		.arguments = { what },
	};

	return run(nvme, &nvme->admin, command);
}

static int identify_controller(struct nvme *nvme)
{
	const unsigned char *page = nvme->memory + PAGE_IDENTITY * NVME_PAGE;
	int ret, length;

	ret = identify(nvme, 0, IDENTIFY_CONTROLLER, nvme->iova + PAGE_IDENTITY * NVME_PAGE);
	if (ret)
		return ret;
	memcpy(&nvme->vendor, page, sizeof(nvme->vendor));
	memcpy(nvme->model, page + 24, 40);
	for (length = 40; length && nvme->model[length - 1] == ' '; length--)
		nvme->model[length - 1] = '\0';
	/* A power of two of pages; 0 is no limit. */
	nvme->transfer_max = page[77] && page[77] < 16 ? (size_t)NVME_PAGE << page[77] :
							  (size_t)NVME_PAGE << 16;
	return 0;
}

/* Looks for the first namespace. There may be none: then its number stays 0. */
static int identify_namespace(struct nvme *nvme)
{
	const unsigned char *page = nvme->memory + PAGE_IDENTITY * NVME_PAGE;
	__u64 iova = nvme->iova + PAGE_IDENTITY * NVME_PAGE;
	__u32 first, format;
	int ret;

	ret = identify(nvme, 0, IDENTIFY_ACTIVE, iova);
	if (ret)
		return ret;
	memcpy(&first, page, sizeof(first));
	if (!first)
		return 0;
	ret = identify(nvme, first, IDENTIFY_NAMESPACE, iova);
	if (ret)
		return ret;
	memcpy(&format, page + 128 + 4 * (page[26] & 0xf), sizeof(format));
	/* Metadata, or blocks larger than a page, are more than the tests can do. */
	if ((format & 0xffff) || (format >> 16 & 0xff) > 12 || (format >> 16 & 0xff) < 9)
		return 0;
	nvme->namespace = first;
	nvme->block = 1UL << (format >> 16 & 0xff);
	return 0;
}

static int create_io_queues(struct nvme *nvme)
{
	struct command features = {
		.opcode = ADMIN_SET_FEATURES,
		.arguments = { FEATURE_QUEUES },	/* one pair */
	};
	struct command completion = {
		.opcode = ADMIN_CREATE_CQ,
		.data = { nvme->iova + nvme->io.completion },
		.arguments = { (ENTRIES - 1) << 16 | 1, 1 },
	};
	struct command submission = {
		.opcode = ADMIN_CREATE_SQ,
		.data = { nvme->iova + nvme->io.submission },
		.arguments = { (ENTRIES - 1) << 16 | 1, 1 << 16 | 1 },
	};
	int ret;

	ret = run(nvme, &nvme->admin, features);
	if (!ret)
		ret = run(nvme, &nvme->admin, completion);
	if (!ret)
		ret = run(nvme, &nvme->admin, submission);
	return ret;
}

size_t nvme_memory_size(void)
{
	return PAGES * NVME_PAGE;
}

int nvme_start(struct nvme *nvme, struct space *space, __u64 iova)
{
	static const struct {
		const char *name;
		int (*run)(struct nvme *nvme);
	} steps[] = {
		{ "identifying the controller", identify_controller },
		{ "identifying a namespace", identify_namespace },
		{ "creating I/O queues", create_io_queues },
	};
	int ret;

	memset(nvme, 0, sizeof(*nvme));
	nvme->space = space;
	nvme->iova = iova;
	nvme->step = "mapping BAR 0";
	nvme->registers = space_registers(space, &nvme->registers_size);
	if (!nvme->registers)
		return -ENODEV;
	nvme->stride = 4UL << (capabilities(nvme) >> 32 & 0xf);
	nvme->step = "looking for the NVM command set and 4 KiB pages";
	if (nvme->registers_size < REG_DOORBELLS + 4 * nvme->stride ||
	    !(capabilities(nvme) >> 37 & 1) || (capabilities(nvme) >> 48 & 0xf))
		return -ENODEV;

	nvme->step = "disabling the controller";
	write32(nvme, REG_CC, 0);
	ret = wait_ready(nvme, 0);
	if (ret)
		return ret;
	nvme->step = "mapping the controller's memory";
	nvme->memory = mmap(NULL, nvme_memory_size(), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (nvme->memory == MAP_FAILED) {
		nvme->memory = NULL;
		return -ENOMEM;
	}
	ret = space_map(space, nvme->memory, nvme_memory_size(), iova);
	if (ret)
		return ret;

	nvme->admin = queue(0, PAGE_ADMIN_SQ, PAGE_ADMIN_CQ);
	nvme->io = queue(1, PAGE_IO_SQ, PAGE_IO_CQ);
	nvme->step = "enabling the controller";
	write32(nvme, REG_AQA, (ENTRIES - 1) << 16 | (ENTRIES - 1));
	write64(nvme, REG_ASQ, iova + nvme->admin.submission);
	write64(nvme, REG_ACQ, iova + nvme->admin.completion);
	write32(nvme, REG_CC, CC_ENABLED);
	ret = wait_ready(nvme, CSTS_READY);
	for (size_t i = 0; !ret && i < ARRAY_SIZE(steps); i++) {
		nvme->step = steps[i].name;
		ret = steps[i].run(nvme);
	}
	return ret;
}

void nvme_stop(struct nvme *nvme)
{
	if (!nvme->registers)
		return;
	write32(nvme, REG_CC, 0);
	wait_ready(nvme, 0);
	munmap(nvme->registers, nvme->registers_size);
	nvme->registers = NULL;
	if (!nvme->memory)
		return;
	space_unmap(nvme->space, nvme->iova, nvme_memory_size());
	munmap(nvme->memory, nvme_memory_size());
	nvme->memory = NULL;
}

unsigned char *nvme_data(struct nvme *nvme, unsigned int page)
{
	return nvme->memory + (PAGE_DATA + page) * NVME_PAGE;
}

__u64 nvme_data_iova(struct nvme *nvme, unsigned int page)
{
	return nvme->iova + (PAGE_DATA + page) * NVME_PAGE;
}

int nvme_identify(struct nvme *nvme, __u64 iova)
{
	return identify(nvme, 0, IDENTIFY_CONTROLLER, iova);
}

int nvme_transfer(struct nvme *nvme, enum nvme_opcode opcode, unsigned int pages,
		  __u64 first, __u64 second)
{
	struct command command = {
		.opcode = opcode,
		.namespace = nvme->namespace,
		.data = { first, second },
		.arguments = { 0, 0, pages * NVME_PAGE / nvme->block - 1 },
	};

	return run(nvme, &nvme->io, command);
}

const char *nvme_end_name(int end)
{
	static char text[64];

	if (end == NVME_SUCCESS)
		return "success";
	if (end == NVME_NO_ANSWER)
		return "no answer";
	if (end == NVME_FATAL)
		return "a fatal status of the controller";
	snprintf(text, sizeof(text), "status code type %#x, status code %#x", end >> 8 & 7,
		 end & 0xff);
	return text;
}
