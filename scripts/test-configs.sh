#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Which configurations the driver is in: the table of pviommu-kconfig.rst against Kconfig and against what apply says. And
# whether configurations without the driver compile. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/check.sh
. "${BASH_SOURCE[0]%/*}/check.sh"
# shellcheck source=scripts/apply-config.sh
. "${BASH_SOURCE[0]%/*}/apply-config.sh"
# shellcheck source=scripts/test-configs-rows.sh
. "${BASH_SOURCE[0]%/*}/test-configs-rows.sh"

usage() {
	cat <<-END
	usage: scripts/test-configs.sh [--table] [--build] [WORDS]

	--table  make a configuration for each line of Documentation/virt/hyperv/pviommu-kconfig.rst, and compare
	--variants  whether the kernel takes the configuration of each variant of scripts/build-kernel.sh; with --table by default
	--build  compile what the project touches in some small configurations, and link whole kernels of others
	WORDS    only those whose names contain these

	HV_KMAKE_SRC=TREE takes a kernel tree with the project in it in place of build/linux.
	END
}

readonly TABLE=$HV_TOP/Documentation/virt/hyperv/pviommu-kconfig.rst
readonly DIR=$HV_BUILD/configs/kconfig
check_suite=configs
declare -A outcome=() words=() seen=()	# by the first column

# read_table: the rows, without the marks of literals.
read_table() {
	local first second third
	while IFS=$'\t' read -r first second third; do
		outcome[$first]=$second words[$first]=$third
	done < <(awk '
		function flush() { if (n == 3) print cell[1] "\t" cell[2] "\t" cell[3]; n = 0 }
		{ gsub(/``/, "") }
		/^   \* - / { flush(); n = 1; cell[1] = substr($0, 8); next }
		/^     - / { cell[++n] = substr($0, 8); next }
		/^       / { cell[n] = cell[n] " " substr($0, 8); next }
		{ flush() }
		END { flush() }' "$TABLE")
	unset 'outcome[Configuration]'
}

# holds OPTION=VALUE: the configuration that was read has it.
holds() {
	local name=${1%%=*} value=${1#*=}
	[[ ${option[$name]:-n} == "$value" ]] || {
		echo "asked for $1, got ${option[$name]:-n}"
		return 1
	}
}

# make_config OPTION=VALUE...: $DIR/.config, read. The last value of an option counts.
make_config() {
	printf '%s\n' "$@" | tac | awk -F = '!seen[$1]++ { print $2 == "n" ? "# CONFIG_" $1 " is not set" : "CONFIG_" $0 }' >"$DIR/.config"
	kmake "$DIR" "${variables[@]}" olddefconfig || return 1
	read_config "$DIR/.config"
}

# options_held EXCEPTIONS OPTION...: the options that were asked for are there, but for the exceptions, which are off.
options_held() {
	local except=" $1 " asked rc=0
	shift
	for asked; do
		if [[ $except == *" ${asked%%=*} "* ]]; then asked=${asked%%=*}=n; fi
		holds "$asked" || rc=1
	done
	return $rc
}

# apply_says WORDS CONFIG: what apply says of a configuration that was made before the project was laid over the tree.
apply_says() {
	local said
	sed -i '/HYPERV_PVIOMMU is not set/!{/HYPERV_PVIOMMU/d}' "$2"
	said=$(say_config "$2" "$version")
	echo "$said"
	[[ $said == *"$1"* ]] || return 1
	if [[ $1 == 'will be in' ]]; then (($(wc -l <<<"$said") == 1)); fi
}

# try_row NAME OPTION...: makes the configuration, and compares.
try_row() {
	local name=$1 without='' config=$DIR/seen.config driver=n
	shift
	if [[ ${outcome[$name]} == *', without '* ]]; then
		without=${outcome[$name]#*, without }
		without=${without//,/}
	fi
	make_config "${BASELINE[@]}" "$@" || return 1
	if [[ ${outcome[$name]} == yes* ]]; then driver=y; fi
	holds HYPERV_PVIOMMU=$driver || return 1
	options_held "$without" "$@" || return 1
	cp -- "$DIR/.config" "$config"
	if ((as_asked)); then printf 'CONFIG_%s\n' "$@" >>"$config"; fi
	apply_says "${words[$name]}" "$config" || return 1
	((rust_takes)) || return 0
	make_config "${BASELINE[@]}" "$@" RUST=n || return 1
	options_held '' "$@" RUST=n
}

# try_build NAME OPTION...: compiles a small configuration that has nothing else, or links it. A warning is a failure.
try_build() {
	local objdir=$HV_BUILD/configs/$1 rc=0
	shift
	mkdir -p -- "$objdir"
	printf 'CONFIG_%s\n' "$@" >"$objdir/request.config"
	KCONFIG_ALLCONFIG=$objdir/request.config kmake "$objdir" "${variables[@]}" allnoconfig || return 1
	read_config "$objdir/.config"
	options_held '' "$@" || return 1
	kmake "$objdir" "${variables[@]}" "${targets[@]}" >"$objdir/build.log" 2>&1 || rc=1
	if ((rc)) || grep -qE '^(warning|error)|[ :](warning|error): ' "$objdir/build.log"; then
		grep -E -A 6 '^(warning|error)|[ :](warning|error): ' "$objdir/build.log" || tail -n 20 "$objdir/build.log"
		return 1
	fi
	if [[ -n $without_symbol ]] && "$(llvm_program llvm-nm)" "$objdir/vmlinux" | grep -F "$without_symbol"; then
		echo "$objdir/vmlinux has this of a driver that is not configured"
		return 1
	fi
	rm -rf -- "$objdir"
}

# count_try NAME TRY OPTION...
count_try() {
	check_out=$HV_LOGS/configs/${1//[^A-Za-z0-9._-]/_}.log
	check "$1" "$2" "$1" "${@:3}"
}

# either TRY NAME WORD...: each word is an option, or something in place of what is used otherwise.
either() {
	local try=$1 name=$2 word options=() variables=() as_asked=0 rust_takes=0 targets=("${COMPILED[@]}") without_symbol=
	shift 2
	[[ $name == *"$only"* ]] || return 0
	for word; do
		if [[ $word == *=* ]]; then options+=("$word"); else in_place "$word"; fi
	done
	count_try "$name" "$try" "${options[@]}"
}

# row NAME WORD...: a row of the table.
row() {
	[[ -n ${outcome[$1]:-} ]] || die "the table has no row \"$1\""
	seen[$1]=1
	either try_row "$@"
}

# build NAME WORD...: a configuration to compile.
build() {
	either try_build "$@"
}

# try_table: all rows, of which none may be left out.
try_table() {
	local name
	read_table
	rows
	for name in "${!outcome[@]}"; do
		if [[ -z ${seen[$name]:-} ]]; then
			failed=$((failed + 1))
			echo "FAIL configs: the table's row \"$name\" is tried by nothing"
		fi
	done
}

# try_variant NAME VARIANT
try_variant() {
	"$HV_TOP/scripts/build-kernel.sh" --try-config "$2"
}

# try_variants: the kernels of the tests.
try_variants() {
	local name
	while read -r name; do
		[[ "variant $name" != *"$only"* ]] || count_try "variant $name" try_variant "$name"
	done < <("$HV_TOP/scripts/build-kernel.sh" --list)
}

steps=()
only=
while (($#)); do
	case $1 in
	--table) steps+=(try_table) ;;
	--variants) steps+=(try_variants) ;;
	--build) steps+=(builds) ;;
	-h | --help)
		usage
		exit 0
		;;
	*) only=$1 ;;
	esac
	shift
done
((${#steps[@]})) || steps=(try_table try_variants)
if [[ -z ${HV_KMAKE_SRC:-} ]]; then
	lock_build
	"$HV_TOP/scripts/setup.sh"
	"$HV_TOP/scripts/source.sh"
fi
tree=${HV_KMAKE_SRC:-$HV_LINUX}
version=$(kernel_version "$tree")
mkdir -p -- "$DIR" "$HV_LOGS/configs"
make_stand_ins "$HV_BUILD/configs/stand-ins"
for step in "${steps[@]}"; do "$step"; done
echo "$passed passed, $failed failed"
((failed == 0))
