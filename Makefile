# SPDX-License-Identifier: GPL-2.0
#
# TCP-LSM: everything from a bare Debian host. `make help` lists the targets.
# The kernel's build system reads Kbuild, not this file.

# Where everything made goes.
BUILD ?= build
# The stock kernel: backports (of Debian trixie) or sid.
KERNEL ?= backports
# Where `make install` puts the programs; DESTDIR goes before every path.
PREFIX ?= /usr/local

# How often make lifecycle loads the module, and how many rounds make races plays.
LIFECYCLE_CYCLES ?= 1000
RACE_ROUNDS ?= 300

export BUILD KERNEL PREFIX DESTDIR MIRROR NATIVE KERNELRELEASE

suffix := $(if $(filter sid,$(KERNEL)),-sid)

.PHONY: help all root kernel metadata modules userland initramfs debug
.PHONY: run test test-debug simulate mutants fuzz coverage module-coverage lifecycle races soak unsafe-review
.PHONY: failing-allocations
.PHONY: bench bench-check shell install uninstall clean distclean
.NOTPARALLEL:
.DEFAULT_GOAL := help

help:
	@echo 'make run         play the main scenario in a virtual machine'
	@echo 'make test        every test, on the host and in the guest; ends with "N passed, N failed"'
	@echo 'make test-debug  the guest tests on a kernel with KASAN, lockdep and more, which this builds;'
	@echo '                 with QUICK=1 the groups that stand for the others'
	@echo 'make coverage    which lines of the engine and tcpctl the tests reach; fails below 95 %'
	@echo 'make simulate    validators that lie, thousands of runs; writes Documentation/simulation.rst'
	@echo 'make mutants     mistakes put into the engine, one at a time; writes Documentation/testing/mutation.rst'
	@echo 'make fuzz        FUZZ_RUNS (20000000) inputs through each fuzz target of the engine'
	@echo 'make lifecycle   LIFECYCLE_CYCLES=1000 loads and unloads of the module under load'
	@echo 'make races       RACE_ROUNDS=300 rounds of every race, on four processors'
	@echo 'make bench       what it costs, in instructions; writes $(BUILD)/bench.json, prints tables and targets'
	@echo 'make bench-check the same, and fails when a metric is 3 % worse than in the committed run'
	@echo 'make soak        500 agents and 8 voting validators for SOAK_MINUTES (30): memory, verdicts, the log'
	@echo 'make unsafe-review  writes Documentation/testing/unsafe.rst: unsafe code, why it is sound, its tests'
	@echo 'make module-coverage  what the tests reach in the module: every outcome of a hook, every error return'
	@echo 'make failing-allocations  each place of the module where memory may be lacking: which have failed, and what then'
	@echo 'make shell       a root shell in a guest with the module loaded'
	@echo 'make all         the module, tcpctl and the guest, without running anything'
	@echo 'make modules     $(BUILD)/module$(suffix)/tcp_lsm.ko (natively on Debian 13 with the headers;'
	@echo '                 NATIVE=0|1 decides, KERNELRELEASE=R is for another than the running kernel)'
	@echo 'make userland    tcpctl and the test programs'
	@echo 'make initramfs   the guest'
	@echo 'make install     the module, tcpctl, manual pages, completions, example policies (DESTDIR, PREFIX)'
	@echo 'make uninstall   remove them'
	@echo 'make clean       remove what was built; keep the build root and the kernel'
	@echo 'make distclean   remove $(BUILD)'
	@echo
	@echo 'KERNEL=backports (default) or KERNEL=sid takes that stock kernel. BUILD=DIR builds elsewhere.'
	@echo 'MIRROR=URI takes another Debian mirror than the one that the apt of this host uses.'
	@echo 'PARTS="NAME ..." limits make test; scripts/test --list names the parts.'

all:
	@scripts/build module userland initramfs

root:
	@scripts/build packages

kernel metadata userland initramfs:
	@scripts/build $@

modules:
	@scripts/modules

debug: all
	@scripts/build debug-module

run: all
	@qemu/story

shell: all
	@qemu/run.sh -- bash -l

test: all
	@scripts/test $(PARTS)

test-debug: debug
	@scripts/test $(if $(QUICK),quick-debug,debug)

coverage:
	@scripts/coverage

module-coverage: all
	@scripts/module-coverage $(RUNS)

simulate: root
	@scripts/simulate --out Documentation

mutants:
	@scripts/mutants

fuzz: root
	@scripts/fuzz

lifecycle: all
	@qemu/run.sh --no-tty --no-load --mem 2048 --timeout 28800 -- \
		'LIFECYCLE_CYCLES=$(LIFECYCLE_CYCLES) guest-tests lifecycle'

races: all
	@qemu/run.sh --no-tty --no-load --cpus 4 --mem 2048 --timeout 28800 -- \
		'RACE_ROUNDS=$(RACE_ROUNDS) guest-tests races'

soak: all
	@scripts/soak

failing-allocations: debug
	@scripts/failing-allocations $(RUNS)

unsafe-review: all
	@scripts/unsafe-review

bench:
	@scripts/bench

bench-check:
	@scripts/bench --check

install:
	@scripts/install

uninstall:
	@scripts/install -r

clean:
	@scripts/clean

distclean:
	@scripts/clean --all
