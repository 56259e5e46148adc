/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Hypercall ABI of the para-virtualized IOMMU that Hyper-V offers its guests.
 *
 * There is no public document of these calls. Layouts and numbers are those
 * of the interface that Linux and Hyper-V agreed on in 2026. All integers are
 * little endian, structures have no implicit padding, and every reserved or
 * padding field is sent as zero.
 *
 * drivers/iommu/hyperv/host/simple_calls.rs and layouts.rs there tie the
 * structures to the calls.
 */
#ifndef _HV_PVIOMMU_H
#define _HV_PVIOMMU_H

#include <linux/types.h>
#include <linux/build_bug.h>

/* Call codes. List flush is a rep call, the others are simple. */
#define HVCALL_CREATE_DEVICE_DOMAIN		0x00b1
#define HVCALL_ATTACH_DEVICE_DOMAIN		0x00b2
#define HVCALL_DETACH_DEVICE_DOMAIN		0x00c4
#define HVCALL_DELETE_DEVICE_DOMAIN		0x00c5
#define HVCALL_CONFIGURE_DEVICE_DOMAIN		0x00ce
#define HVCALL_FLUSH_DEVICE_DOMAIN		0x00d0
#define HVCALL_FLUSH_DEVICE_DOMAIN_LIST		0x00d1
#define HVCALL_GET_IOMMU_CAPABILITIES		0x0125
#define HVCALL_GET_LOGICAL_DEVICE_PROPERTY	0x0127

/* The caller's own partition, in any partition_id field. */
#define HV_PVIOMMU_PARTITION_SELF		0xffffffffffffffffULL

/* Page numbers in this interface count 4 KiB pages, whatever the guest uses. */
#define HV_PVIOMMU_PAGE_SHIFT			12

/* Domain types; a guest owns stage 1 only. */
#define HV_DEVICE_DOMAIN_TYPE_S2		0
#define HV_DEVICE_DOMAIN_TYPE_S1		1
#define HV_DEVICE_DOMAIN_TYPE_SOC		2

/* Domain numbers that a guest may not choose. */
#define HV_DEVICE_DOMAIN_ID_DEFAULT		0x00000000U
#define HV_DEVICE_DOMAIN_ID_NULL		0xffffffffU

/**
 * struct hv_input_device_domain - names a device domain, first in most inputs
 * @partition_id: owner, HV_PVIOMMU_PARTITION_SELF
 * @owner_vtl: virtual trust level in bits 3:0 (0: the caller's)
 * @padding: zero
 * @type: HV_DEVICE_DOMAIN_TYPE_* in bits 3:0, the rest zero
 * @id: domain number, chosen by the guest
 */
struct hv_input_device_domain {
	u64 partition_id;
	u8 owner_vtl;
	u8 padding[7];
	u32 type;
	u32 id;
} __packed;
static_assert(sizeof(struct hv_input_device_domain) == 0x18);

/**
 * struct hv_input_get_iommu_capabilities - HVCALL_GET_IOMMU_CAPABILITIES
 * @partition_id: HV_PVIOMMU_PARTITION_SELF
 * @reserved: zero
 */
struct hv_input_get_iommu_capabilities {
	u64 partition_id;
	u64 reserved;
} __packed;
static_assert(sizeof(struct hv_input_get_iommu_capabilities) == 0x10);

/* Bits of hv_output_get_iommu_capabilities.iommu_cap */
#define HV_IOMMU_CAP_PRESENT			(1ULL << 0)
#define HV_IOMMU_CAP_S2				(1ULL << 1)
#define HV_IOMMU_CAP_S1				(1ULL << 2)
#define HV_IOMMU_CAP_S1_5LVL			(1ULL << 3)
#define HV_IOMMU_CAP_PASID			(1ULL << 4)
#define HV_IOMMU_CAP_ATS			(1ULL << 5)
#define HV_IOMMU_CAP_PRI			(1ULL << 6)

/**
 * struct hv_output_get_iommu_capabilities - what the host's IOMMU can do
 * @size: bytes of this block
 * @reserved: zero
 * @max_iova_width: widest IOVA, in bits
 * @max_pasid_width: widest PASID, in bits
 * @iommu_cap: HV_IOMMU_CAP_* bits
 * @pgsize_bitmap: bit n set: pages of 2^n bytes
 */
struct hv_output_get_iommu_capabilities {
	u32 size;
	u16 reserved;
	u8 max_iova_width;
	u8 max_pasid_width;
	u64 iommu_cap;
	u64 pgsize_bitmap;
} __packed;
static_assert(sizeof(struct hv_output_get_iommu_capabilities) == 0x18);

/* hv_input_get_logical_device_property.code */
#define HV_LOGICAL_DEVICE_PROPERTY_PVIOMMU	10

/**
 * struct hv_input_get_logical_device_property - HVCALL_GET_LOGICAL_DEVICE_PROPERTY
 * @partition_id: HV_PVIOMMU_PARTITION_SELF
 * @logical_device_id: the device, see hv_pci_lookup_dev_id()
 * @code: HV_LOGICAL_DEVICE_PROPERTY_*
 * @reserved: zero
 */
struct hv_input_get_logical_device_property {
	u64 partition_id;
	u64 logical_device_id;
	u32 code;
	u32 reserved;
} __packed;
static_assert(sizeof(struct hv_input_get_logical_device_property) == 0x18);

/* Bit of hv_output_get_logical_device_property.device_iommu */
#define HV_DEVICE_IOMMU_ENABLED			(1ULL << 0)

/**
 * struct hv_output_get_logical_device_property - the PVIOMMU property
 * @device_iommu: HV_DEVICE_IOMMU_ENABLED: the guest may attach the device
 * @reserved: zero
 */
struct hv_output_get_logical_device_property {
	u64 device_iommu;
	u64 reserved;
} __packed;
static_assert(sizeof(struct hv_output_get_logical_device_property) == 0x10);

/* hv_input_create_device_domain.flags */
#define HV_CREATE_DEVICE_DOMAIN_FORWARD_PROGRESS (1U << 0)
#define HV_CREATE_DEVICE_DOMAIN_INHERIT_VTL	(1U << 1)

/**
 * struct hv_input_create_device_domain - HVCALL_CREATE_DEVICE_DOMAIN
 * @device_domain: the domain to be
 * @flags: HV_CREATE_DEVICE_DOMAIN_*
 * @padding: zero
 */
struct hv_input_create_device_domain {
	struct hv_input_device_domain device_domain;
	u32 flags;
	u32 padding;
} __packed;
static_assert(sizeof(struct hv_input_create_device_domain) == 0x20);

/*
 * hv_input_configure_device_domain.flags. A blocking domain has translation
 * enabled, too: with it clear, DMA addresses are guest physical addresses.
 */
#define HV_DEVICE_DOMAIN_TRANSLATION_ENABLED	(1ULL << 0)
#define HV_DEVICE_DOMAIN_BLOCKED		(1ULL << 1)
#define HV_DEVICE_DOMAIN_5_LEVEL		(1ULL << 2)

/**
 * struct hv_input_configure_device_domain - HVCALL_CONFIGURE_DEVICE_DOMAIN
 * @device_domain: a domain just created, with no device attached
 * @flags: HV_DEVICE_DOMAIN_*
 * @page_table_root: guest physical address of the 4 KiB top table, else 0
 */
struct hv_input_configure_device_domain {
	struct hv_input_device_domain device_domain;
	u64 flags;
	u64 page_table_root;
} __packed;
static_assert(sizeof(struct hv_input_configure_device_domain) == 0x28);

/**
 * struct hv_input_attach_device_domain - HVCALL_ATTACH_DEVICE_DOMAIN
 * @device_domain: the new domain
 * @device_id: logical device id (type LOGICAL: bits 63:62 are 0)
 */
struct hv_input_attach_device_domain {
	struct hv_input_device_domain device_domain;
	u64 device_id;
} __packed;
static_assert(sizeof(struct hv_input_attach_device_domain) == 0x20);

/**
 * struct hv_input_detach_device_domain - HVCALL_DETACH_DEVICE_DOMAIN
 * @partition_id: HV_PVIOMMU_PARTITION_SELF
 * @device_id: logical device id; its DMA is blocked from then on
 */
struct hv_input_detach_device_domain {
	u64 partition_id;
	u64 device_id;
} __packed;
static_assert(sizeof(struct hv_input_detach_device_domain) == 0x10);

/**
 * struct hv_input_delete_device_domain - HVCALL_DELETE_DEVICE_DOMAIN
 * @device_domain: a domain with no device attached
 */
struct hv_input_delete_device_domain {
	struct hv_input_device_domain device_domain;
} __packed;
static_assert(sizeof(struct hv_input_delete_device_domain) == 0x18);

/**
 * struct hv_input_flush_device_domain - HVCALL_FLUSH_DEVICE_DOMAIN
 * @device_domain: drop all that is cached of this domain
 * @flags: zero
 * @reserved: zero
 */
struct hv_input_flush_device_domain {
	struct hv_input_device_domain device_domain;
	u32 flags;
	u32 reserved;
} __packed;
static_assert(sizeof(struct hv_input_flush_device_domain) == 0x20);

/* hv_input_flush_device_domain_list.flags */
#define HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT (1U << 0)

/**
 * struct hv_input_flush_device_domain_list - HVCALL_FLUSH_DEVICE_DOMAIN_LIST
 * @device_domain: the domain
 * @flags: HV_FLUSH_DEVICE_DOMAIN_LIST_IOMMU_FORMAT
 * @reserved: zero
 *
 * The header; one 64-bit entry a rep follows. An entry covers 2^s 4-KiB pages:
 * s in bits 5:0, zero in bits 11:6, the first page's number in bits 63:12,
 * aligned to 2^s.
 */
struct hv_input_flush_device_domain_list {
	struct hv_input_device_domain device_domain;
	u32 flags;
	u32 reserved;
} __packed;
static_assert(sizeof(struct hv_input_flush_device_domain_list) == 0x20);

#define HV_IOMMU_FLUSH_VA_SHIFT_MASK		0x3fULL
#define HV_IOMMU_FLUSH_VA_PAGE_SHIFT		12

#endif /* _HV_PVIOMMU_H */
