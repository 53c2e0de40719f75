// SPDX-License-Identifier: GPL-2.0

//! One operation under every action: the promise that all of them share.

use crate::{
    harness::{
        ensure,
        op,
        Ctx, //
    },
    memory,
    stage::{
        self,
        expect_errno,
        nl,
        Request, //
    },
};

/// An operation that can be repeated.
pub struct Probe<'a> {
    /// Number of the operation, see [`op`].
    pub op: u16,
    /// Selectors of the rule, such as `path=/x`; may be empty.
    pub selectors: String,
    /// Brings the fixture into its first state. Runs without a label.
    pub reset: &'a dyn Fn(),
    /// Does it: the errno.
    pub act: &'a dyn Fn() -> i32,
    /// The errno when nothing stops it: 0, or what the kernel says to a harmless but invalid attempt.
    pub ok: i32,
    /// The errno of a refusal: EACCES, but where the kernel itself turns that into another.
    pub refusal: i32,
}

impl<'a> Probe<'a> {
    /// An operation that succeeds when nothing stops it.
    pub fn new(op: u16, selectors: impl Into<String>, act: &'a dyn Fn() -> i32) -> Self {
        Self {
            op,
            selectors: selectors.into(),
            reset: &|| {},
            act,
            ok: 0,
            refusal: libc::EACCES,
        }
    }

    /// The same, brought into its first state by `reset`.
    pub fn reset(self, reset: &'a dyn Fn()) -> Self {
        Self { reset, ..self }
    }

    /// The same, ending with errno `ok` when nothing stops it.
    pub fn ok(self, ok: i32) -> Self {
        Self { ok, ..self }
    }

    /// The same, where the kernel turns a refusal into errno `refusal`.
    pub fn refusal(self, refusal: i32) -> Self {
        Self { refusal, ..self }
    }

    /// Loads a policy with this one rule. The fixture is in its first state, so that the rule's path means that.
    pub(crate) fn load(&self, ctx: &Ctx, action: &str) -> Result<(), String> {
        (self.reset)();
        ctx.worker_policy(&self.rule(action))
    }

    fn rule(&self, action: &str) -> String {
        format!(
            "op={} class=worker {} action={action}",
            op::name(self.op),
            self.selectors
        )
    }

    /// Under DENY: refused to agents, with an event; not to anybody else.
    pub fn denied(&self, ctx: &Ctx) -> Result<(), String> {
        if memory::hooks::failing() {
            return memory::hooks::denied(self, ctx);
        }
        let name = op::name(self.op);
        self.load(ctx, "DENY")?;
        let before = ctx.now()?;
        let agent = ctx.as_agent("worker", "a", |report| report.errno((self.act)()))?;
        expect_errno(&format!("{name} DENY"), agent.errno(0)?, self.refusal)?;
        ctx.refused(before, agent.agent, self.op)?;
        (self.reset)();
        let free = ctx.as_bystander(|report| report.errno((self.act)()))?;
        expect_errno(
            &format!("{name} DENY, without a label"),
            free.errno(0)?,
            self.ok,
        )
    }

    /// Under ALLOW, AUDIT and, in permissive mode, DENY.
    pub fn allowed(&self, ctx: &Ctx) -> Result<(), String> {
        if memory::hooks::failing() {
            return memory::hooks::allowed(self, ctx);
        }
        let name = op::name(self.op);
        for (action, permissive, result) in [
            ("ALLOW", false, None),
            ("AUDIT", false, Some(0)),
            ("DENY", true, Some(libc::EACCES)),
        ] {
            self.load(ctx, action)?;
            if permissive {
                ctx.permissive()?;
            }
            let before = ctx.now()?;
            let agent = ctx.as_agent("worker", "a", |report| report.errno((self.act)()))?;
            let mode = if permissive { ", permissive" } else { "" };
            expect_errno(&format!("{name} {action}{mode}"), agent.errno(0)?, self.ok)?;
            if let Some(result) = result {
                ctx.audit(before, agent.agent, self.op, result)?;
            }
        }
        Ok(())
    }

    /// Under QUORUM: refused with a request; after three of four votes exactly once; then refused with a new request.
    /// Gives the request that was granted.
    pub fn by_quorum(&self, ctx: &Ctx) -> Result<Request, String> {
        if memory::hooks::failing() {
            return memory::hooks::by_quorum(self, ctx);
        }
        let name = op::name(self.op);
        self.load(ctx, "QUORUM")?;
        let before = ctx.now()?;
        let agent = ctx.stepper("a", |_, _| i64::from((self.act)()))?;
        let step = |what: &str, wanted: i32| -> Result<(), String> {
            let got = i32::try_from(agent.step(0)?).map_err(|error| error.to_string())?;
            expect_errno(&format!("{name} QUORUM, {what}"), got, wanted)
        };
        step("without votes", self.refusal)?;
        let request = ctx.open_request(agent.agent, self.op)?;
        ensure(request.line() == 3, || {
            format!("{name}: the request names line {}", request.line())
        })?;
        step("again without votes", self.refusal)?;
        ensure(ctx.open_count(agent.agent)? == 1, || {
            format!("{name}: the same operation twice made more than one request")
        })?;
        ctx.grant(&request)?;
        step("granted", self.ok)?;
        ctx.wait_event(before, &format!("USED of {name}"), |event| {
            event.kind == stage::kind::USED && event.request == request.id
        })?;
        (self.reset)();
        step("a second time", self.refusal)?;
        let again = ctx.open_request(agent.agent, self.op)?;
        ensure(again.id != request.id, || {
            format!("{name}: a used grant left its request open")
        })?;
        let first = stage::request(&request.id)?;
        ensure(first.state == nl::GRANTED, || {
            format!("{name}: the first request is in state {}", first.state)
        })?;
        agent.stop()?;
        Ok(request)
    }

    /// Under QUORUM, where the kernel does not show what would be approved: refused, and no request is made.
    pub fn beyond_approval(&self, ctx: &Ctx) -> Result<(), String> {
        let name = op::name(self.op);
        self.load(ctx, "QUORUM")?;
        let agent = ctx.stepper("a", |_, _| i64::from((self.act)()))?;
        let got = i32::try_from(agent.step(0)?).map_err(|error| error.to_string())?;
        expect_errno(&format!("{name} QUORUM, unseen"), got, self.refusal)?;
        let open = ctx.open_count(agent.agent)?;
        ensure(open == 0, || {
            format!("{name}: {open} requests for what nobody can see")
        })
    }

    /// Everything.
    pub fn all(&self, ctx: &Ctx) -> Result<Request, String> {
        self.denied(ctx)?;
        self.allowed(ctx)?;
        self.by_quorum(ctx)
    }
}
