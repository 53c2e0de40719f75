# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What every act of the story uses. Every outcome is checked; the first that differs ends the story with status 1.

set -u
dir=$(mktemp -d /tmp/story.XXXXXX)
cd "$dir" || exit 1
export NO_COLOR=1

say() {
    echo
    printf '# %s\n' "$@"
}

fail() {
    printf '\nSTORY FAILED: %s\n' "$*" >&2
    exit 1
}

# expect STATUS PATTERN COMMAND...: shows a command and what it prints (only the last line, after `brief=1`); it must end
# with STATUS (or, for "refused", with any but 0) and print something that matches PATTERN.
brief=''
expect() {
    local want=$1 pattern=$2 got
    shift 2
    printf '$ %s\n' "$*"
    output=$("$@" 2>&1 </dev/null)
    got=$?
    [ -z "$output" ] || printf '%s\n' "$output" | tail -n "${brief:-+1}" | sed 's/^/    /'
    if [ "$want" = refused ]; then
        [ "$got" -ne 0 ] || fail "this should have been refused: $*"
    else
        [ "$got" -eq "$want" ] || fail "exit status $got instead of $want: $*"
    fi
    printf '%s\n' "$output" | grep -Eq -- "$pattern" || fail "no \"$pattern\" in what this printed: $*"
}
