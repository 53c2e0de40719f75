// SPDX-License-Identifier: GPL-2.0

//! `tcpctl events export`: the binary log that `tcpctl audit` verifies.

use std::{
    fs::{
        File,
        OpenOptions, //
    },
    io::{
        self,
        BufReader,
        Read,
        Seek,
        SeekFrom,
        Write, //
    },
    os::unix::fs::OpenOptionsExt,
    path::{
        Path,
        PathBuf, //
    }, //
};

use clap::Args;
use engine::{
    clock::{
        epoch_of,
        first_number,
        Chain,
        NO_HEAD, //
    },
    event::{
        self,
        Kind,
        Payload, //
    }, //
};
use nix::fcntl::{
    Flock,
    FlockArg,
    OFlag, //
};
use serde_json::json;

use crate::{
    audit::log::{
        encode_event,
        Head,
        Item,
        ReadError,
        Reader,
        MAGIC, //
    },
    client::{
        Client,
        Event,
        EventStream, //
    },
    crypto::Sha256,
    describe,
    error::{
        Error,
        Result, //
    },
    file,
    output::{
        note,
        Output, //
    }, //
};

/// Rights of a log: it has paths and reasons in it.
const MODE: u32 = 0o600;

/// What to export, and where to.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// Go on with events as they happen, appending to the file (takes CAP_SYS_ADMIN)
    ///
    /// A file that is there already is gone on with, over restarts, too; what was cut short at its end is removed first.
    #[arg(long, short)]
    follow: bool,
    /// The first event to export, by number; what `audit verify` can say of a log without its beginning is little
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,
    /// The log to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Makes the bytes of a log of the events that a node sends.
#[derive(Debug)]
struct Encoder {
    node: [u8; 32],
    /// Number of the last event, and the chain's value after it.
    last: Option<(u64, [u8; 32])>,
    /// Whether the segment's head has been written.
    open: bool,
    /// Events written.
    written: u64,
    /// Runs of events that are missing before an event.
    gaps: u64,
    /// The first events of a load whose beginning of the chain is not known yet.
    kept_back: Vec<Event>,
}

/// How many events are kept back at most.
const MAX_KEPT_BACK: usize = 4096;

impl Encoder {
    /// Starts a log of a node; `last` is where a log that is there already ends.
    fn new(node: [u8; 32], last: Option<(u64, [u8; 32])>) -> Self {
        Self {
            node,
            open: last.is_some(),
            last,
            written: 0,
            gaps: 0,
            kept_back: Vec::new(),
        }
    }

    /// Appends the bytes of events to `out`. Only events from `from` on are written. What a restored load goes on from is
    /// told by its third event or later; until then its first ones are kept back, unless `all` is to be written now.
    fn encode(&mut self, events: &[Event], from: u64, all: bool, out: &mut Vec<u8>) -> Result<()> {
        let mut queue = std::mem::take(&mut self.kept_back);
        queue.extend_from_slice(events);
        for at in 0..queue.len() {
            let Some((event, rest)) = queue.get(at..).and_then(<[Event]>::split_first) else {
                break;
            };
            let wait = !all && rest.len() < MAX_KEPT_BACK;
            if !self.encode_one(event, rest, from, wait, out)? {
                self.kept_back = queue.split_off(at);
                break;
            }
        }
        Ok(())
    }

    /// Writes one event; `false` when that has to wait for further ones.
    fn encode_one(
        &mut self,
        event: &Event,
        rest: &[Event],
        from: u64,
        wait: bool,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        if self.last.is_some_and(|(number, _)| number == event.number) {
            return Ok(true);
        }
        let before = match self.last {
            Some((number, chain))
                if number.checked_add(1) == Some(event.number) && follows(&chain, event) =>
            {
                Some(chain)
            }
            _ => {
                let epoch = epoch_of(event.number);
                let first = first_number(epoch).saturating_add(1) == event.number;
                let start = first
                    .then(|| genesis(&self.node, epoch, event, rest))
                    .transpose()?
                    .flatten();
                if first && start.is_none() && wait {
                    return Ok(false);
                }
                self.open = false;
                // What this event goes on from is not known: it serves as the beginning for the next one.
                if start.is_none() && self.last.is_some() {
                    self.gaps += 1;
                }
                start
            }
        };
        self.last = Some((event.number, event.chain));
        let Some(before) = before.filter(|_| event.number >= from) else {
            return Ok(true);
        };
        if !self.open {
            let head = Head {
                node: self.node,
                epoch: epoch_of(event.number),
                chain: before,
            };
            out.extend_from_slice(&head.encode());
            self.open = true;
        }
        out.extend_from_slice(&encode_event(&event.encoding, &event.chain));
        self.written += 1;
        Ok(true)
    }
}

/// Whether an event's chain value is the digest of what precedes it.
fn follows(before: &[u8; 32], event: &Event) -> bool {
    let mut chain = Chain::from_head(*before);
    chain.extend::<Sha256>(&event.encoding, &[]);
    *chain.head() == event.chain
}

/// `chain[0]` of the load that begins with this event; [`None`] when the state that it goes on from cannot be found in the
/// events of the load.
pub(crate) fn genesis(
    node: &[u8; 32],
    epoch: u64,
    first: &Event,
    events: &[Event],
) -> Result<Option<[u8; 32]>> {
    let fits = |previous: &[u8; 32]| {
        let start = *Chain::new::<Sha256>(node, epoch, previous).head();
        follows(&start, first).then_some(start)
    };
    if let Some(start) = fits(&NO_HEAD) {
        return Ok(Some(start));
    }
    for event in events {
        let decoded = describe::decode_event(event)?;
        let head = match state_head(&decoded) {
            Some(head) => head,
            None => continue,
        };
        if let Some(start) = fits(&head) {
            return Ok(Some(start));
        }
    }
    Ok(None)
}

/// The head of the state that a load goes on from, when the event tells.
pub(crate) fn state_head(event: &event::Event<'_>) -> Option<[u8; 32]> {
    let payload = match event.decode_payload().ok()? {
        Payload::Staged { change, .. } => {
            Payload::decode(Kind::from_u16(event.header.result)?, change).ok()?
        }
        payload => payload,
    };
    match payload {
        Payload::Restored { head, .. } | Payload::Recovered { head, .. } => Some(*head),
        _ => None,
    }
}

/// Where a log ends.
#[derive(Debug, Default, PartialEq, Eq)]
struct End {
    /// The node of its last segment.
    node: Option<[u8; 32]>,
    /// Number of the last event, and the chain's value after it.
    last: Option<(u64, [u8; 32])>,
    /// Bytes of whole items.
    whole: u64,
    /// Bytes after them, which were being written when something stopped it.
    torn: u64,
}

/// Reads a log that is there already, to go on with it.
fn find_end(path: &Path, input: impl io::Read) -> Result<End> {
    let mut reader = Reader::new(input);
    let mut end = End::default();
    loop {
        match reader.next() {
            Ok(Some(Item::Head(head))) => {
                end.node = Some(head.node);
                end.last = None;
            }
            Ok(Some(Item::Event(bytes, chain))) => {
                let number = bytes
                    .get(8..16)
                    .and_then(|bytes| bytes.first_chunk())
                    .map_or(0, |bytes| u64::from_be_bytes(*bytes));
                end.last = Some((number, chain));
            }
            Ok(None) => break,
            Err(ReadError::Io(source)) => return Err(Error::file("read", path, source)),
            Err(ReadError::Damaged(_, wrong)) => {
                return Err(Error::invalid(
                    "log_malformed",
                    format!(
                        "{}: {}: this is no log that can be gone on with; choose another name",
                        path.display(),
                        wrong.found
                    ),
                ))
            }
        }
    }
    end.whole = reader.offset();
    end.torn = reader.torn();
    Ok(end)
}

/// A log that is appended to.
struct Appender {
    file: Flock<File>,
    path: PathBuf,
}

impl Appender {
    /// Opens a log, or makes it, and removes what was cut short at its end.
    fn open(path: &Path, output: &Output) -> Result<(Self, End)> {
        let failed = |source| Error::file("write", path, source);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(MODE)
            // It is cut and written as root: not a file that somebody else chose.
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
            .map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(Error::invalid(
                "not_a_file",
                format!(
                    "{} is no regular file: only one can be followed into",
                    path.display()
                ),
            ));
        }
        // Two that append to one log would spoil it.
        let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            Error::invalid(
                "log_busy",
                format!("{}: somebody else is appending to this log", path.display()),
            )
        })?;
        let mut begun = Vec::new();
        (&*file).take(8).read_to_end(&mut begun).map_err(failed)?;
        if !MAGIC.starts_with(&begun) {
            // What is too short for an event would look like one that was cut short.
            return Err(Error::invalid(
                "log_malformed",
                format!("{} is not a log: choose another name", path.display()),
            ));
        }
        file.rewind().map_err(failed)?;
        let end = find_end(path, BufReader::new(&*file))?;
        if end.torn > 0 {
            note(
                output,
                &format!(
                    "{}: the last {} bytes were cut short and are removed",
                    path.display(),
                    end.torn
                ),
            );
            file.set_len(end.whole).map_err(failed)?;
        }
        file.seek(SeekFrom::Start(end.whole)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed)?;
        Ok((
            Self {
                file,
                path: path.to_owned(),
            },
            end,
        ))
    }

    /// Appends bytes and waits until storage has them.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file
            .write_all(bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(|source| Error::file("write", &self.path, source))
    }
}

/// Tells what is missing.
fn tell_gaps(output: &Output, gaps: u64) {
    if gaps > 0 {
        note(
            output,
            "events left the ring before they were read: the log has a gap, and `audit verify` will say so",
        );
    }
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node, and those of the file.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    if command.follow {
        return follow(command, output);
    }
    let mut client = Client::open()?;
    let status = client.status()?;
    // The event before the first one tells what the chain was then.
    let (events, _) = client.events(command.from.saturating_sub(1).max(1))?;
    let mut encoder = Encoder::new(status.node, None);
    let mut bytes = Vec::new();
    encoder.encode(&events, command.from, true, &mut bytes)?;
    file::write_out(&command.out, MODE, &bytes, output)?;
    tell_gaps(output, encoder.gaps);
    let first = events
        .iter()
        .map(|event| event.number)
        .find(|&number| number >= command.from);
    if !file::is_stdout(&command.out) {
        if output.json {
            let last = events.last().map(|event| event.number);
            return output.json(&json!({
                "file": command.out.display().to_string(),
                "events": encoder.written,
                "gaps": encoder.gaps,
                "first": first,
                "last": last,
            }));
        }
        note(output, &format!("{} events exported", encoder.written));
    }
    Ok(())
}

/// Appends events until it is stopped.
fn follow(command: &Command, output: &Output) -> Result<()> {
    let (mut log, end) = Appender::open(&command.out, output)?;
    let mut last = end.last;
    let mut node = end.node;
    loop {
        let status = Client::open()?.status()?;
        // A log of another node, or of an unsealed load that is gone, is gone on with in a segment of its own.
        let known = last.filter(|_| node == Some(status.node));
        let next = known.map_or(command.from, |(number, _)| number);
        let mut encoder = Encoder::new(status.node, known);
        let mut stream = EventStream::open(next.saturating_sub(1).max(1))?;
        let mut feed = |encoder: &mut Encoder, events: &[Event]| -> Result<()> {
            let mut bytes = Vec::new();
            let gaps = encoder.gaps;
            encoder.encode(events, command.from, false, &mut bytes)?;
            tell_gaps(output, encoder.gaps.saturating_sub(gaps));
            log.append(&bytes)
        };
        let (events, _) = stream.catch_up()?;
        // What is in the log already is not written again.
        let fresh: Vec<Event> = match known {
            Some((number, _)) => events
                .into_iter()
                .filter(|event| event.number > number)
                .collect(),
            None => events,
        };
        feed(&mut encoder, &fresh)?;
        loop {
            match stream.more() {
                Ok((events, _)) => feed(&mut encoder, &events)?,
                // The module was loaded anew: its log begins in a segment of its own.
                Err(error) if error.code() == "reloaded" => break,
                Err(error) => return Err(error),
            }
        }
        last = encoder.last;
        node = Some(status.node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::tests::node::{
        everything,
        Log,
        Node, //
    };

    const OUTPUT: Output = Output {
        json: true,
        colour: false,
    };

    /// The events as the node sends them.
    fn events(log: &Log) -> Vec<Event> {
        let all = log.segments.iter().flat_map(|segment| &segment.events);
        all.map(|(encoding, chain)| Event {
            number: u64::from_be_bytes(encoding[8..16].try_into().unwrap()),
            encoding: encoding.clone(),
            chain: *chain,
        })
        .collect()
    }

    fn encoded(node: &Node, events: &[Event], from: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(node.id, None);
        encoder.encode(events, from, true, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_exported_is_the_log() {
        let node = everything();
        assert_eq!(encoded(&node, &events(&node.log), 1), node.log.bytes());
    }

    #[test]
    fn it_may_come_in_any_pieces() {
        let node = everything();
        let events = events(&node.log);
        for size in [1, 2, 7] {
            let mut out = Vec::new();
            let mut encoder = Encoder::new(node.id, None);
            for piece in events.chunks(size) {
                encoder.encode(piece, 1, false, &mut out).unwrap();
            }
            assert_eq!(out, node.log.bytes(), "{size}");
            assert_eq!(encoder.gaps, 0);
        }
    }

    #[test]
    fn what_left_the_ring_is_a_gap() {
        let node = everything();
        let mut events = events(&node.log);
        events.drain(3..6);
        let mut out = Vec::new();
        let mut encoder = Encoder::new(node.id, None);
        encoder.encode(&events, 1, true, &mut out).unwrap();
        assert_eq!(encoder.gaps, 1);
        // The event after the gap tells only what the chain is after it.
        assert_eq!(encoder.written, events.len() as u64 - 1);
        let mut reader = Reader::new(&out[..]);
        let mut heads = Vec::new();
        while let Some(item) = reader.next().unwrap() {
            if let Item::Head(head) = item {
                heads.push(head.chain);
            }
        }
        assert_eq!(heads.len(), 3);
        assert_eq!(heads[1], events[3].chain);
    }

    #[test]
    fn from_the_middle_the_event_before_is_the_beginning() {
        let node = everything();
        let all = events(&node.log);
        let from = all[5].number;
        let out = encoded(&node, &all[4..], from);
        let mut reader = Reader::new(&out[..]);
        match reader.next().unwrap() {
            Some(Item::Head(head)) => assert_eq!(head.chain, all[4].chain),
            other => panic!("{other:?}"),
        }
        match reader.next().unwrap() {
            Some(Item::Event(bytes, _)) => assert_eq!(bytes, all[5].encoding),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_log_that_was_cut_anywhere_is_gone_on_with() {
        let mut node = Node::new(3);
        node.add(1, "alice", 1);
        node.agent(9);
        node.agent(10);
        let whole = node.log.bytes();
        let events = events(&node.log);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        for cut in (0..=whole.len()).step_by(3) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (mut log, end) = Appender::open(&path, &OUTPUT).unwrap();
            assert_eq!(end.whole + end.torn, cut as u64);
            let known = end.last.filter(|_| end.node == Some(node.id));
            let mut encoder = Encoder::new(node.id, known);
            let fresh: Vec<Event> = events
                .iter()
                .filter(|event| known.is_none_or(|(number, _)| event.number > number))
                .cloned()
                .collect();
            let mut bytes = Vec::new();
            encoder.encode(&fresh, 1, false, &mut bytes).unwrap();
            log.append(&bytes).unwrap();
            let found = std::fs::read(&path).unwrap();
            // A head that no event followed stays, and another one follows it.
            let tail = found.get(found.len() - whole.len()..).unwrap();
            assert_eq!(tail, whole, "cut at {cut}");
        }
    }

    #[test]
    fn only_one_may_append() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.log");
        let first = Appender::open(&path, &OUTPUT).unwrap();
        let error = Appender::open(&path, &OUTPUT).err().unwrap();
        assert_eq!(error.code(), "log_busy");
        drop(first);
        Appender::open(&path, &OUTPUT).unwrap();
    }

    #[test]
    fn what_is_no_log_is_not_appended_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        std::fs::write(&path, "what somebody wrote down").unwrap();
        let error = Appender::open(&path, &OUTPUT).err().unwrap();
        assert_eq!(error.code(), "log_malformed");
        assert_eq!(std::fs::read(&path).unwrap(), b"what somebody wrote down");
        // Too short for anything in a log, and yet not an event that was cut short.
        for short in [&b"1\n"[..], b"TCPX", &[0, 0, 0, 92, 1]] {
            std::fs::write(&path, short).unwrap();
            let error = Appender::open(&path, &OUTPUT).err().unwrap();
            assert_eq!(error.code(), "log_malformed");
            assert_eq!(std::fs::read(&path).unwrap(), short);
        }
        assert!(Appender::open(dir.path(), &OUTPUT).is_err());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("notes", &link).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(Appender::open(&link, &OUTPUT).err().unwrap().errno(), 40);
    }
}
