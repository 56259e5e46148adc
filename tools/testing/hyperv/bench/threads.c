// SPDX-License-Identifier: GPL-2.0
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/kthread.h>

#include "threads.h"

struct thread {
	struct threads *threads;
	unsigned int number;
};

#define THREADS_MAX 8

static int run(void *data)
{
	struct thread *thread = data;
	struct threads *threads = thread->threads;
	int ret = threads->work(threads, thread->number);

	if (ret)
		WRITE_ONCE(threads->error, ret);
	if (atomic_dec_and_test(&threads->running))
		complete(&threads->done);
	return 0;
}

int threads_run(struct threads *threads)
{
	struct thread thread[THREADS_MAX];
	struct task_struct *tasks[THREADS_MAX];
	unsigned int i;

	if (!threads->count || threads->count > min(num_online_cpus(), THREADS_MAX))
		return -EINVAL;
	atomic_set(&threads->arrived, 0);
	atomic_set(&threads->running, threads->count);
	init_completion(&threads->done);
	threads->error = 0;
	for (i = 0; i < threads->count; i++) {
		thread[i] = (struct thread){ threads, i };
		tasks[i] = kthread_create(run, &thread[i], "iommu_bench/%u", i);
		if (IS_ERR(tasks[i])) {
			int ret = PTR_ERR(tasks[i]);

			while (i--)
				kthread_stop(tasks[i]);
			return ret;
		}
		kthread_bind(tasks[i], i);
	}
	for (i = 0; i < threads->count; i++)
		wake_up_process(tasks[i]);
	wait_for_completion(&threads->done);
	return threads->error;
}
