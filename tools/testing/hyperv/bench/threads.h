/* SPDX-License-Identifier: GPL-2.0 */
/* Threads that work at the same time, each on a processor of its own, in steps. */
#ifndef _IOMMU_BENCH_THREADS_H
#define _IOMMU_BENCH_THREADS_H

#include <linux/atomic.h>
#include <linux/completion.h>

struct threads {
	unsigned int count;
	int (*work)(struct threads *threads, unsigned int number);
	void *context;
	/* Private: */
	atomic_t arrived;
	atomic_t running;
	struct completion done;
	int error;
};

/*
 * Runs @count threads' @work to its end. Without processors enough: -EINVAL. Returns the error of
 * one of those that fail.
 */
int threads_run(struct threads *threads);

/*
 * Waits until all threads are here for the @step-th time (from 1). They spin: in the emulator, a
 * processor that does gives way to the others after each turn, so that waiting costs next to
 * nothing.
 */
static inline void threads_meet(struct threads *threads, unsigned int step)
{
	atomic_inc(&threads->arrived);
	while (atomic_read(&threads->arrived) < step * threads->count)
		cpu_relax();
}

#endif /* _IOMMU_BENCH_THREADS_H */
