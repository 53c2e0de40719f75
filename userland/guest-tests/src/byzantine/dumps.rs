// SPDX-License-Identifier: GPL-2.0

//! Dumps over netlink of more than one datagram: wherever one ends, nothing is missing and nothing comes twice.

use super::{
    begin,
    elsewhere,
    Desk,
    NO_RAISE, //
};
use crate::client::{
    Attributes,
    Client,
    Reply, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    expect_refused,
    nl,
    submit_evidence,
    Res,
    APPROVE, //
};
use std::ops::Range;

/// The tests, in their order.
pub(super) const TESTS: &[Test] = &[
    Test::new("dumps_are_whole_wherever_a_datagram_ends", everywhere),
    Test::new("request_that_is_unknown", unknown),
];

/// Of which the first one decides alone.
const VALIDATORS: u32 = 24;
/// Places of those who lie; a datagram of the smallest size ends among them.
const LIARS: Range<usize> = 3..22;
const AGENTS: usize = 40;
const GRANTS: usize = 16;

/// No datagram of a dump is smaller: a page, but for what the kernel keeps at its end.
const SMALLEST: usize = 4096 - 320;
/// More than the longest message of these dumps.
const LONGEST: usize = 1280;
/// No attribute is shorter.
const STEP: usize = 8;

/// A dump: its command, from which event on, and the attributes that tell its messages from each other.
struct Dump {
    command: u8,
    from: u64,
    keys: &'static [u16],
}

impl Dump {
    /// What tells the messages of the dump, received in datagrams of that size, and their number.
    fn take(&self, size: usize) -> Res<Vec<Vec<Vec<u8>>>> {
        let mut wanted = Attributes::new();
        if self.command == nl::EVENT_GET {
            wanted.u64(nl::A_EVENT_NUMBER, self.from);
        }
        let mut client = Client::with_room(size).map_err(|e| format!("{e:?}"))?;
        let all = client
            .dump(self.command, &wanted)
            .map_err(|e| format!("dump {} of {size} bytes: {e:?}", self.command))?;
        all.iter().map(|reply| self.keys_of(reply)).collect()
    }

    fn keys_of(&self, reply: &Reply) -> Res<Vec<Vec<u8>>> {
        let value = |key: &u16| reply.bytes(*key).map(<[u8]>::to_vec);
        let all: Option<Vec<_>> = self.keys.iter().map(value).collect();
        all.ok_or_else(|| format!("a message of dump {} is not whole: {reply:?}", self.command))
    }

    fn everywhere(&self) -> Res {
        let want = self.take(32 << 10)?;
        ensure!(
            want.len() > 4,
            "dump {} has {} messages only",
            self.command,
            want.len()
        );
        for size in (SMALLEST..SMALLEST + LONGEST).step_by(STEP) {
            let got = self.take(size)?;
            ensure!(
                got == want,
                "dump {} in datagrams of {size} bytes: {} messages instead of {}, or others",
                self.command,
                got.len(),
                want.len()
            );
        }
        Ok(())
    }
}

fn everywhere(ctx: &mut Ctx) -> Res {
    let mut weights = [1; VALIDATORS as usize];
    weights[0] = 1000;
    begin(&weights, NO_RAISE)?;
    let from = stage::status()?.event;
    let mut voters = stage::voters()?;
    let mut desks: Vec<Desk> = (0..AGENTS).map(|_| Desk::open()).collect::<Res<_>>()?;
    for (at, desk) in desks.iter_mut().enumerate() {
        let request = desk.ask("most")?;
        // Those who vote at the same time look as if they had agreed to.
        for voter in &mut voters[LIARS].iter_mut().filter(|_| at == 0) {
            voter
                .cast(&request, APPROVE)
                .map_err(|e| format!("{} approves: {e:?}", voter.validator.name))?;
        }
        if at < GRANTS {
            voters[0]
                .cast(&request, APPROVE)
                .map_err(|e| format!("v1 approves: {e:?}"))?;
        }
        ctx.progress();
    }
    for voter in &voters[LIARS] {
        submit_evidence(&elsewhere(&voter.validator, 0xaa, 1 << 32))
            .map_err(|e| format!("evidence against {}: {e:?}", voter.validator.name))?;
    }
    ctx.progress();
    for (command, keys) in [
        (
            nl::VALIDATOR_GET,
            &[nl::A_VALIDATOR_ID, nl::A_REPUTATION][..],
        ),
        (nl::AGENT_GET, &[nl::A_AGENT_ID, nl::A_AGENT_PENDING]),
        (nl::REQUEST_GET, &[nl::A_REQUEST, nl::A_QUARANTINED]),
        (nl::GRANT_GET, &[nl::A_REQUEST_ID, nl::A_REQUEST]),
        (nl::EVIDENCE_GET, &[nl::A_EVIDENCE, nl::A_VALIDATOR_NAME]),
        (nl::EVENT_GET, &[nl::A_EVENT, nl::A_CHAIN]),
    ] {
        Dump {
            command,
            from,
            keys,
        }
        .everywhere()?;
        ctx.progress();
    }
    Ok(())
}

fn unknown(_: &mut Ctx) -> Res {
    let mut attributes = Attributes::new();
    attributes.bytes(nl::A_REQUEST_ID, &[0x5a; 32]);
    expect_refused(
        "request-get",
        stage::call(nl::REQUEST_GET, &attributes),
        libc::ENOENT,
        "request_unknown",
    )
}
