/* SPDX-License-Identifier: GPL-2.0 */
/* A device in the hands of this process, and its I/O address space. */
#ifndef SELFTESTS_HYPERV_SPACE_H
#define SELFTESTS_HYPERV_SPACE_H

#include <stddef.h>
#include <linux/types.h>

/* Which of the kernel's two interfaces is used. */
enum back_end {
	TYPE1,		/* a group and a container of type 1 */
	IOMMUFD,	/* the device's character device, and iommufd */
};

struct space {
	enum back_end back_end;
	int iommu;		/* container or iommufd */
	int group;		/* TYPE1 */
	int device;
	__u32 ioas;		/* IOMMUFD */
	const char *step;	/* what failed */
};

struct iova_range {
	__u64 first, last;
};

/*
 * Opens a device that vfio-pci has, attaches it to a new, empty address space
 * and lets it master the bus. Returns 0 or a negative errno, and in step what
 * failed.
 */
int space_open(struct space *space, enum back_end back_end, const char *address,
	       const char *group);
void space_close(struct space *space);

/* All three return 0 or a negative errno; space_ranges() a number of ranges. */
int space_map(struct space *space, void *memory, size_t size, __u64 iova);
int space_unmap(struct space *space, __u64 iova, size_t size);
int space_ranges(struct space *space, struct iova_range *ranges, int count);

/* Maps BAR 0 into this process. Returns NULL on failure. */
void *space_registers(struct space *space, size_t *size);

#endif /* SELFTESTS_HYPERV_SPACE_H */
