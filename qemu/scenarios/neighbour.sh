#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Fourth act: another node, with a TPM of its own, where Carol votes too. What the first node has sent is in /mnt/share.

# shellcheck source=qemu/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"

say 'Another node, which has never seen those votes. Carol votes here, too.'
brief=1
for name in alice dave; do
    expect 0 . tcpctl key generate --out "$name.pem"
    expect 0 "$name" tcpctl validator add --name "$name" --key "$name.pem.pub"
done
expect 0 carol tcpctl validator add --name carol --key /mnt/share/carol.pem.pub
brief=''
expect 0 'carol.*trusted' tcpctl validator list

say 'It is given the proof, by whoever likes to. It checks both signatures itself, and from now on Carol counts nowhere.'
expect 0 . tcpctl evidence submit /mnt/share/carol.evidence
expect 0 'carol.*equivocation' tcpctl validator list

say 'The same proof again is nothing new. A changed one is nothing.'
expect 1 'evidence_known' tcpctl evidence submit /mnt/share/carol.evidence
cp /mnt/share/carol.evidence changed.evidence
printf '\001' | dd of=changed.evidence bs=1 seek=76 conv=notrunc status=none
expect 1 'evidence_malformed' tcpctl evidence submit changed.evidence

say 'The story went as it should.'
