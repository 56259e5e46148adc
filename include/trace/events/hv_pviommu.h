/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the Hyper-V para-virtualized IOMMU; they are called from
 * drivers/iommu/hyperv/host/trace.rs.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM hv_pviommu

#if !defined(_TRACE_HV_PVIOMMU_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_HV_PVIOMMU_H

#include <linux/device.h>
#include <linux/tracepoint.h>

/* How a device was blocked. */
#define HV_PVIOMMU_TRACE_BLOCK_ATTACHED	0
#define HV_PVIOMMU_TRACE_BLOCK_DETACHED	1
#define HV_PVIOMMU_TRACE_BLOCK_GONE	2
#define HV_PVIOMMU_TRACE_BLOCK_FAILED	3

/* A status is that of the hypervisor, 16 bits wide, or one of these. */
#define HV_PVIOMMU_TRACE_STATUS_NO_PAGE		0x10000
#define HV_PVIOMMU_TRACE_STATUS_NO_PROGRESS	0x10001

/* A device was put into a domain, in place of the one it was in. */
TRACE_EVENT(hv_pviommu_attach,

	TP_PROTO(const struct device *dev, u64 logical_id, u32 domain),

	TP_ARGS(dev, logical_id, domain),

	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(u64, logical_id)
		__field(u32, domain)
	),

	TP_fast_assign(
		__assign_str(dev);
		__entry->logical_id = logical_id;
		__entry->domain = domain;
	),

	TP_printk("%s device=0x%llx domain=%u", __get_str(dev),
		  __entry->logical_id, __entry->domain)
);

/* A device was to be kept from doing DMA. */
TRACE_EVENT(hv_pviommu_block,

	TP_PROTO(const struct device *dev, u64 logical_id, u32 how),

	TP_ARGS(dev, logical_id, how),

	TP_STRUCT__entry(
		__string(dev, dev_name(dev))
		__field(u64, logical_id)
		__field(u32, how)
	),

	TP_fast_assign(
		__assign_str(dev);
		__entry->logical_id = logical_id;
		__entry->how = how;
	),

	TP_printk("%s device=0x%llx how=%s", __get_str(dev),
		  __entry->logical_id,
		  __print_symbolic(__entry->how,
				   { HV_PVIOMMU_TRACE_BLOCK_ATTACHED, "attached" },
				   { HV_PVIOMMU_TRACE_BLOCK_DETACHED, "detached" },
				   { HV_PVIOMMU_TRACE_BLOCK_GONE, "gone" },
				   { HV_PVIOMMU_TRACE_BLOCK_FAILED, "failed" }))
);

/*
 * A flush was asked of the hypervisor. One of the whole domain has no
 * descriptors, and all addresses as its range.
 */
TRACE_EVENT(hv_pviommu_flush,

	TP_PROTO(u32 domain, u64 first, u64 last, u32 descriptors, u32 status),

	TP_ARGS(domain, first, last, descriptors, status),

	TP_STRUCT__entry(
		__field(u64, first)
		__field(u64, last)
		__field(u32, domain)
		__field(u32, descriptors)
		__field(u32, status)
	),

	TP_fast_assign(
		__entry->first = first;
		__entry->last = last;
		__entry->domain = domain;
		__entry->descriptors = descriptors;
		__entry->status = status;
	),

	TP_printk("domain=%u form=%s range=0x%llx-0x%llx descriptors=%u status=0x%x",
		  __entry->domain, __entry->descriptors ? "list" : "whole",
		  __entry->first, __entry->last, __entry->descriptors,
		  __entry->status)
);

/* A hypercall of the driver did not do what was asked. */
TRACE_EVENT(hv_pviommu_hypercall_failed,

	TP_PROTO(u16 code, u32 status),

	TP_ARGS(code, status),

	TP_STRUCT__entry(
		__field(u32, status)
		__field(u16, code)
	),

	TP_fast_assign(
		__entry->status = status;
		__entry->code = code;
	),

	TP_printk("code=0x%04x status=0x%x", __entry->code, __entry->status)
);

#endif /* _TRACE_HV_PVIOMMU_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
