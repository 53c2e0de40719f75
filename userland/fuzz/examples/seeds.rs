// SPDX-License-Identifier: GPL-2.0

//! Makes the first inputs of the fuzz targets out of the test vectors.
//!
//! usage: seeds VECTORS CORPUS: reads every file of the directory VECTORS and writes CORPUS/TARGET/DIGEST.

use engine::event::{
    Event,
    Kind, //
};
use engine::op::Op;
use engine::request::{
    Fact,
    Request, //
};
use engine::vote::VoteRecord;
use engine::wire::Digest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{
    Path,
    PathBuf, //
};

/// Policies that have each statement and selector once.
const POLICIES: [&str; 5] = [
    "policy_name=p policy_version=1\nDEFAULT action=DENY\n",
    "policy_name=p policy_version=2\nadaptive floor=60% ceiling=95% raise=10% missing=20% silence=5m burst=8 \
     within=30s quiet=5m jitter=10%\nclass a may=b\nclass b # c\nlabel exec=/bin/a class=a agent=make\n\
     DEFAULT action=ALLOW\nDEFAULT op=EXEC,FILE_READ action=AUDIT\n\
     op=EXEC class=a,host path=/bin/ action=QUORUM threshold=75% ttl=5m timeout=1h uses=2 hold=10s\n\0\x01\x60\x05",
    "policy_name=p policy_version=3\nclass a\nDEFAULT action=DENY\nop=NET_CONNECT addr=10.0.0.0/8 port=443 \
     action=ALLOW\nop=NET_CONNECT addr=2001::/16 port=0-1024 action=AUDIT\nop=NET_BIND port=80 class=host \
     action=DENY\n\0\x0f\x60\x00\x00\x02\x01\x01\x00",
    "policy_name=p policy_version=4\nclass a\nDEFAULT action=DENY\nop=EXEC \
     digest=sha256:1111111111111111111111111111111111111111111111111111111111111111 path=\"/a \\\"b\" \
     action=ALLOW\nop=EXEC uid=1000 agent=make action=AUDIT\n\0\x00\x60\x00\x01\x01\x00\x00\x01",
    "policy_name=p policy_version=5\nDEFAULT action=DENY\nop=POLICY,UNLOAD uid=0 action=QUORUM threshold=90%\n\
     op=MODE action=DENY\n\0\x17\x00\x00\x00",
];

/// Words that policies and commands have.
const WORDS: [&str; 10] = [
    "18446744073709551615",
    "builder-1._",
    "0123456789abcdefABCDEF0000000000000000000000000000000000000000ff",
    "127.0.0.1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "!10.0.0.0/8",
    "!::ffff:10.0.0.0/104",
    "!2001:db8::/32",
    "FILE_WRITE",
];

#[derive(Default)]
struct Seeds(BTreeMap<&'static str, Vec<Vec<u8>>>);

impl Seeds {
    fn add(&mut self, target: &'static str, head: &[u8], bytes: &[u8]) {
        self.0
            .entry(target)
            .or_default()
            .push([head, bytes].concat());
    }

    /// Looks at every string of a vector.
    fn value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.bytes(&unhex(text).unwrap_or_default()),
            Value::Array(all) => all.iter().for_each(|value| self.value(value)),
            Value::Object(all) => all.values().for_each(|value| self.value(value)),
            _ => {}
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        match bytes.first_chunk() {
            Some(b"TCPLREQ1") => self.request(bytes),
            Some(b"TCPLVOT2") => self.vote(bytes),
            Some(b"TCPLEVD1") => {
                self.add("evidence", &[0], bytes);
                self.add("evidence", &[1], bytes);
            }
            Some(b"TCPLSTA1") => {
                self.add("state", &[0], bytes);
                self.add("state", &[1], bytes);
            }
            Some(b"TCPLEVT1") => self.event(bytes),
            Some(b"TCPLLOG1") => self.log(bytes),
            _ => {}
        }
    }

    fn request(&mut self, bytes: &[u8]) {
        self.add("request", &[0], bytes);
        let Ok(request) = Request::decode(bytes) else {
            return;
        };
        for fact in request.facts() {
            if let Fact::Detail(detail) = fact {
                let op = u8::try_from(request.binding.op.index()).unwrap_or(0);
                assert!(usize::from(op) < Op::COUNT);
                self.add("record", &[op], detail);
            }
        }
    }

    fn vote(&mut self, bytes: &[u8]) {
        self.add("vote", &[0, 0], bytes);
        if let Ok(record) = VoteRecord::decode(bytes) {
            self.add("der", &[], record.signature);
        }
    }

    /// A log: 80 bytes, then events, each after its length and before the head of the chain.
    fn log(&mut self, log: &[u8]) {
        let mut rest = log.get(80..).unwrap_or(&[]);
        while let Some((_, event)) = rest.split_first_chunk::<4>() {
            let Ok((_, len)) = Event::decode_first(event) else {
                return;
            };
            self.event(&event[..len]);
            rest = event.get(len + 32..).unwrap_or(&[]);
        }
    }

    fn event(&mut self, bytes: &[u8]) {
        let Ok(event) = Event::decode(bytes) else {
            return;
        };
        self.add("event", &[0xff], bytes);
        let kind = event.header.kind;
        let place = Kind::ALL
            .iter()
            .position(|&other| other == kind)
            .unwrap_or(0);
        self.add("event", &[u8::try_from(place).unwrap_or(0)], event.payload);
        match kind {
            Kind::ValidatorAdded => self.add("record", &[0x80], event.payload),
            Kind::Reputation => self.add("record", &[0x90], event.payload),
            Kind::Watch => self.add("record", &[0xa0], event.payload),
            Kind::Request => self.request(event.payload),
            Kind::Vote => self.vote(event.payload),
            Kind::Quarantined => self.bytes(event.payload),
            _ => {}
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(vectors), Some(corpus)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: seeds VECTORS CORPUS");
        std::process::exit(2);
    };
    let mut seeds = Seeds::default();
    POLICIES
        .iter()
        .for_each(|policy| seeds.add("policy", &[], policy.as_bytes()));
    WORDS
        .iter()
        .for_each(|word| seeds.add("text", &[], word.as_bytes()));
    for entry in std::fs::read_dir(vectors)? {
        let text = std::fs::read_to_string(entry?.path())?;
        seeds.value(&serde_json::from_str(&text)?);
    }
    for (target, all) in seeds.0 {
        let directory = Path::new(&corpus).join(target);
        std::fs::create_dir_all(&directory)?;
        for seed in all {
            let digest = fuzz::Sha256::sha256(&[&seed]);
            let name: String = digest[..10]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            std::fs::write(directory.join(name), seed)?;
        }
    }
    Ok(())
}
