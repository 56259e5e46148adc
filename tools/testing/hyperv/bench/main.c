// SPDX-License-Identifier: GPL-2.0
/*
 * Measures the DMA and IOMMU interfaces of a device, in instructions of an emulator that lets each
 * one take a nanosecond. Bound to a device by driver_override: to "iommu_bench" for the DMA API, to
 * "iommu_bench_owner" for domains of the module's own.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/pci.h>

#include "bench.h"
#include "measure.h"
#include "ranges.h"

static struct device *devices[2];
static DEFINE_MUTEX(devices_lock);

struct device *bench_device(enum bench_binding binding)
{
	guard(mutex)(&devices_lock);
	return devices[binding];
}

static int take(struct pci_dev *pdev, enum bench_binding binding)
{
	guard(mutex)(&devices_lock);
	if (devices[binding])
		return -EBUSY;
	devices[binding] = &pdev->dev;
	return 0;
}

static void release(enum bench_binding binding)
{
	guard(mutex)(&devices_lock);
	devices[binding] = NULL;
}

static int probe_dma_api(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return take(pdev, BENCH_DMA_API);
}

static void remove_dma_api(struct pci_dev *pdev)
{
	release(BENCH_DMA_API);
}

static int probe_owner(struct pci_dev *pdev, const struct pci_device_id *id)
{
	return take(pdev, BENCH_OWNER);
}

static void remove_owner(struct pci_dev *pdev)
{
	ranges_release(&pdev->dev);
	release(BENCH_OWNER);
}

static struct pci_driver dma_api_driver = {
	.name = "iommu_bench",
	.probe = probe_dma_api,
	.remove = remove_dma_api,
};

static struct pci_driver owner_driver = {
	.name = "iommu_bench_owner",
	.probe = probe_owner,
	.remove = remove_owner,
	.driver_managed_dma = true,
};

static int __init bench_init(void)
{
	int ret;

	measure_init();
	ret = pci_register_driver(&dma_api_driver);
	if (ret)
		return ret;
	ret = pci_register_driver(&owner_driver);
	if (ret)
		goto unregister_dma_api;
	ret = bench_command_init();
	if (ret)
		goto unregister_owner;
	return 0;

unregister_owner:
	pci_unregister_driver(&owner_driver);
unregister_dma_api:
	pci_unregister_driver(&dma_api_driver);
	return ret;
}
module_init(bench_init);

static void __exit bench_exit(void)
{
	bench_command_exit();
	pci_unregister_driver(&owner_driver);
	pci_unregister_driver(&dma_api_driver);
}
module_exit(bench_exit);

MODULE_DESCRIPTION("Instruction counts of the DMA and IOMMU interfaces");
MODULE_LICENSE("GPL");
