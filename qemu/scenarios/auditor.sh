#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Third act: another machine, which has neither the module nor a TPM. What the node has sent is in /mnt/share.

# shellcheck source=qemu/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"
[ ! -e /sys/kernel/security/tcp_lsm ] || fail 'this machine has the module'
[ ! -e /dev/tpm0 ] || fail 'this machine has a TPM'
nonce=$(cat /mnt/share/nonce)
proof=(--quote /mnt/share/quote.json --nonce "$nonce" --ak /mnt/share/ak.pem)

say "The auditor's machine: no module, no TPM, only what the node has sent."
expect 0 . tcpctl audit verify /mnt/share/first.log /mnt/share/second.log "${proof[@]}"

say 'A quote for another nonce is an old one.'
expect 1 'nonce' tcpctl audit verify /mnt/share/first.log /mnt/share/second.log --quote /mnt/share/quote.json \
    --nonce 00112233445566778899aabbccddeeff --ak /mnt/share/ak.pem

say "In the log, somebody turns Carol's deny into an approval. The event is named."
python3 - /mnt/share/first.log edited.log <<'PYTHON'
import sys
log = bytearray(open(sys.argv[1], "rb").read())
at = log.index(b"once was enough")
vote = log.rindex(b"TCPLVOT2", 0, at)
log[vote + 112] ^= 3
open(sys.argv[2], "wb").write(log)
PYTHON
expect 1 'event [0-9]+' tcpctl audit verify edited.log /mnt/share/second.log "${proof[@]}"

say 'He sends only the log of before the restart. The TPM knows more than that.'
expect 1 'log_truncated' tcpctl audit verify /mnt/share/first.log "${proof[@]}"

say 'The proof against Carol needs no log, no node and no trust: her key, and two answers to one question.'
expect 0 'equivocation' tcpctl evidence verify /mnt/share/carol.evidence --key /mnt/share/carol.pem.pub

say 'It proves nothing about Bob, and with one bit of it changed nothing at all.'
expect 1 . tcpctl evidence verify /mnt/share/carol.evidence --key /mnt/share/bob.pem.pub
cp /mnt/share/carol.evidence changed.evidence
printf '\377' | dd of=changed.evidence bs=1 seek=240 conv=notrunc status=none
expect 1 'evidence_' tcpctl evidence verify changed.evidence
