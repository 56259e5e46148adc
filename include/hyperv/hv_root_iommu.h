/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Hypercall ABI of the device domains that Hyper-V keeps for the partition
 * that owns the machine's devices. The calls that a guest has, too, and the
 * name of a domain, are in hv_pviommu.h.
 *
 * There is no public document of these calls. Layouts and numbers are those
 * that were posted for Linux as such a partition in 2021 and 2026. All
 * integers are little endian, structures have no implicit padding, and every
 * reserved or padding field is sent as zero.
 *
 * drivers/iommu/hyperv/root/device_domain.rs ties the structures to the calls.
 */
#ifndef _HV_ROOT_IOMMU_H
#define _HV_ROOT_IOMMU_H

#include <linux/build_bug.h>
#include <linux/types.h>
#include <hyperv/hv_pviommu.h>

/* CPUID 0x40000003 EDX: the partition may make these calls. */
#define HV_DEVICE_DOMAINS_AVAILABLE		(1U << 24)

/* Both are rep calls; only the first one has a list. */
#define HVCALL_MAP_DEVICE_GPA_PAGES		0x00b3
#define HVCALL_UNMAP_DEVICE_GPA_PAGES		0x00b4

/* hv_input_map_device_gpa_pages.map_flags */
#define HV_MAP_DEVICE_GPA_READABLE		(1U << 0)
#define HV_MAP_DEVICE_GPA_WRITABLE		(1U << 1)
#define HV_MAP_DEVICE_GPA_NOT_CACHED		(1U << 21)
#define HV_MAP_DEVICE_GPA_LARGE_PAGE		(1U << 31)

/**
 * struct hv_input_map_device_gpa_pages - HVCALL_MAP_DEVICE_GPA_PAGES
 * @device_domain: a domain of type HV_DEVICE_DOMAIN_TYPE_S2
 * @target_vtl: zero: the caller's trust level
 * @padding: zero
 * @map_flags: HV_MAP_DEVICE_GPA_*; READABLE always
 * @target_device_va_base: where the first page goes, in bytes
 *
 * The header; the number of a 4-KiB page a rep follows. With LARGE_PAGE a rep
 * is 2 MiB, and the number is that of its first page.
 */
struct hv_input_map_device_gpa_pages {
	struct hv_input_device_domain device_domain;
	u8 target_vtl;
	u8 padding[3];
	u32 map_flags;
	u64 target_device_va_base;
} __packed;
static_assert(sizeof(struct hv_input_map_device_gpa_pages) == 0x28);

/**
 * struct hv_input_unmap_device_gpa_pages - HVCALL_UNMAP_DEVICE_GPA_PAGES
 * @device_domain: a domain of type HV_DEVICE_DOMAIN_TYPE_S2
 * @target_device_va_base: the first page, in bytes
 *
 * A rep is a page of 4 KiB; there is no list.
 */
struct hv_input_unmap_device_gpa_pages {
	struct hv_input_device_domain device_domain;
	u64 target_device_va_base;
} __packed;
static_assert(sizeof(struct hv_input_unmap_device_gpa_pages) == 0x20);

#endif /* _HV_ROOT_IOMMU_H */
