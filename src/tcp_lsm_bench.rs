// SPDX-License-Identifier: GPL-2.0

//! What the parts of TCP-LSM cost in the kernel, measured without attaching a hook or judging anything.
//!
//! Built from the source files of the module itself, so that what is measured is what runs. Loading it
//! measures once and prints `metric NAME MEDIAN MIN MAX ROUNDS` for each metric, in nanoseconds of the
//! monotonic clock: instructions below `qemu/run.sh --icount`. After that it holds nothing.

#![expect(
    dead_code,
    unreachable_pub,
    reason = "only parts of the files that it shares with the module are measured"
)]

use kernel::prelude::*;

#[path = "../rust/mod.rs"]
mod abi;
mod agent;
mod bench;
mod books;
mod check;
mod counter;
mod docket;
mod engine;
mod evidence;
mod glance;
mod govern;
mod held;
mod hooks;
mod identity;
mod keeper;
mod label;
mod labelling;
mod ledger;
mod limiter;
#[path = "../rust/memory.rs"]
mod memory;
mod name;
mod netlink;
mod node;
mod object;
mod policy;
mod quarantine;
mod query;
mod recovery;
mod restore;
mod securityfs;
mod staged;
mod state_key;
mod step;
mod validator;
mod vote;

module! {
    type: Bench,
    name: "tcp_lsm_bench",
    authors: ["The TCP-LSM developers"],
    description: "Measures what the parts of tcp_lsm cost; enforces nothing",
    license: "GPL",
    // The shared files name them.
    params: {
        require_tpm: u8 {
            default: 1,
            description: "Without effect",
        },
        pcrs: u32 {
            default: 0x80,
            description: "Without effect",
        },
        anchor_interval: u32 {
            default: 900,
            description: "Without effect",
        },
        step_ms: u32 {
            default: 0,
            description: "Without effect",
        },
    },
}

/// Version of the module, the same as `modinfo` shows.
pub(crate) const VERSION: &str = env!("TCP_LSM_VERSION");

/// Nothing: everything is measured, and freed again, while the module is loaded.
struct Bench;

impl kernel::Module for Bench {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        bench::run().inspect_err(|error| pr_err!("not measured: {error:?}\n"))?;
        Ok(Self)
    }
}
