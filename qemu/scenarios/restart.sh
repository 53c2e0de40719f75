#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Second act: the same machine after a restart. Its disk and its TPM are those of the first act; what the first act left is in
# /mnt/share.

# shellcheck source=qemu/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"

say 'The machine is on again. The TPM tells the module that this node has a past: it is locked until the past is given back.'
expect 0 'locked' tcpctl status
expect 1 'state_locked' tcpctl mode permissive

say 'Somebody prefers the rules of before, and gives back an older state.'
expect 1 'state_older' tcpctl state restore /mnt/share/state.old

say 'He edits the last one instead. Only the TPM has the key that authenticates it.'
cp /var/lib/tcp-lsm/state forged.state
sed -i 's/path=\/srv\/vault action=DENY/path=\/srv\/vauIt action=DENY/' forged.state
cmp -s forged.state /var/lib/tcp-lsm/state && fail 'the state was not edited'
expect 1 'state_forged' tcpctl state restore forged.state

mkdir -p /srv/work /srv/vault
say 'The true one is taken. Policy, validators, their clocks, the chain and the quarantine go on.'
expect 0 . tcpctl state restore
expect 0 'sealed' tcpctl status
expect 0 'DENY' tcpctl policy show
expect 0 'carol.*equivocation' tcpctl validator list

say 'A vote of before the restart is worth nothing.'
expect 1 'vote_other_epoch' tcpctl vote submit /mnt/share/dave.vote

say 'An auditor has sent a nonce. The TPM signs it together with the counter and the anchor of the chain; the log goes with it.'
nonce=$(cat /mnt/share/nonce)
expect 0 . tcpctl state save
expect 0 . tcpctl events export --out /mnt/out/second.log
expect 0 . tcpctl attest key create --out /mnt/out/ak.pem
expect 0 . tcpctl attest quote --nonce "$nonce" --out /mnt/out/quote.json --tpm2 tpm2
expect 0 . tpm2_checkquote -u tpm2.pem -m tpm2.msg -s tpm2.sig -f tpm2.pcrs -g sha256 -q "$nonce"
brief=1
expect 0 . tpm2_nvread -C o 0x1854350 -o counter
expect 0 . tpm2_nvread -C o 0x1854351 -o anchor
brief=''
anchor=$(od -An -v -tx1 anchor | tr -d ' \n')
expect 0 "$anchor" tcpctl status
