// SPDX-License-Identifier: GPL-2.0

//! Fuzzers of what the module takes: netlink, securityfs, and the system calls of agents.
//!
//! `FUZZ_SECONDS` says for how long the group runs (60 without it), `FUZZ_SEED` from what its random numbers come (a new
//! one without it; it is printed). A round's messages depend on the seed, the test, the round and the worker alone, but for
//! the names that the node gives (ids, digests, clocks), and for what workers that run at once do to each other.
//!
//! Several processes send at once, as root, as another user and as an agent; then all rest, and the oracle looks at what
//! has become of the node ([`oracle`]).

mod calls;
mod files;
mod netlink;
mod oracle;
mod pool;
#[path = "../../../simulate/src/random.rs"]
mod random;

use crate::agent::{
    self,
    Who, //
};
use crate::client::Attributes;
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    nl,
    Res, //
};
use crate::state;
use crate::stress::{
    caches,
    growth,
    slab,
    variable, //
};
use crate::worker;
use oracle::{
    Did,
    Standing, //
};
use pool::Pool;
use random::Random;
use std::time::{
    Duration,
    Instant,
    SystemTime,
    UNIX_EPOCH, //
};

/// The tests. The last ones seal the node and lock it.
pub(crate) const TESTS: &[Test] = &[
    Test::new("fuzz_netlink_in_setup", |_| {
        campaign(1, 17, &Ground::Setup, netlink::batch)
    }),
    Test::new("fuzz_securityfs_in_setup", |_| {
        campaign(2, 17, &Ground::Setup, files::batch)
    }),
    Test::new("fuzz_calls_of_a_task_without_a_label", calls::unlabelled),
    Test::new("fuzz_calls_of_agents", calls::labelled),
    Test::new("fuzz_netlink_sealed", |_| {
        campaign(3, 17, &Ground::Sealed, netlink::batch)
    }),
    Test::new("fuzz_securityfs_sealed", |_| {
        campaign(4, 12, &Ground::Sealed, files::batch)
    }),
    Test::new("fuzz_states_of_a_locked_node", locked),
];

/// Batches that a worker does in one round.
const BATCHES: u64 = 4;

/// So many percent of the time that the group has.
fn share(percent: u64) -> Duration {
    Duration::from_millis(variable("FUZZ_SECONDS", 60) * 10 * percent)
}

/// The seed of this boot, printed for whoever wants to repeat it.
fn seed(what: &str) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let seed = variable(
        "FUZZ_SEED",
        now.map_or(1, |now| u64::from(now.subsec_micros()) + 1),
    );
    println!("{what}: FUZZ_SEED={seed}");
    seed
}

/// Who sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Root,
    User,
    Agent,
}

/// Those who send at once.
const ROLES: [Role; 4] = [Role::Root, Role::User, Role::Agent, Role::Root];

/// What a batch is given.
struct Batch<'a> {
    role: Role,
    random: Random,
    pool: &'a Pool,
    /// Whatever is written is wrong from its first byte on.
    wrong: bool,
}

/// What the node is in while it is fuzzed.
enum Ground {
    Setup,
    Sealed,
    Locked(state::Past),
}

/// Name of the policy.
const POLICY: &str = "fuzz";

fn dir() -> String {
    format!("{}/fuzz", stage::SCRATCH)
}

fn body() -> String {
    let dir = dir();
    format!(
        "class a may=a\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE class=a path={dir}/quorum action=QUORUM threshold=75% ttl=1h\n\
         op=FILE_WRITE class=a path={dir}/deny action=DENY\n\
         op=POLICY,VALIDATOR,MODE,UNLOAD,RECOVER action=QUORUM threshold=75%\n"
    )
}

impl Ground {
    /// Has the node be in this, with nothing left of the round before.
    fn prepare(&self) -> Res {
        if let Self::Locked(_) = self {
            return Ok(());
        }
        for name in ["quorum", "deny", "allow"] {
            stage::make_dir(&format!("{}/{name}", dir()))?;
            stage::make_file(&format!("{}/{name}/file", dir()), "")?;
        }
        let phase = match self {
            Self::Sealed => nl::SEALED,
            _ => nl::SETUP,
        };
        discard();
        if stage::status()?.phase == phase {
            stage::cancel_all()?;
            if self.is_ready()?
                || (phase == nl::SETUP && stage::prepare(4, POLICY, &body()).is_ok())
            {
                return Ok(());
            }
            ensure!(phase == nl::SETUP, "the sealed node has changed");
        }
        // In setup every slot may have been used: they are free again after a load.
        state::forget()?;
        state::load("")?;
        stage::prepare(4, POLICY, &body())?;
        if phase == nl::SEALED {
            stage::call(nl::SEAL, &Attributes::new()).map_err(|e| format!("seal: {e:?}"))?;
        }
        Ok(())
    }

    fn is_ready(&self) -> Res<bool> {
        let status = stage::status()?;
        let trusted = stage::voters()?;
        Ok(status.policy_name.as_deref() == Some(POLICY)
            && status.mode == nl::ENFORCE
            && status.total == 4
            && trusted.len() == 4
            && trusted.iter().all(|voter| voter.fault.is_none()))
    }
}

/// Drops a change that waits to be saved, if there is one; a staged seal keeps the module in memory.
fn discard() {
    let _ = stage::ask(nl::STATE_DISCARD, &Attributes::new());
}

/// Sends one batch after the other: the lines that it says, in which each complaint begins with `!`.
fn work(role: Role, seeds: [u64; 4], pool: &Pool, batch: fn(&mut Batch<'_>) -> Did) -> Res<Did> {
    let mut all = Did::default();
    for number in 0..BATCHES {
        // A user whose votes were refused too often is not heard any more: each batch is of another.
        let uid = if role == Role::User {
            stage::new_user()
        } else {
            0
        };
        let [seed, test, round, worker] = seeds;
        // In a process of its own, because what is labelled stays labelled.
        let lines = worker::in_child(uid, || {
            batch(&mut Batch {
                role,
                random: Random::new(&[seed, test, round, worker, number]),
                pool,
                wrong: false,
            })
            .lines()
        })?;
        all.add(&Did::parse(&lines)?);
    }
    Ok(all)
}

/// One round: everybody at once.
fn round(seeds: [u64; 3], pool: &Pool, batch: fn(&mut Batch<'_>) -> Did) -> Res<Did> {
    let [seed, test, round] = seeds;
    let mut children = Vec::new();
    for (worker, role) in (0..).zip(ROLES) {
        // A locked node labels nobody.
        let (role, who) = match role {
            Role::Agent if pool.past.is_empty() => (role, Who::Agent("a", "fuzzer")),
            Role::Agent => (Role::Root, Who::Free),
            _ => (role, Who::Free),
        };
        let child = agent::spawn(&who, |report| {
            match work(role, [seed, test, round, worker], pool, batch) {
                Ok(did) => report.text(&did.lines().join("\n")),
                Err(why) => report.text(&format!("!{why}")),
            }
            0
        });
        children.push(child.map_err(|(errno, text)| format!("{role:?}: {errno} {text}"))?);
    }
    let mut all = Did::default();
    for child in children {
        let ended = child.wait()?;
        ensure!(ended.exit == Some(0), "a worker ended with {ended:?}");
        let lines: Vec<String> = ended.text.lines().map(str::to_string).collect();
        all.add(&Did::parse(&lines)?);
    }
    Ok(all)
}

/// Fuzzes for a share of the time; what was sent is printed.
fn campaign(test: u64, percent: u64, ground: &Ground, batch: fn(&mut Batch<'_>) -> Did) -> Res {
    let what = format!("fuzz {test}");
    let seed = seed(&what);
    let (start, length) = (Instant::now(), share(percent));
    let mut all = Did::default();
    let mut number = 0;
    let mut memory = None;
    while number < 2 || start.elapsed() < length {
        let went = |why: String| format!("FUZZ_SEED={seed}, round {number} of {what}: {why}");
        ground.prepare().map_err(went)?;
        let before = Standing::read().map_err(went)?;
        let pool = Pool::gather(ground).map_err(went)?;
        let did = round([seed, test, number], &pool, batch).map_err(went)?;
        before.judge(ground, &pool, &did).map_err(went)?;
        all.add(&did);
        // Once before the measurement, so that caches which only grow have grown.
        if number == 0 {
            memory = Some((slab()?, caches()));
        }
        number += 1;
    }
    println!("{what}: {number} rounds, {}", all.summary());
    let (before, caches) = memory.ok_or("no round")?;
    stage::eventually(Duration::from_secs(20), || {
        let now = slab()?;
        ensure!(
            now <= before + 8192,
            "SUnreclaim was {before} KiB and is {now} KiB; most has gone to (KiB): {}",
            growth(&caches)
        );
        Ok(())
    })
}

fn locked(_: &mut Ctx) -> Res {
    let ground = Ground::Locked(state::locked()?);
    campaign(5, 10, &ground, files::batch)?;
    // What is true still is taken.
    let Ground::Locked(past) = &ground else {
        return Ok(());
    };
    state::restore(&past.current).map(drop)
}
