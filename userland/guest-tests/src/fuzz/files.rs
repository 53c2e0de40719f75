// SPDX-License-Identifier: GPL-2.0

//! securityfs: every file, opened in every way, read and written in pieces, at offsets and through several descriptors at once.

use super::{
    oracle::Did,
    pool::{
        spoil,
        Pool, //
    },
    random::Random,
    Batch,
    Role, //
};
use crate::hooks::sys;
use crate::keys::sha256;
use crate::stage::{
    self,
    hex, //
};
use crate::worker::errno;
use engine::{
    policy::Policy,
    refusal::Refusal, //
};
use std::os::fd::{
    AsRawFd as _,
    OwnedFd, //
};

/// Operations of one batch.
const OPERATIONS: usize = 120;

/// Descriptors open at once.
const OPEN: usize = 6;

const NODES: [&str; 9] = [
    "version",
    "status",
    "policy",
    "state",
    "recover",
    "validators",
    "self",
    "events",
    "requests",
];

/// What takes a text.
const TAKING: [&str; 4] = ["policy", "policy", "state", "recover"];

/// What everybody may read.
const PUBLIC: [&str; 3] = ["version", "status", "self"];

/// Errors of an open: the mode bits, or no right.
const OPENING: &[i32] = &[libc::EACCES, libc::EPERM];

/// Errors of the system calls themselves: wrong descriptor, offset, memory or kind of file; nothing of the sort is served.
const CALLS: &[i32] = &[
    libc::EBADF,
    libc::EINVAL,
    libc::EFAULT,
    libc::EFBIG,
    libc::EPERM,
    libc::EACCES,
    libc::ESPIPE,
    libc::EOVERFLOW,
    libc::ENOTTY,
    libc::ENODEV,
    libc::EOPNOTSUPP,
];

/// Words of policies, and what breaks a parser of them.
const WORDS: &[&[u8]] = &[
    b"policy_version=",
    b"policy_name=",
    b"class ",
    b" may=",
    b"DEFAULT ",
    b"op=",
    b" action=QUORUM",
    b" action=ALLOW",
    b" threshold=",
    b"75%",
    b"100.01%",
    b"18446744073709551616",
    b"-1",
    b" path=/",
    b" path=/proc/self/root/etc",
    b" ttl=",
    b"9999999h",
    b" uses=",
    b" hold=",
    b" addr=",
    b"0.0.0.0/0",
    b"::/0",
    b" port=",
    b"65536",
    b" digest=",
    b"\n",
    b"\r\n",
    b"\0",
    b"#",
    b"\"",
    b"\\",
    b"\xff\xfe",
    b",",
    b"=",
    b"adaptive ",
    b"MODULE_LOAD",
    b"POLICY",
    b"host",
];

/// One open file.
struct Open {
    node: &'static str,
    fd: OwnedFd,
    /// Nothing was read or written yet, by nobody.
    fresh: bool,
}

/// A policy that could be loaded, spoilt or not.
fn policy(pool: &Pool, random: &mut Random) -> Vec<u8> {
    let mut text = pool
        .policies
        .get(random.index(pool.policies.len()))
        .cloned()
        .unwrap_or_default();
    if random.chance(850) {
        spoil(&mut text, random, WORDS);
    }
    if random.chance(20) {
        text.resize(262_144 + random.index(3) - 1, b'\n');
    }
    text
}

/// What to write to a node.
fn content(node: &str, batch: &mut Batch<'_>) -> Vec<u8> {
    let random = &mut batch.random;
    loop {
        let bytes = match node {
            "state" | "recover" => {
                let past = &batch.pool.past;
                let mut bytes = match past.get(random.index(past.len())) {
                    Some(state) => state.clone(),
                    None => b"TCPLSTA1"
                        .iter()
                        .copied()
                        .chain(random.bytes())
                        .cycle()
                        .take(random.index(5000))
                        .collect(),
                };
                spoil(&mut bytes, random, &[b"TCPLSTA1", b"\0\0\0\x01"]);
                bytes
            }
            _ => policy(batch.pool, random),
        };
        if batch.wrong {
            return [b"?", &bytes[..]].concat();
        }
        // A version that nothing could follow would end this boot's policies.
        let last =
            Policy::parse(&bytes).is_ok_and(|policy| policy.version() > batch.pool.version + 1000);
        if !last && !batch.pool.forbids(&bytes) {
            return bytes;
        }
    }
}

/// A file to open, and how.
fn which(role: Role, random: &mut Random) -> (&'static str, i32) {
    // Most often what succeeds: a node that takes something, or one that may be read.
    let node = match (random.below(10), role) {
        (0..3, _) => NODES[random.index(NODES.len())],
        (_, Role::Root) => TAKING[random.index(TAKING.len())],
        (_, Role::User) => PUBLIC[random.index(PUBLIC.len())],
        (_, Role::Agent) => "self",
    };
    let mut flags = match (random.below(4), role) {
        (0, _) => [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR][random.index(3)],
        (1, Role::Root) => libc::O_WRONLY,
        (_, Role::Root) => libc::O_RDWR,
        _ => libc::O_RDONLY,
    };
    for more in [
        libc::O_NONBLOCK,
        libc::O_APPEND,
        libc::O_TRUNC,
        libc::O_NOATIME,
    ] {
        if random.chance(50) {
            flags |= more;
        }
    }
    (node, flags)
}

fn open(batch: &mut Batch<'_>, did: &mut Did) -> Option<Open> {
    let (node, flags) = which(batch.role, &mut batch.random);
    did.count("opens");
    match sys::open(&format!("{}/{node}", stage::SECURITYFS), flags) {
        Ok(fd) => {
            let allowed = match batch.role {
                Role::Root => true,
                Role::User => PUBLIC.contains(&node) && flags & libc::O_ACCMODE == libc::O_RDONLY,
                Role::Agent => node == "self",
            };
            if !allowed {
                did.complain(format!(
                    "{:?} opened {node} with flags {flags:#o}",
                    batch.role
                ));
            }
            Some(Open {
                node,
                fd,
                fresh: true,
            })
        }
        Err(errno) => {
            did.error(&format!("open {node}"), errno, "", OPENING);
            None
        }
    }
}

/// Counts a system call and looks at its error. `takes`: a text is refused with the errors of our own, too.
fn called(result: i64, what: &str, takes: bool, did: &mut Did) {
    did.count("calls");
    if result >= 0 {
        return;
    }
    let errno = errno();
    match takes && Refusal::ALL.iter().any(|refusal| refusal.errno() == errno) {
        true => did.count("refused"),
        false => did.error(what, errno, "", CALLS),
    }
}

/// What the node says after a write.
fn diagnostic(fd: i32) -> String {
    let mut buffer = [0u8; 512];
    // SAFETY: The pointer and the length describe `buffer`.
    let got = unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    let got = usize::try_from(got).unwrap_or(0);
    let text = String::from_utf8_lossy(buffer.get(..got).unwrap_or_default()).into_owned();
    text.trim_end_matches('\n').to_string()
}

/// A whole text in one write to a file that nobody has used: what the node says is compared with what the engine says.
fn transaction(batch: &mut Batch<'_>, file: &mut Open, did: &mut Did) {
    let bytes = content(file.node, batch);
    let fd = file.fd.as_raw_fd();
    // SAFETY: The pointer and the length describe `bytes`.
    let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
    let errno = if written < 0 { errno() } else { 0 };
    did.count("texts");
    let line = diagnostic(fd);
    let what = format!(
        "{} of {} bytes: {errno} \"{line:.120}\"",
        file.node,
        bytes.len()
    );
    if errno != 0 {
        match line.split([':', ' ']).next().unwrap_or_default() {
            // Opened for writing alone: there is nothing to read.
            "" => called(written as i64, &what, true, did),
            code => did.error(&what, errno, code, CALLS),
        }
    }
    file.fresh = false;
    if file.node != "policy" || bytes.is_empty() || bytes.len() > 262_144 {
        return;
    }
    match (Policy::parse(&bytes), errno) {
        (_, 0) => taken(&what, &bytes, did),
        (_, libc::EBADF | libc::EPERM) => {}
        (Err(error), _) if !line.ends_with(&format!(": {error}")) && !line.is_empty() => {
            did.complain(format!("{what}: the engine says {error}"));
        }
        _ => {}
    }
}

/// A policy was taken, which the engine must take too.
fn taken(what: &str, bytes: &[u8], did: &mut Did) {
    match Policy::parse(bytes) {
        Ok(policy) => {
            did.policies
                .push((policy.version(), hex(&sha256(&[bytes]))));
            did.count("policies taken");
        }
        Err(error) => did.complain(format!("{what}: taken, and the engine says {error}")),
    }
}

/// A system call to make, with arguments as chance has them.
struct Call {
    choice: u64,
    length: usize,
    offset: i64,
    whence: i32,
    /// The address is nobody's.
    wild: bool,
    /// A text, of which `length` bytes are written.
    text: Vec<u8>,
}

impl Call {
    fn draw(node: &str, batch: &mut Batch<'_>) -> Self {
        let random = &mut batch.random;
        let length = match random.below(4) {
            0 => 0,
            1 => 1 + random.index(7),
            _ => random.index(9000),
        };
        let offset = match random.below(5) {
            0 => i64::from_ne_bytes(random.bits().to_ne_bytes()),
            1 => i64::MAX - 1,
            2 => -1,
            _ => i64::try_from(random.below(5000)).unwrap_or(0),
        };
        let mut call = Self {
            choice: random.below(12),
            length,
            offset,
            whence: i32::try_from(random.below(6)).unwrap_or(0),
            wild: random.chance(50),
            text: Vec::new(),
        };
        if call.takes() {
            call.text = content(node, batch);
        }
        call
    }

    /// Whether it writes.
    fn takes(&self) -> bool {
        matches!(self.choice, 3..=5)
    }

    fn part(&self) -> &[u8] {
        self.text
            .get(..self.text.len().min(self.length))
            .unwrap_or_default()
    }

    /// Makes it; its name, and what it returned.
    fn make(&self, fd: i32) -> (&'static str, i64) {
        let mut buffer = vec![0u8; self.length.max(256)];
        let null = sys::open("/dev/null", libc::O_WRONLY);
        let out = null.as_ref().map_or(-1, |null| null.as_raw_fd());
        let (part, offset, length) = (self.part(), self.offset, self.length);
        let (to, from) = match self.wild {
            true => (
                std::ptr::without_provenance_mut(8),
                std::ptr::without_provenance(8),
            ),
            false => (buffer.as_mut_ptr().cast(), part.as_ptr().cast()),
        };
        let two = [iov(part), iov(&self.text)];
        // SAFETY: Each pointer is valid for its length, or refused by the kernel: nothing is at address 8. What an ioctl
        // of these files could write is less than 256 bytes.
        unsafe {
            match self.choice {
                0 | 1 => ("read", libc::read(fd, to, length) as i64),
                2 => ("pread", libc::pread(fd, to, length, offset) as i64),
                3 => ("write", libc::write(fd, from, part.len()) as i64),
                4 => ("pwrite", libc::pwrite(fd, from, part.len(), offset) as i64),
                5 => ("writev", libc::writev(fd, two.as_ptr(), 2) as i64),
                6 => ("lseek", libc::lseek(fd, offset, self.whence)),
                7 => ("ftruncate", libc::ftruncate(fd, offset).into()),
                8 => (
                    "ioctl",
                    libc::ioctl(fd, u64::from_ne_bytes(offset.to_ne_bytes()), to).into(),
                ),
                9 => ("mmap", map(fd, offset)),
                10 => (
                    "sendfile",
                    libc::sendfile(out, fd, std::ptr::null_mut(), length) as i64,
                ),
                _ => ("fsync", libc::fsync(fd).into()),
            }
        }
    }
}

/// One system call of any kind on an open file.
fn call(batch: &mut Batch<'_>, file: &mut Open, did: &mut Did) {
    let call = Call::draw(file.node, batch);
    let (name, result) = call.make(file.fd.as_raw_fd());
    called(
        result,
        &format!("{name} of {}", file.node),
        call.takes(),
        did,
    );
    let served = call.choice <= 5 && result > 0;
    if served && batch.role == Role::Agent && file.node != "self" {
        did.complain(format!("an agent's {name} of {} gave {result}", file.node));
    }
    // A part may be a policy of its own.
    if served && call.takes() && file.node == "policy" {
        taken(name, call.part(), did);
    }
    file.fresh = false;
}

fn iov(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// Maps a file, if that can be done, and unmaps it.
fn map(fd: i32, offset: i64) -> i64 {
    let offset = offset & 0xf000;
    // SAFETY: A new mapping at a place of the kernel's choice.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ,
            libc::MAP_SHARED,
            fd,
            offset,
        )
    };
    if at == libc::MAP_FAILED {
        return -1;
    }
    // SAFETY: It is ours and nobody uses it.
    unsafe { libc::munmap(at, 4096) };
    0
}

/// A snapshot is the same however it is read.
fn snapshot(batch: &mut Batch<'_>, file: &mut Open, did: &mut Did) {
    file.fresh = false;
    let fd = file.fd.as_raw_fd();
    let mut whole = Vec::new();
    loop {
        let mut piece = vec![0u8; 1 + batch.random.index(5000)];
        // SAFETY: The pointer and the length describe `piece`.
        let got = unsafe { libc::read(fd, piece.as_mut_ptr().cast(), piece.len()) };
        did.count("calls");
        match usize::try_from(got) {
            Ok(0) => break,
            Ok(got) => whole.extend_from_slice(piece.get(..got).unwrap_or_default()),
            Err(_) => return did.error(&format!("read {}", file.node), errno(), "", CALLS),
        }
    }
    let at = batch.random.index(whole.len() + 10);
    let mut piece = vec![0u8; 300];
    let offset = i64::try_from(at).unwrap_or(0);
    // SAFETY: The pointer and the length describe `piece`.
    let got = unsafe { libc::pread(fd, piece.as_mut_ptr().cast(), piece.len(), offset) };
    let Ok(got) = usize::try_from(got) else {
        return did.error(
            &format!("pread {}", file.node),
            errno(),
            "",
            &[libc::ESPIPE],
        );
    };
    let expected = whole
        .get(at..whole.len().min(at + piece.len()))
        .unwrap_or_default();
    if piece.get(..got) != Some(expected) {
        did.complain(format!(
            "{} at {at}: {got} bytes are not those of the snapshot",
            file.node
        ));
    }
    did.count("snapshots");
}

/// Puts this process on one of the processors.
fn pin(random: &mut Random) {
    // SAFETY: The set is plain data, and the pointer and the length describe it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(random.index(2), &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

/// A process that uses the same open files at the same time, from the other processor.
fn beside(batch: &mut Batch<'_>, files: &mut [Open]) -> Did {
    let mut did = Did::default();
    pin(&mut batch.random);
    for _ in 0..OPERATIONS {
        let at = batch.random.index(files.len());
        if let Some(file) = files.get_mut(at) {
            call(batch, file, &mut did);
        }
    }
    did
}

/// Opens, reads, writes and closes.
pub(super) fn batch(batch: &mut Batch<'_>) -> Did {
    let mut did = Did::default();
    let mut files: Vec<Open> = Vec::new();
    pin(&mut batch.random);
    for _ in 0..OPERATIONS {
        if files.len() < OPEN {
            files.extend(open(batch, &mut did));
        }
        let at = batch.random.index(files.len());
        let Some(file) = files.get_mut(at) else {
            continue;
        };
        match batch.random.below(10) {
            // Closed half-way.
            0 => drop(files.swap_remove(at)),
            1..=7 if file.fresh && TAKING.contains(&file.node) => {
                transaction(batch, file, &mut did);
            }
            1..=4 if file.fresh => snapshot(batch, file, &mut did),
            8 => {
                if let (node, Ok(fd)) = (file.node, file.fd.try_clone()) {
                    file.fresh = false;
                    files.push(Open {
                        node,
                        fd,
                        fresh: false,
                    });
                }
            }
            _ => call(batch, file, &mut did),
        }
    }
    shared(batch, &mut files, &mut did);
    did
}

/// Two processes on the same open files.
fn shared(batch: &mut Batch<'_>, files: &mut [Open], did: &mut Did) {
    for file in files.iter_mut() {
        file.fresh = false;
    }
    let mut other = Batch {
        role: batch.role,
        random: Random::new(&[batch.random.bits()]),
        pool: batch.pool,
        wrong: true,
    };
    let child = crate::worker::fork(|| {
        let did = beside(&mut other, files);
        i32::from(!did.complaints.is_empty())
    });
    did.add(&beside(batch, files));
    match child.map(crate::worker::wait) {
        Ok(0) => {}
        other => did.complain(format!("a process beside this one: {other:?}")),
    }
}
