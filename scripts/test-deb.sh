#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Tries the packages of make deb: installs them into a small Debian, and boots it under minihv from an NVMe disk behind the
# IOMMU, by the initramfs that the installation made. Last line: "N passed, N failed".
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "${BASH_SOURCE[0]%/*}/lib.sh"
# shellcheck source=scripts/apt.sh
. "${BASH_SOURCE[0]%/*}/apt.sh"

usage() {
	cat <<-END
	usage: scripts/test-deb.sh [--twice]

	--twice  build the packages again, in another directory, and compare kernel and modules: the same to the last bit

	Makes the packages first if they are not there (scripts/deb.sh, MODULES=localmod). Needs root, for a Debian of its own
	in a directory, and Debian's archive. DEB_OUT=DIR takes the packages from there, as they are.
	END
}

readonly SUITE_OF_ROOT=trixie
readonly IN_ROOT=systemd-sysv,udev,initramfs-tools,kmod,zstd
readonly CHECKS=$HV_WORKSPACE/deb
readonly PLACE=$HV_BUILD/deb-test
# What two builds are compared by.
readonly COMPARED=(vmlinux arch/x86/boot/bzImage drivers/vfio/pci/vfio-pci.ko drivers/iommu/iommufd/iommufd.ko)
passed=0 failed=0

# result NAME RC [TEXT]
result() {
	if (($2 == 0)); then
		passed=$((passed + 1))
		echo "ok   deb: $1${3:+ ($3)}"
	else
		failed=$((failed + 1))
		echo "FAIL deb: $1${3:+ ($3)}"
	fi
}

# package NAME: the file of the package linux-NAME-*.
package() {
	find "$packages" -maxdepth 1 -name "linux-$1-*.deb" | head -n 1
}

# holds FILE PATTERN...: a package has a file for each pattern.
holds() {
	local list pattern
	list=$(dpkg-deb -c "$1" | awk '{ print $6 }')
	for pattern in "${@:2}"; do grep -qE "$pattern" <<<"$list" || return 1; done
}

# option NAME VALUE: of the kernel's configuration, as the package has it.
option() {
	# All of it is read: who writes into a pipe that nobody reads any more fails.
	dpkg-deb --fsys-tarfile "$image" | tar -xO "./boot/config-$release" | grep -xF "CONFIG_$1=$2" >/dev/null
}

# The packages themselves.
look_at_packages() {
	local rc=0 name
	holds "$image" "^./boot/vmlinuz-" "^./boot/config-" "/iommufd\.ko" "/vfio-pci\.ko" || rc=1
	result "$(basename "$image") has kernel, configuration and modules" $rc
	rc=0
	holds "$headers" "/usr/src/linux-headers-.*/Makefile$" "/Module.symvers$" || rc=1
	result "$(basename "$headers") is for building modules" $rc
	for name in HYPERV_PVIOMMU RUST DEBUG_INFO_BTF PCI_HYPERV; do
		rc=0
		option $name y || rc=1
		result "CONFIG_$name" $rc
	done
	rc=0
	option MODULE_SIG_KEY '""' || rc=1
	result "no key is in the kernel" $rc
}

# install_root: Debian with the packages and the checks, in $work/root.
install_root() {
	local mirror root=$work/root
	mirror=$(debian_mirror)
	mmdebstrap --mode=root --variant=minbase --include="$IN_ROOT" --keyring="$DEBIAN_KEYRING" \
		--customize-hook="copy-in '$image' '$headers' /root" \
		--customize-hook="chroot \"\$1\" sh -c 'apt-get install -y --no-install-recommends /root/linux-*.deb && rm /root/linux-*.deb'" \
		"$SUITE_OF_ROOT" "$root" "deb [signed-by=$DEBIAN_KEYRING] $mirror $SUITE_OF_ROOT main"
	install -m 755 "$CHECKS/hv-check" "$root/usr/local/sbin/hv-check"
	install -m 755 "$HV_TOP/tools/hv/hv-pviommu-report" "$root/usr/local/bin/hv-pviommu-report"
	install -m 644 "$CHECKS/hv-check.service" "$root/etc/systemd/system/hv-check.service"
	echo "$release" >"$root/etc/hv-check-release"
	ln -s ../hv-check.service "$root/etc/systemd/system/multi-user.target.wants/hv-check.service"
	echo hv >"$root/etc/hostname"
	# The console is the kernel's, and its lines are read: nobody else writes in between.
	ln -s /dev/null "$root/etc/systemd/system/serial-getty@ttyS0.service"
	# Not a file system check at each boot, not a question at the first one.
	echo uninitialized >"$root/etc/machine-id"
	[[ -f $root/boot/vmlinuz-$release && -f $root/boot/initrd.img-$release ]]
}

# make_disk: the root file system as the disk of a guest, without mounting it.
make_disk() {
	rm -f -- "$PLACE/root.img"
	/sbin/mke2fs -q -t ext4 -L hv-root -d "$work/root" "$PLACE/root.img" 2G
	cp -- "$work/root/boot/vmlinuz-$release" "$PLACE/vmlinuz"
	cp -- "$work/root/boot/initrd.img-$release" "$PLACE/initrd.img"
}

# remove_again: the way back. Nothing of the kernel stays in the system, the list of its configuration files aside.
remove_again() {
	local left
	DEBIAN_FRONTEND=noninteractive chroot "$work/root" apt-get remove -y "linux-image-$release" "linux-headers-$release"
	# With its last module, the directory of all modules may be gone as well.
	mkdir -p -- "$work"/root/{boot,lib/modules,usr/src}
	left=$(find "$work"/root/{boot,lib/modules,usr/src} -name "*$release*")
	printf '%s\n' "$left"
	[[ -z $left ]]
}

boot_progress() {
	grep -aoE 'hvtest: (not )?ok .*|systemd\[1\]: [A-Z].*' "$PLACE/hvrun-logs/single/serial.log" 2>/dev/null | tail -n 1 |
		cut -c 1-60 | sed 's/.*/(&)/' || true
}

boot() {
	"$HVRUN" boot --kernel "$PLACE/vmlinuz" --initramfs "$PLACE/initrd.img" --device "nvme,image=$PLACE/root.img" \
		--append 'root=LABEL=hv-root rw systemd.show_status=false' --minihv "$MINIHV" --guest "$HVGUEST" --qemu "$QEMU" --out "$PLACE" \
		--cpus "${CPUS:-2}" --memory "${MEMORY:-1G}" --timeout 1500 --silence 400
}

# judge_boot: what the system said of itself, what the runner made of the logs, and what minihv was asked to do.
judge_boot() {
	local line rc=$stage_rc logs=$PLACE/hvrun-logs/single attached
	while read -r line; do
		case $line in
		ok*) result "${line#ok * }" 0 ;;
		*) result "${line#not ok * }" 1 ;;
		esac
	done < <(sed -nE 's/\r$//; s/^.*hvtest: ((not )?ok [0-9]+ .*)$/\1/p' "$logs/serial.log")
	result "the whole boot: nothing out of the ordinary in any log" "$rc"
	attached=$(sed -nE 's/.*counter calls 0xb2 ([0-9]+)$/\1/p' "$logs/hypervisor.log" | tail -n 1)
	rc=0
	((${attached:-0} > 0)) || rc=1
	result "minihv was told to attach devices" $rc "${attached:-0} times"
}

compare_builds() {
	local file rc
	for file in "${COMPARED[@]}"; do
		rc=0
		cmp -- "$DEB/objects/$file" "$DEB-again/objects/$file" || rc=1
		result "two builds of $file are the same" $rc
	done
}

twice=
case ${1:-} in
'') ;;
--twice) twice=1 ;;
-h | --help)
	usage
	exit 0
	;;
*) die "unknown word $1; scripts/test-deb.sh --help" ;;
esac
if offline; then die "OFFLINE=1: a Debian in a directory is made of packages from its archive"; fi
((EUID == 0)) || die "only root can make a Debian in a directory"
lock_build
parts=(tools deb-test)
[[ -n ${DEB_OUT:-} ]] || parts+=(source linux distribution deb)
[[ -z $twice ]] || parts+=(deb-again)
need_space_for "${parts[@]}"
"$HV_TOP/scripts/setup.sh" --deb-test
packages=${DEB_OUT:-$DEB}
[[ -n ${DEB_OUT:-} ]] || MODULES=localmod "$HV_TOP/scripts/deb.sh"
"$HV_TOP/scripts/build-tools.sh"
image=$(package image) headers=$(package headers)
[[ -n $image && -n $headers ]] || die "$packages does not hold the two packages"
release=$(dpkg-deb -f "$image" Package)
release=${release#linux-image-}
look_at_packages
work=
scratch work "$HV_BUILD"
mkdir -p -- "$PLACE"
stage "deb: install into Debian $SUITE_OF_ROOT" "$HV_LOGS/deb-root.log" install_root
stage "deb: make its disk" "$HV_LOGS/deb-disk.log" make_disk
HV_PROGRESS=boot_progress
try_stage "deb: boot it under minihv" "$HV_LOGS/deb-boot.log" boot
HV_PROGRESS=
judge_boot
try_stage "deb: remove the packages again" "$HV_LOGS/deb-remove.log" remove_again
result "the packages can be removed, and leave nothing" "$stage_rc"
if [[ -n $twice ]]; then
	MODULES=localmod DEB_OUT=$DEB-again "$HV_TOP/scripts/deb.sh"
	compare_builds
fi
echo "$passed passed, $failed failed"
((failed == 0))
