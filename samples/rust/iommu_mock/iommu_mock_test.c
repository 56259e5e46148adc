// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the mock IOMMU driver in Rust: what a user of the IOMMU API
 * gets from it. They need a device behind each of its IOMMUs, which is made by
 * writing 1 to /sys/kernel/debug/rust_iommu_mock/devices.
 */

#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/platform_device.h>
#include <uapi/linux/iommufd.h>

/* The kind of hardware information that the driver has. */
#define HW_INFO_MOCK 0x6d6f636b

static const struct mock_iommu {
	const char *name;
	const char *client;
	dma_addr_t last;
	unsigned int number;
} iommus[] = {
	{ "mapped", "mock0-client.0", (1ULL << 40) - 1, 0 },
	{ "table", "mock1-client.0", (1ULL << 47) - 1, 1 },
};

KUNIT_ARRAY_PARAM_DESC(iommu, iommus, name);

struct context {
	struct device *dev;
	struct iommu_domain *domain;
};

static int init(struct kunit *test)
{
	const struct mock_iommu *iommu = test->param_value;
	struct context *context;

	context = kunit_kzalloc(test, sizeof(*context), GFP_KERNEL);
	if (!context)
		return -ENOMEM;
	test->priv = context;
	context->dev = bus_find_device_by_name(&platform_bus_type, NULL,
					       iommu->client);
	if (!context->dev)
		return -ENODEV;
	context->domain = iommu_paging_domain_alloc(context->dev);
	return PTR_ERR_OR_ZERO(context->domain);
}

static void exit(struct kunit *test)
{
	struct context *context = test->priv;

	if (!context)
		return;
	if (!IS_ERR_OR_NULL(context->domain))
		iommu_domain_free(context->domain);
	put_device(context->dev);
}

static void aperture_is_that_of_the_driver(struct kunit *test)
{
	const struct mock_iommu *iommu = test->param_value;
	struct context *context = test->priv;
	struct iommu_domain_geometry *geometry = &context->domain->geometry;

	KUNIT_EXPECT_EQ(test, geometry->aperture_start, 0);
	KUNIT_EXPECT_EQ(test, geometry->aperture_end, iommu->last);
	KUNIT_EXPECT_TRUE(test, geometry->force_aperture);
}

static void pages_are_where_they_were_mapped(struct kunit *test)
{
	struct context *context = test->priv;
	struct iommu_domain *domain = context->domain;

	KUNIT_ASSERT_EQ(test, iommu_attach_device(domain, context->dev), 0);
	KUNIT_EXPECT_EQ(test, iommu_map(domain, 0x7ff000, 0x12345000, 3 * SZ_4K,
					IOMMU_READ | IOMMU_WRITE, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, 0x7ff000), 0x12345000);
	KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, 0x801fff), 0x12347fff);
	KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, 0x7fe000), 0);
	KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, 0x802000), 0);

	/* The page in the middle alone. */
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, 0x800000, SZ_4K), SZ_4K);
	KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, 0x800000), 0);
	KUNIT_EXPECT_EQ(test, iommu_iova_to_phys(domain, 0x801000), 0x12347000);
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, 0x7ff000, SZ_4K), SZ_4K);
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, 0x801000, SZ_4K), SZ_4K);
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, 0x801000, SZ_4K), 0);
	iommu_detach_device(domain, context->dev);
}

static void unmaps_are_gathered(struct kunit *test)
{
	struct context *context = test->priv;
	struct iommu_domain *domain = context->domain;
	struct iommu_iotlb_gather gather;

	KUNIT_ASSERT_EQ(test, iommu_map(domain, 0x10000, 0x12340000, 4 * SZ_4K,
					IOMMU_READ, GFP_KERNEL), 0);
	iommu_iotlb_gather_init(&gather);
	KUNIT_EXPECT_EQ(test, iommu_unmap_fast(domain, 0x10000, SZ_4K, &gather), SZ_4K);
	KUNIT_EXPECT_EQ(test, iommu_unmap_fast(domain, 0x11000, 2 * SZ_4K, &gather),
			2 * SZ_4K);
	KUNIT_EXPECT_EQ(test, gather.start, 0x10000);
	KUNIT_EXPECT_EQ(test, gather.end, 0x12fff);
	iommu_iotlb_sync(domain, &gather);
	KUNIT_EXPECT_EQ(test, iommu_unmap(domain, 0x13000, SZ_4K), SZ_4K);
}

static void pasids_come_and_go(struct kunit *test)
{
	struct context *context = test->priv;
	struct iommu_domain *domain = context->domain;

	KUNIT_ASSERT_EQ(test, iommu_attach_device_pasid(domain, context->dev, 5, NULL), 0);
	KUNIT_EXPECT_EQ(test, iommu_attach_device_pasid(domain, context->dev, 5, NULL),
			-EBUSY);
	iommu_detach_device_pasid(domain, context->dev, 5);
	/* The device's PASIDs have 4 bits: the last one is 15. */
	KUNIT_EXPECT_NE(test, iommu_attach_device_pasid(domain, context->dev, 16, NULL), 0);
}

static void hardware_is_described(struct kunit *test)
{
	const struct mock_iommu *iommu = test->param_value;
	struct context *context = test->priv;
	const struct iommu_ops *ops = context->dev->iommu->iommu_dev->ops;
	enum iommu_hw_info_type type = IOMMU_HW_INFO_TYPE_DEFAULT;
	u32 length = 0, *info;

	KUNIT_ASSERT_NOT_NULL(test, ops->hw_info);
	info = ops->hw_info(context->dev, &length, &type);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(info));
	KUNIT_EXPECT_EQ(test, length, 2 * sizeof(*info));
	KUNIT_EXPECT_EQ(test, type, HW_INFO_MOCK);
	KUNIT_EXPECT_EQ(test, info[0], iommu->number);
	KUNIT_EXPECT_EQ(test, info[1], 0);
	kfree(info);

	type = IOMMU_HW_INFO_TYPE_INTEL_VTD;
	info = ops->hw_info(context->dev, &length, &type);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(info), -EOPNOTSUPP);
}

static void what_the_driver_lacks_is_refused(struct kunit *test)
{
	struct context *context = test->priv;
	const struct iommu_ops *ops = context->dev->iommu->iommu_dev->ops;
	struct iommu_domain *domain;

	domain = iommu_paging_domain_alloc_flags(context->dev,
						 IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(domain), -EOPNOTSUPP);
	domain = iommu_paging_domain_alloc_flags(context->dev, IOMMU_HWPT_ALLOC_PASID);
	KUNIT_ASSERT_FALSE(test, IS_ERR_OR_NULL(domain));
	iommu_domain_free(domain);

	KUNIT_EXPECT_TRUE(test, device_iommu_capable(context->dev,
						     IOMMU_CAP_CACHE_COHERENCY));
	KUNIT_EXPECT_FALSE(test, device_iommu_capable(context->dev, IOMMU_CAP_NOEXEC));
	KUNIT_EXPECT_NULL(test, ops->of_xlate);
	KUNIT_EXPECT_NULL(test, ops->page_response);
	KUNIT_EXPECT_NULL(test, ops->is_attach_deferred);
	KUNIT_EXPECT_NULL(test, ops->domain_alloc_paging);
	KUNIT_EXPECT_NULL(test, context->domain->ops->enforce_cache_coherency);
	KUNIT_EXPECT_NULL(test, context->domain->dirty_ops);
	KUNIT_EXPECT_NOT_NULL(test, ops->owner);
}

static void a_region_is_reserved(struct kunit *test)
{
	struct context *context = test->priv;
	struct iommu_resv_region *region;
	unsigned int found = 0;
	LIST_HEAD(regions);

	iommu_get_resv_regions(context->dev, &regions);
	list_for_each_entry(region, &regions, list) {
		found++;
		KUNIT_EXPECT_EQ(test, region->start, 0xfee00000);
		KUNIT_EXPECT_EQ(test, region->length, SZ_1M);
		KUNIT_EXPECT_EQ(test, region->type, IOMMU_RESV_RESERVED);
	}
	iommu_put_resv_regions(context->dev, &regions);
	KUNIT_EXPECT_EQ(test, found, 1);
}

static struct kunit_case cases[] = {
	KUNIT_CASE_PARAM(aperture_is_that_of_the_driver, iommu_gen_params),
	KUNIT_CASE_PARAM(pages_are_where_they_were_mapped, iommu_gen_params),
	KUNIT_CASE_PARAM(unmaps_are_gathered, iommu_gen_params),
	KUNIT_CASE_PARAM(pasids_come_and_go, iommu_gen_params),
	KUNIT_CASE_PARAM(hardware_is_described, iommu_gen_params),
	KUNIT_CASE_PARAM(what_the_driver_lacks_is_refused, iommu_gen_params),
	KUNIT_CASE_PARAM(a_region_is_reserved, iommu_gen_params),
	{}
};

static struct kunit_suite suite = {
	.name = "rust_iommu_mock",
	.init = init,
	.exit = exit,
	.test_cases = cases,
};

kunit_test_suite(suite);

MODULE_DESCRIPTION("KUnit tests of the mock IOMMU driver in Rust");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("IOMMUFD_INTERNAL");
