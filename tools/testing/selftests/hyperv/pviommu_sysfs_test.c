// SPDX-License-Identifier: GPL-2.0
/*
 * What sysfs says of Hyper-V's para-virtualized IOMMU and of the devices behind
 * it. Nothing is changed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/bits.h>

#include "kselftest_harness.h"
#include "pviommu.h"

/* Bits of host_capabilities (Documentation/ABI/testing/sysfs-class-iommu-hyperv). */
#define CAP_PRESENT	BIT_ULL(0)
#define CAP_STAGE1	BIT_ULL(2)
#define CAP_5_LEVELS	BIT_ULL(3)

#define SMALL_PAGES	BIT_ULL(12)

FIXTURE(host)
{
	unsigned long long host_width, width, levels, page_sizes, capabilities;
};

FIXTURE_SETUP(host)
{
	const struct {
		const char *name;
		unsigned long long *value;
	} attributes[] = {
		{ "host_iova_width", &self->host_width },
		{ "aperture_width", &self->width },
		{ "table_levels", &self->levels },
		{ "page_sizes", &self->page_sizes },
		{ "host_capabilities", &self->capabilities },
	};

	for (size_t i = 0; i < ARRAY_SIZE(attributes); i++) {
		ASSERT_EQ(0, read_number(attributes[i].value, PVIOMMU "/hyperv/%s",
					 attributes[i].name)) {
			TH_LOG("%s cannot be read", attributes[i].name);
		}
	}
}

FIXTURE_TEARDOWN(host)
{
}

TEST_F(host, capabilities)
{
	EXPECT_TRUE(self->capabilities & CAP_PRESENT);
	EXPECT_TRUE(self->capabilities & CAP_STAGE1);
	EXPECT_TRUE(self->page_sizes & SMALL_PAGES);
	TH_LOG("capabilities %#llx, page sizes %#llx", self->capabilities, self->page_sizes);
}

TEST_F(host, aperture)
{
	/* VT-d's first stage takes canonical addresses only: half of what a table spans. */
	unsigned long long limit = self->levels == 5 ? 56 : 47;

	ASSERT_TRUE(self->levels == 4 || self->levels == 5);
	if (self->levels == 5)
		EXPECT_TRUE(self->capabilities & CAP_5_LEVELS);
	EXPECT_EQ(self->width, self->host_width < limit ? self->host_width : limit);
	EXPECT_GE(self->width, 32);
	TH_LOG("%llu bits of the host's %llu, %llu levels", self->width, self->host_width,
	       self->levels);
}

/* Goes through the devices behind the IOMMU. */
FIXTURE(devices)
{
	struct dirent **entries;
	int count;
};

static int is_device(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

FIXTURE_SETUP(devices)
{
	self->count = scandir(PVIOMMU "/devices", &self->entries, is_device, alphasort);
	if (self->count == 0 || (self->count < 0 && errno == ENOENT))
		SKIP(return, "no device is behind the IOMMU");
	ASSERT_GT(self->count, 0);
}

FIXTURE_TEARDOWN(devices)
{
	for (int i = 0; i < self->count; i++)
		free(self->entries[i]);
	free(self->entries);
}

static int group_of(const char *device, char *group, size_t size)
{
	return read_link_name(group, size, PVIOMMU "/devices/%s/iommu_group", device);
}

TEST_F(devices, groups)
{
	const char *device;
	char group[16];
	int i;

	for (i = 0; i < self->count; i++) {
		device = self->entries[i]->d_name;
		ASSERT_EQ(0, group_of(device, group, sizeof(group))) {
			TH_LOG("%s is in no group", device);
		}
		EXPECT_TRUE(exists(IOMMU_GROUPS "/%s/devices/%s", group, device));
		/* VFIO's groups without an IOMMU have a name. */
		EXPECT_FALSE(exists(IOMMU_GROUPS "/%s/name", group));
	}
	TH_LOG("%d devices", self->count);
}

TEST_F(devices, arrived_through_vmbus)
{
	char path[PATH_MAX], link[PATH_MAX];
	const char *device;
	int i;

	for (i = 0; i < self->count; i++) {
		device = self->entries[i]->d_name;
		snprintf(link, sizeof(link), PCI_DEVICES "/%s", device);
		ASSERT_NE(NULL, realpath(link, path)) {
			TH_LOG("%s is no PCI device", device);
		}
		/* .../VMBUS:00/<GUID of the offer>/pciDDDD:BB/... */
		EXPECT_NE(NULL, strcasestr(path, "/vmbus:")) {
			TH_LOG("%s is at %s", device, path);
		}
	}
}

TEST_F(devices, domain_types)
{
	char group[16], type[32];
	const char *device;
	int i;

	for (i = 0; i < self->count; i++) {
		device = self->entries[i]->d_name;
		ASSERT_EQ(0, group_of(device, group, sizeof(group)));
		ASSERT_EQ(0, read_text(type, sizeof(type), IOMMU_GROUPS "/%s/type", group));
		EXPECT_TRUE(!strcmp(type, "DMA") || !strcmp(type, "DMA-FQ") ||
			    !strcmp(type, "identity")) {
			TH_LOG("%s: %s", device, type);
		}
		/* The group may have been told otherwise since: say so, and no more. */
		if (kernel_was_told("iommu.strict=1") && !strcmp(type, "DMA-FQ"))
			TH_LOG("%s is flushed late although the kernel was told iommu.strict=1",
			       device);
		TH_LOG("%s: group %s, %s", device, group, type);
	}
}

TEST_F(devices, interrupt_window_is_reserved)
{
	char group[16], regions[4096], *line, *rest;
	unsigned long long first, last;
	const char *device;
	char type[32];
	int i;

	for (i = 0; i < self->count; i++) {
		device = self->entries[i]->d_name;
		bool found = false;

		ASSERT_EQ(0, group_of(device, group, sizeof(group)));
		ASSERT_EQ(0, read_text(regions, sizeof(regions),
				       IOMMU_GROUPS "/%s/reserved_regions", group));
		for (rest = regions; (line = strsep(&rest, "\n"));) {
			if (sscanf(line, "%llx %llx %31s", &first, &last, type) == 3 &&
			    first == MSI_WINDOW_FIRST && last == MSI_WINDOW_LAST &&
			    !strcmp(type, "msi"))
				found = true;
		}
		EXPECT_TRUE(found) {
			TH_LOG("%s: reserved regions: %s", device, regions);
		}
	}
}

int main(int argc, char **argv)
{
	const char *reason = pviommu_missing();

	if (reason)
		ksft_exit_skip("%s\n", reason);
	return test_harness_run(argc, argv);
}
