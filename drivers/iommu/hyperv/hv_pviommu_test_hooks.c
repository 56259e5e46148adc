// SPDX-License-Identifier: GPL-2.0
/*
 * Switches that break the driver on purpose, to prove that its tests notice.
 * They sit below the driver, in the hypercall layer: a call that is dropped
 * looks to the driver as if it had succeeded.
 */

#include <linux/moduleparam.h>
#include <asm/mshyperv.h>
#include <hyperv/hv_pviommu.h>

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "hv_pviommu."

static bool drop_flush;
module_param(drop_flush, bool, 0644);
MODULE_PARM_DESC(drop_flush, "Drop every flush of the IOTLB");

bool hv_pviommu_test_drops(u16 call_code)
{
	switch (call_code) {
	case HVCALL_FLUSH_DEVICE_DOMAIN:
	case HVCALL_FLUSH_DEVICE_DOMAIN_LIST:
		return READ_ONCE(drop_flush);
	default:
		return false;
	}
}
