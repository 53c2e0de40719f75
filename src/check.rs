// SPDX-License-Identifier: GPL-2.0

//! The one mechanism behind every approval: judge an operation, use a grant for it, or ask for one.

use crate::{
    abi::{
        clock,
        random,
        task,
        trace,
        wait::{
            Event,
            WaitResult, //
        }, //
    },
    agent::Agent,
    counter::Counter,
    docket::{
        binding_of,
        Request, //
    },
    engine::{
        event,
        governance::Mode,
        policy::{
            Action,
            Decision,
            Subject,
            Terms, //
        },
        refusal::{
            errno,
            Refusal, //
        },
        request::{
            self,
            Binding,
            Fact,
            FactWriter,
            Head, //
        }, //
    },
    ledger::Entry,
    limiter::Sender,
    node::Node,
    object::Object,
    policy::ActivePolicy,
    query::{
        Content,
        Context,
        Fingerprint,
        Query, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        rcu,
        Arc, //
    }, //
};

/// Who asks.
pub(crate) enum Actor {
    /// A labelled task.
    Agent(Arc<Agent>),
    /// A task without a label.
    Host,
}

impl Actor {
    /// Number of the agent, 0 for a task without a label.
    pub(crate) fn id(&self) -> u64 {
        match self {
            Self::Agent(agent) => agent.id,
            Self::Host => 0,
        }
    }

    /// Whom floods are held against.
    pub(crate) fn sender(&self, uid: u32) -> Sender {
        Sender::of(self.id(), uid)
    }
}

/// What becomes of an operation.
#[derive(Clone, Copy)]
pub(crate) enum Ruling {
    /// It may proceed.
    Proceed {
        /// Whether a grant was used for it: a quorum has approved exactly this.
        by_grant: bool,
    },
    /// It may not.
    Refuse {
        /// What the task is told: a positive error number.
        errno: i32,
        /// Why, for those who ask by command.
        why: Refusal,
    },
    /// It may not yet: this request waits for votes.
    Pending([u8; 32]),
}

impl Ruling {
    /// Policy says no.
    const DENIED: Self = Self::refuse(Refusal::Denied);

    /// Refused to a task, with `EACCES` as every operation that policy keeps from it.
    const fn refuse(why: Refusal) -> Self {
        Self::Refuse {
            errno: errno::EACCES,
            why,
        }
    }

    /// The ruling as a hook returns it.
    pub(crate) fn into_result(self) -> Result {
        match self {
            Self::Proceed { .. } => Ok(()),
            Self::Refuse { errno, .. } => Err(Error::from_errno(-errno)),
            Self::Pending(_) => Err(EACCES),
        }
    }
}

/// One step of judging.
enum Step {
    Done(Ruling),
    /// The content has to be digested first, which may take long: nothing may be held meanwhile.
    Digest,
    /// The policy changed in between.
    Again,
    /// Wait for this decision, then judge again.
    Wait(Arc<Event>, Terms),
}

/// How often the policy may change under an operation before it is refused.
const ATTEMPTS: usize = 8;

/// Room for a path.
const PATH_MAX: usize = 4096;

impl Node {
    /// Judges an operation for a hook.
    ///
    /// # Errors
    ///
    /// `EACCES` when policy refuses it or a quorum has yet to approve, `EINTR` when the task was
    /// killed while it waited.
    pub(crate) fn check(&self, actor: &Actor, query: &Query<'_>) -> Result {
        self.rule_on(actor, query).into_result()
    }

    /// Judges an operation, and lets whoever traces decisions see it.
    pub(crate) fn rule_on(&self, actor: &Actor, query: &Query<'_>) -> Ruling {
        let mut judged = None;
        let ruling = self.judge(actor, query, &mut judged);
        self.counters.bump(Counter::Decisions);
        if let Some(decision) = judged {
            trace::decision(
                query.op as u32,
                action_number(&decision.action),
                || actor.id(),
                decision.line,
                ruling.into_result().map_or_else(|e| e.to_errno(), |()| 0),
            );
        }
        ruling
    }

    /// Judges until there is a ruling. `judged` receives what the rules say.
    fn judge(&self, actor: &Actor, query: &Query<'_>, judged: &mut Option<Decision>) -> Ruling {
        // Unloading waits for this section, see `Hooks::drained`.
        let _section = self.sleepers.read_lock();
        let mut deadline = None;
        let mut content = match query.content {
            Content::None => Some(None),
            _ => None,
        };
        for _ in 0..ATTEMPTS {
            let step = match self.step(actor, query, deadline, content, judged) {
                Ok(Step::Digest) => query.digest(|| self.is_stopping()).map(|digest| {
                    content = Some(digest);
                    Step::Again
                }),
                step => step,
            };
            match step {
                Ok(Step::Done(ruling)) => return ruling,
                Ok(Step::Again | Step::Digest) => {}
                Ok(Step::Wait(decided, terms)) => {
                    let now = clock::boottime_ms();
                    let until =
                        *deadline.get_or_insert(now.saturating_add(u64::from(terms.hold_s) * 1000));
                    let left = u32::try_from(until.saturating_sub(now)).unwrap_or(u32::MAX);
                    if self.is_stopping() {
                        return Ruling::refuse(Refusal::HookMissing);
                    }
                    if decided.wait_killable_timeout(left) == WaitResult::Killed {
                        return Ruling::Refuse {
                            errno: EINTR.to_errno().saturating_neg(),
                            why: Refusal::Denied,
                        };
                    }
                }
                Err(_) if self.is_lenient(query) => return self.permit(actor, query, 0),
                Err(error) => {
                    self.counters.bump(Counter::Failed);
                    self.refused(actor, query, 0, error.to_errno().unsigned_abs());
                    return Ruling::refuse(if error == ENOMEM {
                        Refusal::NoMemory
                    } else {
                        Refusal::Denied
                    });
                }
            }
        }
        self.counters.bump(Counter::Failed);
        Ruling::DENIED
    }

    /// Judges once. `deadline` is set once the operation has waited, `content` once it has been
    /// looked at; it is then what was found. `judged` receives what the rules say.
    ///
    /// # Errors
    ///
    /// Whatever keeps the operation from being judged; it is refused then.
    fn step(
        &self,
        actor: &Actor,
        query: &Query<'_>,
        deadline: Option<u64>,
        content: Option<Option<Fingerprint>>,
        judged: &mut Option<Decision>,
    ) -> Result<Step> {
        let uid = task::current().euid();
        let guard = self.policy.read();
        let Some(policy) = guard.get() else {
            // Labels and seals need a policy, and a policy is replaced but never removed.
            return Err(EACCES);
        };
        let Some(decision) = self.decide(policy, actor, query, uid, content)? else {
            return Ok(Step::Digest);
        };
        *judged = Some(decision);
        let terms = match decision.action {
            Action::Allow => {
                self.counters.bump(Counter::Allowed);
                return Ok(Step::Done(Ruling::Proceed { by_grant: false }));
            }
            Action::Audit => {
                self.counters.bump(Counter::Audited);
                self.audited(actor, query, decision.line, 0);
                return Ok(Step::Done(Ruling::Proceed { by_grant: false }));
            }
            Action::Deny | Action::Quorum(_) if self.is_lenient(query) => {
                return Ok(Step::Done(self.permit(actor, query, decision.line)));
            }
            Action::Deny => {
                self.counters.bump(Counter::Refused);
                self.refused(actor, query, decision.line, errno::EACCES.unsigned_abs());
                return Ok(Step::Done(Ruling::DENIED));
            }
            // Who only looks uses no grant up.
            Action::Quorum(_) if query.quiet => {
                return Ok(Step::Done(Ruling::DENIED));
            }
            // What the approvers could not be shown nobody can approve.
            Action::Quorum(_) if query.opaque => {
                self.counters.bump(Counter::Refused);
                self.refused(actor, query, decision.line, errno::EACCES.unsigned_abs());
                return Ok(Step::Done(Ruling::DENIED));
            }
            Action::Quorum(terms) => terms,
        };
        let Some(content) = content else {
            return Ok(Step::Digest);
        };

        // Everything is allocated before the lock is taken, and what is not needed freed after it.
        let mut draft = self.draft(policy, actor, query, uid, &decision, &terms, content)?;
        let generation = policy.generation;
        drop(guard);

        let now = clock::boottime_ms();
        let mut books = self.books.lock();
        if books.generation != generation {
            return Ok(Step::Again);
        }
        let mut closed = books.expire(now);
        let found = books.settle(&mut draft, deadline.is_some(), now, &mut closed);
        drop(books);
        self.closed(&closed);
        Ok(match found {
            Settled::Granted(id) => {
                self.counters.bump(Counter::GrantsUsed);
                self.recorded();
                self.note_request(actor, &id);
                Step::Done(Ruling::Proceed { by_grant: true })
            }
            Settled::Nothing => {
                self.counters.bump(Counter::Unapproved);
                Step::Done(Ruling::DENIED)
            }
            Settled::Refused(refusal) => {
                if refusal == Refusal::RequestLimit {
                    self.counters.bump(Counter::RequestsCapped);
                }
                self.counters.bump(Counter::Unapproved);
                self.refused(actor, query, decision.line, refusal.errno().unsigned_abs());
                Step::Done(Ruling::refuse(refusal))
            }
            Settled::Waiting { id, decided, new } => {
                if new {
                    self.counters.bump(Counter::Requests);
                    self.recorded();
                }
                self.note_request(actor, &id);
                match decided {
                    Some(decided) if terms.hold_s > 0 && may_wait(query) => {
                        Step::Wait(decided, terms)
                    }
                    _ => {
                        self.counters.bump(Counter::Unapproved);
                        Step::Done(Ruling::Pending(id))
                    }
                }
            }
        })
    }

    /// Whether what is refused is only to be recorded. Governance is never relaxed.
    fn is_lenient(&self, query: &Query<'_>) -> bool {
        self.mode() == Mode::Permissive && !query.op.is_governance()
    }

    /// Lets through what enforce mode would refuse, and records it.
    fn permit(&self, actor: &Actor, query: &Query<'_>, line: u32) -> Ruling {
        self.counters.bump(Counter::Permitted);
        self.audited(actor, query, line, errno::EACCES.unsigned_abs());
        Ruling::Proceed { by_grant: false }
    }

    /// Matches the operation against the rules; `None` when a rule asks for the digest of the
    /// content, which has not been taken.
    #[inline]
    fn decide(
        &self,
        policy: &ActivePolicy,
        actor: &Actor,
        query: &Query<'_>,
        uid: u32,
        content: Option<Option<Fingerprint>>,
    ) -> Result<Option<Decision>> {
        let subject = match actor {
            Actor::Agent(agent) => Subject {
                class: Some(agent.class_in(policy)),
                agent: agent.name.as_bytes(),
                uid,
            },
            Actor::Host => Subject::host(uid),
        };
        let judge = |object: &Object<'_>| -> Result<Option<Decision>> {
            let mut matcher = policy.rules.matcher(&subject, query.op);
            let known = policy.meet(
                &mut matcher,
                &subject,
                query.op,
                object,
                query.address,
                &rcu::read_lock(),
            );
            match (known, actor, object) {
                (Ok(()), _, _) => {}
                // The host mounts as it likes anyway: what the walk has seen must do.
                (Err(_), Actor::Host, _) => {}
                // What is about to be mounted may come from anywhere, so every rule that keeps
                // the agent from mounting something may be about this.
                (Err(_), _, Object::Loose(_)) => {
                    let anywhere = policy.strictest(&subject, query.op);
                    return Ok(Some(matcher.decide().stricter(anywhere)));
                }
                (Err(error), _, _) => return Err(error),
            }
            if matcher.wants_digest() {
                match content {
                    None => return Ok(None),
                    Some(Some((digest, _))) => matcher.digest(&digest),
                    Some(None) => {}
                }
            }
            Ok(Some(matcher.decide()))
        };
        let Some(mut decision) = judge(&query.object)? else {
            return Ok(None);
        };
        if !matches!(query.second, Object::None) {
            let Some(second) = judge(&query.second)? else {
                return Ok(None);
            };
            decision = decision.stricter(second);
        }
        if query.beneath && !policy.names_object(&decision) {
            decision.action = Action::Allow;
        }
        Ok(Some(decision))
    }

    /// Writes down what a quorum would be asked for.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different part of the request"
    )]
    fn draft(
        &self,
        policy: &ActivePolicy,
        actor: &Actor,
        query: &Query<'_>,
        uid: u32,
        decision: &Decision,
        terms: &Terms,
        content: Option<Fingerprint>,
    ) -> Result<Draft> {
        let flags = query.context.flags();
        let (digest, size) = content.unwrap_or(([0; 32], 0));
        let mut encoding = KVec::from_elem(0, request::MAX_LEN, flags)?;
        let (class, name) = match actor {
            Actor::Agent(agent) => (agent.class.as_str(), agent.name.as_str()),
            Actor::Host => ("", ""),
        };
        let binding = Binding {
            op: query.op,
            uid,
            agent: actor.id(),
            policy_version: policy.rules.version(),
            policy: &policy.digest,
            threshold_bp: terms.threshold_bp,
            uses: terms.uses,
            ttl_s: terms.ttl_s,
            line: decision.line,
            object: query.object.encoded_id(),
            content: &digest,
            class,
            agent_name: name,
        };
        let mut path = KVec::from_elem(0, PATH_MAX, flags)?;
        let mut facts = FactWriter::new(&mut encoding, &binding).map_err(|_| EINVAL)?;
        let path_of = query.object.display(&mut path)?;
        if !path_of.is_empty() {
            facts.fact(&Fact::Path(path_of)).map_err(|_| EINVAL)?;
        }
        let second = query.second.display(&mut path)?;
        if !second.is_empty() {
            facts.fact(&Fact::Target(second)).map_err(|_| EINVAL)?;
            facts
                .fact(&Fact::TargetObject(query.second.encoded_id()))
                .map_err(|_| EINVAL)?;
        }
        (query.facts)(&mut facts).map_err(|_| EINVAL)?;
        if content.is_some() {
            facts.fact(&Fact::Size(size)).map_err(|_| EINVAL)?;
        }
        if let Some(version) = query.version {
            facts.fact(&Fact::Version(version)).map_err(|_| EINVAL)?;
        }
        if !query.detail.is_empty() {
            facts
                .fact(&Fact::Detail(query.detail))
                .map_err(|_| EINVAL)?;
        }
        if !query.hook.is_empty() {
            facts
                .fact(&Fact::Hook(query.hook.as_bytes()))
                .map_err(|_| EINVAL)?;
        }
        let place = query.object.place(&mut path)?;
        if !place.is_empty() {
            facts.fact(&Fact::FsPath(place)).map_err(|_| EINVAL)?;
        }
        if let Some(environment) = query.environment {
            facts
                .fact(&Fact::EnvDigest(&environment()?))
                .map_err(|_| EINVAL)?;
        }
        let len = facts.finish().map_err(|_| EINVAL)?;
        encoding.truncate(len);

        let mut nonce = [0; 16];
        random::fill(&mut nonce);
        let head = Head {
            node: &self.identity.node,
            epoch: self.identity.epoch(),
            nonce: &nonce,
            // Set when the request is opened.
            created: 1,
            created_ms: 0,
            expires_ms: 0,
            wall_ms: clock::realtime_ms(),
        };
        request::write_head(&mut encoding, &head).map_err(|_| EINVAL)?;
        let decided = if terms.hold_s > 0 && may_wait(query) {
            Some(Arc::pin_init(Event::new(), flags)?)
        } else {
            None
        };
        let binding = binding_of(&encoding);
        Ok(Draft {
            binding,
            request: Some(KBox::new(
                Request::new(
                    binding,
                    encoding,
                    query.op,
                    actor.id(),
                    uid,
                    decision.line,
                    terms,
                    decided,
                ),
                flags,
            )?),
            forgotten: None,
        })
    }

    /// Remembers for `self` which request the calling task waits for.
    fn note_request(&self, actor: &Actor, id: &[u8; 32]) {
        if let Actor::Agent(_) = actor {
            self.with_current_label(|label| label.set_last_request(id));
        }
    }

    /// Records a refusal, unless its sender has made too many.
    fn refused(&self, actor: &Actor, query: &Query<'_>, line: u32, errno: u32) {
        if let Actor::Agent(agent) = actor {
            agent.refused.add(1, Relaxed);
        }
        self.record_operation(event::Kind::Refused, actor, query, line, errno);
    }

    /// Records an operation that was let through, unless its sender has made too many.
    fn audited(&self, actor: &Actor, query: &Query<'_>, line: u32, errno: u32) {
        self.record_operation(event::Kind::Audit, actor, query, line, errno);
    }

    fn record_operation(
        &self,
        kind: event::Kind,
        actor: &Actor,
        query: &Query<'_>,
        line: u32,
        errno: u32,
    ) {
        if query.quiet {
            return;
        }
        let uid = task::current().euid();
        if !self.may_record(actor.sender(uid)) {
            return;
        }
        // Without memory for the path the event says everything else.
        let mut buf = KVec::from_elem(0, PATH_MAX, query.context.flags()).unwrap_or_default();
        let path = query.object.display(&mut buf).unwrap_or(&[]);
        self.record(&Entry {
            op: Some(query.op),
            uid,
            agent: actor.id(),
            line,
            result: u16::try_from(errno).unwrap_or(u16::MAX),
            payload: path.get(..event::MAX_PATH).unwrap_or(path),
            ..Entry::new(kind)
        });
    }
}

/// Whether the operation may wait for its decision.
fn may_wait(query: &Query<'_>) -> bool {
    query.context == Context::Wait && !query.quiet
}

/// Number of an action in the tracepoint.
pub(crate) fn action_number(action: &Action) -> i32 {
    match action {
        Action::Allow => 0,
        Action::Audit => 1,
        Action::Quorum(_) => 2,
        Action::Deny => 3,
    }
}

/// A request that may be opened, and what has to be freed outside the lock.
pub(crate) struct Draft {
    /// Digest of what it binds.
    pub(crate) binding: [u8; 32],
    /// The request; taken when it is opened.
    pub(crate) request: Option<KBox<Request>>,
    /// An old request that made room.
    pub(crate) forgotten: Option<KBox<Request>>,
}

/// What the books have for an operation that needs a quorum.
pub(crate) enum Settled {
    /// A grant, now used.
    Granted([u8; 32]),
    /// Nothing, and nothing was to be opened.
    Nothing,
    /// No room for a request.
    Refused(Refusal),
    /// A request that waits for votes.
    Waiting {
        /// Its id.
        id: [u8; 32],
        /// Happens when it is decided.
        decided: Option<Arc<Event>>,
        /// Whether it was opened just now.
        new: bool,
    },
}
