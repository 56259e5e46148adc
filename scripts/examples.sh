# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash disable=SC2154
# The examples in the documentation of the abstractions: the kernel runs them as KUnit tests where CONFIG_RUST_KERNEL_DOCTESTS
# is set. Here they are compiled, against the kernel that is there, as its makefile would compile them. Sourced, after
# check.sh, by a script that has `kernel` and `work`, and the functions read_command and compile.

# gather_examples DIRECTORY: puts the examples of the project's files there, and what the kernel's tool makes of them.
gather_examples() {
	local at=$1 tool file
	local -a files ours=()
	mkdir -p "$at/rust/test/doctests/kernel"
	for tool in rustdoc_test_builder rustdoc_test_gen; do
		"$RUSTC" --edition 2021 -o "$at/$tool" "$HV_LINUX/scripts/$tool.rs" || return
	done
	# The kernel's tool writes below the current directory, which is the kernel's when rustdoc runs.
	printf '#!/bin/bash\ncd %q && exec ./rustdoc_test_builder "$@"\n' "$at" >"$at/builder"
	chmod +x "$at/builder"
	read_command rust/.kernel.o.cmd
	(cd "$kernel" && env "${environment[@]}" "$RUSTDOC" --test --no-run "${compiler[@]:1}" --extern kernel --crate-name kernel \
		--test-builder "$at/builder" "$HV_LINUX/rust/kernel/lib.rs" --test-args --quiet) || return
	cd "$at" || return
	mapfile -d '' -t files < <(project_files rust/kernel)
	for file in "${files[@]}"; do
		file=${file#rust/kernel/}
		file=${file//\//_}
		ours+=(-o -name "${file/%.rs/_rs}_[0-9]*_[0-9]*")
	done
	find rust/test/doctests/kernel -type f ! '(' -false "${ours[@]}" ')' -delete
	srctree=$HV_LINUX ./rustdoc_test_gen
}

# judge_examples
judge_examples() {
	local at=$work/examples rc=0 count
	mkdir -p "$at"
	check "the examples are found" gather_examples "$at"
	count=$(find "$at/rust/test/doctests/kernel" -type f | wc -l)
	read_command "$SAVED"
	compile "$at/rust/doctests_kernel_generated.rs" --extern macros --extern bindings --extern uapi -Amissing_docs \
		>"$work/examples.right" 2>&1 || rc=$?
	check "$count examples of the abstractions compile" compiles examples "$rc"
}
