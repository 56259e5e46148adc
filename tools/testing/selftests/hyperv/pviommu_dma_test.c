// SPDX-License-Identifier: GPL-2.0
/*
 * The kernel's benchmark of DMA mappings, by its own program (tools/dma), on a
 * device behind Hyper-V's para-virtualized IOMMU that the caller names
 * (HV_PVIOMMU_BDF). No time is judged: the mappings have to work.
 */
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "pviommu.h"

#define DRIVER		"dma_map_benchmark"
#define DEBUGFS_FILE	"/sys/kernel/debug/dma_map_benchmark"

static struct expendable device;
static char program[PATH_MAX];
static pid_t owner;

FIXTURE(benchmark)
{
	char type[32];
};

FIXTURE_VARIANT(benchmark)
{
	const char *type;
};

FIXTURE_VARIANT_ADD(benchmark, strict)
{
	.type = "DMA",
};

FIXTURE_VARIANT_ADD(benchmark, deferred)
{
	.type = "DMA-FQ",
};

FIXTURE_SETUP(benchmark)
{
	/* The type of a group changes while no driver has its device. */
	ASSERT_EQ(0, expendable_bind(&device, NULL));
	ASSERT_EQ(0, read_text(self->type, sizeof(self->type), IOMMU_GROUPS "/%s/type",
			       device.group));
	ASSERT_EQ(0, write_text(variant->type, IOMMU_GROUPS "/%s/type", device.group)) {
		TH_LOG("group %s does not take the type %s", device.group, variant->type);
	}
	ASSERT_EQ(0, expendable_bind(&device, DRIVER));
	if (!exists(DEBUGFS_FILE))
		SKIP(return, "there is no " DEBUGFS_FILE "; is debugfs mounted?");
}

/* In the parent: a test that takes too long is killed. */
FIXTURE_TEARDOWN_PARENT(benchmark)
{
	EXPECT_EQ(0, expendable_bind(&device, NULL));
	if (*self->type)
		EXPECT_EQ(0, write_text(self->type, IOMMU_GROUPS "/%s/type", device.group));
}

static bool is_latency(const char *line, const char *name)
{
	char format[64];
	double latency;

	snprintf(format, sizeof(format), "average %s latency(us):%%lf", name);
	return sscanf(line, format, &latency) == 1 && latency >= 0;
}

/* Starts the program; returns its process, and where its lines come from. */
static pid_t start(char *const arguments[], FILE **output)
{
	int ends[2];
	pid_t child;

	if (pipe(ends))
		return -1;
	child = fork();
	if (!child) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		execv(program, arguments);
		_exit(127);
	}
	close(ends[1]);
	*output = fdopen(ends[0], "r");
	return child;
}

/* Runs the program, which has to end well and to tell of maps and unmaps. */
static void run(struct __test_metadata *_metadata, char *const arguments[])
{
	bool map = false, unmap = false;
	FILE *output = NULL;
	char line[256];
	int status;
	pid_t child;

	child = start(arguments, &output);
	ASSERT_GT(child, 0);
	ASSERT_NE(NULL, output);
	while (fgets(line, sizeof(line), output)) {
		line[strcspn(line, "\n")] = '\0';
		TH_LOG("%s", line);
		map |= is_latency(line, "map");
		unmap |= is_latency(line, "unmap");
	}
	fclose(output);
	ASSERT_EQ(child, waitpid(child, &status, 0));
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
	EXPECT_TRUE(map);
	EXPECT_TRUE(unmap);
}

#define RUN(...)	run(_metadata, (char *[]){ DRIVER, __VA_ARGS__, NULL })

TEST_F_TIMEOUT(benchmark, single, 60)
{
	RUN("-s", "1", "-b", "64");
}

TEST_F_TIMEOUT(benchmark, single_below_4_gib, 60)
{
	RUN("-s", "1", "-b", "32", "-g", "16");
}

TEST_F_TIMEOUT(benchmark, scatter_gather, 60)
{
	RUN("-s", "1", "-b", "64", "-m", "1", "-g", "16");
}

TEST_F_TIMEOUT(benchmark, threads, 60)
{
	RUN("-s", "1", "-b", "64", "-t", "4");
}

static void give_back(void)
{
	/* The tests are children of the process that took the device. */
	if (getpid() == owner)
		expendable_give_back(&device);
}

/* The program is built and installed beside this one. */
static const char *find_program(void)
{
	char self[PATH_MAX];
	ssize_t length;

	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0)
		return "/proc/self/exe cannot be read";
	self[length] = '\0';
	snprintf(program, sizeof(program), "%s/dma_map_benchmark", dirname(self));
	return exists("%s", program) ? NULL : "dma_map_benchmark is not beside this program";
}

int main(int argc, char **argv)
{
	const char *reason = pviommu_missing();

	if (!reason)
		reason = expendable_find(&device);
	if (!reason && !exists("/sys/bus/pci/drivers/" DRIVER))
		reason = "the kernel has no " DRIVER ", or its module is not loaded";
	if (!reason)
		reason = find_program();
	if (reason)
		ksft_exit_skip("%s\n", reason);
	owner = getpid();
	atexit(give_back);
	return test_harness_run(argc, argv);
}
