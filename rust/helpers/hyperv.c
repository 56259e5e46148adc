// SPDX-License-Identifier: GPL-2.0

#include <linux/irqflags.h>
#include <linux/pci.h>
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

__rust_helper void rust_helper_hv_input_page_put(unsigned long irq_flags)
{
	local_irq_restore(irq_flags);
}

__rust_helper u64 rust_helper_hv_hypercall(u64 control, void *input,
					   void *output)
{
	return hv_do_hypercall(control, input, output);
}

__rust_helper bool rust_helper_hv_parent_partition(void)
{
	return hv_parent_partition();
}

#ifdef CONFIG_PCI
__rust_helper int rust_helper_pci_domain_nr(struct pci_bus *bus)
{
	return pci_domain_nr(bus);
}
#endif
#endif
