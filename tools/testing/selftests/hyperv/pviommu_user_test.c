// SPDX-License-Identifier: GPL-2.0
/*
 * A device behind Hyper-V's para-virtualized IOMMU in the hands of a program,
 * by both interfaces of the kernel.
 *
 * The caller names the device (HV_PVIOMMU_BDF). It is taken from its driver, and
 * given back at the end. If it is an NVMe controller, what is protected is shown
 * by the controller itself: it is told to read and to write where nothing is
 * mapped. The first block or blocks of its first namespace are overwritten, and
 * restored if the test is not interrupted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <linux/compiler.h>

#include "kselftest_harness.h"
#include "nvme.h"
#include "pviommu.h"
#include "space.h"

#define PAGE		NVME_PAGE
/* A page that the device may use at times. */
#define WINDOW		0x100000
/* Where nothing is ever mapped. */
#define NOTHING		0x200000

static struct expendable device;
static pid_t owner;

/* What a test works with. */
struct bench {
	struct space space;
	struct nvme nvme;
	unsigned long long width;
	__u64 base;		/* of all addresses that are used */
	unsigned char *victim;	/* a page that is mapped at times */
	unsigned char *saved;	/* what was on the medium */
};

FIXTURE(user)
{
	struct bench b;
};

FIXTURE_VARIANT(user)
{
	enum back_end back_end;
	const char *module;
};

FIXTURE_VARIANT_ADD(user, type1)
{
	.back_end = TYPE1,
	.module = "vfio_iommu_type1",
};

FIXTURE_VARIANT_ADD(user, iommufd)
{
	.back_end = IOMMUFD,
	.module = "iommufd",
};

FIXTURE_SETUP(user)
{
	int ret;

	self->b.space = (struct space){ .iommu = -1, .group = -1, .device = -1 };
	if (variant->back_end == TYPE1 && !exists("/dev/vfio/vfio"))
		SKIP(return, "the kernel has no VFIO containers (CONFIG_VFIO_IOMMU_TYPE1)");
	if (variant->back_end == IOMMUFD && !exists("/dev/iommu"))
		SKIP(return, "the kernel has no iommufd (CONFIG_IOMMUFD)");
	if (variant->back_end == IOMMUFD && !exists("/dev/vfio/devices"))
		SKIP(return, "VFIO has no character devices (CONFIG_VFIO_DEVICE_CDEV)");
	ret = space_open(&self->b.space, variant->back_end, device.address, device.group);
	if (ret == -EPERM)
		SKIP(return, "interrupts are not isolated: see allow_unsafe_interrupts of %s",
		     exists("/sys/module/%s", variant->module) ? variant->module : "iommufd");
	ASSERT_EQ(0, ret) {
		TH_LOG("%s: %s", self->b.space.step, strerror(-ret));
	}

	ASSERT_EQ(0, read_number(&self->b.width, PVIOMMU "/hyperv/aperture_width"));
	/* Far from what a physical address may look like, where there is room. */
	self->b.base = 1ULL << (self->b.width - 2);
	self->b.victim = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->b.victim);
	ASSERT_EQ(0, mlock(self->b.victim, PAGE));
}

FIXTURE_TEARDOWN(user)
{
	if (self->b.saved && self->b.nvme.memory) {
		memcpy(nvme_data(&self->b.nvme, 0), self->b.saved, PAGE);
		EXPECT_EQ(0, nvme_transfer(&self->b.nvme, NVME_WRITE, 1,
					   nvme_data_iova(&self->b.nvme, 0), 0));
	}
	free(self->b.saved);
	nvme_stop(&self->b.nvme);
	space_close(&self->b.space);
}

TEST_F(user, addresses_are_the_aperture_without_the_interrupt_window)
{
	__u64 last = (1ULL << self->b.width) - 1, end = 0;
	struct iova_range ranges[16];
	int count;

	count = space_ranges(&self->b.space, ranges, 16);
	ASSERT_GT(count, 0);
	for (int i = 0; i < count; i++) {
		TH_LOG("usable: %#llx-%#llx", ranges[i].first, ranges[i].last);
		EXPECT_TRUE(ranges[i].last < MSI_WINDOW_FIRST || ranges[i].first > MSI_WINDOW_LAST);
		if (ranges[i].last > end)
			end = ranges[i].last;
	}
	EXPECT_EQ(last, end);

	EXPECT_NE(0, space_map(&self->b.space, self->b.victim, PAGE, MSI_WINDOW_FIRST));
	EXPECT_NE(0, space_map(&self->b.space, self->b.victim, PAGE, last + 1));
	EXPECT_EQ(0, space_map(&self->b.space, self->b.victim, PAGE, last + 1 - PAGE));
	EXPECT_EQ(0, space_unmap(&self->b.space, last + 1 - PAGE, PAGE));
}

static bool is_nvme(void)
{
	unsigned long long class;

	return !read_number(&class, PCI_DEVICES "/%s/class", device.address) && class == 0x010802;
}

/* Starts the controller; false where the test cannot be made with this device. */
static bool start_nvme(struct __test_metadata *_metadata, struct bench *self)
{
	int ret;

	if (!is_nvme())
		SKIP(return false, "%s is no NVMe controller", device.address);
	ret = nvme_start(&self->nvme, &self->space, self->base);
	if (ret == -ENODEV)
		SKIP(return false, "%s: %s failed", device.address, self->nvme.step);
	ASSERT_EQ(0, ret) {
		TH_LOG("%s failed", self->nvme.step);
	}
	return true;
}

/* Makes a controller work again that has given up. */
static void revive_nvme(struct __test_metadata *_metadata, struct bench *self, int end)
{
	if (end >= 0)
		return;
	nvme_stop(&self->nvme);
	ASSERT_TRUE(start_nvme(_metadata, self));
}

static bool is_filled_with(const unsigned char *page, unsigned char value)
{
	for (int i = 0; i < PAGE; i++) {
		if (READ_ONCE(page[i]) != value)
			return false;
	}
	return true;
}

/* The controller writes about itself to the page, which it may. */
static void expect_written(struct __test_metadata *_metadata, struct bench *self)
{
	__u16 vendor;

	memset(self->victim, 0, PAGE);
	ASSERT_EQ(0, nvme_identify(&self->nvme, self->base + WINDOW));
	memcpy(&vendor, self->victim, sizeof(vendor));
	ASSERT_EQ(self->nvme.vendor, vendor) {
		TH_LOG("the controller did not write what is mapped for it");
	}
}

/* The page's physical address; 0 where nobody tells. */
static __u64 physical_address(const void *page)
{
	__u64 entry = 0;
	int fd;

	fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry), (uintptr_t)page / PAGE * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	if (!(entry >> 63))
		return 0;
	return (entry & ((1ULL << 55) - 1)) * PAGE;
}

TEST_F(user, nvme_writes_what_is_mapped)
{
	unsigned long long vendor;

	if (!start_nvme(_metadata, &self->b))
		return;
	TH_LOG("%s", self->b.nvme.model);
	ASSERT_EQ(0, read_number(&vendor, PCI_DEVICES "/%s/vendor", device.address));
	EXPECT_EQ(vendor, self->b.nvme.vendor);
	ASSERT_EQ(0, space_map(&self->b.space, self->b.victim, PAGE, self->b.base + WINDOW));
	expect_written(_metadata, &self->b);
}

TEST_F_TIMEOUT(user, nvme_write_outside_changes_nothing, 120)
{
	__u64 physical;
	int end;

	if (!start_nvme(_metadata, &self->b))
		return;
	ASSERT_EQ(0, space_map(&self->b.space, self->b.victim, PAGE, self->b.base + WINDOW));
	expect_written(_metadata, &self->b);

	/* The translation was just used: it is in whatever cache there is. */
	memset(self->b.victim, 0xa5, PAGE);
	ASSERT_EQ(0, space_unmap(&self->b.space, self->b.base + WINDOW, PAGE));
	end = nvme_identify(&self->b.nvme, self->b.base + WINDOW);
	ASSERT_TRUE(is_filled_with(self->b.victim, 0xa5)) {
		TH_LOG("STALE TRANSLATION: the device wrote a page after its unmap");
	}
	TH_LOG("to a page after its unmap: %s", nvme_end_name(end));

	/* What a device reaches that is not translated. */
	physical = physical_address(self->b.victim);
	if (!physical) {
		TH_LOG("by its physical address: not tried, the kernel does not tell it");
	} else if (physical >= self->b.base && physical < self->b.base + NOTHING) {
		TH_LOG("by its physical address: not tried, something may be mapped there");
	} else if (end >= 0) {
		end = nvme_identify(&self->b.nvme, physical);
		ASSERT_TRUE(is_filled_with(self->b.victim, 0xa5)) {
			TH_LOG("UNTRANSLATED: the device wrote memory by its physical address");
		}
		TH_LOG("to its physical address: %s", nvme_end_name(end));
	}

	/* Neither a broken controller nor a broken mapping was the reason. */
	revive_nvme(_metadata, &self->b, end);
	ASSERT_EQ(0, space_map(&self->b.space, self->b.victim, PAGE, self->b.base + WINDOW));
	expect_written(_metadata, &self->b);
}

/* Starts a controller with a namespace, and keeps what is on its first page for the end. */
static bool start_disk(struct __test_metadata *_metadata, struct bench *self)
{
	if (!start_nvme(_metadata, self))
		return false;
	if (!self->nvme.namespace)
		SKIP(return false, "%s has no namespace that can be used", device.address);
	ASSERT_EQ(0, nvme_transfer(&self->nvme, NVME_READ, 1, nvme_data_iova(&self->nvme, 0), 0));
	self->saved = malloc(PAGE);
	ASSERT_NE(NULL, self->saved);
	memcpy(self->saved, nvme_data(&self->nvme, 0), PAGE);
	return true;
}

/* Fills the page with a secret. No word of it is ever 0. */
static int keep_secret(__u64 *page)
{
	size_t words = PAGE / sizeof(*page), have = 0;

	while (have < PAGE) {
		ssize_t more = getrandom((char *)page + have, PAGE - have, 0);

		if (more < 0)
			return -errno;
		have += more;
	}
	for (size_t i = 0; i < words; i++)
		page[i] |= 1;
	return 0;
}

static bool has_word_of(const void *page, const void *secret)
{
	const __u64 *words = page, *secrets = secret;

	for (size_t i = 0; i < PAGE / sizeof(*words); i++) {
		if (words[i] == secrets[i])
			return true;
	}
	return false;
}

TEST_F_TIMEOUT(user, nvme_read_outside_leaks_nothing, 120)
{
	unsigned char *read_back;
	int end;

	if (!start_disk(_metadata, &self->b))
		return;
	read_back = nvme_data(&self->b.nvme, 1);
	ASSERT_EQ(0, space_map(&self->b.space, self->b.victim, PAGE, self->b.base + WINDOW));
	ASSERT_EQ(0, keep_secret((__u64 *)self->b.victim));
	ASSERT_EQ(0, nvme_transfer(&self->b.nvme, NVME_WRITE, 1, self->b.base + WINDOW, 0));
	ASSERT_EQ(0, nvme_transfer(&self->b.nvme, NVME_READ, 1,
				   nvme_data_iova(&self->b.nvme, 1), 0));
	ASSERT_EQ(0, memcmp(read_back, self->b.victim, PAGE)) {
		TH_LOG("what is mapped did not reach the medium");
	}

	ASSERT_EQ(0, keep_secret((__u64 *)self->b.victim));
	ASSERT_EQ(0, space_unmap(&self->b.space, self->b.base + WINDOW, PAGE));
	end = nvme_transfer(&self->b.nvme, NVME_WRITE, 1, self->b.base + WINDOW, 0);
	TH_LOG("from a page after its unmap: %s", nvme_end_name(end));
	revive_nvme(_metadata, &self->b, end);
	read_back = nvme_data(&self->b.nvme, 1);
	ASSERT_EQ(0, nvme_transfer(&self->b.nvme, NVME_READ, 1,
				   nvme_data_iova(&self->b.nvme, 1), 0));
	ASSERT_FALSE(has_word_of(read_back, self->b.victim)) {
		TH_LOG("STALE TRANSLATION: the device read a page after its unmap");
	}
}

TEST_F_TIMEOUT(user, nvme_reports_data_outside, 60)
{
	int end;

	if (!start_disk(_metadata, &self->b))
		return;
	end = nvme_transfer(&self->b.nvme, NVME_WRITE, 1, self->b.base + NOTHING, 0);
	TH_LOG("%s", nvme_end_name(end));
	if (end == NVME_SUCCESS && !strcmp(self->b.nvme.model, "QEMU NVMe Ctrl"))
		SKIP(return, "QEMU's controller reports success for data that it could not read");
	EXPECT_NE(NVME_SUCCESS, end);
	EXPECT_NE(NVME_NO_ANSWER, end);
	revive_nvme(_metadata, &self->b, end);
}

TEST_F_TIMEOUT(user, nvme_reports_list_outside, 60)
{
	__u64 first;
	int end;

	if (!start_disk(_metadata, &self->b))
		return;
	if (self->b.nvme.transfer_max < 3 * PAGE)
		SKIP(return, "%s takes no list of pages", self->b.nvme.model);
	first = nvme_data_iova(&self->b.nvme, 0);
	end = nvme_transfer(&self->b.nvme, NVME_READ, 3, first, self->b.base + NOTHING);
	TH_LOG("%s", nvme_end_name(end));
	EXPECT_NE(NVME_SUCCESS, end);
	EXPECT_NE(NVME_NO_ANSWER, end);
	revive_nvme(_metadata, &self->b, end);
}

/* The types that a group can be given while no kernel driver uses its device. */
FIXTURE(group)
{
	char type[32];
};

FIXTURE_SETUP(group)
{
	ASSERT_EQ(0, read_text(self->type, sizeof(self->type), IOMMU_GROUPS "/%s/type",
			       device.group));
}

FIXTURE_TEARDOWN(group)
{
	EXPECT_EQ(0, write_text(self->type, IOMMU_GROUPS "/%s/type", device.group));
}

TEST_F(group, takes_all_types)
{
	static const char * const types[] = { "identity", "DMA", "DMA-FQ", "identity", "DMA-FQ" };
	char type[32];

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		ASSERT_EQ(0, write_text(types[i], IOMMU_GROUPS "/%s/type", device.group)) {
			TH_LOG("%s is refused", types[i]);
		}
		ASSERT_EQ(0, read_text(type, sizeof(type), IOMMU_GROUPS "/%s/type", device.group));
		EXPECT_STREQ(types[i], type);
	}
}

static void give_back(void)
{
	/* The tests are children of the process that took the device. */
	if (getpid() == owner)
		expendable_give_back(&device);
}

int main(int argc, char **argv)
{
	const char *reason = pviommu_missing();
	int ret;

	if (!reason)
		reason = expendable_find(&device);
	if (!reason && !exists("/sys/bus/pci/drivers/vfio-pci"))
		reason = "the kernel has no vfio-pci, or its module is not loaded";
	if (reason)
		ksft_exit_skip("%s\n", reason);
	owner = getpid();
	atexit(give_back);
	ret = expendable_bind(&device, "vfio-pci");
	if (ret)
		ksft_exit_fail_msg("%s cannot be given to vfio-pci: %s\n", device.address,
				   strerror(-ret));
	return test_harness_run(argc, argv);
}
