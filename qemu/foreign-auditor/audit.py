#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""An independent auditor for TCP-LSM.

It shares no code with the module or with tcpctl: it was written from Documentation/audit.rst, wire-format.rst,
sealed-state.rst, byzantine.rst and attestation.rst alone, and uses the Python standard library and the package cryptography.

    audit.py verify LOG [--partial] [--quote FILE --nonce HEX --node HEX]
    audit.py vectors Documentation/vectors/history.json

It verifies the chain, the numbers, every request's id, every vote's signature, weight and place, that no held vote
contradicts another one, every decision, the evidence of every quarantine and what follows from it, the commits to the TPM,
that a sealed node changes only as it was committed, that a load goes on with the policy, mode, validators, clocks and
quarantines of the load before, and the TPM's certificates of counter and anchor. What it does not do it prints as NOT
checked: that is for `tcpctl audit verify`. Alerts and reputations are among that: a threshold is taken from the decision, if
it is not below the request's.

Exit status: 0 verified, 1 something is wrong, 2 usage.
"""

import argparse
import hashlib
import json
import struct
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

ZERO = bytes(32)
POLICY, ADDED, REMOVED, SEALED, MODE, REQUEST, VOTE, GRANTED, DENIED, EXPIRED, CANCELLED = 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
GRANT_ENDED, AGENT, RECOVER, HELD = 14, 15, 36, 28
RESTORED, STAGED, ANCHORED, DISCARDED, RECOVERED, CLOCK = 22, 23, 24, 25, 26, 27
QUARANTINED, READMITTED, WATCH, ALERT, CALM, REPUTATION = 29, 30, 31, 32, 33, 34


class Wrong(Exception):
    """Something is wrong: the number of the event, if it is one event, and an error's name."""

    def __init__(self, event, error):
        super().__init__(f"event {event}: {error}" if event else error)
        self.event, self.error = event, error


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def verifies(point, signature, message):
    """Whether a DER signature over a message is by the key with that uncompressed point."""
    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        key.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        return True
    except (InvalidSignature, ValueError):
        return False


# --- votes and evidence ---------------------------------------------------------------------------------------------

class Vote:
    """The bytes that a validator signs, taken off the front of others."""

    def __init__(self, data):
        if data[:8] != b"TCPLVOT2":
            raise Wrong(None, "vote_version")
        self.node, self.epoch, self.request, self.validator, self.verdict, self.slot, entries, self.expires, self.reason = (
            struct.unpack_from(">32sQ32s32sBBHQ32s", data, 8))
        self.signed = data[:156 + 10 * entries]
        self.clock = clock_entries(data[114:116] + self.signed[156:])
        if self.verdict not in (1, 2) or not 1 <= self.slot <= 128 or not entries:
            raise Wrong(None, "vote_malformed")
        # The validator's own entry.
        self.own = self.clock.get(self.slot, 0)


def contradiction(first, second):
    """How two votes contradict each other, the one with the smaller own entry first: 1 to 3, or 0."""
    if (first.validator, first.node, first.epoch) != (second.validator, second.node, second.epoch):
        return 0
    if first.request == second.request and first.verdict != second.verdict:
        return 1
    if first.slot != second.slot or not first.own:
        return 0
    if first.own == second.own:
        return 2 if first.signed != second.signed else 0
    return 3 if any(value > second.clock.get(slot, 0) for slot, value in first.clock.items()) else 0


class Evidence:
    """Two votes that contradict each other, each with a signature that verifies under one key."""

    def __init__(self, data):
        self.data, self.kind, self.key = data, data[8], data[10:75]
        if data[:8] != b"TCPLEVD1" or data[9] or len(data) > 3119:
            raise Wrong(None, "evidence_malformed")
        parts, at = [], 75
        for _ in range(4):
            size = struct.unpack_from(">H", data, at)[0]
            parts.append(data[at + 2:at + 2 + size])
            at += 2 + size
        first, second = Vote(parts[0]), Vote(parts[2])
        self.votes, self.signatures = (first, second), (parts[1], parts[3])
        if at != len(data) or (first.signed, second.signed) != (parts[0], parts[2]):
            raise Wrong(None, "evidence_malformed")
        if (first.own, first.signed) > (second.own, second.signed) or sha256(self.key) != first.validator:
            raise Wrong(None, "evidence_malformed")
        if not self.kind or contradiction(first, second) != self.kind:
            raise Wrong(None, "evidence_none")
        self.validator, self.node = first.validator, first.node
        self.entry = max(vote.clock.get(0, 0) for vote in self.votes)

    def check_signatures(self):
        for vote, signature in zip(self.votes, self.signatures):
            if not verifies(self.key, signature, vote.signed):
                raise Wrong(None, "evidence_forged")


# --- the log --------------------------------------------------------------------------------------------------------

def items(log):
    """Yields ("head", node, epoch, chain) and ("event", bytes, chain); ends at a torn tail."""
    at = 0
    while at + 4 <= len(log):
        if log[at:at + 4] == b"TCPL":
            if at + 80 > len(log):
                return
            if log[at:at + 8] != b"TCPLLOG1":
                raise Wrong(None, "log_malformed")
            yield ("head", log[at + 8:at + 40], *struct.unpack_from(">Q", log, at + 40), log[at + 48:at + 80])
            at += 80
            continue
        size = struct.unpack_from(">I", log, at)[0]
        if not 92 <= size <= 92 + 8192:
            raise Wrong(None, "log_malformed")
        event = log[at + 4:at + 4 + size]
        if len(event) >= 92 and struct.unpack_from(">I", event, 88)[0] + 92 != size:
            raise Wrong(None, "log_malformed")
        if at + 4 + size + 32 > len(log):
            return
        yield ("event", event, log[at + 4 + size:at + 36 + size])
        at += 36 + size


def str8(data, at):
    """Returns what follows a str8."""
    return at + 1 + data[at]


class Event:
    def __init__(self, data):
        if data[:8] != b"TCPLEVT1":
            raise Wrong(None, "event_malformed")
        self.number, self.boot_ms, self.wall_ms, self.kind, self.op, self.uid, self.agent = struct.unpack_from(
            ">QQQHHIQ", data, 8)
        self.request = data[48:80]
        self.slot, self.result, self.line = struct.unpack_from(">HHI", data, 80)
        self.payload = data[92:]


def clock_entries(data):
    """What follows u16 *m*: a clock, by slot."""
    count = struct.unpack_from(">H", data)[0]
    if len(data) != 2 + 10 * count:
        raise Wrong(None, "event_malformed")
    return dict(struct.unpack_from(">HQ", data, 2 + 10 * at) for at in range(count))


class Facts:
    """What a state holds: the payload of POLICY, the mode, the validators and their last clocks, the node's clock, the evidence
    against the quarantined, and for the readmitted the nodes and entries up to which evidence has expired."""

    def __init__(self):
        # A node begins in enforce mode.
        self.policy, self.mode = None, 2
        self.validators, self.heard, self.clock = {}, {}, {}
        self.evidence, self.pairs = {}, {}

    def copy(self):
        other = Facts()
        other.policy, other.mode = self.policy, self.mode
        other.validators, other.heard, other.clock = dict(self.validators), dict(self.heard), dict(self.clock)
        other.evidence = dict(self.evidence)
        other.pairs = {validator: dict(pairs) for validator, pairs in self.pairs.items()}
        return other

    def total(self):
        return sum(weight for _, weight, _, _ in self.validators.values())

    def apply(self, kind, result, data):
        """Makes a change."""
        if kind == POLICY:
            self.policy = data
        elif kind == MODE:
            self.mode = result
        elif kind in (ADDED, REMOVED):
            slot, weight = struct.unpack_from(">HI", data)
            key = data[str8(data, 6):]
            validator = (slot, weight, key, data)
            if kind == ADDED:
                if any(slot == other[0] or key == other[2] for other in self.validators.values()):
                    raise Wrong(None, "validator_duplicate")
                self.validators[sha256(key)] = validator
            elif self.validators.pop(sha256(key), None) != validator:
                raise Wrong(None, "validator_unknown")
            else:
                self.heard.pop(slot, None)

    def quarantine(self, event):
        """QUARANTINED; returns the validator."""
        evidence = Evidence(event.payload)
        known = self.validators.get(evidence.validator)
        if known is None:
            raise Wrong(None, "evidence_unknown")
        if (known[0], evidence.kind) != (event.slot, event.result):
            raise Wrong(None, "event_header")
        if evidence.validator in self.evidence:
            raise Wrong(None, "evidence_known")
        if evidence.entry <= self.pairs.get(evidence.validator, {}).get(evidence.node, -1):
            raise Wrong(None, "evidence_expired")
        evidence.check_signatures()
        self.evidence[evidence.validator] = event.payload
        return evidence.validator

    def readmit(self, data, node, number):
        """READMITTED, which has that number."""
        validator = sha256(data[str8(data, 6):])
        if self.validators.get(validator, (None,) * 4)[3] != data:
            raise Wrong(None, "validator_unknown")
        if validator not in self.evidence:
            raise Wrong(None, "validator_trusted")
        evidence = Evidence(self.evidence.pop(validator))
        pairs = self.pairs.setdefault(validator, {})
        if evidence.node != node:
            pairs[evidence.node] = evidence.entry
        pairs[node] = number
        if len(pairs) > 4:
            raise Wrong(None, "readmit_limit")

    def sealed(self, data):
        """Whether SEALED says this."""
        digest, total = struct.unpack(">32sI", data)
        return self.policy is not None and digest == self.policy[8:40] and total == self.total() != 0


class Staged:
    """What the TPM is told: the counter to be, the anchor before, and the head that extends it; and what the state holds."""

    def __init__(self, counter, before, number, head, is_state=True):
        self.counter, self.before, self.number, self.head = counter, before, number, head
        self.anchor = sha256(before, head)
        self.is_state, self.facts, self.change = is_state, None, None


class Past:
    """How the loads before ended: the last commit and what was staged since; older states, when that commit has none."""

    def __init__(self, states, older, committed):
        self.states, self.older, self.committed = states, older, committed

    def at(self, head):
        return next((state for state in self.states + self.older if state.is_state and state.head == head), None)


class Load:
    """One load of the module."""

    def __init__(self, node, epoch, chain, past, partial):
        self.node, self.epoch, self.start, self.chain, self.past = node, epoch, chain, chain, past
        self.number = epoch << 32
        self.facts, self.open, self.partial = Facts(), {}, partial
        # Grants in the order of their making, and what a quarantine has to be followed by: kind and request.
        self.grants, self.following, self.told = {}, [], set()
        self.quarantines = 0
        # Votes that are certainly held.
        self.held = []
        self.phase, self.seen, self.kept, self.effect, self.recovered = "locked", set(), None, None, False
        # Whether this load may stand apart from the one before.
        self.acknowledged = False
        self.staged = self.committed = self.anchor = self.counter = None
        # How a recovery began: number and chain of the last event that ANCHORED must cover and of those after it, the anchor
        # found if it is known yet, and the ANCHORED.
        self.beginning = self.found = self.begun = None
        self.outdated = self.unfounded = self.unknown = False
        if chain == sha256(b"TCPLCHN2", node, struct.pack(">Q", epoch), ZERO):
            # A load without a past: the anchor was never extended.
            self.anchor, self.counter, self.phase = ZERO, epoch, "setup"
        self.votes = self.commits = 0

    def take(self, data, chain):
        event = Event(data)
        if event.number <= self.number:
            raise Wrong(event.number, "event_repeated")
        if event.number != self.number + 1:
            raise Wrong(event.number, "event_missing")
        self.chain = sha256(self.chain, data)
        if self.chain != chain:
            raise Wrong(event.number, "chain_broken")
        self.number = event.number
        try:
            self.judge(event)
        except Wrong as wrong:
            raise Wrong(event.number, wrong.error) from None
        if self.beginning is not None:
            self.beginning[event.number] = self.chain

    def judge(self, event):
        kind, data = event.kind, event.payload
        if (kind, event.request) in self.following[:1]:
            del self.following[0]
        # A threshold that was raised may deny more requests than are known to be impossible.
        elif self.following and (kind != DENIED or (kind, event.request) in self.following):
            raise Wrong(None, "decision_missing" if self.following[0][0] == DENIED else "end_missing")
        if kind in (POLICY, ADDED, REMOVED, READMITTED, MODE, SEALED):
            self.change(event)
        elif kind == REQUEST:
            self.ask(event)
        elif kind == VOTE:
            self.vote(event)
        elif kind in (GRANTED, DENIED, EXPIRED, CANCELLED):
            self.decide(event)
        elif kind == STAGED:
            self.stage(event)
        elif kind == ANCHORED:
            self.commit(event)
        elif kind == DISCARDED:
            if self.staged is None:
                raise Wrong(None, "discarded_unstaged")
            self.staged = None
        elif kind == RESTORED:
            # What the state held is said again by the events that follow.
            self.outdated = event.result == 3
            if self.outdated:
                # Not current: a quorum will be asked, once the TPM was told.
                if self.phase != "locked" or not self.epoch:
                    raise Wrong(None, "restored_misplaced")
                counter, head, anchor = struct.unpack_from(">Q32s32s", data)
                self.go_on_from(head)
                self.unknown = not self.look_up(counter, head, anchor) and not self.unfounded
            else:
                self.make(event)
            self.phase = "rebuilding"
            if event.kind == RESTORED and self.kept:
                # The removed and the readmitted are not told again.
                self.facts.evidence = dict(self.kept.evidence)
                self.facts.pairs = self.kept.copy().pairs
        elif kind == CLOCK:
            self.hear(event)
        elif kind == QUARANTINED:
            self.quarantine(event)
        elif kind == HELD:
            self.hold(event)
        elif kind == GRANT_ENDED:
            self.grants.pop(event.request, None)
        elif kind == RECOVERED:
            counter, anchor, _, head = struct.unpack(">Q32sQ32s", data)
            if head != ZERO:
                self.make(event)
                self.recovered = True
                return
            # Setup begins anew, once the TPM was told of this very event.
            if self.phase != "setup" or not self.epoch or self.facts.policy or self.facts.validators:
                raise Wrong(None, "recovered_misplaced")
            self.check_found(counter)
            self.acknowledged = True
            self.beginning, self.found = {}, anchor
        elif kind == AGENT and (self.phase in ("locked", "recovering") or self.beginning is not None):
            raise Wrong(None, "node_locked")

    def make(self, event):
        """An event that makes effective what was committed, and nothing else."""
        if self.effect is None:
            raise Wrong(None, "not_anchored")
        if self.effect != (event.kind, event.result, event.payload):
            raise Wrong(None, "change_differs")
        self.effect = None

    def change(self, event):
        kind = event.kind
        if self.phase == "rebuilding":
            self.rebuild(event)
            return
        if self.phase == "setup":
            self.check_begun()
            self.check_past()
        elif self.phase != "sealed" and not (kind == SEALED and self.recovered):
            raise Wrong(None, "node_locked")
        if self.epoch and (self.phase == "sealed" or (self.phase == "setup" and kind == SEALED)):
            self.make(event)
        if kind == READMITTED:
            self.facts.readmit(event.payload, self.node, event.number)
        elif kind != SEALED:
            if kind == ADDED and sha256(event.payload[str8(event.payload, 6):]) in self.facts.evidence:
                raise Wrong(None, "validator_quarantined")
            self.facts.apply(kind, event.result, event.payload)
        elif self.phase == "sealed":
            raise Wrong(None, "sealed_again")
        elif not self.facts.sealed(event.payload):
            raise Wrong(None, "sealed_differs")
        else:
            self.phase = "sealed"

    def check_past(self):
        if self.past and self.past.committed and not self.acknowledged:
            raise Wrong(None, "past_forgotten")

    def look_up(self, counter, head, anchor):
        """The state that this load goes on from, as the load before has told of it."""
        state = self.past.at(head) if self.past else None
        if state is None:
            self.unfounded = not self.past
            if self.unfounded and not self.partial:
                raise Wrong(None, "past_missing")
            return False
        if (state.counter, state.anchor) != (counter, anchor):
            raise Wrong(None, "restored_differs")
        self.kept = state.facts
        self.unfounded = self.kept is None
        return True

    def rebuild(self, event):
        """One of the events that say again what the state held."""
        kind = event.kind
        if kind == SEALED:
            if CLOCK not in self.seen or self.outdated:
                raise Wrong(None, "restored_order")
            if not self.facts.sealed(event.payload):
                raise Wrong(None, "sealed_differs")
            self.phase = "sealed"
            if self.committed:
                # Now it is known what the state that this load committed holds.
                self.committed.facts = self.facts.copy()
            return
        if kind in (REMOVED, READMITTED) or (kind in (POLICY, MODE) and kind in self.seen):
            raise Wrong(None, "restored_order")
        self.seen.add(kind)
        self.facts.apply(kind, event.result, event.payload)
        if self.kept and kind == POLICY and self.kept.policy != event.payload:
            raise Wrong(None, "restored_policy")
        if self.kept and kind == MODE and self.kept.mode != event.result:
            raise Wrong(None, "restored_mode")

    def hear(self, event):
        """CLOCK: of a validator, or of the node, which ends what the state held."""
        if self.phase != "rebuilding":
            raise Wrong(None, "restored_order")
        entries = clock_entries(event.payload)
        if event.slot:
            if event.slot not in (slot for slot, _, _, _ in self.facts.validators.values()):
                raise Wrong(None, "clock_of_nobody")
            self.facts.heard[event.slot] = entries
            return
        if entries.pop(0, 0) > event.number:
            raise Wrong(None, "restored_clock")
        if CLOCK in self.seen or not {POLICY, MODE, ADDED} <= self.seen:
            raise Wrong(None, "restored_order")
        self.facts.clock = entries
        if self.kept and (self.kept.validators, self.kept.heard) != (self.facts.validators, self.facts.heard):
            raise Wrong(None, "restored_validator")
        enrolled = {validator for validator in self.facts.evidence if validator in self.facts.validators}
        if self.kept and self.told != enrolled:
            raise Wrong(None, "restored_quarantine")
        if self.kept and self.kept.clock != entries:
            raise Wrong(None, "restored_clock")
        self.seen.add(CLOCK)
        if self.outdated:
            self.phase = "recovering"
            self.beginning = {}

    def quarantine(self, event):
        if self.phase == "rebuilding":
            validator = Evidence(event.payload).validator
            if CLOCK in self.seen or validator in self.told:
                raise Wrong(None, "restored_order")
            known = self.facts.validators.get(validator, (None,))
            if self.kept and (self.facts.evidence.get(validator), known[0]) != (event.payload, event.slot):
                raise Wrong(None, "restored_quarantine")
            self.told.add(validator)
            if self.kept:
                return
        validator = self.facts.quarantine(event)
        self.quarantines += 1
        self.held = [held for held in self.held if held.validator != validator]
        for request, asked in self.open.items():
            self.bar(asked, validator)
            if not self.possible(asked, asked["reached"]):
                self.following.append((DENIED, request))
        for request, grant in self.grants.items():
            self.bar(grant, validator)
            if grant["weight"][1] * 10000 < grant["reached"] * grant["total"]:
                self.following.append((GRANT_ENDED, request))

    def bar(self, asked, validator):
        """Takes back a vote, for ever."""
        weight = self.facts.validators[validator][1]
        asked["weight"][asked["voted"].pop(validator, 0)] -= weight
        asked["barred"] += weight

    @staticmethod
    def possible(asked, threshold):
        return (asked["total"] - asked["weight"][2] - asked["barred"]) * 10000 >= threshold * asked["total"]

    def check_found(self, counter):
        if counter >= self.epoch:
            raise Wrong(None, "counter_skipped")

    def check_begun(self):
        if self.beginning is not None:
            raise Wrong(None, "not_anchored")

    def ask(self, event):
        data = event.payload
        if self.phase in ("locked", "rebuilding") or (self.phase == "recovering") != (event.op == RECOVER):
            raise Wrong(None, "request_phase")
        self.check_begun()
        node, epoch = struct.unpack_from(">32sQ", data, 8)
        created, _, expires = struct.unpack_from(">QQQ", data, 64)
        if node != self.node:
            raise Wrong(None, "request_node")
        if epoch != self.epoch:
            raise Wrong(None, "request_epoch")
        if created != event.number:
            raise Wrong(None, "request_created")
        if sha256(data) != event.request:
            raise Wrong(None, "request_id")
        threshold = struct.unpack_from(">H", data, 152)[0]
        # Place 0 of the weights is of those who have not voted.
        asked = self.open[event.request] = {
            "threshold": threshold, "reached": threshold, "expires": expires, "total": self.facts.total(),
            "voted": {}, "weight": {0: 0, 1: 0, 2: 0}, "barred": 0,
        }
        for validator in self.facts.evidence:
            if validator in self.facts.validators:
                self.bar(asked, validator)
        if not self.possible(asked, threshold):
            self.following.append((DENIED, event.request))

    def vote(self, event):
        data = event.payload
        vote = Vote(data)
        rest = data[len(vote.signed):]
        size = struct.unpack_from(">H", rest)[0]
        signature, text = rest[2:2 + size], rest[2 + size:]
        if vote.node != self.node:
            raise Wrong(None, "vote_other_node")
        if vote.epoch != self.epoch:
            raise Wrong(None, "vote_other_epoch")
        asked = self.open.get(vote.request)
        if asked is None or vote.request != event.request:
            raise Wrong(None, "vote_unknown_request")
        if vote.validator not in self.facts.validators:
            raise Wrong(None, "vote_unknown_validator")
        slot, weight, key, _ = self.facts.validators[vote.validator]
        if vote.slot != slot:
            raise Wrong(None, "vote_slot")
        if vote.validator in self.facts.evidence:
            raise Wrong(None, "vote_quarantined")
        if vote.expires > asked["expires"] or event.boot_ms > vote.expires + 10000:
            raise Wrong(None, "vote_expired")
        if vote.validator in asked["voted"]:
            raise Wrong(None, "vote_duplicate")
        if vote.reason != (sha256(text) if text else ZERO):
            raise Wrong(None, "vote_reason")
        if (slot, vote.verdict) != (event.slot, event.result):
            raise Wrong(None, "event_header")
        if not verifies(key, signature, vote.signed):
            raise Wrong(None, "vote_forged")
        self.compare(vote, event.boot_ms)
        # What it has overtaken is let go.
        self.held = [held for held in self.held if held.validator != vote.validator
                     or (held.own > vote.own and held.request != vote.request)]
        self.facts.heard[slot] = vote.clock
        self.facts.clock[slot] = vote.own
        asked["voted"][vote.validator] = vote.verdict
        asked["weight"][vote.verdict] += weight
        self.votes += 1

    def hold(self, event):
        """HELD."""
        vote = Vote(event.payload)
        if vote.validator in self.facts.evidence:
            raise Wrong(None, "vote_quarantined")
        self.compare(vote, event.boot_ms)
        self.held.append(vote)

    def compare(self, vote, boot_ms):
        """Demands that no vote that is certainly held contradicts this one."""
        self.held = [held for held in self.held if held.expires >= boot_ms + 10000]
        for held in self.held:
            if contradiction(*sorted((held, vote), key=lambda vote: vote.own)):
                raise Wrong(None, "contradiction_missed")

    def decide(self, event):
        asked = self.open.pop(event.request, None)
        if asked is None:
            raise Wrong(None, "request_not_open")
        self.held = [held for held in self.held if held.request != event.request]
        if event.kind == CANCELLED:
            return
        approve, deny, total, quarantined, threshold = struct.unpack(">QQQQH", event.payload)
        if (approve, deny, total, quarantined) != (asked["weight"][1], asked["weight"][2], asked["total"], asked["barred"]):
            raise Wrong(None, "tally_wrong")
        # An alert may have raised it, up to a whole.
        if not asked["threshold"] <= threshold <= 10000:
            raise Wrong(None, "threshold_wrong")
        granted = approve * 10000 >= threshold * total
        denied = not granted and not self.possible(asked, threshold)
        if granted != (event.kind == GRANTED) or denied != (event.kind == DENIED):
            raise Wrong(None, "threshold_not_met")
        if event.kind == EXPIRED and event.boot_ms < asked["expires"]:
            raise Wrong(None, "decision_wrong")
        if granted:
            self.grants[event.request] = dict(asked, reached=threshold)

    def go_on_from(self, head):
        if self.start != sha256(b"TCPLCHN2", self.node, struct.pack(">Q", self.epoch), head):
            raise Wrong(None, "genesis")

    def stage(self, event):
        staged = Staged(*struct.unpack_from(">Q32s", event.payload), event.number, self.chain)
        result, change = struct.unpack_from(">H", event.payload, 40)[0], event.payload[42:]
        if not self.epoch:
            raise Wrong(None, "staged_unsealed")
        if self.staged is not None:
            raise Wrong(None, "staged_twice")
        if self.effect is not None:
            raise Wrong(None, "change_missing")
        phase = {RESTORED: "locked", RECOVERED: "recovering", SEALED: "setup"}.get(event.result, "sealed")
        if self.phase != phase or event.result not in (
                0, POLICY, ADDED, REMOVED, READMITTED, SEALED, MODE, RESTORED, RECOVERED):
            raise Wrong(None, "staged_misplaced")
        self.check_begun()
        staged.facts = self.facts.copy()
        if event.result:
            staged.change = (event.result, result, change)
        if event.result == RECOVERED:
            counter, found, _, head = struct.unpack(">Q32sQ32s", change)
            self.go_on_from(head)
            self.check_found(counter)
            if self.begun and sha256(found, self.begun.head) != self.begun.anchor:
                raise Wrong(None, "anchor_differs")
        elif event.result == RESTORED:
            counter, head, anchor = struct.unpack_from(">Q32s32s", change)
            self.anchor, self.counter = anchor, counter
            self.go_on_from(head)
            if not self.look_up(counter, head, anchor) and not self.unfounded:
                raise Wrong(None, "past_missing")
            staged.facts = self.kept
            if staged.counter != self.epoch:
                raise Wrong(None, "epoch")
        elif event.result == SEALED:
            self.check_past()
        elif event.result == READMITTED:
            staged.facts.readmit(change, self.node, event.number)
        elif event.result:
            staged.facts.apply(*staged.change)
        if self.anchor is not None and staged.before != self.anchor:
            raise Wrong(None, "anchor_skipped")
        if self.counter is not None and staged.counter != self.counter + 1:
            raise Wrong(None, "counter_skipped")
        self.staged = staged

    def commit(self, event):
        counter, number, head, anchor = struct.unpack(">QQ32s32s", event.payload)
        staged = self.staged
        if self.beginning is not None:
            # A recovery begins: there is no STAGED, and the anchor found may be told only later.
            if (counter, self.beginning.get(number)) != (self.epoch, head):
                raise Wrong(None, "anchored_differs")
            staged = self.begun = Staged(counter, self.found or ZERO, number, head, is_state=False)
            if self.found is None:
                staged.anchor = anchor
            self.beginning = None
        if staged is None:
            raise Wrong(None, "anchored_unstaged")
        if (counter, number, head) != (staged.counter, staged.number, staged.head):
            raise Wrong(None, "anchored_differs")
        if anchor != staged.anchor:
            raise Wrong(None, "anchor_differs")
        self.counter, self.anchor = counter, anchor
        self.committed, self.staged, self.effect = staged, None, staged.change
        self.commits += 1

    def given_up(self):
        """What ended before the TPM was told of it left the counter alone: the next load begins the same epoch again."""
        early = self.phase == "locked" or (self.phase == "rebuilding" and self.outdated)
        return self.committed is None and (early or self.beginning is not None)

    def states(self):
        return [state for state in (self.committed, self.staged) if state]

    def ended(self):
        """What a further load can go on from."""
        before = self.past or Past([], [], False)
        if self.committed:
            older = [] if self.committed.is_state else [state for state in before.states + before.older if state.is_state]
            return Past(self.states(), older, True)
        if self.staged:
            # It is not known whether the TPM took that.
            return Past(before.states + [self.staged], before.older, before.committed)
        return self.past

    def begun_with(self, counter, anchor):
        """Whether the TPM was told how this load began, and the power was cut before ANCHORED."""
        found = self.found or (self.past.states[0].anchor if self.past else None)
        # The anchor is extended first; then the counter is incremented, once or twice.
        return self.epoch - 2 <= counter <= self.epoch and found is not None and any(
            sha256(found, head) == anchor for head in (self.beginning or {}).values())


def verify(log, partial=False):
    """Verifies a log; returns its node, its loads, and the states that the last commit left."""
    node, load, loads, past, head = None, None, [], None, None
    for kind, *rest in items(log):
        if kind == "head":
            head = rest
            if node not in (None, head[0]):
                raise Wrong(None, "other_node")
            node = head[0]
            continue
        data, chain = rest
        if head:
            number = struct.unpack_from(">Q", data, 8)[0]
            of, epoch, start = head
            head = None
            if load and epoch == load.epoch and start == load.chain and number != (epoch << 32) + 1:
                pass
            elif number != (epoch << 32) + 1:
                if load and epoch == load.epoch:
                    raise Wrong(number, "event_repeated" if number <= load.number else "event_missing")
                raise Wrong(number, "log_starts_late")
            else:
                # A locked node has no epoch before its state is restored.
                earlier = [other.epoch for other in loads if other.epoch]
                if earlier and epoch and epoch <= max(earlier) and not (load.given_up() and epoch == load.epoch):
                    raise Wrong(number, "epoch_replayed")
                if load:
                    past = load.ended()
                load = Load(of, epoch, start, past, partial)
                loads.append(load)
        if load is None:
            raise Wrong(None, "log_malformed")
        load.take(data, chain)
    if load is None:
        raise Wrong(None, "log_empty")
    return node, loads, load.states() or (past.states if past else [])


# --- the quote (TPM 2.0 Library, Part 2; big-endian) ------------------------------------------------------------------

def tpm2b(data, at):
    size = struct.unpack_from(">H", data, at)[0]
    if at + 2 + size > len(data):
        raise Wrong(None, "quote_malformed")
    return data[at + 2:at + 2 + size], at + 2 + size


def name(public):
    return b"\x00\x0b" + sha256(public)


def certified(bundle, part, key, ak, nonce, index, attributes, size):
    """The value of an NV index that the TPM certifies."""
    attest, signature = (bytes.fromhex(bundle[part][field]) for field in ("attest", "signature"))
    if signature[:4] != b"\x00\x18\x00\x0b":
        raise Wrong(None, "quote_malformed")
    r, at = tpm2b(signature, 4)
    s, _ = tpm2b(signature, at)
    der = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    if not verifies(key, der, attest):
        raise Wrong(None, "quote_signature")
    # TPM_GENERATED_VALUE, TPM_ST_ATTEST_NV
    if attest[:6] != b"\xffTCG\x80\x14":
        raise Wrong(None, "quote_type")
    signer, at = tpm2b(attest, 6)
    extra, at = tpm2b(attest, at)
    if signer != name(struct.pack(">I", 0x4000000B) + name(ak)):
        raise Wrong(None, "quote_hierarchy")
    if extra != nonce:
        raise Wrong(None, "quote_nonce")
    boot = attest[at + 8:at + 16]
    index_name, at = tpm2b(attest, at + 25)
    offset = struct.unpack_from(">H", attest, at)[0]
    value, _ = tpm2b(attest, at + 2)
    public = struct.pack(">IHIHH", index, 0x000B, attributes | 0x20000000, 0, size)
    if index_name != name(public) or offset != 0 or len(value) != size:
        raise Wrong(None, "quote_index")
    return value, boot


def quoted(bundle, nonce, node):
    """Counter and anchor that the node's TPM certifies."""
    if (bundle.get("format"), bundle.get("version")) != ("tcp-lsm-quote", 1):
        raise Wrong(None, "quote_format")
    ak = bytes.fromhex(bundle["ak"])
    if sha256(ak) != node:
        raise Wrong(None, "quote_other_key")
    if ak[:8] != bytes.fromhex("0023000b00050472"):
        raise Wrong(None, "ak_attributes")
    x, at = tpm2b(ak, 20)
    y, _ = tpm2b(ak, at)
    key = b"\x04" + x.rjust(32, b"\0") + y.rjust(32, b"\0")
    counter, boot = certified(bundle, "counter", key, ak, nonce, 0x01854350, 0x02060012, 8)
    anchor, other = certified(bundle, "anchor", key, ak, nonce, 0x01854351, 0x02060042, 32)
    if boot != other:
        raise Wrong(None, "quote_boot")
    return int.from_bytes(counter, "big"), anchor


def vouch(load, states, counter, anchor):
    """Demands that the log, which ends with that load, goes to where the TPM says; whether that was within a commit."""
    if load.begun_with(counter, anchor):
        return counter != load.epoch
    # The anchor is extended before the counter is incremented.
    if any((state.counter, state.anchor) == (counter + 1, anchor) for state in states):
        return True
    for state in states:
        if state.counter == counter:
            if state.anchor != anchor:
                raise Wrong(None, "anchor_differs")
            return False
    if states and counter < states[0].counter:
        raise Wrong(None, "quote_older")
    raise Wrong(None, "log_truncated")


UNCHECKED = [
    "the rules of clocks: domination, own advance, causes not seen",
    "grants: their uses and ends, and that a quorum has approved each change of policy, validators and mode",
    "the terms of requests against the policy's text",
    "alerts, windows and reputations, which are not recomputed: each threshold is that of the decision, at least the request's",
]


def run_verify(arguments):
    with open(arguments.log, "rb") as file:
        node, loads, states = verify(file.read(), arguments.partial)
    if arguments.node and bytes.fromhex(arguments.node) != node:
        raise Wrong(None, "other_node")
    unchecked = list(UNCHECKED)
    told = []
    if arguments.quote:
        with open(arguments.quote, "rb") as file:
            counter, anchor = quoted(json.load(file), bytes.fromhex(arguments.nonce), bytes.fromhex(arguments.node))
        half = vouch(loads[-1], states, counter, anchor)
        told.append(f"the TPM vouches for anchor {anchor.hex()}, counter {counter}")
        if half:
            told.append("half committed: the TPM has the anchor of the last commit, and not yet its counter")
    else:
        unchecked.append("whether the log is complete, and the only one (no --quote)")
    for load in loads:
        if load.unfounded:
            unchecked.append(f"what load {load.epoch} was restored from (give the log of the load before)")
        if load.unknown:
            unchecked.append(f"what load {load.epoch} was recovered from: that is not the last state of the log")
    votes, commits = sum(load.votes for load in loads), sum(load.commits for load in loads)
    quarantines = sum(load.quarantines for load in loads)
    print(f"verified: {len(loads)} loads of node {node.hex()}, {votes} votes, {quarantines} quarantines, {commits} commits")
    print(f"head {loads[-1].chain.hex()}, event {loads[-1].number}")
    for line in told + [f"NOT checked: {line}" for line in unchecked]:
        print(line)


def run_vectors(arguments):
    """Verifies the test vectors: the true log, and that each wrong one is wrong where it says."""
    with open(arguments.log, "rb") as file:
        vectors = json.load(file)
    true = vectors["true"]
    node, loads, states = verify(bytes.fromhex(true["log"]))
    quote = quoted(true["quote"], bytes.fromhex(true["nonce"]), node)
    vouch(loads[-1], states, *quote)
    found = (node.hex(), loads[-1].chain.hex(), loads[-1].number, sum(load.votes for load in loads), *quote)
    expected = (true["node"], true["chain"], true["last"], true["votes"], true["counter"], bytes.fromhex(true["anchor"]))
    if found != expected:
        raise Wrong(None, f"{found} is not {expected}")
    verify(bytes.fromhex(vectors["quarantine"]["log"]))
    failed = skipped = 0
    for wrong in vectors["wrong"]:
        if wrong["recomputed"]:
            skipped += 1
            continue
        try:
            _, loads, states = verify(bytes.fromhex(wrong["log"]))
            vouch(loads[-1], states, *quote)
            found = (None, "verified")
        except Wrong as error:
            found = (error.event, error.error)
        if found != (wrong["event"], wrong["error"]):
            failed += 1
            print(f"{wrong['name']}: {found}, not {(wrong['event'], wrong['error'])}")
    print(f"NOT checked: {skipped} logs in which alerts, windows or reputations are wrong: they are not recomputed")
    print(f"{2 + len(vectors['wrong']) - skipped - failed} passed, {failed} failed")
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description="An independent auditor for TCP-LSM")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("verify", help="verify a log")
    command.add_argument("log")
    command.add_argument("--partial", action="store_true", help="the log may begin with a load that goes on from another")
    command.add_argument("--quote", help="what `tcpctl attest quote` wrote")
    command.add_argument("--nonce", help="hexadecimal")
    command.add_argument("--node", help="64 hexadecimal digits")
    command.set_defaults(run=run_verify)
    command = commands.add_parser("vectors", help="verify the test vectors")
    command.add_argument("log")
    command.set_defaults(run=run_vectors)
    arguments = parser.parse_args()
    if getattr(arguments, "quote", None) and not (arguments.nonce and arguments.node):
        parser.error("a quote needs --nonce and --node")
    try:
        return arguments.run(arguments) or 0
    except Wrong as wrong:
        print(f"WRONG: {wrong}", file=sys.stderr)
    except (struct.error, IndexError, KeyError, TypeError, ValueError, OSError) as error:
        print(f"WRONG: not well formed: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
