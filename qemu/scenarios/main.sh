#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# First act of the story that `make run` plays: what TCP-LSM does, in front of somebody who has never seen it. What the later
# acts need is left in /mnt/out.

# shellcheck source=qemu/scenarios/lib.sh
. "$(dirname "$0")/lib.sh"

# The agent is one shell, started once: its label, like its name, stays with it and all that it starts.
start_agent() {
    printf '$ %s\n' 'tcpctl agent run --name robin --class coder -- bash'
    coproc AGENT { exec tcpctl agent run --name robin --class coder -- bash 2>&1; }
    # Bash forgets the variables of a coprocess when it ends; these stay.
    exec 8<&"${AGENT[0]}" 9>&"${AGENT[1]}"
}

# agent STATUS PATTERN COMMAND: as expect, in the agent's shell.
agent() {
    local want=$1 pattern=$2 line got=''
    text=''
    printf 'robin$ %s\n' "$3"
    printf '%s\necho "status $?"\n' "$3" >&9
    while IFS= read -r -t 20 -u 8 line; do
        case $line in
            'status '*) got=${line#status }; break ;;
            *) text+=$line$'\n'; printf '    %s\n' "$line" ;;
        esac
    done
    [ -n "$got" ] || fail "the agent does not answer"
    if [ "$want" = refused ]; then
        [ "$got" -ne 0 ] || fail "the agent should have been refused: $3"
    else
        [ "$got" -eq "$want" ] || fail "exit status $got instead of $want in the agent: $3"
    fi
    printf '%s' "$text" | grep -Eq -- "$pattern" || [ -z "$pattern" ] || fail "no \"$pattern\" in what the agent got: $3"
}

# The agent tells which request its latest refusal raised: `request`.
ask_agent() {
    # shellcheck disable=SC2016 # the agent's shell expands it
    agent 0 'request [0-9a-f]{64}' 'while read -r line; do echo "$line"; done < /sys/kernel/security/tcp_lsm/self'
    request=$(printf '%s' "$text" | sed -n 's/^request \([0-9a-f]\{64\}\)$/\1/p')
    # As everywhere, the beginning of an id names the request.
    short=${request:0:12}
}

mkdir -p /srv/work /srv/vault
printf 'limit=10\n' >/srv/vault/limits.conf
printf 'secret\n' >/srv/vault/other.conf
cp "$(readlink -f /usr/bin/true)" /srv/work/tool 2>/dev/null || cp /bin/true /srv/work/tool
module=$(find "/lib/modules/$(uname -r)/" -name '*.ko' ! -name 'tcp_lsm*' ! -name 'virtio*' -print -quit 2>/dev/null)
[ -n "$module" ] || fail "the guest has no kernel module to try"

say 'An AI agent is to work on this machine. Four people decide together what it may not do alone.' \
    'Each makes a key; the kernel learns the public halves.'
for name in alice bob carol dave; do
    expect 0 . tcpctl key generate --out "$name.pem"
    brief=1
    expect 0 "$name" tcpctl validator add --name "$name" --key "$name.pem.pub"
done
brief=''

say 'The rules. Objects are files, not names; what is not allowed is refused.'
cat >story.policy <<'POLICY'
policy_name=story policy_version=1
adaptive quiet=4s
class coder
DEFAULT action=DENY
DEFAULT op=FILE_READ action=ALLOW
op=EXEC,MMAP_EXEC path=/usr action=ALLOW
op=FILE_WRITE path=/dev/null action=ALLOW
op=FILE_WRITE path=/dev/tty action=ALLOW
op=FILE_WRITE,FILE_CREATE,FILE_DELETE path=/srv/work action=ALLOW
op=FILE_WRITE path=/srv/vault action=QUORUM threshold=75% ttl=5m uses=1
POLICY
expect 0 QUORUM cat story.policy
expect 0 . tcpctl policy load story.policy
expect 0 . tcpctl mode enforce
expect 0 . tcpctl seal
expect 0 sealed tcpctl status

say 'The agent starts. It can do its work ...'
start_agent
agent 0 '' 'echo draft >> /srv/work/draft'
agent 0 draft 'cat /srv/work/draft'

say '... and no more: no kernel module, no program that it brought, no write in the vault.'
agent refused 'ermi|denied' "insmod $module"
agent refused 'denied' '/srv/work/tool'
agent refused 'denied' 'echo limit=1000 >> /srv/vault/limits.conf'

say 'The last one is not forbidden: three of the four may allow it. This is what they would sign:'
ask_agent
expect 0 limits.conf tcpctl request show "$short"

say 'Two say yes. That changes nothing.'
brief=1
expect 0 . tcpctl vote approve "$short" --as alice --key alice.pem --reason 'the load test needs it'
expect 0 . tcpctl vote approve "$short" --as bob --key bob.pem
agent refused 'denied' 'echo limit=1000 >> /srv/vault/limits.conf'

say 'Dave signs too, for the third vote. Somebody keeps a copy of it.'
expect 0 . tcpctl vote approve "$short" --as dave --key dave.pem --out dave.vote
expect 0 granted tcpctl vote submit dave.vote
agent refused 'denied' 'echo limit=1000 >> /srv/vault/other.conf'
agent 0 '' 'echo limit=1000 >> /srv/vault/limits.conf'
expect 0 limit=1000 cat /srv/vault/limits.conf

say 'Exactly that, and once. The next time is a new request.'
agent refused 'denied' 'echo limit=1000 >> /srv/vault/limits.conf'
first=$request
ask_agent
again=$request
[ "$again" != "$first" ] || fail 'the second attempt shares the request of the first'

say 'The kept vote of Dave is worth nothing now. With the new request written into it, his signature no longer fits.'
expect 1 vote_closed_request tcpctl vote submit dave.vote
cp dave.vote moved.vote
printf '%s' "$again" | sed 's/../\\x&/g' | xargs -0 printf |
    dd of=moved.vote bs=1 seek=48 conv=notrunc status=none
expect 1 'vote_forged' tcpctl vote submit moved.vote

say 'Carol says no. Somebody turns her signed "deny" into "approve": the signature does not cover that.'
expect 0 . tcpctl vote deny "$short" --as carol --key carol.pem --reason 'once was enough' --out carol.vote
cp carol.vote forged.vote
printf '\001' | dd of=forged.vote bs=1 seek=112 conv=notrunc status=none
expect 1 'vote_forged' tcpctl vote submit forged.vote
expect 0 'is open .approve 0, deny 1, of 4' tcpctl vote submit carol.vote
brief=''

say 'Then Carol says yes to somebody else. Her own tcpctl refuses to sign both; so she signs with a copy of her key.' \
    'The kernel has her first vote. Two signed answers to one question are proof, and her vote is taken back.'
expect 6 'second verdict' tcpctl vote approve "$short" --as carol --key carol.pem --out second.vote
cp carol.pem copy.pem
brief=1
expect 0 . tcpctl vote approve "$short" --as carol --key copy.pem --new-journal --trust-node-clock \
    --reason 'for you, of course' --out second.vote
expect 1 'vote_quarantined' tcpctl vote submit second.vote
brief=''
expect 0 'carol.*equivocation' tcpctl validator list
expect 0 'approve 0, deny 0' tcpctl request show "$short"
expect 0 'evidence' tcpctl status
expect 0 . tcpctl evidence export carol --out /mnt/out/carol.evidence
cp carol.pem.pub bob.pem.pub /mnt/out

say 'Nobody can be framed: with a vote of Bob in the place of one of hers, the proof proves nothing.'
expect 0 . tcpctl vote approve "$short" --as bob --key bob.pem --out bob.vote
expect refused 'evidence_|contradict' tcpctl evidence make second.vote bob.vote --key carol.pem.pub --out framed.evidence

say 'Root cannot help the agent: the rules are sealed, and the module stays.' \
    'What rmmod calls "in use" is the seal: it holds the module until a quorum lets it go.'
sed 's/policy_version=1/policy_version=2/; s/action=DENY/action=ALLOW/' story.policy >open.policy
expect 4 '[0-9a-f]{8}' tcpctl policy load open.policy
expect refused '' rmmod tcp_lsm
expect 0 'enforce' tcpctl status

say 'Who did what, as the kernel wrote it down.'
exec 9>&-
events=$(tcpctl events) || fail 'no events'
printf '$ tcpctl events\n%s\n' "$(printf '%s\n' "$events" | sed 's/^/    /')"
[ "$(printf '%s\n' "$events" | grep -c 'VOTE\b')" -ge 4 ] || fail 'the four votes are not in the events'
for kind in SEALED REQUEST GRANTED USED VOTE_REFUSED QUARANTINED ALERT; do
    printf '%s\n' "$events" | grep -q "$kind" || fail "no $kind among the events"
done
for name in alice bob dave carol; do
    printf '%s\n' "$events" | grep -q "$name" || fail "the events do not name $name"
done

say 'While that is fresh, 90 % have to agree instead of 75 %, which without Carol cannot be. It passes.'
for ((tries = 0; tries < 100; tries++)); do
    alert=$(grep '^alert ' /sys/kernel/security/tcp_lsm/status)
    [ "$alert" != 'alert none' ] || break
    sleep 0.2
done
expect 0 'alert none' grep '^alert ' /sys/kernel/security/tcp_lsm/status

say 'Three of the four agree on new rules: nobody writes in the vault any more. The TPM takes the change before it counts.'
sed 's/policy_version=1/policy_version=2/; s/action=QUORUM.*/action=DENY/' story.policy >closed.policy
cp /var/lib/tcp-lsm/state /mnt/out/state.old
expect 4 '[0-9a-f]{8}' tcpctl policy load closed.policy
short=$(printf '%s' "$output" | grep -oE '[0-9a-f]{12,}' | head -n 1)
brief=1
for name in alice bob dave; do
    expect 0 . tcpctl vote approve "$short" --as "$name" --key "$name.pem" --out "$name.last"
    expect 0 . tcpctl vote submit "$name.last"
done
brief=''
expect 0 . tcpctl policy load closed.policy
expect 0 'story.* 2' tcpctl status
cp dave.last /mnt/out/dave.vote
expect 0 . tcpctl state save
expect 0 . tcpctl events export --out /mnt/out/first.log

say 'Then the power fails.'
