# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034
#
# What every script of the build agrees on: where things are and how to fail.
# Sourced, never run. Takes BUILD and KERNEL from the environment (the Makefile exports both).

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# All that is made lies below BUILD; a relative BUILD is below the project.
BUILD=${BUILD:-build}
case $BUILD in
/*) build=$BUILD ;;
*) build=$top/$BUILD ;;
esac

# The stock kernel: `backports` (Debian trixie with trixie-backports) or `sid`.
KERNEL=${KERNEL:-backports}
case $KERNEL in
backports) suffix='' ;;
sid) suffix=-sid ;;
*)
	echo "KERNEL=$KERNEL: unknown; it may be backports or sid" >&2
	exit 125
	;;
esac
export BUILD KERNEL

# One set of directories for each KERNEL; cargo's registry is shared.
root=$build/root$suffix
linux=$build/linux$suffix
module=$build/module$suffix
target=$build/target$suffix
initramfs=$build/initramfs$suffix
debug=$build/debug-kernel$suffix
log=$build/log$suffix
stamp=$build/stamp$suffix

# The same places as seen inside the build root (see root-exec).
in_build=/project/build
in_linux=$in_build/linux$suffix
in_module=$in_build/module$suffix
in_target=$in_build/target$suffix
in_initramfs=$in_build/initramfs$suffix
in_debug=$in_build/debug-kernel$suffix

# Kernels this version of TCP-LSM has been run on.
tried_kernels='7.3.4+deb13-cloud-amd64 7.3.4-tcp-debug'

die() {
	echo "error: $*" >&2
	exit 125
}

# The release of the stock kernel installed in the build root.
kernel_release() {
	[ -s "$root/kernel-release" ] ||
		die "no kernel in the build root yet; run 'make kernel' first"
	cat "$root/kernel-release"
}

# The release of the debug kernel (scripts/steps/debug-kernel).
debug_release() {
	cat "$debug/include/config/kernel.release" 2>/dev/null ||
		die "there is no debug kernel in $debug yet; run 'make debug' first"
}

need_root() {
	[ "$(id -u)" = 0 ] ||
		die "this needs root (a build root and its mount namespace); run it with sudo or as root"
}
