// SPDX-License-Identifier: GPL-2.0
/*
 * C side of the Rust registry of logical device ids. Exports its symbols for
 * pci-hyperv, which may be a module. Sets it up before VMBus, which starts at
 * subsys_initcall.
 */

#include <linux/export.h>
#include <linux/init.h>
#include <asm/mshyperv.h>

EXPORT_SYMBOL_FOR_MODULES(hv_pci_register_dev_id, "pci-hyperv");
EXPORT_SYMBOL_FOR_MODULES(hv_pci_unregister_dev_id, "pci-hyperv");

core_initcall(hv_pci_dev_id_init);
