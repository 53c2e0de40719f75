#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""An independent voter for TCP-LSM.

It shares no code with the module or with tcpctl: it was written from Documentation/wire-format.rst, byzantine.rst and
netlink/specs/tcp-lsm.yaml alone, uses the Python standard library, and signs with the openssl command.

    vote.py show REQUEST
    vote.py approve|deny REQUEST --key key.pem [--slot N] [--own N] [--journal FILE] [--new-journal] [--trust-node-clock]
        [--reason TEXT] [--out FILE]
    vote.py submit FILE

REQUEST is a request id in hexadecimal, or at least its first 8 digits. The key is a P-256 private key in PEM. Without
--slot the validator's slot and last clock are read from the node, which needs CAP_MAC_ADMIN; with it, the own entry
comes from --own (the number of this vote, by default one more than the last).

key.pem.clock is the key's journal, in the form that tcpctl keeps, so that a key may be used with both: one key, one journal.
At the key's first vote --new-journal makes it; later votes without it are refused, and so is a key file with two names.
What could convict the key is not signed: a second verdict on a request, an own entry that is not greater than ever
before, or any entry that is less than before in the epoch. What the node says about others is not signed either. A node
that knows of more votes than the journal is believed only with --trust-node-clock.

Exit status: 0 done, 1 refused or failed, 2 usage, 6 not signed because it could convict the key.
"""

import argparse
import errno
import fcntl
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys

# --- generic netlink (linux/netlink.h, linux/genetlink.h) -----------------------------------------------------------

NETLINK_GENERIC = 16
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x001
NLM_F_MULTI = 0x002
NLM_F_ACK = 0x004
NLM_F_DUMP = 0x300
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLMSGERR_ATTR_MSG = 1

GENL_ID_CTRL = 0x10
CTRL_CMD_GETFAMILY = 3
CTRL_ATTR_FAMILY_ID = 1
CTRL_ATTR_FAMILY_NAME = 2

# tcp-lsm.yaml
FAMILY = b"tcp-lsm\0"
CMD_STATUS, CMD_VALIDATOR_GET, CMD_REQUEST_GET, CMD_VOTE_SUBMIT = 1, 4, 10, 12
A_OUTCOME, A_REQUEST_ID, A_REQUEST, A_STATE, A_APPROVE, A_DENY, A_TOTAL = 2, 3, 4, 5, 6, 7, 8
A_REMAINING_MS, A_VOTE, A_SLOT, A_VALIDATOR_ID = 10, 12, 16, 17
A_NODE, A_EPOCH, A_CLOCK = 31, 32, 35
OUTCOMES = {1: "accepted", 4: "held"}
STATES = {1: "open", 2: "granted", 3: "denied", 4: "expired", 5: "cancelled"}


class Refused(Exception):
    """The kernel refused a command."""

    def __init__(self, number, text):
        super().__init__(text)
        self.number = number
        self.text = text


def attribute(kind, value):
    head = struct.pack("=HH", 4 + len(value), kind)
    return head + value + b"\0" * (-len(value) % 4)


def attributes(data):
    """The attributes in data, as a dictionary from type to value. Repeated ones keep the last."""
    found = {}
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4 or size > len(data):
            raise ValueError("attribute of impossible length")
        found[kind & 0x3FFF] = data[4:size]
        data = data[(size + 3) & ~3:]
    return found


class Netlink:
    def __init__(self):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_GENERIC)
        self.socket.bind((0, 0))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
            self.socket.setsockopt(SOL_NETLINK, option, 1)
        self.sequence = 0
        try:
            answers = self.call(CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, FAMILY), family=GENL_ID_CTRL)
        except Refused as refusal:
            if refusal.number == errno.ENOENT:
                raise Refused(errno.ENOENT, "the module tcp_lsm is not loaded") from None
            raise
        self.family = struct.unpack("=H", answers[0][CTRL_ATTR_FAMILY_ID])[0]

    def call(self, command, payload=b"", family=None, dump=False):
        """Sends one command; returns the attributes of every answer."""
        self.sequence += 1
        flags = NLM_F_REQUEST | (NLM_F_DUMP if dump else NLM_F_ACK)
        body = struct.pack("=BBH", command, 1, 0) + payload
        head = struct.pack("=IHHII", 16 + len(body), self.family if family is None else family, flags, self.sequence, 0)
        self.socket.send(head + body)
        answers = []
        while True:
            data = self.socket.recv(1 << 20)
            while data:
                size, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data)
                message, data = data[16:size], data[(size + 3) & ~3:]
                if sequence != self.sequence:
                    continue
                if kind == NLMSG_ERROR:
                    number = -struct.unpack_from("=i", message)[0]
                    if number == 0:
                        return answers
                    text = os.strerror(number)
                    if flags & NLM_F_ACK_TLVS:
                        inner = struct.unpack_from("=I", message, 4)[0]
                        skip = 4 + (16 if flags & NLM_F_CAPPED else (inner + 3) & ~3)
                        reason = attributes(message[skip:]).get(NLMSGERR_ATTR_MSG)
                        if reason:
                            text = reason.rstrip(b"\0").decode()
                    raise Refused(number, text)
                if kind == NLMSG_DONE:
                    return answers
                answers.append(attributes(message[4:]))


def u32(value):
    return struct.unpack("=I", value)[0]


def u64(value):
    return struct.unpack("=Q", value)[0]


# --- wire format ----------------------------------------------------------------------------------------------------

OPERATIONS = dict(enumerate(
    "EXEC MMAP_EXEC FILE_READ FILE_WRITE FILE_CREATE FILE_DELETE FILE_RENAME FILE_LINK FILE_ATTR MODULE_LOAD KEXEC_LOAD "
    "MOUNT PTRACE BPF PERF NET_CONNECT NET_BIND NET_SEND UNIX_CONNECT SETUID USERNS IO_URING KILL".split(), 1))
OPERATIONS.update({32: "POLICY", 33: "VALIDATOR", 34: "MODE", 35: "UNLOAD"})
FACTS = dict(enumerate(
    "path target target-object name argc arg args-digest address flags mode owner command task size version detail hook fs-path"
    .split(), 1))
TEXT_FACTS = {1, 2, 4, 6, 17, 18}


class Request:
    """A decoded request; refuses what the specification refuses."""

    def __init__(self, data):
        (magic, self.node, self.epoch, self.nonce, self.created, self.created_ms, self.expires_ms, _wall) = \
            struct.unpack_from(">8s32sQ16sQQQQ", data)
        (operation, flags, self.uid, self.agent, self.policy_version, self.policy_digest, self.threshold, self.uses,
         self.ttl, self.line, reserved, self.device, self.inode, self.generation, reserved2, self.content) = \
            struct.unpack_from(">HHIQQ32sHHIIIQQII32s", data, 96)
        if magic != b"TCPLREQ1" or reserved or reserved2 or flags & ~1 or operation not in OPERATIONS:
            raise ValueError("not a request")
        self.operation = OPERATIONS[operation]
        self.shortened = bool(flags & 1)
        at = 224
        texts = []
        for _ in range(2):
            size = data[at]
            texts.append(data[at + 1:at + 1 + size].decode())
            at += 1 + size
        self.agent_class, self.agent_name = texts
        count = struct.unpack_from(">H", data, at)[0]
        at += 2
        if count > 128:
            raise ValueError("too many facts")
        self.facts = []
        for _ in range(count):
            tag, size = struct.unpack_from(">HH", data, at)
            value = data[at + 4:at + 4 + size]
            at += 4 + size
            if len(value) != size or self.facts and tag < self.facts[-1][0]:
                raise ValueError("bad fact")
            self.facts.append((tag, value))
        if at != len(data) or len(data) > 4096:
            raise ValueError("wrong length")
        self.id = hashlib.sha256(data).digest()

    def print(self):
        who = f"agent {self.agent_name} of class {self.agent_class}" if self.agent else "a task without a label"
        print(f"request   {self.id.hex()}")
        print(f"operation {self.operation} by {who}, uid {self.uid}")
        print(f"needs     {self.threshold // 100}.{self.threshold % 100:02}% of the weight; {self.uses} use(s) in {self.ttl} s")
        for tag, value in self.facts:
            shown = value.decode(errors="backslashreplace") if tag in TEXT_FACTS else value.hex()
            print(f"{FACTS.get(tag, tag):9} {shown!r}" if tag in TEXT_FACTS else f"{FACTS.get(tag, tag):9} {shown}")
        if any(self.content):
            print(f"content   sha256:{self.content.hex()}")
        if self.shortened:
            print("note      some facts were shortened; the digests cover everything")


def decode_clock(data):
    return {slot: value for slot, value in struct.iter_unpack(">HQ", data)}


def encode_clock(clock):
    return b"".join(struct.pack(">HQ", slot, clock[slot]) for slot in sorted(clock) if clock[slot])


def encode_vote(request, validator, verdict, slot, clock, reason):
    entries = encode_clock(clock)
    digest = hashlib.sha256(reason).digest() if reason else bytes(32)
    return (struct.pack(">8s32sQ32s32sBBHQ", b"TCPLVOT2", request.node, request.epoch, request.id, validator, verdict, slot,
                        len(entries) // 10, request.expires_ms) + digest + entries)


# --- journal (byzantine.rst) ----------------------------------------------------------------------------------------

EPOCHS = 8
VERDICTS = {1: "approve", 2: "deny"}
MOST_VERDICTS = 4096
LEAP = 1 << 20


class Unsigned(Exception):
    """A vote that could convict its key."""


def fsync_directory(path):
    directory = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


class Journal:
    """What a key has signed; locked until it is replaced."""

    def __init__(self, key, identity, options):
        key = os.path.realpath(key)
        if os.stat(key).st_nlink > 1:
            raise Unsigned(f"{key} has another name (hard link), under which it would have another journal: remove that")
        self.path = os.path.realpath(options.journal or key + ".clock")
        if options.new_journal:
            self.write({"format": "tcpctl-clock-2", "validator": identity.hex(), "nodes": {}}, self.path, os.O_EXCL)
            fsync_directory(self.path)
        self.hold()
        with open(self.path, "rb") as file:
            self.content = json.load(file)
        if self.content["format"] != "tcpctl-clock-2" or self.content["validator"] != identity.hex():
            raise ValueError(f"{self.path}: not the journal of this key, or an old one; vote with tcpctl once")

    def hold(self):
        """Waits for other votes with this journal. Each of them replaces it."""
        while True:
            try:
                self.lock = open(self.path, "rb")
            except FileNotFoundError:
                raise Unsigned(f"{self.path} does not exist: put the key's journal there, or name it with --journal; "
                               "--new-journal only if this key has never voted anywhere") from None
            fcntl.flock(self.lock, fcntl.LOCK_EX)
            held = os.fstat(self.lock.fileno())
            if os.path.exists(self.path) and os.path.samestat(held, os.stat(self.path)):
                break
        if held.st_nlink > 1:
            raise Unsigned(f"{self.path} has another name (hard link): remove that")

    @staticmethod
    def write(content, path, flags):
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "w", encoding="ascii") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())

    def node(self, request):
        """What was signed for the request's node: greatest own entry, clock of this epoch, greatest of each entry."""
        node = self.content["nodes"].get(request.node.hex(), {"own": 0, "clocks": {}})
        signed = {}
        for epoch, clock in node["clocks"].items():
            for at, value in clock if int(epoch) <= request.epoch else []:
                signed[at] = max(signed.get(at, 0), value)
        return node["own"], dict(map(tuple, node["clocks"].get(str(request.epoch), []))), signed

    def check(self, request, verdict):
        if request.created >> 32 != request.epoch:
            raise Unsigned(f"event {request.created} is not one of epoch {request.epoch}: no node makes such a request")
        node = self.content["nodes"].get(request.node.hex(), {"verdicts": {}, "forgotten": 0})
        said = node["verdicts"].get(request.id.hex())
        if said and said[1] != VERDICTS[verdict]:
            raise Unsigned(f"you have signed {said[1]} on this request; a second verdict would convict this key")
        if not said and request.created <= node["forgotten"]:
            raise Unsigned(f"what was signed up to event {node['forgotten']} is forgotten: a new vote may contradict it")

    def record(self, request, verdict, slot, clock):
        """Puts a vote on disk. Only after this may it be signed."""
        own, before, _ = self.node(request)
        if clock[slot] <= own or any(clock.get(at, 0) < value for at, value in before.items()):
            raise Unsigned("the clock of this vote is not later than that of an earlier one")
        node = self.content["nodes"].setdefault(request.node.hex(), {"forgotten": 0, "clocks": {}, "verdicts": {}})
        node.update(slot=slot, own=clock[slot])
        node["clocks"][str(request.epoch)] = [[at, clock[at]] for at in sorted(clock) if clock[at]]
        node["verdicts"][request.id.hex()] = [request.created, VERDICTS[verdict]]
        while len(node["verdicts"]) > MOST_VERDICTS:
            oldest = min(node["verdicts"], key=lambda id: (node["verdicts"][id][0], id))
            node["forgotten"] = max(node["forgotten"], node["verdicts"].pop(oldest)[0])
        while len(node["clocks"]) > EPOCHS:
            epoch = min(map(int, node["clocks"]))
            del node["clocks"][str(epoch)]
            end = (epoch + 1 << 32) - 1
            node["forgotten"] = max(node["forgotten"], end)
            node["verdicts"] = {id: said for id, said in node["verdicts"].items() if said[0] > end}
        temporary = f"{self.path}.tmp{os.getpid()}"
        self.write(self.content, temporary, os.O_TRUNC)
        os.rename(temporary, self.path)
        fsync_directory(self.path)


# --- P-256 ----------------------------------------------------------------------------------------------------------

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def openssl(*arguments, data=b""):
    result = subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if result.returncode:
        raise ValueError("openssl: " + result.stderr.decode(errors="replace").strip())
    return result.stdout


def validator_id(key):
    """The digest of the 65-byte point, which ends the SubjectPublicKeyInfo."""
    point = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")[-65:]
    if len(point) != 65 or point[0] != 4:
        raise ValueError(f"{key}: not a P-256 key")
    return hashlib.sha256(point).digest()


def der_integer(data):
    if data[0] != 2 or data[1] > 33:
        raise ValueError("not a DER integer")
    return int.from_bytes(data[2:2 + data[1]], "big"), data[2 + data[1]:]


def der_encode(number):
    value = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return bytes([2, len(value)]) + value


def sign(key, data):
    """An ECDSA signature in its one canonical encoding: openssl's, with s replaced by n - s when that is smaller."""
    der = openssl("dgst", "-sha256", "-sign", key, data=data)
    if der[0] != 0x30 or der[1] != len(der) - 2:
        raise ValueError("not an ECDSA signature")
    r, rest = der_integer(der[2:])
    s, rest = der_integer(rest)
    if rest:
        raise ValueError("bytes after the signature")
    body = der_encode(r) + der_encode(min(s, ORDER - s))
    return bytes([0x30, len(body)]) + body


# --- commands -------------------------------------------------------------------------------------------------------


def find_request(link, prefix):
    prefix = prefix.lower()
    found = [answer for answer in link.call(CMD_REQUEST_GET, dump=True) if answer[A_REQUEST_ID].hex().startswith(prefix)]
    if len(prefix) < 8 or len(found) != 1:
        raise ValueError(f"{prefix}: {len(found)} requests have an id that starts so; give at least 8 digits of one")
    request = Request(found[0][A_REQUEST])
    if request.id != found[0][A_REQUEST_ID]:
        raise ValueError("the node names this request by an id that is not its digest")
    return request, found[0]


def own_clock(link, status, request, identity, options, journal):
    """The smallest acceptable clock that lowers nothing, and the slot it is for."""
    node = decode_clock(status[A_CLOCK])
    if options.slot is None:
        mine = [answer for answer in link.call(CMD_VALIDATOR_GET, dump=True) if answer[A_VALIDATOR_ID] == identity]
        if not mine:
            raise ValueError("this key is not enrolled on the node")
        slot = u32(mine[0][A_SLOT])
        last = decode_clock(mine[0].get(A_CLOCK, b""))
    else:
        slot, last = options.slot, node
    own, clock, signed = journal.node(request)
    told = max(last.get(slot, 0), node.get(slot, 0))
    lost = told > own
    if lost and not options.trust_node_clock:
        raise Unsigned(f"the node knows vote {told} of this key, and {journal.path} ends with {own}: somebody else uses the "
                       "key, the journal is old, or the node lies; --trust-node-clock goes on from the node's clock")
    if told > own + LEAP // 2:
        raise ValueError(f"the node says that it knows vote {told} of this key: too far to believe")
    for at in last.keys() - {slot}:
        value = last[at]
        if lost and value > (request.created + LEAP if at == 0 else signed.get(at, 0) + LEAP // 2):
            raise ValueError(f"entry {at} of this key's last clock is said to be {value}: too far to believe")
        clock[at] = max(clock.get(at, 0), value if lost else min(value, signed.get(at, 0)))
    if clock.get(slot, 0) > max(own, told):
        raise Unsigned(f"earlier votes of this key had entry {clock[slot]} in slot {slot}, as somebody else's")
    clock[0] = max(clock.get(0, 0), request.created)
    clock[slot] = options.own if options.own is not None else max(own, told) + 1
    return slot, clock


def submit(link, record):
    answer = link.call(CMD_VOTE_SUBMIT, attribute(A_VOTE, record))[0]
    print(f"{OUTCOMES[u32(answer[A_OUTCOME])]:9} request {answer[A_REQUEST_ID].hex()} is {STATES[u32(answer[A_STATE])]}: "
          f"{u64(answer[A_APPROVE])} approve, {u64(answer[A_DENY])} deny, of {u64(answer[A_TOTAL])}")


def vote(link, options):
    request, _ = find_request(link, options.request)
    status = link.call(CMD_STATUS)[0]
    if request.node != status[A_NODE] or request.epoch != u64(status[A_EPOCH]):
        raise ValueError("the request is not of this node and epoch")
    request.print()
    identity = validator_id(options.key)
    reason = options.reason.encode()
    if len(reason) > 256:
        raise ValueError("a reason has at most 256 bytes")
    verdict = 1 if options.command == "approve" else 2
    journal = Journal(options.key, identity, options)
    journal.check(request, verdict)
    slot, clock = own_clock(link, status, request, identity, options, journal)
    journal.record(request, verdict, slot, clock)
    signed = encode_vote(request, identity, verdict, slot, clock, reason)
    signature = sign(options.key, signed)
    record = signed + struct.pack(">H", len(signature)) + signature + reason
    if options.out:
        with open(options.out, "wb") as file:
            file.write(record)
        print(f"written   {options.out}")
    else:
        submit(link, record)


def main():
    parser = argparse.ArgumentParser(description="Casts a vote on a TCP-LSM request.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="show what an approver signs").add_argument("request")
    for verdict in ("approve", "deny"):
        one = commands.add_parser(verdict, help=f"sign and submit a vote to {verdict}")
        one.add_argument("request")
        one.add_argument("--key", required=True, help="P-256 private key, PEM")
        one.add_argument("--slot", type=int, help="the validator's slot, instead of asking the node")
        one.add_argument("--own", type=int, help="the validator's own clock entry")
        one.add_argument("--journal", help="the key's journal, instead of KEY.clock")
        one.add_argument("--new-journal", action="store_true", help="begin a journal: this key has never voted anywhere")
        one.add_argument("--trust-node-clock", action="store_true", help="go on from the node's clock for this key")
        one.add_argument("--reason", default="")
        one.add_argument("--out", help="write the vote record to a file instead of submitting it")
    commands.add_parser("submit", help="submit a vote record").add_argument("file")
    options = parser.parse_args()
    try:
        link = Netlink()
        if options.command == "show":
            request, answer = find_request(link, options.request)
            request.print()
            print(f"state     {STATES[u32(answer[A_STATE])]}")
        elif options.command == "submit":
            with open(options.file, "rb") as file:
                submit(link, file.read())
        else:
            vote(link, options)
    except Refused as refusal:
        name = errno.errorcode.get(refusal.number, refusal.number)
        print(f"vote.py: refused with {name}: {refusal.text}", file=sys.stderr)
        return 1
    except Unsigned as reason:
        print(f"vote.py: not signed: {reason}", file=sys.stderr)
        return 6
    except (OSError, ValueError, IndexError, KeyError, struct.error) as error:
        print(f"vote.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
