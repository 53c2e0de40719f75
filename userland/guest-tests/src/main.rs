// SPDX-License-Identifier: GPL-2.0

//! Tests of TCP-LSM that run as root in the guest, against the real module on the real kernel.
//!
//! `guest-tests GROUP [FILTER]` runs one group (one boot each, because a sealed module stays sealed);
//! `--groups` lists the groups with the options of `qemu/run.sh` that each needs, `--list` the tests.

#![expect(dead_code, reason = "helpers, of which not every group uses all")]
#![expect(
    unreachable_pub,
    reason = "one program: nothing is reachable from outside"
)]

mod agent;
mod attest;
#[path = "../../bench/src/bpf.rs"]
mod bpf;
#[path = "../../bench/src/btf.rs"]
mod btf;
mod byzantine;
mod client;
mod control;
mod cost;
mod fuzz;
mod harness;
mod hooks;
mod keys;
mod labels;
mod lifecycle;
mod memory;
mod policy;
mod races;
mod recall;
mod resources;
mod soak;
mod stage;
mod state;
mod stress;
#[path = "../../bench/src/sys.rs"]
mod sys;
mod tcpctl;
mod votes;
mod worker;

use harness::Group;
use stage::Res;
use std::process::ExitCode;

/// All groups, in the order in which the runner boots them.
const GROUPS: &[Group] = &[
    Group {
        name: "hooks",
        boot: "",
        tests: &[
            hooks::exec::TESTS,
            hooks::files::TESTS,
            hooks::kernel::TESTS,
            hooks::mounts::TESTS,
            hooks::tasks::TESTS,
            hooks::network::TESTS,
        ],
    },
    Group {
        name: "direct",
        boot: "--param direct=1",
        tests: &[hooks::exec::TESTS, hooks::files::TESTS],
    },
    Group {
        name: "outcomes",
        boot: "",
        tests: &[hooks::outcomes::TESTS],
    },
    Group {
        name: "attacks",
        boot: "",
        tests: &[hooks::attacks::TESTS],
    },
    Group {
        name: "labels",
        boot: "",
        tests: &[labels::TESTS],
    },
    Group {
        name: "recall",
        boot: "",
        tests: &[recall::TESTS],
    },
    Group {
        name: "policy",
        boot: "",
        tests: &[policy::TESTS],
    },
    Group {
        name: "policies",
        boot: "",
        tests: &[policy::STARTERS],
    },
    Group {
        name: "votes",
        boot: "",
        tests: &[votes::TESTS],
    },
    Group {
        name: "byzantine",
        boot: "",
        tests: byzantine::TESTS,
    },
    Group {
        name: "foreign",
        boot: "",
        tests: &[votes::FOREIGN],
    },
    Group {
        name: "control",
        boot: "",
        tests: &[control::TESTS],
    },
    Group {
        name: "tcpctl",
        boot: "",
        tests: &[tcpctl::TESTS],
    },
    Group {
        name: "attest",
        boot: "",
        tests: &[attest::TESTS],
    },
    Group {
        name: "resources",
        boot: "",
        tests: &[resources::TESTS],
    },
    Group {
        name: "state",
        boot: "",
        tests: &[state::TESTS],
    },
    Group {
        name: "restore",
        boot: "",
        tests: &[state::GIVEN],
    },
    Group {
        name: "recovery",
        boot: "",
        tests: &[state::RECOVERY],
    },
    Group {
        name: "unsealed",
        boot: "--tpm-state none --param require_tpm=0",
        tests: &[state::UNSEALED],
    },
    Group {
        name: "cost",
        boot: "--icount",
        tests: &[cost::TESTS],
    },
    Group {
        name: "fuzz",
        boot: "",
        tests: &[fuzz::TESTS],
    },
    Group {
        name: "stress",
        // The guest is far busier than its processors are fast: lack of progress is no fault of the kernel's.
        boot: "--timeout 900 --mem 4096 --append rcupdate.rcu_cpu_stall_timeout=200",
        tests: &[stress::TESTS],
    },
    Group {
        name: "lifecycle",
        boot: "--no-load --timeout 1800",
        tests: lifecycle::TESTS,
    },
    Group {
        name: "memory",
        boot: "--kernel debug --no-load --timeout 1800",
        tests: memory::TESTS,
    },
    Group {
        name: "races",
        boot: "--no-load --cpus 4 --timeout 1800",
        tests: races::TESTS,
    },
];

/// A group that takes too long for the runner: `make soak` boots it.
const SOAK: Group = Group {
    name: "soak",
    boot: "--mem 4096",
    tests: &[soak::TESTS],
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--groups") => {
            for group in GROUPS {
                println!("{}\t{}", group.name, group.boot);
            }
            ExitCode::SUCCESS
        }
        Some("--list") => {
            for group in GROUPS {
                for test in group.tests.iter().copied().flatten() {
                    println!("{} {}", group.name, test.name);
                }
            }
            ExitCode::SUCCESS
        }
        Some(name) => {
            let Some(group) = GROUPS
                .iter()
                .chain([&SOAK])
                .find(|group| group.name == name)
            else {
                eprintln!("no group {name}; see guest-tests --groups");
                return ExitCode::from(2);
            };
            if harness::run(group, arguments.get(1).map_or("", String::as_str)) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        None => {
            eprintln!("usage: guest-tests GROUP [FILTER] | --groups | --list");
            ExitCode::from(2)
        }
    }
}
