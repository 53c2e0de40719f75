// SPDX-License-Identifier: GPL-2.0

//! Agents that stay alive and do one operation after the other as a test asks them.
//!
//! A request and its grant bind the agent, so that whoever is to use a grant must be the agent that was refused.

use crate::client::Attributes;
use crate::stage::{
    self,
    expect_errno,
    nl,
    Res, //
};
use std::ffi::CString;
use std::fs::{
    self,
    File,
    OpenOptions, //
};
use std::io::{
    self,
    BufRead,
    BufReader,
    Read,
    Write, //
};
use std::net::{
    SocketAddr,
    TcpListener,
    TcpStream,
    UdpSocket, //
};
use std::os::fd::{
    AsRawFd,
    FromRawFd,
    OwnedFd,
    RawFd, //
};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The number of the calling thread's last error.
pub(crate) fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// 0 for a result of a system call that is not negative, else its error number.
pub(crate) fn outcome(result: i64) -> i32 {
    if result < 0 {
        errno()
    } else {
        0
    }
}

/// The error number of a result, 0 for success.
pub(crate) fn errno_of<T>(result: &io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    }
}

/// A pipe: its reading and its writing end.
pub(crate) fn pipe() -> Res<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    let result = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) };
    stage::expect_errno("pipe2", outcome(i64::from(result)), 0)?;
    // SAFETY: The call made both and nobody else knows them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Whether there is something to read within a time.
pub(crate) fn readable(fd: RawFd, limit: Duration) -> bool {
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let ms = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `poll` is one element.
    unsafe { libc::poll(&mut poll, 1, ms) == 1 }
}

/// Closes every descriptor but 0 to 2, which become /dev/null, and those to keep.
pub(crate) fn close_others(keep: &[RawFd]) {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .map(|entries| {
            entries
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                .collect()
        })
        .unwrap_or_default();
    for fd in open {
        if fd > 2 && !keep.contains(&fd) {
            // SAFETY: Closing a number is sound; nothing of this process uses the descriptors of its parent again.
            unsafe { libc::close(fd) };
        }
    }
    for (fd, flags) in [
        (0, libc::O_RDONLY),
        (1, libc::O_WRONLY),
        (2, libc::O_WRONLY),
    ] {
        // SAFETY: The path is a constant string with its terminator.
        unsafe {
            let null = libc::open(c"/dev/null".as_ptr(), flags);
            if null >= 0 && null != fd {
                libc::dup2(null, fd);
                libc::close(null);
            }
        }
    }
}

/// Becomes another user, with no group but its own and without capabilities.
pub(crate) fn become_user(uid: u32) -> i32 {
    if uid == 0 {
        return 0;
    }
    // SAFETY: No pointer is passed but that of an empty list.
    let result = unsafe {
        if libc::setgroups(0, std::ptr::null()) < 0 || libc::setresgid(uid, uid, uid) < 0 {
            -1
        } else {
            libc::setresuid(uid, uid, uid)
        }
    };
    outcome(i64::from(result))
}

/// Forks; in the child, runs `body` and ends with what it returns.
pub(crate) fn fork(body: impl FnOnce() -> i32) -> Res<libc::pid_t> {
    // SAFETY: The program has one thread.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: {}", stage::errno_name(errno()))),
        0 => {
            let status =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(113);
            // SAFETY: Ends this process without running what the parent has registered.
            unsafe { libc::_exit(status) }
        }
        pid => Ok(pid),
    }
}

/// Waits for a child; its exit status, or 128 and the signal.
pub(crate) fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: `status` is one int.
    while unsafe { libc::waitpid(pid, &mut status, 0) } < 0 {
        if errno() != libc::EINTR {
            return -1;
        }
    }
    if libc::WIFEXITED(status) {
        libc::WEXITSTATUS(status)
    } else {
        128 + libc::WTERMSIG(status)
    }
}

/// Runs `body` in a child as another user and returns the lines that it gives.
pub(crate) fn in_child(uid: u32, body: impl FnOnce() -> Vec<String>) -> Res<Vec<String>> {
    let (read, write) = pipe()?;
    let pid = fork(|| {
        if become_user(uid) != 0 {
            return 112;
        }
        let mut out = File::from(
            write
                .try_clone()
                .unwrap_or_else(|_| std::process::exit(111)),
        );
        let text: String = body()
            .iter()
            .map(|line| line.replace('\n', " ") + "\n")
            .collect();
        i32::from(out.write_all(text.as_bytes()).is_err())
    })?;
    drop(write);
    let mut text = String::new();
    let got = File::from(read).read_to_string(&mut text);
    let status = wait(pid);
    got.map_err(|e| e.to_string())?;
    if status != 0 {
        return Err(format!("a child as user {uid} ended with {status}"));
    }
    Ok(text.lines().map(str::to_string).collect())
}

/// Runs `body` as another user and returns its error number.
pub(crate) fn errno_as(uid: u32, body: impl FnOnce() -> i32) -> Res<i32> {
    let lines = in_child(uid, || vec![body().to_string()])?;
    lines
        .first()
        .and_then(|line| line.parse().ok())
        .ok_or_else(|| "no answer".to_string())
}

/// An agent that waits for what it is to do.
pub(crate) struct Agent {
    pid: libc::pid_t,
    to: Option<File>,
    from: BufReader<File>,
    /// Its number.
    pub(crate) id: u64,
    waited: bool,
}

impl Agent {
    /// Starts an agent of uid 0.
    pub(crate) fn start(class: &str) -> Res<Self> {
        Self::start_as(class, "worker", 0)
    }

    /// Starts an agent of a user.
    pub(crate) fn start_as(class: &str, name: &str, uid: u32) -> Res<Self> {
        match Self::try_start(class, name, uid, None)? {
            Ok(agent) => Ok(agent),
            Err((errno, text)) => Err(format!(
                "labelling {class}: {} {text}",
                stage::errno_name(errno)
            )),
        }
    }

    /// Starts an agent that keeps one more open file as descriptor `keep`; the refusal if labelling is refused.
    pub(crate) fn try_start(
        class: &str,
        name: &str,
        uid: u32,
        keep: Option<RawFd>,
    ) -> Res<Result<Self, (i32, String)>> {
        let (commands, to) = pipe()?;
        let (from, answers) = pipe()?;
        let pid = fork(|| {
            let mut kept = vec![commands.as_raw_fd(), answers.as_raw_fd()];
            kept.extend(keep);
            close_others(&kept);
            // SAFETY: An agent must not outlive the test that started it.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let user = become_user(uid);
            let mut answers = File::from(
                answers
                    .try_clone()
                    .unwrap_or_else(|_| std::process::exit(111)),
            );
            let first = if user != 0 {
                format!("{user}\tbecoming user {uid}\n")
            } else {
                let (errno, text) = label(class, name);
                format!("{errno}\t{text}\n")
            };
            if answers.write_all(first.as_bytes()).is_err() || !first.starts_with("0\t") {
                return 1;
            }
            let commands = BufReader::new(File::from(
                commands
                    .try_clone()
                    .unwrap_or_else(|_| std::process::exit(111)),
            ));
            for line in commands.lines() {
                let Ok(line) = line else { return 2 };
                let words: Vec<&str> = line.split('\t').collect();
                let (errno, text) = serve(&words, keep);
                let text = text.replace(['\n', '\t'], "|");
                if answers
                    .write_all(format!("{errno}\t{text}\n").as_bytes())
                    .is_err()
                {
                    return 3;
                }
            }
            0
        })?;
        drop((commands, answers));
        let mut agent = Self {
            pid,
            to: Some(File::from(to)),
            from: BufReader::new(File::from(from)),
            id: 0,
            waited: false,
        };
        let (errno, text) = agent.answer()?;
        if errno != 0 {
            return Ok(Err((errno, text)));
        }
        agent.id = text
            .parse()
            .map_err(|_| format!("the agent's number is \"{text}\""))?;
        Ok(Ok(agent))
    }

    /// Its process.
    pub(crate) fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// Sends a command without waiting for the answer.
    pub(crate) fn send(&mut self, words: &[&str]) -> Res {
        let line = words.join("\t") + "\n";
        self.to
            .as_mut()
            .ok_or("the agent has ended")?
            .write_all(line.as_bytes())
            .map_err(|e| format!("the agent is gone: {e}"))
    }

    /// Waits for the answer to the oldest command that has none.
    pub(crate) fn answer(&mut self) -> Res<(i32, String)> {
        let mut line = String::new();
        self.from.read_line(&mut line).map_err(|e| e.to_string())?;
        let (errno, text) = line
            .trim_end_matches('\n')
            .split_once('\t')
            .ok_or("the agent ended without an answer")?;
        Ok((
            errno.parse().map_err(|_| format!("bad answer {line}"))?,
            text.to_string(),
        ))
    }

    /// Whether an answer arrives within a time.
    pub(crate) fn answers_within(&self, limit: Duration) -> bool {
        readable(self.from.get_ref().as_raw_fd(), limit)
    }

    /// Does one operation: its error number and what it says.
    pub(crate) fn ask(&mut self, words: &[&str]) -> Res<(i32, String)> {
        self.send(words)?;
        self.answer()
    }

    /// Does one operation: its error number.
    pub(crate) fn try_to(&mut self, words: &[&str]) -> Res<i32> {
        Ok(self.ask(words)?.0)
    }

    /// Does one operation, which must end with this error number.
    pub(crate) fn expect(&mut self, want: i32, words: &[&str]) -> Res {
        let got = self.try_to(words)?;
        expect_errno(&format!("agent: {}", words.join(" ")), got, want)
    }

    /// The latest request that a refusal of this agent raised, as securityfs tells it.
    pub(crate) fn request(&mut self) -> Res<stage::Request> {
        let (errno, text) = self.ask(&["self"])?;
        expect_errno("reading self", errno, 0)?;
        let id = text
            .split('|')
            .find_map(|line| line.strip_prefix("request "))
            .ok_or_else(|| format!("no request in self: {text}"))?;
        stage::request(&stage::parse_id(id)?)
    }

    /// Does an operation that a rule sends to a quorum; the open request that this raises.
    pub(crate) fn raise(&mut self, words: &[&str]) -> Res<stage::Request> {
        self.expect(libc::EACCES, words)?;
        let request = self.request()?;
        crate::ensure!(
            request.state == nl::OPEN && request.agent() == self.id,
            "{}: the request in self is in state {} and of agent {}",
            words.join(" "),
            request.state,
            request.agent()
        );
        Ok(request)
    }

    /// Ends the agent and waits for it.
    pub(crate) fn end(mut self) -> Res {
        drop(self.to.take());
        self.waited = true;
        match wait(self.pid) {
            0 => Ok(()),
            status => Err(format!("an agent ended with {status}")),
        }
    }

    /// Kills the agent; how long it took to end.
    pub(crate) fn kill(mut self) -> Duration {
        let start = std::time::Instant::now();
        // SAFETY: The child has not been waited for.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        wait(self.pid);
        self.waited = true;
        start.elapsed()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.waited {
            // SAFETY: The child has not been waited for.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            wait(self.pid);
        }
    }
}

/// Labels the calling task: the error number and, with 0, the agent's number, else the message.
pub(crate) fn label(class: &str, name: &str) -> (i32, String) {
    let mut attributes = Attributes::new();
    attributes.string(nl::A_AGENT_NAME, name);
    attributes.string(nl::A_AGENT_CLASS, class);
    match stage::call(nl::AGENT_LABEL, &attributes) {
        Ok(reply) => (0, reply.u64(nl::A_AGENT_ID).unwrap_or(0).to_string()),
        Err(refused) => (refused.errno, refused.text),
    }
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn number(words: &[&str], at: usize) -> i64 {
    words
        .get(at)
        .and_then(|word| word.parse().ok())
        .unwrap_or(0)
}

fn int(words: &[&str], at: usize) -> libc::c_int {
    libc::c_int::try_from(number(words, at)).unwrap_or(0)
}

/// Runs a program and waits for it: the error number of execve, or 0, and its exit status.
pub(crate) fn exec(words: &[&str]) -> (i32, String) {
    let Ok((read, write)) = pipe() else {
        return (-1, "pipe".to_string());
    };
    let arguments: Vec<CString> = words.iter().map(|word| c(word)).collect();
    let child = fork(|| {
        let mut pointers: Vec<*const libc::c_char> = arguments.iter().map(|a| a.as_ptr()).collect();
        pointers.push(std::ptr::null());
        let environment = [c"PATH=/usr/sbin:/usr/bin".as_ptr(), std::ptr::null()];
        // SAFETY: Both arrays end with a null pointer and their strings live.
        unsafe {
            libc::execve(
                arguments[0].as_ptr(),
                pointers.as_ptr(),
                environment.as_ptr(),
            )
        };
        let error = errno();
        let _ = File::from(
            write
                .try_clone()
                .unwrap_or_else(|_| std::process::exit(111)),
        )
        .write_all(&error.to_ne_bytes());
        127
    });
    drop(write);
    let Ok(pid) = child else {
        return (libc::EAGAIN, "fork".to_string());
    };
    let mut error = [0; 4];
    let failed = File::from(read).read_exact(&mut error).is_ok();
    let status = wait(pid);
    (
        if failed { i32::from_ne_bytes(error) } else { 0 },
        status.to_string(),
    )
}

/// Loads the module in a file, and unloads it when that succeeded: the error number of loading it. A module that is there
/// already has passed every check when it is refused with `EEXIST`, which counts as success.
pub(crate) fn load_module(path: &str) -> i32 {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) => return error.raw_os_error().unwrap_or(-1),
    };
    // SAFETY: The descriptor is open and the parameters are an empty string.
    let result =
        unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match outcome(result) {
        0 => {
            let name = path.rsplit('/').next().unwrap_or_default();
            let name = c(&name.trim_end_matches(".ko").replace('-', "_"));
            // It stays on a sealed node. SAFETY: `name` is a string with its terminator.
            unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) };
            0
        }
        libc::EEXIST => 0,
        errno => errno,
    }
}

fn open_with(path: &str, options: &mut OpenOptions) -> i32 {
    match options.open(path) {
        Ok(mut file) => {
            // A character device or an append: one byte tells whether writing works.
            if options_write(&file) {
                errno_of(&file.write_all(b"x"))
            } else {
                let mut byte = [0];
                errno_of(&file.read(&mut byte))
            }
        }
        Err(error) => error.raw_os_error().unwrap_or(-1),
    }
}

fn options_write(file: &File) -> bool {
    // SAFETY: Asks for the flags of an open file.
    let flags = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) };
    flags & libc::O_ACCMODE != libc::O_RDONLY
}

/// The bytes of hexadecimal digits.
fn bytes_of(digits: &str) -> Vec<u8> {
    digits
        .as_bytes()
        .chunks_exact(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Does one operation: its error number and what it says.
fn serve(words: &[&str], kept: Option<RawFd>) -> (i32, String) {
    let arg = |at: usize| words.get(at).copied().unwrap_or_default();
    let quiet = |errno: i32| (errno, String::new());
    match arg(0) {
        "read" => quiet(open_with(arg(1), OpenOptions::new().read(true))),
        "append" => quiet(open_with(arg(1), OpenOptions::new().append(true))),
        "overwrite" => quiet(open_with(
            arg(1),
            OpenOptions::new().write(true).truncate(true),
        )),
        "write" => quiet(open_with(arg(1), OpenOptions::new().write(true))),
        "create" => quiet(open_with(
            arg(1),
            OpenOptions::new().write(true).create_new(true),
        )),
        "truncate" => {
            // SAFETY: The path is a string with its terminator.
            quiet(outcome(i64::from(unsafe {
                libc::truncate(c(arg(1)).as_ptr(), 0)
            })))
        }
        "unlink" => quiet(errno_of(&fs::remove_file(arg(1)))),
        "mkdir" => quiet(errno_of(&fs::create_dir(arg(1)))),
        "rmdir" => quiet(errno_of(&fs::remove_dir(arg(1)))),
        "rename" => quiet(errno_of(&fs::rename(arg(1), arg(2)))),
        "link" => quiet(errno_of(&fs::hard_link(arg(1), arg(2)))),
        "symlink" => quiet(errno_of(&std::os::unix::fs::symlink(arg(1), arg(2)))),
        "chmod" => {
            use std::os::unix::fs::PermissionsExt as _;
            quiet(errno_of(&fs::set_permissions(
                arg(1),
                fs::Permissions::from_mode(0o640),
            )))
        }
        "exec" => exec(&words[1..]),
        "module" => quiet(load_module(arg(1))),
        "self" => match fs::read_to_string(format!("{}/self", stage::SECURITYFS)) {
            Ok(text) => (0, text),
            Err(error) => quiet(error.raw_os_error().unwrap_or(-1)),
        },
        "read-kept" => match kept {
            Some(fd) => {
                let mut buffer = [0u8; 64];
                // SAFETY: The buffer has that many bytes.
                let result =
                    unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
                quiet(outcome(result as i64))
            }
            None => quiet(libc::EBADF),
        },
        "write-kept" => match kept {
            Some(fd) => {
                let text = arg(1).replace("\\n", "\n");
                // SAFETY: The text has that many bytes.
                let result = unsafe { libc::write(fd, text.as_ptr().cast(), text.len()) };
                quiet(outcome(result as i64))
            }
            None => quiet(libc::EBADF),
        },
        "raw-kept" => match kept {
            Some(fd) => raw_command(fd, number(words, 1), number(words, 2)),
            None => quiet(libc::EBADF),
        },
        "receive" => match kept {
            Some(fd) => receive(fd, false),
            None => quiet(libc::EBADF),
        },
        "receive-recv" => match kept {
            Some(fd) => receive(fd, true),
            None => quiet(libc::EBADF),
        },
        "recv-kept" => match kept {
            Some(fd) => quiet(receive_bytes(fd)),
            None => quiet(libc::EBADF),
        },
        "netlink" => {
            let mut attributes = Attributes::new();
            if arg(2) == "label" {
                attributes.string(nl::A_AGENT_NAME, "sub");
                attributes.string(nl::A_AGENT_CLASS, arg(3));
            }
            let command = u8::try_from(number(words, 1)).unwrap_or(0);
            let result = if arg(2) == "dump" {
                stage::dump(command, &attributes).map(|_| ())
            } else {
                stage::call(command, &attributes).map(|_| ())
            };
            match result {
                Ok(()) => quiet(0),
                Err(refused) => (refused.errno, refused.text),
            }
        }
        "listen-events" => {
            match crate::client::Client::open().and_then(|client| client.join_events()) {
                Ok(()) => quiet(0),
                Err(refused) => (refused.errno, refused.text),
            }
        }
        "evidence" => match stage::submit_evidence(&bytes_of(arg(1))) {
            Ok(_) => quiet(0),
            Err(refused) => (refused.errno, refused.text),
        },
        "vote" => match stage::submit(&bytes_of(arg(1))) {
            Ok(tally) => (0, tally.state.to_string()),
            Err(refused) => (refused.errno, refused.text),
        },
        "connect" => match arg(1).parse::<SocketAddr>() {
            Ok(address) => quiet(errno_of(&TcpStream::connect_timeout(
                &address,
                Duration::from_secs(2),
            ))),
            Err(_) => quiet(-1),
        },
        "send-to" => {
            let socket = if arg(1).starts_with('[') {
                UdpSocket::bind("[::]:0")
            } else {
                UdpSocket::bind("0.0.0.0:0")
            };
            match socket {
                Ok(socket) => quiet(errno_of(&socket.send_to(b"x", arg(1)))),
                Err(error) => (error.raw_os_error().unwrap_or(-1), "bind".to_string()),
            }
        }
        "bind" => quiet(errno_of(&TcpListener::bind(arg(1)))),
        "unix" => quiet(errno_of(&UnixStream::connect(arg(1)))),
        "mount" => {
            let (source, target) = (c(arg(1)), c(arg(2)));
            // SAFETY: All strings have their terminators.
            let result = unsafe {
                libc::mount(
                    source.as_ptr(),
                    target.as_ptr(),
                    std::ptr::null(),
                    libc::MS_BIND,
                    std::ptr::null(),
                )
            };
            quiet(outcome(i64::from(result)))
        }
        // SAFETY: The calls take no pointers that are used.
        "userns" => quiet(outcome(i64::from(unsafe {
            libc::unshare(libc::CLONE_NEWUSER)
        }))),
        // SAFETY: As above.
        "ptrace" => quiet(outcome(unsafe {
            libc::ptrace(libc::PTRACE_ATTACH, int(words, 1), 0, 0)
        })),
        // SAFETY: As above.
        "kill" => quiet(outcome(i64::from(unsafe {
            libc::kill(int(words, 1), int(words, 2))
        }))),
        "setuid" => {
            // In a child, so that the agent stays who it is.
            let uid = int(words, 1).unsigned_abs();
            match fork(|| {
                // SAFETY: No pointers are passed.
                outcome(i64::from(unsafe { libc::setresuid(uid, uid, uid) }))
            }) {
                Ok(pid) => quiet(wait(pid)),
                Err(_) => quiet(-1),
            }
        }
        "uring" => {
            let mut parameters = [0u8; 120];
            // SAFETY: The kernel's struct io_uring_params has 120 bytes.
            quiet(outcome(unsafe {
                libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr())
            }))
        }
        "bpf" => {
            // BPF_MAP_CREATE of an array of one u32: type, key, value, entries.
            let mut attribute = [0u32; 32];
            attribute[..4].copy_from_slice(&[2, 4, 4, 1]);
            // SAFETY: The attribute has the length that is given.
            quiet(outcome(unsafe {
                libc::syscall(libc::SYS_bpf, 0, attribute.as_ptr(), 128)
            }))
        }
        "perf" => {
            // PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CPU_CLOCK, PERF_ATTR_SIZE_VER0.
            let mut attribute = [0u32; 16];
            attribute[..2].copy_from_slice(&[1, 64]);
            // SAFETY: The attribute has the length that it says.
            quiet(outcome(unsafe {
                libc::syscall(libc::SYS_perf_event_open, attribute.as_ptr(), 0, -1, -1, 0)
            }))
        }
        "kexec" => {
            // SAFETY: No segments are passed.
            quiet(outcome(unsafe {
                libc::syscall(libc::SYS_kexec_load, 0, 0, 0, 0)
            }))
        }
        "map-exec" => {
            // SAFETY: A new anonymous mapping disturbs none.
            let result = unsafe {
                libc::mmap(
                    std::ptr::null_mut(),
                    4096,
                    libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
                    libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                    -1,
                    0,
                )
            };
            quiet(if result == libc::MAP_FAILED {
                errno()
            } else {
                0
            })
        }
        "map-file-exec" => match File::open(arg(1)) {
            Err(error) => (error.raw_os_error().unwrap_or(-1), "open".to_string()),
            Ok(file) => {
                // SAFETY: A new private mapping of an open file disturbs none.
                let result = unsafe {
                    libc::mmap(
                        std::ptr::null_mut(),
                        4096,
                        libc::PROT_READ | libc::PROT_EXEC,
                        libc::MAP_PRIVATE,
                        file.as_raw_fd(),
                        0,
                    )
                };
                quiet(if result == libc::MAP_FAILED {
                    errno()
                } else {
                    0
                })
            }
        },
        "forks" => {
            for _ in 0..number(words, 1) {
                match fork(|| 0) {
                    Ok(pid) if wait(pid) == 0 => {}
                    _ => return quiet(libc::EAGAIN),
                }
            }
            quiet(0)
        }
        "appends" => {
            // Many different files of a directory: how often each outcome was EACCES.
            let refused = (0..number(words, 2))
                .filter(|n| {
                    errno_of(
                        &OpenOptions::new()
                            .append(true)
                            .open(format!("{}/{n}", arg(1))),
                    ) == libc::EACCES
                })
                .count();
            (0, refused.to_string())
        }
        "symlinks" => {
            // Links with long targets that are all different: how often the outcome was EACCES.
            let refused = (0..number(words, 2))
                .filter(|n| {
                    let target = format!("{}/{n:0>900}", arg(3));
                    errno_of(&std::os::unix::fs::symlink(
                        target,
                        format!("{}/link", arg(1)),
                    )) == libc::EACCES
                })
                .count();
            (0, refused.to_string())
        }
        "cwd" => (
            0,
            String::from_utf8_lossy(
                std::env::current_dir()
                    .unwrap_or_default()
                    .as_os_str()
                    .as_bytes(),
            )
            .into_owned(),
        ),
        "open-trunc-nofollow" => quiet(errno_of(
            &OpenOptions::new()
                .write(true)
                .truncate(true)
                .custom_flags(libc::O_NOFOLLOW)
                .open(arg(1)),
        )),
        other => (-1, format!("unknown operation {other}")),
    }
}

/// Receives what a socket has, without waiting.
pub(crate) fn receive_bytes(socket: RawFd) -> i32 {
    let mut buffer = [0u8; 16384];
    // SAFETY: The buffer has the length that is given.
    let result = unsafe {
        libc::recv(
            socket,
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            libc::MSG_DONTWAIT,
        )
    };
    outcome(result as i64)
}

/// Receives one file over a socket and reads from it (or, when it is a socket itself, receives from it): the first
/// error, with the step that failed.
fn receive(socket: RawFd, is_socket: bool) -> (i32, String) {
    let mut byte = [0u8; 1];
    let mut control = [0u64; 8];
    let mut vector = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: All zeros is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = 64;
    // SAFETY: The message points to buffers of the lengths that it says.
    let result = unsafe { libc::recvmsg(socket, &mut message, 0) };
    if result < 0 {
        return (errno(), "recvmsg".to_string());
    }
    // SAFETY: The kernel has filled the message.
    let header = unsafe { libc::CMSG_FIRSTHDR(&message) };
    if header.is_null() {
        return (0, "nothing received".to_string());
    }
    // SAFETY: A message of SCM_RIGHTS holds at least one descriptor.
    let fd = unsafe { *libc::CMSG_DATA(header).cast::<libc::c_int>() };
    if is_socket {
        return (receive_bytes(fd), "recv".to_string());
    }
    let mut buffer = [0u8; 64];
    // SAFETY: The buffer has that many bytes.
    let result = unsafe { libc::pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    (outcome(result as i64), "read".to_string())
}

/// Sends an open file over a socket.
pub(crate) fn send_file(socket: RawFd, fd: RawFd) -> i32 {
    let mut byte = [0u8; 1];
    let mut control = [0u64; 3];
    let mut vector = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    // SAFETY: All zeros is an empty message.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: The control buffer has room for one header and one descriptor (24 bytes).
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        *libc::CMSG_DATA(header).cast::<libc::c_int>() = fd;
        outcome(libc::sendmsg(socket, &message, 0) as i64)
    }
}

/// Sends a command without attributes through a netlink socket of somebody else: the error number of the answer, and
/// its message.
fn raw_command(socket: RawFd, family: i64, command: i64) -> (i32, String) {
    let mut message = 20u32.to_ne_bytes().to_vec();
    message.extend(u16::try_from(family).unwrap_or(0).to_ne_bytes());
    message.extend(crate::client::DO.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([u8::try_from(command).unwrap_or(0), 1, 0, 0]);
    // SAFETY: The buffer has the length that is given.
    if unsafe { libc::send(socket, message.as_ptr().cast(), message.len(), 0) } < 0 {
        return (errno(), "send".to_string());
    }
    let mut buffer = [0u8; 4096];
    // SAFETY: As above.
    let n = unsafe { libc::recv(socket, buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    let Some(answer) = usize::try_from(n).ok().and_then(|n| buffer.get(..n)) else {
        return (errno(), "recv".to_string());
    };
    let number = answer
        .get(16..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(-1, i32::from_ne_bytes);
    // Header, error, and the header of what was refused stand before the attributes.
    let text = crate::client::Reply::parse(answer.get(36..).unwrap_or_default());
    (-number, text.string(1).unwrap_or_default())
}
