/* SPDX-License-Identifier: GPL-2.0 */
/* What a call costs that does nothing. */
#include <linux/cfi_types.h>

SYM_TYPED_FUNC_START(bench_nothing)
	RET
SYM_FUNC_END(bench_nothing)
