// SPDX-License-Identifier: GPL-2.0

//! TCP-LSM: the kernel lets a labelled agent's dangerous operation proceed only when it has itself
//! verified the signed votes of enough validators.
//!
//! `engine` decides and knows no kernel; `abi` is the kernel and decides nothing; the other modules
//! bring the two together, one noun each.

use kernel::{
    prelude::*,
    sync::Arc, //
};

#[path = "../rust/mod.rs"]
mod abi;
mod agent;
mod books;
mod check;
mod counter;
mod docket;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "user space has the same files for a crate, and calls more of them"
)]
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

use abi::{
    ftrace,
    genetlink,
    lsm, //
};
use node::Node;

module! {
    type: TcpLsm,
    name: "tcp_lsm",
    authors: ["The TCP-LSM developers"],
    description: "Tool Capability Protocol: a quorum of signed votes decides what an agent may do",
    license: "GPL",
    params: {
        require_tpm: u8 {
            default: 1,
            description: "Refuse to load without a TPM 2.0 (default 1); 0: run unsealed, nothing outlives a restart",
        },
        pcrs: u32 {
            default: 0x80,
            description: "PCRs, a bit mask, to whose values the TPM binds the key of the sealed state (default 0x80: PCR 7)",
        },
        anchor_interval: u32 {
            default: 900,
            description: "Seconds between checkpoints that tcpctl state keep commits (default 900; 0: none are planned)",
        },
        direct: u8 {
            default: 0,
            description: "1: attach the hooks directly, which costs less, but then no BPF LSM program can use the same hooks (default 0)",
        },
        step_ms: u32 {
            default: 0,
            description: "For tests: announce each step of a load and of a commit and wait that many milliseconds (default 0: neither)",
        },
    },
}

/// Version of the module, the same as `modinfo` shows.
pub(crate) const VERSION: &str = env!("TCP_LSM_VERSION");

/// Everything that is registered, in the order in which it goes.
struct TcpLsm {
    /// First: no command comes in any more.
    _netlink: genetlink::Registration<Node>,
    _securityfs: securityfs::Tree,
    /// Then the hooks, when whoever waits in one has been woken by `drop`.
    _hooks: lsm::Registration<Node>,
    /// Last what they all refer to.
    node: Arc<Node>,
}

impl kernel::Module for TcpLsm {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let node = Node::new()?;
        let loaded = Self::register(&node);
        if loaded.is_err() {
            node.finish();
        }
        loaded
    }
}

impl TcpLsm {
    /// Attaches the hooks, then opens the interfaces: who sees them sees hooks that work.
    fn register(node: &Arc<Node>) -> Result<Self> {
        let way = match module_parameters::direct.value() {
            0 => ftrace::Way::Shared,
            _ => ftrace::Way::Jump,
        };
        let hooks = lsm::Registration::new(node.clone(), way).inspect_err(|error| {
            pr_err!("not loaded: {error}\n");
        })?;
        let securityfs = securityfs::Tree::new(node)?;
        let netlink = genetlink::Registration::new(node.clone())?;
        pr_info!(
            "{VERSION} loaded, {} hooks attached, {}, {}\n",
            hooks::attached().count(),
            node.identity.sealed_by().name(),
            node.phase().name()
        );
        Ok(Self {
            _netlink: netlink,
            _securityfs: securityfs,
            _hooks: hooks,
            node: node.clone(),
        })
    }
}

impl Drop for TcpLsm {
    fn drop(&mut self) {
        self.node.stop();
        self.node.finish();
    }
}
