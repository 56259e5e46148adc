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

/*
 * Whether a disk of an NVMe controller is mounted, swapped to or a part of
 * another one: nobody else can have it for himself then.
 */
static bool disk_is_in_use(const struct expendable *device)
{
	char pattern[PATH_MAX], path[64];
	bool in_use = false;
	glob_t found;
	size_t i;

	snprintf(pattern, sizeof(pattern), PCI_DEVICES "/%s/nvme/nvme*/nvme*n*",
		 device->address);
	if (glob(pattern, 0, NULL, &found))
		return false;
	for (i = 0; i < found.gl_pathc; i++) {
		unsigned int subsystem, path_number, namespace;
		char *name = basename(found.gl_pathv[i]);
		int fd;

		/* With native multipath the disk is the subsystem's. */
		if (sscanf(name, "nvme%uc%un%u", &subsystem, &path_number, &namespace) == 3)
			snprintf(path, sizeof(path), "/dev/nvme%un%u", subsystem, namespace);
		else
			snprintf(path, sizeof(path), "/dev/%s", name);
		fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
		else if (errno == EBUSY)
			in_use = true;
	}
	globfree(&found);
	return in_use;
}

const char *expendable_find(struct expendable *device)
{
	const char *address = getenv(PVIOMMU_DEVICE);
	static char reason[160];

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
	if (disk_is_in_use(device)) {
		snprintf(reason, sizeof(reason), "%s has a disk that is in use", device->address);
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
