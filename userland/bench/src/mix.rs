// SPDX-License-Identifier: GPL-2.0

//! A workload like real use: a build of many small files, by a shell and small programs.
//!
//! It writes a tree of sources, turns each into an object with several programs and pipes, puts the
//! objects together, searches and lists the tree and removes it: about 900 programs are started. Under
//! `qemu/run.sh --icount` its time is its number of instructions, those of the kernel included.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{
    Command,
    Stdio, //
};
use std::time::Instant;

/// The only program: it is static, and each call is a `fork` and an `exec`.
const BUSYBOX: &str = "/usr/bin/busybox";

/// The build. It says what it has made, and leaves the directory empty.
const SCRIPT: &str = r#"
set -eu -o pipefail
box=/usr/bin/busybox

$box mkdir include object
echo 'enum { limit = 4096 };' >include/part.h
unit=0
while [ $unit -lt 96 ]; do
	part=src/part$((unit % 5))
	$box mkdir -p $part
	line=0
	{
		echo '#include "part.h"'
		while [ $line -lt 40 ]; do
			echo "int value_${unit}_$line(int x) { return x * $line + limit; }"
			line=$((line + 1))
		done
	} >$part/unit$unit.c
	unit=$((unit + 1))
done

for source in src/*/*.c; do
	name=${source##*/}
	object=object/${name%.c}
	$box sed -e '/#include/r include/part.h' -e '/#include/d' $source >$object.i
	$box tr -s ' ({;' '\n' <$object.i | $box awk '{ print NR % 8, $0 }' >$object.s
	$box sort -u $object.s | $box gzip -c >$object.new
	$box rm $object.i
	$box mv $object.new $object.o
	$box grep -q value_ $object.s
done

$box cat object/*.o >program.new
$box mv program.new program
$box zcat program | $box md5sum
$box grep -rl value_7_ src | $box wc -l
$box find . -type f -exec $box wc -c {} + | $box wc -l
$box mv object objects.old
$box rm -r src include objects.old program
"#;

/// What the build says when everything in it worked.
const RESULT: &str = "def55c162a08cab984af27a762e46ee2  -\n1\n291\n";

/// Builds once in `dir`, which is empty before and after, and returns the nanoseconds it took.
///
/// The programs inherit the caller's label. They need, beneath `dir`, everything that files and
/// directories are for; beyond it only to execute busybox.
///
/// # Errors
///
/// The shell cannot be started, or the build did not make what it should.
pub(crate) fn run(dir: &Path) -> io::Result<u64> {
    let mut shell = Command::new(BUSYBOX);
    shell
        .args(["sh", "-c", SCRIPT])
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null());
    // SAFETY: all that runs between fork and exec is one system call.
    unsafe { shell.pre_exec(fixed_addresses) };
    let start = Instant::now();
    let output = shell.output()?;
    let took = start.elapsed();
    if !output.status.success() || output.stdout != RESULT.as_bytes() {
        return Err(io::Error::other(format!(
            "the build ended with {} and said {:?}, {:?}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )));
    }
    u64::try_from(took.as_nanos()).map_err(io::Error::other)
}

/// Gives the programs the same addresses each time. Where the parts of a process lie decides how many
/// page tables it has, which would make 0.5 % of the figure random.
fn fixed_addresses() -> io::Result<()> {
    let persona = libc::c_ulong::from(libc::ADDR_NO_RANDOMIZE.unsigned_abs());
    // SAFETY: it takes a number, and returns -1 only for one that it refuses.
    match unsafe { libc::personality(persona) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
