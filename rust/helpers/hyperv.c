// SPDX-License-Identifier: GPL-2.0

#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/percpu.h>

#if IS_ENABLED(CONFIG_HYPERV)
#include <asm/mshyperv.h>

/*
 * Interrupts off, then this CPU's hypercall input page: the order matters.
 * There is none when the kernel does not run on Hyper-V.
 */
__rust_helper void *rust_helper_hv_input_page_get(unsigned long *irq_flags)
{
	local_irq_save(*irq_flags);
	if (unlikely(!hyperv_pcpu_input_arg))
		return NULL;
	return *this_cpu_ptr(hyperv_pcpu_input_arg);
}

/* U64_MAX when there is no hypercall page. */
__rust_helper u64 rust_helper_hv_hypercall_at(u64 control, phys_addr_t input,
					      phys_addr_t output)
{
#ifdef CONFIG_X86_64
	return static_call_mod(hv_hypercall)(control, input, output);
#else
	return hv_do_hypercall(control, input ? phys_to_virt(input) : NULL,
			       output ? phys_to_virt(output) : NULL);
#endif
}

__rust_helper phys_addr_t rust_helper_virt_to_phys(void *address)
{
	return virt_to_phys(address);
}

__rust_helper bool rust_helper_hv_parent_partition(void)
{
	return hv_parent_partition();
}

__rust_helper bool rust_helper_hv_root_partition(void)
{
	return hv_root_partition();
}

__rust_helper unsigned long rust_helper_page_to_pfn(struct page *page)
{
	return page_to_pfn(page);
}
#endif
