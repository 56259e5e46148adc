// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "kselftest.h"
#include "pviommu.h"
#include "space.h"

/* Notes what is done, for messages, and passes the result on. */
static int step(struct space *space, const char *what, int ret)
{
	if (ret < 0) {
		ret = -errno;
		space->step = what;
	}
	return ret;
}

/* Makes a request of VFIO or iommufd. */
static int request(struct space *space, const char *name, int fd, unsigned long code,
		   void *argument)
{
	return step(space, name, ioctl(fd, code, argument));
}

#define REQUEST(space, fd, code, argument)	request(space, #code, fd, code, argument)

static int open_type1(struct space *space, const char *address, const char *group)
{
	char path[PATH_MAX];
	int ret;

	ret = step(space, "open /dev/vfio/vfio", open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC));
	if (ret < 0)
		return ret;
	space->iommu = ret;
	snprintf(path, sizeof(path), "/dev/vfio/%s", group);
	ret = step(space, "open the group", open(path, O_RDWR | O_CLOEXEC));
	if (ret < 0)
		return ret;
	space->group = ret;
	ret = REQUEST(space, space->group, VFIO_GROUP_SET_CONTAINER, &space->iommu);
	if (ret < 0)
		return ret;
	ret = REQUEST(space, space->iommu, VFIO_SET_IOMMU, (void *)VFIO_TYPE1v2_IOMMU);
	if (ret < 0)
		return ret;
	ret = REQUEST(space, space->group, VFIO_GROUP_GET_DEVICE_FD, (void *)address);
	if (ret < 0)
		return ret;
	space->device = ret;
	return 0;
}

static int open_cdev(struct space *space, const char *address)
{
	char path[PATH_MAX];
	struct dirent *entry;
	int fd = -1;
	DIR *dir;

	snprintf(path, sizeof(path), PCI_DEVICES "/%s/vfio-dev", address);
	dir = opendir(path);
	if (!dir)
		return step(space, "look for the character device", -1);
	while ((entry = readdir(dir))) {
		if (strncmp(entry->d_name, "vfio", 4))
			continue;
		snprintf(path, sizeof(path), "/dev/vfio/devices/%s", entry->d_name);
		fd = open(path, O_RDWR | O_CLOEXEC);
		break;
	}
	if (!entry)
		errno = ENOENT;
	fd = step(space, "open the character device", fd);
	closedir(dir);
	return fd;
}

static int open_iommufd(struct space *space, const char *address)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	struct vfio_device_bind_iommufd bind = { .argsz = sizeof(bind) };
	struct vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach) };
	int ret;

	ret = step(space, "open /dev/iommu", open("/dev/iommu", O_RDWR | O_CLOEXEC));
	if (ret < 0)
		return ret;
	space->iommu = ret;
	ret = open_cdev(space, address);
	if (ret < 0)
		return ret;
	space->device = ret;
	bind.iommufd = space->iommu;
	ret = REQUEST(space, space->device, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (ret < 0)
		return ret;
	ret = REQUEST(space, space->iommu, IOMMU_IOAS_ALLOC, &alloc);
	if (ret < 0)
		return ret;
	space->ioas = alloc.out_ioas_id;
	attach.pt_id = space->ioas;
	return REQUEST(space, space->device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

static int region(struct space *space, __u32 index, struct vfio_region_info *info)
{
	*info = (struct vfio_region_info){ .argsz = sizeof(*info), .index = index };
	return REQUEST(space, space->device, VFIO_DEVICE_GET_REGION_INFO, info);
}

static int master_bus(struct space *space)
{
	struct vfio_region_info config;
	__u16 command;
	int ret;

	ret = region(space, VFIO_PCI_CONFIG_REGION_INDEX, &config);
	if (ret)
		return ret;
	ret = step(space, "read the command register",
		   pread(space->device, &command, 2, config.offset + PCI_COMMAND));
	if (ret < 0)
		return ret;
	command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	ret = step(space, "write the command register",
		   pwrite(space->device, &command, 2, config.offset + PCI_COMMAND));
	return ret < 0 ? ret : 0;
}

int space_open(struct space *space, enum back_end back_end, const char *address,
	       const char *group)
{
	int ret;

	*space = (struct space){ .back_end = back_end, .iommu = -1, .group = -1, .device = -1 };
	if (back_end == TYPE1)
		ret = open_type1(space, address, group);
	else
		ret = open_iommufd(space, address);
	return ret < 0 ? ret : master_bus(space);
}

void space_close(struct space *space)
{
	int *fds[] = { &space->device, &space->group, &space->iommu };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

int space_map(struct space *space, void *memory, size_t size, __u64 iova)
{
	struct vfio_iommu_type1_dma_map dma = {
		.argsz = sizeof(dma),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = size,
	};
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 IOMMU_IOAS_MAP_WRITEABLE,
		.ioas_id = space->ioas,
		.user_va = (uintptr_t)memory,
		.iova = iova,
		.length = size,
	};

	if (space->back_end == TYPE1)
		return REQUEST(space, space->iommu, VFIO_IOMMU_MAP_DMA, &dma);
	return REQUEST(space, space->iommu, IOMMU_IOAS_MAP, &map);
}

int space_unmap(struct space *space, __u64 iova, size_t size)
{
	struct vfio_iommu_type1_dma_unmap dma = {
		.argsz = sizeof(dma),
		.iova = iova,
		.size = size,
	};
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = space->ioas,
		.iova = iova,
		.length = size,
	};
	__u64 unmapped;
	int ret;

	if (space->back_end == TYPE1) {
		ret = REQUEST(space, space->iommu, VFIO_IOMMU_UNMAP_DMA, &dma);
		unmapped = dma.size;
	} else {
		ret = REQUEST(space, space->iommu, IOMMU_IOAS_UNMAP, &unmap);
		unmapped = unmap.length;
	}
	if (ret < 0)
		return ret;
	return unmapped == size ? 0 : -ERANGE;
}

static int ranges_type1(struct space *space, struct iova_range *ranges, int count)
{
	struct vfio_iommu_type1_info_cap_iova_range *found;
	struct vfio_iommu_type1_info *info;
	struct vfio_info_cap_header *cap;
	const size_t size = 4096;
	int number = -ENOENT;
	__u32 at;

	info = calloc(1, size);
	if (!info)
		return -ENOMEM;
	info->argsz = size;
	if (ioctl(space->iommu, VFIO_IOMMU_GET_INFO, info)) {
		free(info);
		return step(space, "VFIO_IOMMU_GET_INFO", -1);
	}
	at = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0;
	for (; at && at < size; at = cap->next) {
		cap = (void *)info + at;
		if (cap->id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		found = (void *)cap;
		number = 0;
		for (; number < count && number < (int)found->nr_iovas; number++) {
			ranges[number].first = found->iova_ranges[number].start;
			ranges[number].last = found->iova_ranges[number].end;
		}
		break;
	}
	free(info);
	return number;
}

static int ranges_iommufd(struct space *space, struct iova_range *ranges, int count)
{
	struct iommu_iova_range found[16];
	struct iommu_ioas_iova_ranges wanted = {
		.size = sizeof(wanted),
		.ioas_id = space->ioas,
		.num_iovas = ARRAY_SIZE(found),
		.allowed_iovas = (uintptr_t)found,
	};
	int number;

	number = REQUEST(space, space->iommu, IOMMU_IOAS_IOVA_RANGES, &wanted);
	if (number < 0)
		return number;
	for (number = 0; number < count && number < (int)wanted.num_iovas; number++) {
		ranges[number].first = found[number].start;
		ranges[number].last = found[number].last;
	}
	return number;
}

int space_ranges(struct space *space, struct iova_range *ranges, int count)
{
	if (space->back_end == TYPE1)
		return ranges_type1(space, ranges, count);
	return ranges_iommufd(space, ranges, count);
}

void *space_registers(struct space *space, size_t *size)
{
	struct vfio_region_info bar;
	void *registers;

	if (region(space, VFIO_PCI_BAR0_REGION_INDEX, &bar) || !bar.size)
		return NULL;
	registers = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, space->device,
			 bar.offset);
	*size = bar.size;
	return registers == MAP_FAILED ? NULL : registers;
}
