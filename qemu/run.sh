#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Boots the distribution's own kernel, or the debug kernel, in QEMU, with a software TPM 2.0, and runs a command in it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/../scripts/lib.sh"

usage() {
	cat <<'END'
usage: qemu/run.sh [OPTION]... -- COMMAND...

Boots a kernel, loads the module and runs COMMAND as root in the guest. One COMMAND word is
shell text; several are a program and its arguments. Prints what COMMAND prints (standard error
included) and exits with its status. With a terminal on standard input and output, COMMAND has it;
otherwise its input is empty.

  --tpm-state DIR|none  keep the TPM's state in DIR (made if missing); none: no TPM.
                        Without the option: a new TPM for this boot only. A new TPM has endorsement
                        keys (RSA and ECC) with certificates of a CA of its own, whose certificates
                        are in the guest as /usr/share/tcp-lsm/swtpm-ca.pem
  --tpm-fault FILE      the TPM's responses come through qemu/tpm-proxy with the rules in FILE
  --tpm-log FILE        the TPM's commands and response codes, as qemu/tpm-proxy saw them, to FILE
  --disk FILE           a disk at /var/lib/tcp-lsm, in FILE (made if missing, 64 MB): what the guest
                        keeps over boots
  --kill-at TEXT        kill QEMU, as a power cut would, as soon as a line of the console or of the
                        output contains TEXT. The TPM ends by itself and keeps what it did
  --kill-from TEXT      with --kill-at: look only after the first line that contains this TEXT
  --accel auto|kvm|tcg  auto (default) tries KVM once and remembers the answer in build/
  --icount              count instructions: one is one nanosecond of guest time (implies tcg)
  --cpus N              processors (default 2; 1 with --icount)
  --mem MB              memory (default 1024; 2048 with --kernel debug)
  --kernel stock|debug  the distribution's kernel (default) or the one of `make debug`, which looks for
                        faults in itself and the module; it has debugfs mounted
  --share DIR           a copy of DIR at /mnt/share in the guest
  --out DIR             what the guest leaves in /mnt/out is copied to DIR (made if missing)
  --no-load             do not load the module
  --param NAME=VALUE    a parameter for the module; may be repeated
  --append ARGUMENTS    more kernel command line; may be repeated
  --console FILE        keep the kernel's console log in FILE
  --timeout S           limit for the whole boot in seconds (default 600, 1800 with --kernel debug;
                        0: none; a terminal: none)
  --no-tty              never give COMMAND the terminal

With COVERAGE=DIR in the environment the guest's tcpctl is DIR/tcpctl, and what it leaves of its profile is added to
DIR/profiles (see scripts/coverage).
With MODULE_COVERAGE=DIR in the environment (see scripts/module-coverage) the module is the one that
counts what runs, and what qemu/observer.c saw of this boot is a new file in DIR.

Exit status: COMMAND's, or
  124  the time limit passed
  126  killed by --kill-at
  125  the guest could not be run, the module did not load, the guest ended without COMMAND's
       status, the TPM did not end, or the kernel complained (qemu/complaints says of what; with
       --kernel debug also of a leak, looked for after COMMAND), whatever COMMAND's status was
END
}

tpm=new accel=auto icount=0 cpus='' mem='' kernel=stock share='' out='' load=1
parameters='' append='' console='' limit='' tty=auto
tpm_fault='' tpm_log='' disk='' kill_at='' kill_from=''
need() {
	[ "$1" -ge 2 ] || die "run.sh: $2 needs a value (--help explains)"
}
while [ $# -gt 0 ]; do
	case $1 in
	--tpm-state) need $# "$1"; tpm=$2; shift ;;
	--tpm-fault) need $# "$1"; tpm_fault=$2; shift ;;
	--tpm-log) need $# "$1"; tpm_log=$2; shift ;;
	--disk) need $# "$1"; disk=$2; shift ;;
	--kill-at) need $# "$1"; kill_at=$2; tty=no; shift ;;
	--kill-from) need $# "$1"; kill_from=$2; shift ;;
	--accel) need $# "$1"; accel=$2; shift ;;
	--icount) icount=1 ;;
	--cpus) need $# "$1"; cpus=$2; shift ;;
	--mem) need $# "$1"; mem=$2; shift ;;
	--kernel) need $# "$1"; kernel=$2; shift ;;
	--share) need $# "$1"; share=$2; shift ;;
	--out) need $# "$1"; out=$2; shift ;;
	--no-load) load=0 ;;
	--param) need $# "$1"; parameters+=" $2"; shift ;;
	--append) need $# "$1"; append+=" $2"; shift ;;
	--console) need $# "$1"; console=$2; shift ;;
	--timeout) need $# "$1"; limit=$2; shift ;;
	--no-tty) tty=no ;;
	-h | --help) usage; exit 0 ;;
	--) shift; break ;;
	*) die "run.sh: unknown option $1 (--help explains; the command comes after --)" ;;
	esac
	shift
done
[ $# -gt 0 ] || die "run.sh: no command; it comes after -- (--help explains)"
for number in ${cpus:+"$cpus"} ${mem:+"$mem"} ${limit:+"$limit"}; do
	[[ $number =~ ^[0-9]{1,7}$ ]] || die "run.sh: $number is not a number"
done
need_root

case $accel in auto | kvm | tcg) ;; *) die "run.sh: --accel $accel: it may be auto, kvm or tcg" ;; esac
if [ $icount = 1 ]; then
	[ "$accel" != kvm ] || die "run.sh: --icount needs tcg"
	accel=tcg
	cpus=${cpus:-1}
fi
cpus=${cpus:-2}

case $kernel in
stock)
	release=$(kernel_release)
	mem=${mem:-1024} longest=600 slowdown=1
	in_image=/usr/lib/modules/$release/vmlinuz
	ko=$module/tcp_lsm.ko
	[ -r "$root$in_image" ] || die "no $root$in_image; run 'make kernel' first"
	;;
debug)
	release=$(debug_release)
	mem=${mem:-2048} longest=1800 slowdown=4
	in_image=$in_debug/arch/x86/boot/bzImage
	ko=$module-debug/tcp_lsm.ko
	# While it looks at its processors it forgets that they have five levels of tables, and KASAN is mistaken.
	# Unlike the stock kernel it puts no times before its messages by itself.
	append=" no5lvl printk.time=1$append"
	[ -z "${MODULE_COVERAGE:-}" ] || die "run.sh: MODULE_COVERAGE is for the stock kernel"
	;;
*) die "run.sh: --kernel $kernel: it may be stock or debug" ;;
esac
if [ -n "${MODULE_COVERAGE:-}" ]; then
	ko=$module-coverage/tcp_lsm.ko
	[ -r "$build/observer/config" ] || die "no $build/observer/config; scripts/module-coverage makes it"
	# The observer knows the kernel's addresses, and asks every decision to be traced.
	append=" nokaslr trace_event=:mod:tcp_lsm$append"
	accel=tcg slowdown=4
fi
[ -r "$initramfs/base.cpio" ] || die "no $initramfs/base.cpio; run 'make initramfs' first"
[ $load = 0 ] || [ -r "$ko" ] || die "no $ko; run 'make modules' first, or give --no-load"
[ -z "$share" ] || [ -d "$share" ] || die "run.sh: --share $share: not a directory"
[ -z "$tpm_fault" ] || [ -r "$tpm_fault" ] || die "run.sh: --tpm-fault $tpm_fault: cannot be read"
[ -z "$tpm_fault$tpm_log" ] || [ "$tpm" != none ] || die "run.sh: --tpm-fault and --tpm-log need a TPM"
[ -z "$kill_from" ] || [ -n "$kill_at" ] || die "run.sh: --kill-from needs --kill-at"
[ ! -e "$disk" ] || [ -f "$disk" ] || die "run.sh: --disk $disk: not a file"

interactive=0
if [ $tty = auto ] && [ -t 0 ] && [ -t 1 ]; then
	interactive=1
fi
if [ -z "$limit" ]; then
	if [ $interactive = 1 ]; then limit=0; else limit=$longest; fi
fi

# KVM may be there and still not run a guest: only a boot tells.
if [ "$accel" = auto ]; then
	accel=tcg
	if [ -w /dev/kvm ]; then
		if [ ! -s "$build/accel" ]; then
			if "$0" --accel kvm --tpm-state none --no-load --no-tty --timeout 30 -- true \
				</dev/null >/dev/null 2>&1; then
				echo kvm >"$build/accel"
			else
				echo tcg >"$build/accel"
			fi
		fi
		accel=$(cat "$build/accel")
	fi
fi

mkdir -p "$build/tmp"
run=$(mktemp -d "$build/tmp/run.XXXXXX")
trap 'rm -rf "$run"' EXIT

binds=(-b "$run:/mnt/run")
case $tpm in
none) ;;
new) mkdir "$run/tpm" ;;
*)
	mkdir -p "$tpm"
	binds+=(-b "$(realpath "$tpm"):/mnt/tpm")
	;;
esac
if [ -n "$disk" ]; then
	mkdir -p "$(dirname "$disk")"
	disk=$(realpath "$disk")
	binds+=(-b "$(dirname "$disk"):/mnt/disk")
	ln -s "/mnt/disk/$(basename "$disk")" "$run/disk"
fi
[ -z "$tpm_fault" ] || cp "$tpm_fault" "$run/tpm-fault"

# The second archive: what changes from boot to boot.
files=$run/files
mkdir -p "$files/guest" "$files/usr/bin" "$files/mnt/share"
chmod 755 "$files" "$files/guest"
if [ "$kernel" = debug ]; then
	mkdir -p "$files/usr/lib/modules"
	cp -a "$debug/install/lib/modules/$release" "$files/usr/lib/modules/"
fi
if [ -r "$ko" ]; then
	mkdir -p "$files/usr/lib/modules/$release/updates"
	cp "$ko" "$files/usr/lib/modules/$release/updates/"
fi
for program in tcpctl guest-tests; do
	[ -x "$target/release/$program" ] || die "no $program yet; run 'make all' first"
	cp "$target/release/$program" "$files/usr/bin/"
done
coverage=${COVERAGE:-}
if [ -n "$coverage" ]; then
	cp "$coverage/tcpctl" "$files/usr/bin/"
	out=${out:-$run/out}
fi
# Where `make install` would have put them, with what only the guest needs.
for directory in policies qemu/scenarios qemu/foreign-voter; do
	if [ -d "$top/$directory" ]; then
		mkdir -p "$files/usr/share/tcp-lsm"
		cp -a --no-preserve=ownership "$top/$directory" "$files/usr/share/tcp-lsm/"
	fi
done
[ -z "$share" ] || cp -a "$share/." "$files/mnt/share/"
{
	# One profile, which is there before any user of the guest needs it.
	[ -z "$coverage" ] || cat <<-'END'
		mkdir -m 1777 /mnt/out/profiles
		export LLVM_PROFILE_FILE=/mnt/out/profiles/%m.profraw
		(umask 0 && tcpctl --version >/dev/null)
	END
	if [ $# = 1 ]; then
		printf '%s\n' "$1"
	else
		printf '%q ' "$@"
		echo
	fi
} >"$files/guest/command"
rows=0 columns=0
if [ $interactive = 1 ]; then
	read -r rows columns < <(stty size)
fi
[ "$rows" -gt 0 ] || rows=24 columns=80
cat >"$files/guest/config" <<END
guest_interactive=$interactive
guest_load=$load
guest_slowdown=$slowdown
guest_parameters=$(printf %q "${parameters# }")
guest_out=$([ -n "$out" ] && echo 1 || echo 0)
guest_disk=$([ -n "$disk" ] && echo 1 || echo 0)
guest_rows=$rows
guest_columns=$columns
guest_term=$(printf %q "${TERM:-linux}")
END

touch "$run/console" "$run/output" "$run/status" "$run/out.tar"
case $accel in
kvm) machine=(-accel kvm -cpu host) ;;
tcg)
	machine=(-accel tcg -cpu max)
	# On a busy host the guest gets too few of its timer's interrupts while it checks that there are any.
	append=" no_timer_check$append"
	if [ $icount = 1 ]; then
		machine+=(-icount "shift=0,sleep=off")
	fi
	;;
esac
machine+=(
	-nodefaults -display none -no-reboot -m "$mem" -smp "$cpus" -pidfile /mnt/run/qemu.pid
	-kernel "$in_image" -initrd /mnt/run/initrd
	-append "console=ttyS0 loglevel=5 panic=-1$append"
	-chardev "file,id=console,path=/mnt/run/console" -serial chardev:console
	-device "virtio-serial-pci,id=ports"
	-chardev "file,id=status,path=/mnt/run/status"
	-device "virtserialport,bus=ports.0,nr=2,chardev=status,name=status"
)
if [ -n "${MODULE_COVERAGE:-}" ]; then
	observer=$in_build/observer
	machine+=(-plugin "$observer/observer.so,config=$observer/config,out=/mnt/run/observed")
fi
if [ $interactive = 1 ]; then
	machine+=(-chardev "stdio,id=terminal,signal=off"
		-device "virtconsole,bus=ports.0,nr=0,chardev=terminal")
else
	machine+=(-chardev "file,id=output,path=/dev/fd/4"
		-device "virtserialport,bus=ports.0,nr=1,chardev=output,name=output")
fi
[ -z "$out" ] ||
	machine+=(-chardev "file,id=out,path=/mnt/run/out.tar"
		-device "virtserialport,bus=ports.0,nr=3,chardev=out,name=out")
[ "$tpm" = none ] ||
	machine+=(-chardev "socket,id=tpm,path=/mnt/run/tpm.sock"
		-tpmdev "emulator,id=tpm0,chardev=tpm" -device "tpm-crb,tpmdev=tpm0")

proxy=0
[ -z "$tpm_fault$tpm_log" ] || proxy=1
cat >"$run/config" <<END
base=$in_initramfs/base.cpio
ca=$in_build/swtpm-ca
limit=$limit
patience=$((240 * slowdown))
tpm=$([ "$tpm" = none ] || [ "$tpm" = new ] && echo "$tpm" || echo kept)
proxy=$proxy
disk=$([ -n "$disk" ] && echo 1 || echo 0)
kill_at=$(printf %q "$kill_at")
kill_from=$(printf %q "$kill_from")
END
boot_once() {
	"$top/scripts/root-exec" "${binds[@]}" /project/qemu/boot qemu-system-x86_64 "${machine[@]}"
}
boot() {
	local status=0
	boot_once || status=$?
	[ -e "$run/hung" ] || return "$status"
	mv "$run/hung" "$run/hung-once"
	boot_once
}
status=0
if [ $interactive = 1 ]; then
	boot || status=$?
else
	# QEMU opens /dev/fd/4 anew: a pipe, since a file would be truncated.
	# In the background, so that a signal is acted upon at once.
	{ boot 4>&1 >"$run/qemu" 2>&1 || echo $? >"$run/failed"; } | tee "$run/output" &
	pipe=$!
	trap 'kill $(jobs -p) 2>/dev/null || true; exit 125' TERM INT HUP
	wait "$pipe" || true
	trap - TERM INT HUP
	[ ! -s "$run/failed" ] || status=$(cat "$run/failed")
fi

[ -z "$console" ] || cp "$run/console" "$console"
[ ! -e "$run/hung-once" ] || echo "note: QEMU stood still before the guest's first process and was started again" >&2
if [ -n "${MODULE_COVERAGE:-}" ] && [ -e "$run/observed" ]; then
	cp "$run/observed" "$(mktemp "$MODULE_COVERAGE/XXXXXXXX")"
fi
[ -z "$tpm_log" ] || [ ! -e "$run/tpm.log" ] || cp "$run/tpm.log" "$tpm_log"
tail_of_console() {
	echo "--- the end of the guest's console:" >&2
	tail -n "${1:-40}" "$run/console" >&2
}

if ! "$top/qemu/complaints" "$run/console" >"$run/complaint"; then
	echo "error: the kernel complained:" >&2
	cat "$run/complaint" >&2
	exit 125
fi
[ ! -e "$run/tpm-stuck" ] || die "the TPM did not end after the guest"
[ ! -e "$run/killed" ] || exit 126
[ ! -e "$run/hung" ] || { tail_of_console; die "the guest's first process did not begin, twice"; }
if [ -s "$run/status" ]; then
	# A timeout after the status is a guest that could not power itself off.
	[ "$status" = 0 ] || { tail_of_console; die "the guest reported a status but did not end well ($status)"; }
	if [ -n "$out" ]; then
		mkdir -p "$out"
		tar -C "$out" --no-same-owner --no-same-permissions -xf "$run/out.tar" ||
			die "what the guest left cannot be read"
	fi
	if [ -n "$coverage" ]; then
		for file in "$out"/profiles/*.profraw; do
			cp "$file" "$coverage/profiles/${run##*/}-${file##*/}"
		done
		rm -r "$out/profiles"
	fi
	guest=$(cat "$run/status")
	case $guest in
	load) tail_of_console 15; die "the module did not load" ;;
	disk) tail_of_console 15; die "the guest could not mount its disk" ;;
	*) exit "$guest" ;;
	esac
fi
case $status in
124 | 137)
	tail_of_console
	echo "error: the guest did not end within $limit s" >&2
	exit 124
	;;
esac
[ ! -s "$run/qemu" ] || cat "$run/qemu" >&2
tail_of_console
die "the guest ended without the command's status (QEMU: $status)"
