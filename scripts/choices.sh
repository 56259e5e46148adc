# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What make menuconfig chose, as the variables that the scripts take. Sourced by env.sh. A variable that the environment has
# counts more than a choice; a choice that is the default sets nothing.

HV_CONFIG=${HV_CONFIG:-$HV_BUILD/.config}
declare -A hv_choice=()	# by option, without its CONFIG_; what is off is absent
hv_chosen=()	# VARIABLE=VALUE that came from there

# read_choices: strings lose their quotes, and backslashes that protect a character.
read_choices() {
	local line value
	[[ -f $HV_CONFIG ]] || return 0
	while IFS= read -r line; do
		[[ $line =~ ^CONFIG_([A-Z0-9_]+)=(.*)$ ]] || continue
		value=${BASH_REMATCH[2]}
		if [[ $value == '"'*'"' ]]; then
			value=${value:1:-1}
			value=${value//\\\"/\"}
			value=${value//\\\\/\\}
		fi
		hv_choice[${BASH_REMATCH[1]}]=$value
	done <"$HV_CONFIG"
}

# choose VARIABLE VALUE: sets and exports it, unless there is a value or nothing is to be set.
choose() {
	if [[ -n ${!1:-} || -z $2 ]]; then return 0; fi
	export "$1=$2"
	hv_chosen+=("$1=$2")
}

# choose_tools: what every script needs.
choose_tools() {
	local name jobs=${hv_choice[JOBS]:-0} offline=''
	for name in KDIR KREF LLVM RUSTC; do choose "$name" "${hv_choice[$name]:-}"; done
	if ((jobs != 0)); then choose JOBS "$jobs"; fi
	if [[ ${hv_choice[OFFLINE]:-} == y ]]; then offline=1; fi
	choose OFFLINE "$offline"
}

# off PREFIX NAME...: those whose option is off.
off() {
	local prefix=$1 name option
	shift
	for name; do
		option=${prefix}_${name^^}
		[[ ${hv_choice[${option//-/_}]:-} == y ]] || echo "$name"
	done
}

# choose_run: the guest of make run and make shell.
choose_run() {
	local name devices
	((${#hv_choice[@]})) || return 0
	if [[ ${hv_choice[RUN_DEBUG]:-} == y ]]; then choose VARIANT debug; fi
	if [[ ${hv_choice[RUN_CPUS]:-2} != 2 ]]; then choose CPUS "${hv_choice[RUN_CPUS]}"; fi
	if [[ ${hv_choice[RUN_MEMORY]:-1G} != 1G ]]; then choose MEMORY "${hv_choice[RUN_MEMORY]}"; fi
	choose APPEND "${hv_choice[RUN_APPEND]:-}"
	if [[ ${hv_choice[RUN_KEEP]:-} == y ]]; then choose KEEP 1; fi
	devices=$(comm -23 <(printf '%s\n' edu nvme virtio-blk virtio-net virtio-rng xhci) \
		<(off RUN edu nvme virtio-blk virtio-net virtio-rng xhci) | xargs)
	if [[ $devices != 'edu nvme virtio-blk' ]]; then choose DEVICES "$devices"; fi
}

# The suites that make test runs by itself, without the runner.
readonly HV_SUITES_WITHOUT_GUEST=(host apply setup menuconfig compile-fail minihv-release configs series lint conformance deb)
# The runner's suites; a unit test of the runner compares them with those that there are.
readonly HV_SUITES_OF_GUESTS=(minihv kunit mock boot faults hostile nomem matrix lifecycle passthrough negative power root stress
	ats attack observe virtio-iommu vfio iommufd hyperv bench)
readonly HV_SUITES=("${HV_SUITES_WITHOUT_GUEST[@]}" "${HV_SUITES_OF_GUESTS[@]}")
# These run when they are named, or in make test-all.
readonly HV_SUITES_ON_DEMAND=(configs series lint conformance deb bench)

# choose_tests: which suites are wanted.
choose_tests() {
	local -a left_out on_demand=()
	local name
	((${#hv_choice[@]})) || return 0
	mapfile -t left_out < <(off SUITE "${HV_SUITES[@]}")
	for name in "${HV_SUITES_ON_DEMAND[@]}"; do
		if [[ " ${left_out[*]} " != *" $name "* ]]; then on_demand+=("$name"); fi
	done
	if ((${#on_demand[@]})); then
		choose SUITE "$(printf '%s\n' "${HV_SUITES[@]}" | grep -vxFf <(printf '%s\n' "${left_out[@]}") | xargs)"
	else
		choose SUITE "$(printf '%s\n' "${left_out[@]}" | grep -vxFf <(printf '%s\n' "${HV_SUITES_ON_DEMAND[@]}") | sed 's/^/-/' | xargs)"
	fi
}

# The kernels of make test-all, besides debug and release.
readonly HV_VARIANTS=(module pviommu-off rust-off rt strict compat kcsan gcc lto btf doctests)

# choose_variants: which of them make test-all takes.
choose_variants() {
	local left_out
	((${#hv_choice[@]})) || return 0
	left_out=$(off VARIANT "${HV_VARIANTS[@]}" | xargs)
	if [[ -z $left_out ]]; then return 0; fi
	choose VARIANTS "$(printf '%s\n' debug release "${HV_VARIANTS[@]}" | grep -vxFf <(tr ' ' '\n' <<<"$left_out") | xargs)"
}

# say_chosen: what was chosen there and counts.
say_chosen() {
	((${#hv_chosen[@]})) || return 0
	echo "chosen by make menuconfig ($HV_CONFIG):$(printf ' %q' "${hv_chosen[@]}")"
}
