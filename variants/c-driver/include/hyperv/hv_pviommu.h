/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Hypercall ABI of the para-virtualized IOMMU that Hyper-V offers its guests,
 * for the driver in Rust.
 *
 * The layouts and most of the numbers are those of hvhdk_mini.h and
 * hvgdk_mini.h. They are compared here with what the driver was written for,
 * so that it does not build with others. What the two lack, as they have
 * bit-fields in its place, is added.
 *
 * drivers/iommu/hyperv/host/layouts.rs ties the structures to the calls, and
 * host/blocks.rs fills them in.
 */
#ifndef _HV_PVIOMMU_H
#define _HV_PVIOMMU_H

#include <linux/bits.h>
#include <linux/build_bug.h>
#include <linux/stddef.h>
#include <linux/types.h>
#include <hyperv/hvhdk.h>

/* The caller's own partition, in any partition_id field. */
#define HV_PVIOMMU_PARTITION_SELF		0xffffffffffffffffULL
static_assert(HV_PARTITION_ID_SELF == HV_PVIOMMU_PARTITION_SELF);

/* Page numbers in this interface count 4 KiB pages, whatever the guest uses. */
#define HV_PVIOMMU_PAGE_SHIFT			12
static_assert(HV_HYP_PAGE_SHIFT == HV_PVIOMMU_PAGE_SHIFT);

static_assert(HVCALL_CREATE_DEVICE_DOMAIN == 0x00b1);
static_assert(HVCALL_ATTACH_DEVICE_DOMAIN == 0x00b2);
static_assert(HVCALL_DETACH_DEVICE_DOMAIN == 0x00c4);
static_assert(HVCALL_DELETE_DEVICE_DOMAIN == 0x00c5);
static_assert(HVCALL_CONFIGURE_DEVICE_DOMAIN == 0x00ce);
static_assert(HVCALL_FLUSH_DEVICE_DOMAIN == 0x00d0);
static_assert(HVCALL_FLUSH_DEVICE_DOMAIN_LIST == 0x00d1);
static_assert(HVCALL_GET_IOMMU_CAPABILITIES == 0x0125);
static_assert(HVCALL_GET_LOGICAL_DEVICE_PROPERTY == 0x0127);

/* Domain types; a guest owns stage 1 only. */
#ifndef HV_DEVICE_DOMAIN_TYPE_S2
#define HV_DEVICE_DOMAIN_TYPE_S2		0
#endif
static_assert(HV_DEVICE_DOMAIN_TYPE_S2 == 0);
static_assert(HV_DEVICE_DOMAIN_TYPE_S1 == 1);

static_assert(HV_DEVICE_DOMAIN_ID_DEFAULT == 0);
static_assert(HV_DEVICE_DOMAIN_ID_NULL == 0xffffffff);

/* hv_input_create_device_domain.create_device_domain_flags.as_uint32 */
#define HV_CREATE_DEVICE_DOMAIN_FORWARD_PROGRESS (1U << 0)
#define HV_CREATE_DEVICE_DOMAIN_INHERIT_VTL	(1U << 1)

/*
 * hv_input_configure_device_domain.settings.flags, as a number. A blocking
 * domain has translation enabled, too: with it clear, DMA addresses are guest
 * physical addresses.
 */
#define HV_DEVICE_DOMAIN_TRANSLATION_ENABLED	(1ULL << 0)
#define HV_DEVICE_DOMAIN_BLOCKED		(1ULL << 1)
#define HV_DEVICE_DOMAIN_5_LEVEL		(1ULL << 2)

#define HV_IOMMU_FLUSH_VA_SHIFT_MASK		0x3fULL
#define HV_IOMMU_FLUSH_VA_PAGE_SHIFT		12

/*
 * Where members end, in bytes. The structures are packed: each member begins
 * where the one before it ends.
 */
static_assert(sizeof(union hv_input_vtl) == 1);
static_assert(sizeof(union hv_device_id) == 8);

static_assert(sizeof(union hv_device_domain_id) == 8);
static_assert(offsetofend(union hv_device_domain_id, as_uint64) == 0x08);
static_assert(offsetofend(union hv_device_domain_id, id) == 0x08);

static_assert(sizeof(struct hv_input_device_domain) == 0x18);
static_assert(offsetofend(struct hv_input_device_domain, partition_id) == 0x08);
static_assert(offsetofend(struct hv_input_device_domain, owner_vtl) == 0x09);
static_assert(offsetofend(struct hv_input_device_domain, padding) == 0x10);
static_assert(offsetofend(struct hv_input_device_domain, domain_id) == 0x18);

static_assert(sizeof(struct hv_input_get_iommu_capabilities) == 0x10);
static_assert(sizeof(struct hv_output_get_iommu_capabilities) == 0x18);
static_assert(offsetofend(struct hv_output_get_iommu_capabilities, max_iova_width) == 0x07);
static_assert(offsetofend(struct hv_output_get_iommu_capabilities, iommu_cap) == 0x10);
static_assert(offsetofend(struct hv_output_get_iommu_capabilities, pgsize_bitmap) == 0x18);

static_assert(sizeof(struct hv_input_get_logical_device_property) == 0x18);
static_assert(offsetofend(struct hv_input_get_logical_device_property, logical_device_id) == 0x10);
static_assert(offsetofend(struct hv_input_get_logical_device_property, code) == 0x14);
static_assert(sizeof(struct hv_output_get_logical_device_property) == 0x10);
static_assert(offsetofend(struct hv_output_get_logical_device_property, device_iommu) == 0x08);

static_assert(sizeof(struct hv_input_create_device_domain) == 0x20);
static_assert(offsetofend(struct hv_input_create_device_domain,
			  create_device_domain_flags) == 0x1c);

static_assert(sizeof(struct hv_input_configure_device_domain) == 0x28);
static_assert(offsetofend(struct hv_input_configure_device_domain, settings) == 0x28);
static_assert(offsetofend(struct hv_device_domain_settings, flags) == 0x08);
static_assert(offsetofend(struct hv_device_domain_settings, page_table_root) == 0x10);

static_assert(sizeof(struct hv_input_attach_device_domain) == 0x20);
static_assert(offsetofend(struct hv_input_attach_device_domain, device_id) == 0x20);
static_assert(sizeof(struct hv_input_detach_device_domain) == 0x10);
static_assert(offsetofend(struct hv_input_detach_device_domain, device_id) == 0x10);
static_assert(sizeof(struct hv_input_delete_device_domain) == 0x18);

static_assert(sizeof(struct hv_input_flush_device_domain) == 0x20);
static_assert(offsetofend(struct hv_input_flush_device_domain, flags) == 0x1c);
static_assert(sizeof(struct hv_input_flush_device_domain_list) == 0x20);
static_assert(offsetofend(struct hv_input_flush_device_domain_list, flags) == 0x1c);

static_assert(HV_IOMMU_CAP_PRESENT == 1ULL << 0);
static_assert(HV_IOMMU_CAP_S2 == 1ULL << 1);
static_assert(HV_IOMMU_CAP_S1 == 1ULL << 2);
static_assert(HV_IOMMU_CAP_S1_5LVL == 1ULL << 3);
static_assert(HV_IOMMU_CAP_PASID == 1ULL << 4);
static_assert(HV_IOMMU_CAP_ATS == 1ULL << 5);
static_assert(HV_IOMMU_CAP_PRI == 1ULL << 6);
static_assert(HV_LOGICAL_DEVICE_PROPERTY_PVIOMMU == 10);
static_assert(HV_DEVICE_IOMMU_ENABLED == 1ULL << 0);
static_assert(HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT == 1U << 0);

/* bindgen neither evaluates BIT() nor knows enumerators by these names. */
#ifdef __BINDGEN__
#undef HV_IOMMU_CAP_PRESENT
#undef HV_IOMMU_CAP_S2
#undef HV_IOMMU_CAP_S1
#undef HV_IOMMU_CAP_S1_5LVL
#undef HV_IOMMU_CAP_PASID
#undef HV_IOMMU_CAP_ATS
#undef HV_IOMMU_CAP_PRI
#undef HV_DEVICE_IOMMU_ENABLED
#undef HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT
#define HV_IOMMU_CAP_PRESENT			(1ULL << 0)
#define HV_IOMMU_CAP_S2				(1ULL << 1)
#define HV_IOMMU_CAP_S1				(1ULL << 2)
#define HV_IOMMU_CAP_S1_5LVL			(1ULL << 3)
#define HV_IOMMU_CAP_PASID			(1ULL << 4)
#define HV_IOMMU_CAP_ATS			(1ULL << 5)
#define HV_IOMMU_CAP_PRI			(1ULL << 6)
#define HV_LOGICAL_DEVICE_PROPERTY_PVIOMMU	10
#define HV_DEVICE_IOMMU_ENABLED			(1ULL << 0)
#define HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT (1U << 0)
#endif

#endif /* _HV_PVIOMMU_H */
