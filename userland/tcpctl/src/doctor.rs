// SPDX-License-Identifier: GPL-2.0

//! `tcpctl doctor`: what is missing for the module to protect this machine.

use std::{
    fs,
    path::Path, //
};

use serde_json::{
    json,
    Value, //
};

use crate::{
    client::{
        Client,
        Mode,
        Status, //
    },
    error::{
        Error,
        Result, //
    },
    output::{
        clean,
        Output,
        Tone, //
    },
    securityfs, //
};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
    Ok,
    Warn,
    Fail,
}

impl Health {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warn => Tone::Warn,
            Self::Fail => Tone::Bad,
        }
    }
}

/// One check.
#[derive(Debug)]
struct Check {
    name: &'static str,
    health: Health,
    found: String,
    /// What to do about it; empty when all is well.
    advice: &'static str,
}

impl Check {
    fn new(
        name: &'static str,
        health: Health,
        found: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        Self {
            name,
            health,
            found: found.into(),
            advice: match health {
                Health::Ok => "",
                _ => advice,
            },
        }
    }

    /// Fails unless something holds.
    fn must(
        name: &'static str,
        holds: bool,
        found: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        let health = if holds { Health::Ok } else { Health::Fail };
        Self::new(name, health, found, advice)
    }

    /// Warns unless something holds.
    fn should(
        name: &'static str,
        holds: bool,
        found: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        let health = if holds { Health::Ok } else { Health::Warn };
        Self::new(name, health, found, advice)
    }

    fn json(&self) -> Value {
        json!({
            "check": self.name,
            "result": self.health.name(),
            "found": self.found,
            "advice": self.advice,
        })
    }
}

/// The kernel's release must be one that has Rust modules.
fn kernel(release: &str) -> Check {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Check::should(
        "kernel",
        version >= (7, 2),
        release,
        "the module has been tried on Debian's 7.2 and 7.3 kernels: boot one of them",
    )
}

/// securityfs must be mounted where everybody looks for it.
fn securityfs_mounted(mounts: &str) -> Check {
    let mounted = mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(securityfs::MOUNT) && words.next() == Some("securityfs")
    });
    Check::must(
        "securityfs",
        mounted,
        if mounted { "mounted" } else { "not mounted" },
        "run `mount -t securityfs securityfs /sys/kernel/security`",
    )
}

/// The BPF LSM's hooks are what the module attaches to.
fn bpf(active: Option<&str>) -> Check {
    match active {
        Some(list) => Check::must(
            "bpf lsm",
            list.trim().split(',').any(|name| name == "bpf"),
            list.trim(),
            "boot with `lsm=` and the list above, with `,bpf` added at its end",
        ),
        None => Check::new(
            "bpf lsm",
            Health::Warn,
            "the list of active modules cannot be read",
            "mount securityfs, and look into /sys/kernel/security/lsm for `bpf`",
        ),
    }
}

/// What the module says about itself.
fn module(status: &Status) -> Vec<Check> {
    vec![
        Check::new(
            "module",
            Health::Ok,
            format!("loaded, version {}", clean(status.version.as_bytes())),
            "",
        ),
        Check::must(
            "hooks",
            !status.hooks.is_empty(),
            format!("{} attached", status.hooks.len()),
            "nothing is enforced: see the kernel log (`dmesg`), and load the module again",
        ),
        Check::should(
            "phase",
            status.sealed,
            if status.sealed { "sealed" } else { "setup" },
            "root may still change everything: run `tcpctl seal` when policy and validators are complete",
        ),
        Check::should(
            "mode",
            status.mode == Mode::Enforce,
            status.mode.name(),
            "nothing is refused: run `tcpctl mode enforce`",
        ),
        Check::should(
            "policy",
            status.policy.is_some(),
            match &status.policy {
                Some(policy) => format!(
                    "{} version {}",
                    clean(policy.name.as_bytes()),
                    policy.version
                ),
                None => "none".to_owned(),
            },
            "run `tcpctl policy load FILE`",
        ),
        Check::should(
            "validators",
            status.total > 0,
            format!("total weight {}", status.total),
            "run `tcpctl validator add --name NAME --key FILE.pub`",
        ),
        Check::should(
            "log",
            status.counter("events_suppressed") == 0,
            format!("{} events left out", status.counter("events_suppressed")),
            "some user repeated what is refused faster than it is written down: see `tcpctl events`",
        ),
        Check::should(
            "tpm",
            status.sealed_by != "unsealed",
            clean(status.sealed_by.as_bytes()),
            "no TPM holds the state: versions, validators and the log start anew at every load",
        ),
    ]
}

/// Runs the command.
///
/// # Errors
///
/// [`Error::NotLoaded`] when the module is missing, [`Error::Reported`] when another check fails.
pub(crate) fn run(output: &Output) -> Result<()> {
    let mut checks = vec![
        kernel(
            &nix::sys::utsname::uname()
                .map(|name| clean(name.release().as_encoded_bytes()))
                .unwrap_or_default(),
        ),
        securityfs_mounted(&fs::read_to_string("/proc/self/mounts").unwrap_or_default()),
        bpf(fs::read_to_string(Path::new(securityfs::MOUNT).join("lsm"))
            .ok()
            .as_deref()),
    ];
    let status = Client::open().and_then(|mut client| client.status());
    let missing = matches!(status, Err(Error::NotLoaded));
    match &status {
        Ok(status) => checks.extend(module(status)),
        Err(Error::NotLoaded) => checks.push(Check::must(
            "module",
            false,
            "not loaded",
            "run `modprobe tcp_lsm` (or `insmod tcp_lsm.ko`); when it refuses, `dmesg` says why",
        )),
        Err(error) => checks.push(Check::must(
            "module",
            false,
            error.to_string(),
            "run this as root, and not from a labelled agent",
        )),
    }
    report(&checks, output)?;
    if missing {
        return Err(Error::NotLoaded);
    }
    match checks.iter().any(|check| check.health == Health::Fail) {
        true => Err(Error::Reported),
        false => Ok(()),
    }
}

fn report(checks: &[Check], output: &Output) -> Result<()> {
    let values: Vec<Value> = checks.iter().map(Check::json).collect();
    output.either(&values, || {
        checks
            .iter()
            .map(|check| {
                let health = format!("{:<4}", check.health.name());
                let mut line = format!(
                    "{}  {:<11} {}\n",
                    output.paint(check.health.tone(), &health),
                    check.name,
                    check.found
                );
                if !check.advice.is_empty() {
                    line.push_str(&format!("{:18}-> {}\n", "", check.advice));
                }
                line
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::sample;

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, health) in [
            ("7.3.4+deb13-cloud-amd64", Health::Ok),
            ("7.2.13-amd64", Health::Ok),
            ("10.0.1", Health::Ok),
            ("7.1.9", Health::Warn),
            ("6.12.0", Health::Warn),
            ("", Health::Warn),
        ] {
            assert_eq!(kernel(release).health, health, "{release}");
        }
    }

    #[test]
    fn mounts_and_modules_are_read() {
        let mounts = "proc /proc proc rw 0 0\nsecurityfs /sys/kernel/security securityfs rw 0 0\n";
        assert_eq!(securityfs_mounted(mounts).health, Health::Ok);
        assert_eq!(
            securityfs_mounted("x /sys/kernel/security tmpfs rw 0 0").health,
            Health::Fail
        );
        assert_eq!(bpf(Some("lockdown,yama,bpf\n")).health, Health::Ok);
        assert_eq!(bpf(Some("lockdown,bpfx\n")).health, Health::Fail);
        assert_eq!(bpf(None).health, Health::Warn);
    }

    #[test]
    fn each_weakness_has_advice() {
        let weak = module(&sample(false, Mode::Permissive));
        let of = |name: &str| weak.iter().find(|check| check.name == name).unwrap();
        for name in ["phase", "mode", "policy", "tpm"] {
            assert_eq!(of(name).health, Health::Warn, "{name}");
            assert!(!of(name).advice.is_empty());
        }
        let mut status = sample(true, Mode::Enforce);
        status.sealed_by = "tpm".into();
        assert!(module(&status)
            .iter()
            .all(|check| check.health == Health::Ok && check.advice.is_empty()));
        status.hooks.clear();
        assert!(module(&status)
            .iter()
            .any(|check| check.health == Health::Fail && check.json()["result"] == "fail"));
    }
}
