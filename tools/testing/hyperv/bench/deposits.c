// SPDX-License-Identifier: GPL-2.0
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <asm/mshyperv.h>

#include "deposits.h"

/* Page numbers that one call returns at most. */
#define NUMBERS (HV_HYP_PAGE_SIZE / sizeof(u64))

static u64 withdraw(u64 *numbers)
{
	struct hv_input_withdraw_memory *input;
	unsigned long flags;
	u64 status;

	local_irq_save(flags);
	input = *this_cpu_ptr(hyperv_pcpu_input_arg);
	memset(input, 0, sizeof(*input));
	input->partition_id = HV_PARTITION_ID_SELF;
	status = hv_do_rep_hypercall(HVCALL_WITHDRAW_MEMORY, NUMBERS, 0, input, numbers);
	local_irq_restore(flags);
	return status;
}

int deposits_withdraw(void)
{
	u64 *numbers = (void *)get_zeroed_page(GFP_KERNEL);
	unsigned int completed, i;
	u64 status;

	if (!numbers)
		return -ENOMEM;
	do {
		status = withdraw(numbers);
		completed = hv_repcomp(status);
		for (i = 0; i < completed; i++)
			__free_page(pfn_to_page(numbers[i]));
	} while (hv_result_success(status) && completed);
	free_page((unsigned long)numbers);
	/* That there is no more. */
	if (hv_result(status) == HV_STATUS_NO_RESOURCES)
		return 0;
	return hv_result_success(status) ? 0 : -EIO;
}
