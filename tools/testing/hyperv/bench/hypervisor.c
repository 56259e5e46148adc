// SPDX-License-Identifier: GPL-2.0
#include <linux/kernel.h>

#include "hypervisor.h"

#define CONTROL_LEAF 0x4fff0000
#define PING_VALUE 0x4d696e6948760001ULL

enum control_command {
	COMMAND_PING = 0,
	COMMAND_COUNTER = 1,
};

enum control_counter {
	COUNTER_CALLS = 0,
	COUNTER_FLUSH_DESCRIPTORS = 2,
	COUNTER_FLUSH_PAGES = 3,
	COUNTER_EXITS = 14,
	COUNTER_HYPERVISOR_TICKS = 15,
};

/* Every call of the IOMMU's interface. */
static const u32 call_codes[] = { 0xb1, 0xb2, 0xc4, 0xc5, 0xce, 0xd0, 0xd1, 0x125, 0x127 };

static u32 control(enum control_command command, u32 argument, u32 index, u64 *value)
{
	u32 eax = CONTROL_LEAF, ebx = argument, ecx = command, edx = index;

	asm volatile("cpuid" : "+a" (eax), "+b" (ebx), "+c" (ecx), "+d" (edx));
	*value = (u64)edx << 32 | ebx;
	return eax;
}

bool hypervisor_is_there(void)
{
	u64 value;

	return !control(COMMAND_PING, 0, 0, &value) && value == PING_VALUE;
}

#define REPEAT(instruction)								\
	do {										\
		unsigned int i;								\
											\
		for (i = 0; i < 64; i++) {						\
			u32 eax = CONTROL_LEAF, ebx = 0, ecx = COMMAND_PING, edx = 0;	\
											\
			asm volatile(instruction					\
				     : "+a" (eax), "+b" (ebx), "+c" (ecx), "+d" (edx));	\
		}									\
	} while (0)

void hypervisor_exits(void)
{
	REPEAT("cpuid");
}

void hypervisor_no_exits(void)
{
	REPEAT("nop");
}

static u64 counter(enum control_counter counter, u32 index)
{
	u64 value;

	return control(COMMAND_COUNTER, counter, index, &value) ? 0 : value;
}

u64 hypervisor_calls(u32 code)
{
	return counter(COUNTER_CALLS, code);
}

static void read_flushes(struct hypervisor_counts *counts)
{
	unsigned int i;

	counts->calls = 0;
	for (i = 0; i < ARRAY_SIZE(call_codes); i++)
		counts->calls += counter(COUNTER_CALLS, call_codes[i]);
	counts->descriptors = counter(COUNTER_FLUSH_DESCRIPTORS, 0);
	counts->pages = counter(COUNTER_FLUSH_PAGES, 0);
}

void hypervisor_read_before(struct hypervisor_counts *counts)
{
	read_flushes(counts);
	counts->exits = counter(COUNTER_EXITS, 0);
	counts->ticks = counter(COUNTER_HYPERVISOR_TICKS, 0);
}

void hypervisor_read_after(struct hypervisor_counts *counts)
{
	counts->ticks = counter(COUNTER_HYPERVISOR_TICKS, 0);
	counts->exits = counter(COUNTER_EXITS, 0);
	read_flushes(counts);
}
