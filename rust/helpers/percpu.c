// SPDX-License-Identifier: GPL-2.0

#include <linux/cpumask.h>
#include <linux/irqflags.h>
#include <linux/percpu.h>

__rust_helper void __percpu *rust_helper_alloc_percpu(size_t size,
						      size_t align)
{
	return __alloc_percpu(size, align);
}

__rust_helper void *rust_helper_per_cpu_ptr(void __percpu *parts, int cpu)
{
	return per_cpu_ptr(parts, cpu);
}

/* The first is after -1; -1 follows the last. */
__rust_helper int rust_helper_next_possible_cpu(int cpu)
{
	unsigned int next = cpumask_next(cpu, cpu_possible_mask);

	return next < nr_cpu_ids ? next : -1;
}

/* Interrupts off, then this CPU's part: the order matters. */
__rust_helper void *rust_helper_percpu_get(void __percpu *parts,
					   unsigned long *irq_flags)
{
	local_irq_save(*irq_flags);
	return this_cpu_ptr(parts);
}

__rust_helper void rust_helper_local_irq_restore(unsigned long irq_flags)
{
	local_irq_restore(irq_flags);
}

__rust_helper void rust_helper_this_cpu_add_u64(u64 __percpu *counter, u64 n)
{
	this_cpu_add(*counter, n);
}
