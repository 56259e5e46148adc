// SPDX-License-Identifier: GPL-2.0

#include <linux/cpumask.h>
#include <linux/irqflags.h>
#include <linux/mm.h>
#include <linux/percpu.h>

#if IS_ENABLED(CONFIG_HYPERV)
#include <asm/mshyperv.h>

/*
 * Turns interrupts off first, so that the page is that of the CPU on which
 * the caller goes on. NULL if the kernel does not run on Hyper-V.
 */
__rust_helper void *rust_helper_hv_input_page_get(unsigned long *irq_flags)
{
	local_irq_save(*irq_flags);
	if (unlikely(!hyperv_pcpu_input_arg))
		return NULL;
	return *this_cpu_ptr(hyperv_pcpu_input_arg);
}

/* Returns U64_MAX if there is no hypercall page. */
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

__rust_helper void __percpu *rust_helper_hv_percpu_alloc(size_t size,
						      size_t align)
{
	return __alloc_percpu(size, align);
}

__rust_helper void *rust_helper_hv_percpu_of(void __percpu *parts, int cpu)
{
	return per_cpu_ptr(parts, cpu);
}

/* Takes -1 for the first possible CPU; returns -1 after the last one. */
__rust_helper int rust_helper_hv_next_possible_cpu(int cpu)
{
	unsigned int next = cpumask_next(cpu, cpu_possible_mask);

	return next < nr_cpu_ids ? next : -1;
}

/* Interrupts go off first, so that the caller stays on the part's CPU. */
__rust_helper void *rust_helper_hv_percpu_get(void __percpu *parts,
					   unsigned long *irq_flags)
{
	local_irq_save(*irq_flags);
	return this_cpu_ptr(parts);
}

__rust_helper void rust_helper_hv_local_irq_restore(unsigned long irq_flags)
{
	local_irq_restore(irq_flags);
}

__rust_helper void rust_helper_hv_percpu_add(u64 __percpu *counter, u64 n)
{
	this_cpu_add(*counter, n);
}
#endif
