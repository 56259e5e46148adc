// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <net/if.h>

#include "pviommu.h"

#define FORMAT_PATH(path, start)			\
do {							\
	va_list args;					\
							\
	va_start(args, start);				\
	vsnprintf(path, sizeof(path), start, args);	\
	va_end(args);					\
} while (0)

static int read_file(char *text, size_t size, const char *path)
{
	ssize_t length;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	length = read(fd, text, size - 1);
	if (length < 0)
		length = -errno;
	close(fd);
	if (length < 0)
		return length;
	text[length] = '\0';
	if (length && text[length - 1] == '\n')
		text[length - 1] = '\0';
	return 0;
}

int read_text(char *text, size_t size, const char *format, ...)
{
	char path[PATH_MAX];

	FORMAT_PATH(path, format);
	return read_file(text, size, path);
}

int read_number(unsigned long long *value, const char *format, ...)
{
	char path[PATH_MAX], text[64], *end;
	int ret;

	FORMAT_PATH(path, format);
	ret = read_file(text, sizeof(text), path);
	if (ret)
		return ret;
	errno = 0;
	*value = strtoull(text, &end, 0);
	if (errno || end == text || *end)
		return -EINVAL;
	return 0;
}

int write_text(const char *text, const char *format, ...)
{
	char path[PATH_MAX];
	int fd, ret = 0;

	FORMAT_PATH(path, format);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int read_link_name(char *name, size_t size, const char *format, ...)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t length;

	FORMAT_PATH(path, format);
	length = readlink(path, target, sizeof(target) - 1);
	if (length < 0)
		return -errno;
	target[length] = '\0';
	snprintf(name, size, "%s", basename(target));
	return 0;
}

bool exists(const char *format, ...)
{
	char path[PATH_MAX];

	FORMAT_PATH(path, format);
	return !access(path, F_OK);
}

bool kernel_was_told(const char *word)
{
	char line[8192], *rest = line, *next;

	if (read_file(line, sizeof(line), "/proc/cmdline"))
		return false;
	while ((next = strsep(&rest, " "))) {
		if (!strcmp(next, word))
			return true;
	}
	return false;
}

const char *pviommu_missing(void)
{
	static const char * const off[] = { "hv_pviommu=off", "iommu=off" };
	static char reason[128];
	size_t i;

	if (exists(PVIOMMU))
		return NULL;
	if (!exists("/sys/bus/vmbus"))
		return "this is no Hyper-V guest, or its kernel has no VMBus";
	for (i = 0; i < ARRAY_SIZE(off); i++) {
		if (kernel_was_told(off[i])) {
			snprintf(reason, sizeof(reason),
				 "the kernel was told %s", off[i]);
			return reason;
		}
	}
	return "the host offers no IOMMU, or the kernel has no driver for it, or that failed";
}

/* Whether what a link of sysfs leads to lies below a directory. */
static bool lies_below(const char *link, const char *directory)
{
	size_t length = strlen(directory);
	char path[PATH_MAX];

	return realpath(link, path) && !strncmp(path, directory, length) && path[length] == '/';
}

/* The file of a disk, by its name in sysfs. There "!" stands for "/". */
static void disk_file(char *path, size_t size, const char *name)
{
	unsigned int subsystem, controller, namespace;
	char *rest;

	/* With native multipath a controller's disk is hidden, and the file is the subsystem's. */
	if (sscanf(name, "nvme%uc%un%u", &subsystem, &controller, &namespace) == 3) {
		snprintf(path, size, "/dev/nvme%un%u", subsystem, namespace);
		return;
	}
	snprintf(path, size, "/dev/%s", name);
	while ((rest = strchr(path, '!')))
		*rest = '/';
}

/*
 * Why a disk may be in use. One that is mounted, swapped to or a part of another
 * one is opened by nobody else for himself, and of one that cannot be opened at
 * all nothing is known.
 */
static const char *disk_in_use(const char *name)
{
	static char reason[PATH_MAX + 128];
	char path[PATH_MAX];
	int fd;

	disk_file(path, sizeof(path), name);
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		return NULL;
	}
	if (errno == EBUSY)
		snprintf(reason, sizeof(reason), "has a disk that is in use: %s", path);
	else
		snprintf(reason, sizeof(reason), "has a disk that may be in use: %s: %s", path,
			 strerror(errno));
	return reason;
}

/* Why a network interface may be in use. */
static const char *interface_in_use(const char *name)
{
	static char reason[128];
	unsigned long long flags;

	if (read_number(&flags, "/sys/class/net/%s/flags", name)) {
		snprintf(reason, sizeof(reason), "has a network interface that may be up: %s",
			 name);
		return reason;
	}
	if (!(flags & IFF_UP))
		return NULL;
	snprintf(reason, sizeof(reason), "has a network interface that is up: %s", name);
	return reason;
}

/* Asks about all of a class that lie below the device. Returns the first reason. */
static const char *any_in_use(const char *pattern, const char *directory,
			      const char *(*in_use)(const char *name))
{
	const char *reason = NULL;
	glob_t found;
	size_t i;
	int ret;

	ret = glob(pattern, 0, NULL, &found);
	if (ret == GLOB_NOMATCH)
		return NULL;
	if (ret)
		return "may be in use: sysfs cannot be read";
	for (i = 0; !reason && i < found.gl_pathc; i++) {
		if (lies_below(found.gl_pathv[i], directory))
			reason = in_use(basename(found.gl_pathv[i]));
	}
	globfree(&found);
	return reason;
}

/* Why the device may be in use; NULL where no disk and no interface of it is. */
static const char *device_in_use(const struct expendable *device)
{
	char link[PATH_MAX], directory[PATH_MAX];
	const char *reason;

	snprintf(link, sizeof(link), PCI_DEVICES "/%s", device->address);
	if (!realpath(link, directory))
		return "is gone";
	reason = any_in_use("/sys/block/*", directory, disk_in_use);
	if (!reason)
		reason = any_in_use("/sys/class/net/*", directory, interface_in_use);
	return reason;
}

const char *expendable_find(struct expendable *device)
{
	const char *address = getenv(PVIOMMU_DEVICE);
	static char reason[PATH_MAX + 256];
	const char *in_use;

	memset(device, 0, sizeof(*device));
	if (!address || !*address)
		return "no device that may lose its data was named in " PVIOMMU_DEVICE;
	snprintf(device->address, sizeof(device->address), "%s", address);
	if (!exists(PCI_DEVICES "/%s", device->address)) {
		snprintf(reason, sizeof(reason), "there is no PCI device %s", device->address);
		return reason;
	}
	if (!exists(PVIOMMU "/devices/%s", device->address)) {
		snprintf(reason, sizeof(reason), "%s is not behind the IOMMU", device->address);
		return reason;
	}
	if (read_link_name(device->group, sizeof(device->group), PCI_DEVICES "/%s/iommu_group",
			   device->address)) {
		snprintf(reason, sizeof(reason), "%s is in no IOMMU group", device->address);
		return reason;
	}
	if (geteuid())
		return "root alone can give a device to another driver";
	in_use = device_in_use(device);
	if (in_use) {
		snprintf(reason, sizeof(reason), "%s %s", device->address, in_use);
		return reason;
	}
	read_link_name(device->driver, sizeof(device->driver), PCI_DEVICES "/%s/driver",
		       device->address);
	return NULL;
}

int expendable_bind(const struct expendable *device, const char *driver)
{
	char now[64];
	int ret;

	if (exists(PCI_DEVICES "/%s/driver", device->address)) {
		ret = write_text(device->address, PCI_DEVICES "/%s/driver/unbind",
				 device->address);
		if (ret)
			return ret;
	}
	ret = write_text(driver ? driver : "\n", PCI_DEVICES "/%s/driver_override",
			 device->address);
	if (ret || !driver)
		return ret;
	ret = write_text(device->address, "/sys/bus/pci/drivers_probe");
	if (ret)
		return ret;
	if (read_link_name(now, sizeof(now), PCI_DEVICES "/%s/driver", device->address))
		return -ENODEV;
	return strcmp(now, driver) ? -EBUSY : 0;
}

void expendable_give_back(const struct expendable *device)
{
	expendable_bind(device, NULL);
	if (*device->driver)
		write_text(device->address, "/sys/bus/pci/drivers/%s/bind", device->driver);
}
