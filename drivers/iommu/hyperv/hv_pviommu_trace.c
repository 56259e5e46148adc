// SPDX-License-Identifier: GPL-2.0
/* The tracepoints' definitions, and the functions that call them from Rust. */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/hv_pviommu.h>
