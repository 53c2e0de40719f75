// SPDX-License-Identifier: GPL-2.0

//! `tcpctl doctor`: what is missing for the module to protect this machine.

use std::{
    fs,
    path::Path, //
};

use clap::Args;
use engine::limits;
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::{
        Client,
        Mode,
        Phase,
        Sealing,
        Status, //
    },
    error::{
        Error,
        Result, //
    },
    file::Directory,
    output::{
        clean,
        conclude,
        Output,
        Tone, //
    },
    securityfs,
    state::{
        self,
        Place, //
    },
    status::{
        alert_text,
        nv_tenths,
        nv_text,
        reason_text,
        tpm_text,
        Bounds,
        UNSEALED, //
    },
    time::human_duration, //
};

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(flatten)]
    place: Place,
}

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
    let mut checks = vec![
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
        phase(status),
        Check::should(
            "log",
            status.counter("events_suppressed") == 0,
            format!("{} events left out", status.counter("events_suppressed")),
            "some user repeated what is refused faster than it is written down: see `tcpctl events`",
        ),
    ];
    // A locked node has nothing of this, and takes nothing of it.
    if !is_locked(status) {
        checks.extend(governed(status));
    }
    checks
}

/// Whether the node waits for its past.
fn is_locked(status: &Status) -> bool {
    matches!(status.phase, Phase::Locked | Phase::Recovering)
}

/// What the node can be asked for.
fn phase(status: &Status) -> Check {
    let (health, advice) = match status.phase {
        Phase::Sealed => (Health::Ok, ""),
        Phase::Setup => (
            Health::Warn,
            "root may still change everything: run `tcpctl seal` when policy and validators are complete",
        ),
        Phase::Locked => (
            Health::Fail,
            "the node's past is not in force: run `tcpctl state restore`",
        ),
        Phase::Recovering => (
            Health::Fail,
            "the node's past is not in force: collect the votes, see `tcpctl request list`",
        ),
    };
    let found = match &status.reason {
        Some(reason) => format!("{}: {}", status.phase.name(), reason_text(reason)),
        None => status.phase.name().to_owned(),
    };
    Check::new("phase", health, found, advice)
}

/// What a quorum governs.
fn governed(status: &Status) -> Vec<Check> {
    vec![
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
        quarantine(status),
        Check::should(
            "alert",
            status.watch.alert == 0,
            alert_text(&status.watch).unwrap_or_else(|| "none".to_owned()),
            "see who caused it with `tcpctl events` and `tcpctl validator list`",
        ),
    ]
}

/// Whether the validators that are not quarantined can still approve something.
fn quarantine(status: &Status) -> Check {
    let weight = status.watch.quarantined;
    let found = match weight {
        0 => "none".to_owned(),
        _ => format!("weight {weight} of {}", status.total),
    };
    let blocked = |bounds: Bounds| status.total > 0 && bounds.blocks == 0;
    let base = Bounds::base(status);
    let (health, advice) = if blocked(base) {
        (
            Health::Fail,
            "what is left cannot reach the default threshold: only requests with a lower one can be approved; see \
             `tcpctl evidence list` and `tcpctl validator readmit`",
        )
    } else if weight > 0 && Bounds::raised(status).is_some_and(blocked) {
        (
            Health::Warn,
            "what is left reaches the default threshold, but not the one while an alert holds: replace or readmit the \
             validator when the alert is over",
        )
    } else if weight > 0 {
        (
            Health::Warn,
            "replace or readmit the validator, see `tcpctl evidence list`",
        )
    } else {
        (Health::Ok, "")
    };
    Check::new("quarantine", health, found, advice)
}

/// Fewest tenths of years that the NV memory should last.
const NV_TENTHS: u64 = 50;

/// What the TPM keeps of the node, and whether it will.
fn sealing(status: &Status) -> Vec<Check> {
    let Some(sealing) = &status.sealing else {
        return vec![
            Check::new(
                "tpm",
                Health::Warn,
                "none",
                "load the module where there is a TPM 2.0, see the admin guide",
            ),
            Check::new(
                "sealed by",
                Health::Warn,
                UNSEALED,
                "no TPM holds the state: versions, validators and the log start anew at every load",
            ),
        ];
    };
    let mut checks = vec![
        Check::should(
            "tpm",
            !sealing.software,
            tpm_text(sealing),
            "it proves nothing to others about this host's operator, who can copy and set back all of it",
        ),
        Check::new("sealed by", Health::Ok, "tpm", ""),
        Check::should(
            "staged",
            sealing.staged.is_none(),
            match sealing.staged {
                Some(counter) => format!("a change, counter {counter}"),
                None => "nothing".to_owned(),
            },
            "it is not in effect: run `tcpctl state save` or `tcpctl state discard`",
        ),
        Check::should(
            "nv wear",
            nv_tenths(sealing).is_none_or(|tenths| tenths >= NV_TENTHS),
            nv_text(sealing),
            "load the module with a longer anchor_interval, and change less often what is committed",
        ),
    ];
    if status.phase == Phase::Sealed {
        // After two of them were missed nobody can be at work.
        let most = u64::from(sealing.interval).saturating_mul(2 * 1000);
        let age = sealing.anchored_ms.unwrap_or(u64::MAX);
        checks.push(Check::should(
            "checkpoint",
            sealing.interval == 0 || age <= most,
            match sealing.anchored_ms {
                Some(ms) => format!("{} ago", human_duration(ms)),
                None => "never".to_owned(),
            },
            "a crash would lose the events since then: run `tcpctl state keep` as a service",
        ));
    }
    checks
}

/// Whether the state directory holds what the next load needs.
fn files(sealing: &Sealing, phase: Phase, path: &Path) -> Vec<Check> {
    const DIRECTORY: &str = "state dir";
    const FILE: &str = "state file";
    let directory = match Directory::open(path) {
        Ok(directory) => directory,
        // Nothing was committed that would have to be there.
        Err(_) if phase == Phase::Setup && !path.exists() => return Vec::new(),
        Err(error) => {
            return vec![Check::must(
                DIRECTORY,
                false,
                error.to_string(),
                "run this as root; the next load of the module needs the state in there",
            )]
        }
    };
    let mut checks = vec![match directory.mode() {
        Ok(mode) => Check::should(
            DIRECTORY,
            mode & 0o077 == 0,
            format!("{}, mode {mode:04o}", path.display()),
            "it is for root alone: run `chmod 700` on it",
        ),
        Err(error) => Check::must(DIRECTORY, false, error.to_string(), "run this as root"),
    }];
    if phase != Phase::Sealed {
        return checks;
    }
    let current = |name: &str| {
        directory
            .read(name, limits::STATE)
            .map(|bytes| bytes.map(|bytes| state::is_current(&bytes, sealing)))
    };
    checks.push(match (current(state::STATE), current(state::NEW)) {
        (Ok(Some(true)), _) => Check::new(FILE, Health::Ok, "is what the TPM holds", ""),
        (_, Ok(Some(true))) => Check::new(
            FILE,
            Health::Warn,
            format!("is still called {}", state::NEW),
            "run `tcpctl state save`, which renames it",
        ),
        (Ok(Some(false)), _) => Check::must(
            FILE,
            false,
            "is not what the TPM holds",
            "the next load will not take it: put the right copy there, or run `tcpctl state save`",
        ),
        (Ok(None), _) => Check::must(
            FILE,
            false,
            "missing",
            "the next load will be locked: run `tcpctl state save` now",
        ),
        (Err(error), _) => Check::must(
            FILE,
            false,
            error.to_string(),
            "the next load needs it: move away what is in its place, and run `tcpctl state save`",
        ),
    });
    checks
}

/// Runs the command.
///
/// # Errors
///
/// [`Error::NotLoaded`] when the module is missing, [`Error::Reported`] when another check fails.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
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
        Ok(status) => {
            checks.extend(module(status));
            checks.extend(sealing(status));
            if let Some(of) = &status.sealing {
                checks.extend(files(of, status.phase, &command.place.path()));
            }
        }
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
    let failed = checks.iter().any(|check| check.health == Health::Fail);
    let failure = if missing {
        Some(Error::NotLoaded)
    } else {
        failed.then_some(Error::Reported)
    };
    conclude(report(&checks, output), failure)
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
    use crate::{
        state::tests::{
            anchor_of,
            sample_state, //
        },
        status::tests::{
            sample,
            sealing as a_tpm, //
        }, //
    };

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

    fn whole(status: &Status) -> Vec<Check> {
        let mut checks = module(status);
        checks.extend(sealing(status));
        checks
    }

    #[test]
    fn each_weakness_has_advice() {
        let weak = whole(&sample(Phase::Setup, Mode::Permissive));
        let of = |name: &str| weak.iter().find(|check| check.name == name).unwrap();
        for name in ["phase", "mode", "policy", "tpm", "sealed by"] {
            assert_eq!(of(name).health, Health::Warn, "{name}");
            assert!(!of(name).advice.is_empty());
        }
        let mut status = sample(Phase::Sealed, Mode::Enforce);
        status.sealing = Some(a_tpm());
        assert!(whole(&status)
            .iter()
            .all(|check| check.health == Health::Ok && check.advice.is_empty()));
        status.hooks.clear();
        assert!(module(&status)
            .iter()
            .any(|check| check.health == Health::Fail && check.json()["result"] == "fail"));
    }

    #[test]
    fn quarantine_that_leaves_no_quorum_is_found() {
        let mut status = sample(Phase::Sealed, Mode::Enforce);
        for (weight, health, part) in [
            (0, Health::Ok, ""),
            (1, Health::Warn, "not the one while an alert holds"),
            (2, Health::Fail, "default threshold"),
        ] {
            status.watch.quarantined = weight;
            let check = quarantine(&status);
            assert_eq!(check.health, health, "{weight}");
            assert!(check.advice.contains(part), "{}", check.advice);
        }
        status.total = 40;
        assert!(quarantine(&status).advice.starts_with("replace or readmit"));
        status.watch.alert = 1 << 2;
        let alert = governed(&status)
            .into_iter()
            .find(|check| check.name == "alert")
            .unwrap();
        assert_eq!(alert.health, Health::Warn);
        assert!(alert.found.starts_with("burst: "), "{}", alert.found);
    }

    #[test]
    fn a_seal_that_does_not_hold_is_found() {
        type Change = fn(&mut Status);
        let worse: [(&str, Health, Change); 7] = [
            ("tpm", Health::Warn, |s| {
                s.sealing.as_mut().unwrap().software = true
            }),
            ("phase", Health::Fail, |s| {
                s.phase = Phase::Locked;
                s.reason = Some("state_missing".into());
            }),
            ("phase", Health::Fail, |s| s.phase = Phase::Recovering),
            ("staged", Health::Warn, |s| {
                s.sealing.as_mut().unwrap().staged = Some(9)
            }),
            ("nv wear", Health::Warn, |s| {
                s.sealing.as_mut().unwrap().nv_writes_year = 200_000
            }),
            ("checkpoint", Health::Warn, |s| {
                s.sealing.as_mut().unwrap().anchored_ms = Some(1_800_001)
            }),
            ("checkpoint", Health::Warn, |s| {
                s.sealing.as_mut().unwrap().anchored_ms = None
            }),
        ];
        for (name, health, change) in worse {
            let mut status = sample(Phase::Sealed, Mode::Enforce);
            status.sealing = Some(a_tpm());
            change(&mut status);
            let checks = whole(&status);
            assert_eq!(
                checks.iter().any(|check| check.name == "policy"),
                !is_locked(&status)
            );
            let check = checks.iter().find(|check| check.name == name).unwrap();
            assert_eq!(check.health, health, "{name}");
            assert!(!check.advice.is_empty(), "{name}");
        }
        let mut status = sample(Phase::Sealed, Mode::Enforce);
        status.sealing = Some(a_tpm());
        status.sealing.as_mut().unwrap().anchored_ms = Some(1_800_000);
        assert!(sealing(&status)
            .iter()
            .all(|check| check.health == Health::Ok));
    }

    #[test]
    fn the_state_file_must_be_what_the_tpm_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d");
        let mut tpm = a_tpm();
        let check = |tpm: &Sealing, phase, name: &str| {
            files(tpm, phase, &path)
                .into_iter()
                .find(|check| check.name == name)
                .map(|check| check.health)
        };
        assert!(files(&tpm, Phase::Setup, &path).is_empty());
        assert_eq!(check(&tpm, Phase::Sealed, "state dir"), Some(Health::Fail));
        let directory = Directory::create(&path).unwrap();
        assert_eq!(check(&tpm, Phase::Sealed, "state dir"), Some(Health::Ok));
        assert_eq!(check(&tpm, Phase::Locked, "state file"), None);
        let file = |tpm: &Sealing| check(tpm, Phase::Sealed, "state file");
        assert_eq!(file(&tpm), Some(Health::Fail));
        let bytes = sample_state(7, [1; 32], 1);
        directory.write(state::NEW, &bytes).unwrap();
        assert_eq!(file(&tpm), Some(Health::Fail));
        tpm.anchor = Some(anchor_of(&bytes));
        assert_eq!(file(&tpm), Some(Health::Warn));
        directory.rename(state::NEW, state::STATE).unwrap();
        assert_eq!(file(&tpm), Some(Health::Ok));
        tpm.counter = Some(8);
        assert_eq!(file(&tpm), Some(Health::Fail));
        directory.remove(state::STATE).unwrap();
        std::os::unix::fs::symlink("/dev/zero", directory.path_of(state::STATE)).unwrap();
        assert_eq!(file(&tpm), Some(Health::Fail));
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(check(&tpm, Phase::Sealed, "state dir"), Some(Health::Warn));
    }
}
