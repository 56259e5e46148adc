# SPDX-License-Identifier: GPL-2.0
# Entry points. The work is done by scripts/, which say what they do with --help.

.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

# Here OUT is where the patches go.
ifneq ($(filter series,$(MAKECMDGOALS)),)
SERIES := $(OUT)
override OUT := build
endif

# O or OUT: where everything that is generated goes. The kernel's make takes no path with a space in it.
OUT ?= build
ifneq ($(O),)
OUT := $(O)
endif
ifneq ($(word 2,$(OUT))$(word 2,$(SERIES)),)
$(error "$(if $(word 2,$(SERIES)),$(SERIES),$(OUT))": a directory without white space in its path is expected)
endif
export HV_BUILD := $(abspath $(OUT))
export KDIR APT_MIRROR JOBS CPUS MEMORY DEVICES APPEND VARIANT VARIANTS KEEP SUITE CASES LIST FORCE MUTANTS KIND SHARD SAMPLE
export FROM TO SERIES_TREE KREF KERNEL_SOURCES KERNEL_KEYRING DEBIAN_KEYRING OFFLINE FRESH MINUTES
export RUSTC LLVM BINDGEN QEMU USE_PATH KERNEL MODULES

.PHONY: help
help:
	@echo 'make run                boot a guest and run the main job: verified disk I/O through the driver'
	@echo 'make shell              the same guest, with a shell'
	@echo 'make test               the tests; SUITE="a b" runs these suites, SUITE="-a -b" all but these, LIST=1 lists them;'
	@echo '                        CASES="boot/dma-strict ats/strict" runs these cases'
	@echo 'make test-all           the tests, on more kernel variants; goes on where it was interrupted, FRESH=1 begins anew'
	@echo 'make mutants            break the driver and the emulator on purpose: who notices? MUTANTS=name, KIND=, SHARD=i/n'
	@echo 'make fuzz               coverage-guided fuzzing of what is read from the other side; MINUTES=n (10)'
	@echo 'make conformance        judge any kernel: KERNEL=bzImage MODULES=dir; without them the kernel of Debian'
	@echo 'make minihv-release     minihv, hvrun and the guest program as an archive that runs without this tree'
	@echo 'make deb                kernel packages for Debian, from the configuration of its kernel for clouds; MODULES=localmod'
	@echo '                        makes only the modules that a virtual machine on Hyper-V needs'
	@echo 'make bench              what the driver and its peers cost, in instructions; ARGS=--record keeps the results'
	@echo 'make report             what the last tests found, as a page: build/report.html'
	@echo 'make lint               style and static checks; STEPS="a b" makes these alone, scripts/lint.sh --help lists them'
	@echo 'make apply KDIR=tree    lay the driver over your kernel tree (Linux 7.3)'
	@echo 'make unapply KDIR=tree  take it away again'
	@echo 'make series OUT=dir     the same as patches for mailing lists, with a cover letter, checked; KDIR= for another tree'
	@echo 'make series-check       build and boot a kernel at each step of that series; FROM=n TO=m'
	@echo 'make setup              install what is missing (Debian 12 or 13, as root)'
	@echo 'make vendor             fetch all that a build needs, for OFFLINE=1'
	@echo 'make menuconfig         choose by menus what make run and make test build, boot and test; make config asks line by line'
	@echo 'make build              everything that make run needs, without running it'
	@echo 'make clean              remove what was built, keep the kernel source'
	@echo 'make distclean          remove all that was made in $(OUT)'
	@echo
	@echo 'KDIR=tree     use this kernel tree instead of the distribution'"'"'s; it is not written to, except by apply'
	@echo 'KDIR=file.tar.xz, or KDIR=repository KREF=commit: the same from a tarball or from git'
	@echo 'KERNEL=7.2    the newest kernel of that series, of scripts/kernel-sources'
	@echo 'O=dir         where all output goes (build)'
	@echo 'JOBS=n        parallel compilers (all processors)'
	@echo 'CPUS=n        processors of the guest           MEMORY=1G  RAM of the guest'
	@echo 'DEVICES="a b" devices passed to the guest       APPEND="…" kernel parameters'
	@echo 'VARIANT=debug make run on the kernel of make test, with all checks of the kernel'
	@echo 'VARIANTS="a b" make test-all on these kernels only'
	@echo 'KEEP=1        keep the files of the guest       ARGS="…"   more options for hvrun'
	@echo 'APT_MIRROR=u  Debian archive for the kernel source, when the machine'"'"'s own does not have it'
	@echo 'DEBIAN_KEYRING=file  the keys that sign it      KERNEL_SOURCES=file  instead of scripts/kernel-sources'
	@echo 'OFFLINE=1     fetch nothing; what make vendor fetched is used'
	@echo 'RUSTC=rustc   Rust compiler, 1.85 or later, on the same LLVM as clang; its cargo and library source are used, too'
	@echo 'LLVM=-19      suffix or directory of clang 17 or later, or 1'
	@echo 'BINDGEN=file  bindgen 0.71.1 or later           QEMU=file  QEMU 10; tested with 10.0.x'
	@echo 'USE_PATH=1    take programs from your PATH; without it only those that are given by RUSTC= and so on'

.PHONY: run shell build test test-all conformance minihv-release deb mutants fuzz bench report lint setup
run:
	@scripts/run.sh $(ARGS)
shell:
	@scripts/run.sh --shell $(ARGS)
build:
	@scripts/run.sh --build-only
test:
	@scripts/test.sh $(ARGS)
test-all:
	@scripts/test.sh --all $(ARGS)
conformance:
	@scripts/conformance.sh $(ARGS)
minihv-release:
	@scripts/minihv-release.sh $(ARGS)
deb:
	@scripts/deb.sh
mutants:
	@scripts/mutants.sh
fuzz:
	@scripts/fuzz.sh $(ARGS)
bench:
	@scripts/bench.sh $(ARGS)
report:
	@scripts/report.sh
lint:
	@scripts/lint.sh $(STEPS)
setup:
	@scripts/setup.sh

.PHONY: menuconfig config
menuconfig config:
	@scripts/menuconfig.sh $@

.PHONY: vendor
vendor:
	@scripts/vendor.sh

.PHONY: apply unapply
apply unapply:
	@scripts/apply.sh $@ "$$KDIR"

.PHONY: series series-check
series:
	@scripts/series.sh $(SERIES)
series-check:
	@scripts/series-check.sh

.PHONY: clean distclean
clean:
	@scripts/clean.sh
distclean:
	@scripts/clean.sh --all
