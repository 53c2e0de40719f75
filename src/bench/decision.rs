// SPDX-License-Identifier: GPL-2.0

//! Finding a grant for an operation, and asking for one.

use super::{
    measure::{
        each,
        Rounds, //
    },
    signature::{
        KEY,
        RECORD, //
    },
};
use crate::{
    abi::{
        clock,
        random, //
    },
    books::Books,
    check::{
        Draft,
        Settled, //
    },
    docket::{
        binding_of,
        Cast,
        Closed,
        Request,
        State, //
    },
    engine::{
        clock::{
            Chain,
            NO_HEAD, //
        },
        event::{
            Cancelled,
            HEADER_LEN, //
        },
        limits,
        op::Op,
        policy::{
            Adaptive,
            Terms, //
        },
        request::{
            self,
            Binding,
            Fact,
            FactWriter,
            Head,
            Object, //
        },
        vote::{
            self,
            Vote,
            VoteRecord,
            MAX_RECORD,
            MAX_SIGNED, //
        }, //
    },
    ledger::{
        new_clock,
        KernelDigest, //
    },
    validator::{
        Validator,
        ValidatorSet, //
    }, //
};
use core::hint::black_box;
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    }, //
};

/// Operations of a round.
const TIMES: usize = 500;

/// The node, and its epoch while unsealed.
const NODE: [u8; 32] = [0x11; 32];
const EPOCH: u64 = 0;

/// Who asks.
const AGENT: u64 = 1;
const UID: u32 = 1000;

/// What a rule asks for: a grant that lasts as long as it is measured.
const TERMS: Terms = Terms {
    ttl_s: limits::TTL_S,
    timeout_s: limits::TIMEOUT_S,
    uses: u16::MAX,
    ..Terms::DEFAULT
};

/// Books of a node with one validator, and that validator.
struct Bench {
    books: Pin<KBox<SpinLock<Books>>>,
    validator: Arc<Validator>,
}

impl Bench {
    fn new() -> Result<Self> {
        let validator = ValidatorSet::empty()?
            .candidate(b"bench", &KEY, 1)
            .map_err(|_| EINVAL)?;
        let mut books = new_books()?;
        books.ledger.begin(&NODE, EPOCH, &NO_HEAD, &*new_clock()?);
        books.ledger.adapt(Adaptive::DEFAULT);
        let now = clock::boottime_ms();
        books.ledger.watch.enrolled(validator.slot, 1, now);
        books.total_weight = 1;
        Ok(Self {
            books: lock(books)?,
            validator,
        })
    }

    /// Settles a draft as the check of an operation does.
    fn settle(&self, draft: &mut Draft) -> Settled {
        let now = clock::boottime_ms();
        let mut books = self.books.lock();
        let mut closed = books.expire(now);
        books.settle(draft, false, now, &mut closed)
    }

    /// Opens a request for that inode, and returns its id.
    fn open(&self, inode: u64) -> Result<[u8; 32]> {
        match self.settle(&mut draft(inode)?) {
            Settled::Waiting { id, new: true, .. } => Ok(id),
            _ => Err(EINVAL),
        }
    }

    /// Has a quorum approve a request.
    fn grant(&self, id: &[u8; 32]) -> Result {
        let template = VoteRecord::decode(&RECORD).map_err(|_| EINVAL)?;
        let vote = Vote {
            node: &NODE,
            epoch: EPOCH,
            request: id,
            slot: self.validator.slot,
            ..template.vote
        };
        let mut signed = KVec::from_elem(0, MAX_SIGNED, GFP_KERNEL)?;
        let len = vote.encode_signed(&mut signed).map_err(|_| EINVAL)?;
        signed.truncate(len);
        let mut bytes = KVec::from_elem(0, MAX_RECORD, GFP_KERNEL)?;
        let signature = template.signed_vote().signature;
        let len = vote::encode_record(&signed, signature, "", &mut bytes).map_err(|_| EINVAL)?;
        bytes.truncate(len);
        let record = VoteRecord::decode(&bytes).map_err(|_| EINVAL)?;
        let cast = Cast::new(&record, &bytes, &self.validator);
        match self.books.lock().cast(&cast, clock::boottime_ms()) {
            Ok(State::Granted) => Ok(()),
            _ => Err(EINVAL),
        }
    }

    /// Withdraws every open request.
    fn withdraw(&self) {
        let mut books = self.books.lock();
        let books = &mut *books;
        let mut closed = Closed::default();
        books
            .docket
            .cancel_all(&mut books.ledger, Cancelled::Command, &mut closed, |_| true);
    }
}

// Not part of the stack frame that they are used in.
#[inline(never)]
fn new_books() -> Result<KBox<Books>> {
    Ok(KBox::new(Books::new(&NODE)?, GFP_KERNEL)?)
}

#[inline(never)]
fn lock(books: KBox<Books>) -> Result<Pin<KBox<SpinLock<Books>>>> {
    KBox::pin_init(
        new_spinlock!(KBox::into_inner(books), "Bench::books"),
        GFP_KERNEL,
    )
}

/// Writes down that an agent wants to write to the file of that inode, as `Node::draft` does.
fn draft(inode: u64) -> Result<Draft> {
    let mut encoding = KVec::from_elem(0, request::MAX_LEN, GFP_KERNEL)?;
    let binding = Binding {
        op: Op::FileWrite,
        uid: UID,
        agent: AGENT,
        policy_version: 1,
        policy: &[0x33; 32],
        threshold_bp: TERMS.threshold_bp,
        uses: TERMS.uses,
        ttl_s: TERMS.ttl_s,
        line: 10,
        object: Object {
            device: 0x801,
            inode,
            generation: 1,
        },
        content: &[0; 32],
        class: "builder",
        agent_name: "agent-1",
    };
    let mut facts = FactWriter::new(&mut encoding, &binding).map_err(|_| EINVAL)?;
    for fact in [
        Fact::Path(b"/srv/builds/project/output.txt"),
        Fact::Flags(1),
        Fact::Hook(b"file_open"),
        Fact::FsPath(b"/srv/builds/project/output.txt"),
    ] {
        facts.fact(&fact).map_err(|_| EINVAL)?;
    }
    let len = facts.finish().map_err(|_| EINVAL)?;
    encoding.truncate(len);
    let mut nonce = [0; 16];
    random::fill(&mut nonce);
    let head = Head {
        node: &NODE,
        epoch: EPOCH,
        nonce: &nonce,
        created: 1,
        created_ms: 0,
        expires_ms: 0,
        wall_ms: clock::realtime_ms(),
    };
    request::write_head(&mut encoding, &head).map_err(|_| EINVAL)?;
    let binding = binding_of(&encoding);
    let request = Request::new(
        binding,
        encoding,
        Op::FileWrite,
        AGENT,
        UID,
        10,
        &TERMS,
        None,
    );
    Ok(Draft {
        binding,
        request: Some(KBox::new(request, GFP_KERNEL)?),
        forgotten: None,
    })
}

/// What a grant costs that is found: what the books do, less the hash that extends the chain; and
/// everything, from writing down what is asked for.
fn grants() -> Result {
    let bench = Bench::new()?;
    bench.grant(&bench.open(1)?)?;
    let mut used = true;
    let is_used = |settled| matches!(settled, Settled::Granted(_));

    let mut draft_of_it = draft(1)?;
    let mut chain = Chain::new::<KernelDigest>(&NODE, EPOCH, &NO_HEAD);
    let (now, mut closed) = (clock::boottime_ms(), Closed::default());
    Rounds::of(|| {
        Ok(each(
            TIMES,
            |_| {
                let _books = bench.books.lock();
                chain.extend::<KernelDigest>(black_box(&[0; HEADER_LEN]), &[]);
            },
            |_| {
                let mut books = bench.books.lock();
                used &= is_used(books.settle(&mut draft_of_it, false, now, &mut closed));
            },
        ))
    })?
    .print("decide.grant");

    Rounds::of(|| {
        Ok(each(
            TIMES,
            |_| (),
            |_| used &= draft(1).is_ok_and(|mut draft| is_used(bench.settle(&mut draft))),
        ))
    })?
    .print("decide.grant_full");
    if used {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// What a new request costs, on a node that remembers as many decided ones as it may.
fn requests() -> Result {
    let bench = Bench::new()?;
    let mut inode = 0;
    let mut batch = || {
        let mut opened = true;
        let took = each(
            limits::REQUESTS_PER_AGENT,
            |_| (),
            |_| {
                inode += 1;
                opened &= bench.open(inode).is_ok();
            },
        );
        bench.withdraw();
        if opened {
            Ok(took)
        } else {
            Err(EINVAL)
        }
    };
    for _ in 0..=limits::DECIDED_REQUESTS / limits::REQUESTS_PER_AGENT {
        batch()?;
    }
    Rounds::of(|| {
        let mut sum = 0_u64;
        for _ in 0..8 {
            sum = sum.saturating_add(batch()?);
        }
        Ok(sum / 8)
    })?
    .print("request.create");
    Ok(())
}

/// Measures `decide.grant`, `decide.grant_full` and `request.create`.
pub(super) fn run() -> Result {
    grants()?;
    requests()
}
