/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of Hyper-V's para-virtualized IOMMU share: sysfs, and a PCI
 * device that the caller has named as expendable.
 */
#ifndef SELFTESTS_HYPERV_PVIOMMU_H
#define SELFTESTS_HYPERV_PVIOMMU_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <linux/types.h>

#include "kselftest.h"

#define PVIOMMU		"/sys/class/iommu/hv_pviommu"
#define PCI_DEVICES	"/sys/bus/pci/devices"
#define IOMMU_GROUPS	"/sys/kernel/iommu_groups"

/* The environment variable that names the expendable device. */
#define PVIOMMU_DEVICE	"HV_PVIOMMU_BDF"

/* Where message-signalled interrupts are written to. */
#define MSI_WINDOW_FIRST	0xfee00000ULL
#define MSI_WINDOW_LAST		0xfeefffffULL

/*
 * Reads a file without its last newline. The path is a format.
 * Returns 0 or a negative errno.
 */
int read_text(char *text, size_t size, const char *path, ...) __printf(3, 4);

/* Reads a file that holds one number in C's notation. */
int read_number(unsigned long long *value, const char *path, ...) __printf(2, 3);

/* Writes to a file. */
int write_text(const char *text, const char *path, ...) __printf(2, 3);

/* Reads the last part of what a symbolic link points to. */
int read_link_name(char *name, size_t size, const char *path, ...) __printf(3, 4);

/* Whether a file exists. */
bool exists(const char *path, ...) __printf(1, 2);

/* Whether the kernel was started with this word. */
bool kernel_was_told(const char *word);

/*
 * Why this guest has nothing to test. NULL where the IOMMU is in service.
 * The text is valid until the next call.
 */
const char *pviommu_missing(void);

/* The device that the caller has named, and how it was found. */
struct expendable {
	char address[32];
	char group[16];
	char driver[64];	/* empty: it had none */
};

/*
 * Looks at the device that the caller has named. Returns NULL, or why it is
 * not usable; the text is valid until the next call.
 */
const char *expendable_find(struct expendable *device);

/*
 * Binds the device to a driver, away from the one that has it; to none at all
 * for NULL. Returns 0 or a negative errno.
 */
int expendable_bind(const struct expendable *device, const char *driver);

/* Gives the device back to the driver that it had. */
void expendable_give_back(const struct expendable *device);

#endif /* SELFTESTS_HYPERV_PVIOMMU_H */
