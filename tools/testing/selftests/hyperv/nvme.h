/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An NVMe controller driven by this process, as far as the tests need it: one
 * pair of I/O queues, no interrupts, one command at a time.
 */
#ifndef SELFTESTS_HYPERV_NVME_H
#define SELFTESTS_HYPERV_NVME_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#include "space.h"

#define NVME_PAGE		4096
/* Pages of the controller's own memory that tests may use for data. */
#define NVME_DATA_PAGES		4

enum nvme_opcode {
	NVME_WRITE = 0x01,
	NVME_READ = 0x02,
};

/* How a command ended. Anything above 0 is the controller's status field. */
enum nvme_end {
	NVME_SUCCESS = 0,
	NVME_NO_ANSWER = -1,	/* in time */
	NVME_FATAL = -2,	/* the controller has given up: CSTS.CFS */
};

struct nvme_queue {
	unsigned int number;
	size_t submission, completion;	/* offsets in the memory */
	unsigned int tail, head;
	bool phase;
};

struct nvme {
	struct space *space;
	void *registers;
	size_t registers_size;
	size_t stride;
	unsigned char *memory;
	__u64 iova;			/* of the memory */
	struct nvme_queue admin, io;

	char model[41];
	__u16 vendor;
	size_t transfer_max;		/* bytes of one command */
	unsigned int namespace;
	size_t block;			/* bytes */
	const char *step;		/* what failed */
};

/* Bytes of address space that the controller's own memory takes. */
size_t nvme_memory_size(void);

/*
 * Starts the controller of a device, with its memory mapped at iova. Returns 0,
 * -ENODEV when the device is none, another negative errno, or what a command
 * ended with; in step, what failed.
 */
int nvme_start(struct nvme *nvme, struct space *space, __u64 iova);

/* Disables the controller: it does no DMA any more. */
void nvme_stop(struct nvme *nvme);

/* The pages for data: where this process and where the controller finds them. */
unsigned char *nvme_data(struct nvme *nvme, unsigned int page);
__u64 nvme_data_iova(struct nvme *nvme, unsigned int page);

/* Has the controller write 4 KiB about itself to an address. */
int nvme_identify(struct nvme *nvme, __u64 iova);

/*
 * Moves whole pages between the medium, from block 0 on, and memory: the first
 * page at `first`, and at `second` the second one or, where there are more, the
 * list of the others.
 */
int nvme_transfer(struct nvme *nvme, enum nvme_opcode opcode, unsigned int pages,
		  __u64 first, __u64 second);

/* The end of a command in words; valid until the next call. */
const char *nvme_end_name(int end);

#endif /* SELFTESTS_HYPERV_NVME_H */
