// SPDX-License-Identifier: GPL-2.0

//! The policies of the measured agents.

use crate::workload::{
    DIR,
    PORT, //
};
use crate::Res;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{
    AtomicU64,
    Ordering, //
};

/// The class of the measured agents.
pub(crate) const CLASS: &str = "bench";

/// Directories of which no workload knows.
const OTHERS: &str = "/others";

/// Everything that the workloads do to files.
const OPERATIONS: &str = "EXEC,MMAP_EXEC,FILE_READ,FILE_WRITE,FILE_CREATE,FILE_DELETE,FILE_RENAME";

/// A policy: what is denied by default is allowed beneath one directory.
pub(crate) struct Policy {
    /// Rules on other directories before the one that matches.
    pub(crate) others: u32,
    /// Rules after it.
    pub(crate) more: &'static str,
}

/// The least that the workloads need.
pub(crate) const ONE: Policy = Policy {
    others: 0,
    more: "",
};

/// The same after a thousand rules that do not match.
pub(crate) const THOUSAND: Policy = Policy {
    others: 1000,
    more: "",
};

/// What the mix needs besides.
pub(crate) const MIX: Policy = Policy {
    others: 0,
    more: "op=EXEC,MMAP_EXEC class=bench path=/usr/bin/busybox action=ALLOW\n\
           op=FILE_READ,FILE_WRITE class=bench path=/dev/null action=ALLOW\n",
};

fn other(number: u32) -> String {
    format!("{OTHERS}/{number:04}")
}

/// Makes the directories that rules name.
///
/// # Errors
///
/// They cannot be made.
pub(crate) fn prepare() -> Res {
    (0..THOUSAND.others)
        .try_for_each(|number| fs::create_dir_all(other(number)))
        .map_err(|error| format!("{OTHERS}: {error}"))
}

impl Policy {
    fn text(&self, version: u64) -> Result<String, std::fmt::Error> {
        let mut text = format!("policy_name=bench policy_version={version}\nclass {CLASS}\n");
        text.push_str("DEFAULT action=DENY\n");
        for number in 0..self.others {
            writeln!(
                text,
                "op={OPERATIONS} class={CLASS} path={} action=DENY",
                other(number)
            )?;
        }
        writeln!(
            text,
            "op={OPERATIONS} class={CLASS} path={DIR} action=ALLOW"
        )?;
        writeln!(
            text,
            "op=NET_CONNECT class={CLASS} addr=127.0.0.1 port={PORT} action=ALLOW"
        )?;
        text.push_str(self.more);
        Ok(text)
    }

    /// The text under a version above all before.
    ///
    /// # Errors
    ///
    /// None but those of formatting.
    pub(crate) fn next(&self) -> Res<String> {
        static VERSION: AtomicU64 = AtomicU64::new(0);
        let version = VERSION.fetch_add(1, Ordering::Relaxed) + 1;
        self.text(version).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        MIX,
        ONE,
        THOUSAND, //
    };
    use crate::workload::DIR;

    #[test]
    fn the_rule_that_matches_is_the_last_of_a_thousand() {
        let text = THOUSAND.text(7).unwrap_or_default();
        assert!(text.starts_with("policy_name=bench policy_version=7\n"));
        let paths: Vec<&str> = text.lines().filter(|line| line.contains("path=")).collect();
        assert_eq!(paths.len(), 1001);
        for (at, line) in paths.iter().enumerate() {
            let last = at == 1000;
            assert_eq!(line.contains(&format!("path={DIR} ")), last);
            assert_eq!(line.ends_with("action=ALLOW"), last);
        }
        assert!(text.len() < 256 << 10);
    }

    #[test]
    fn one_path_rule_is_enough() {
        let rules = |text: &str| text.matches("path=").count();
        assert_eq!(rules(&ONE.text(1).unwrap_or_default()), 1);
        assert_eq!(rules(&MIX.text(1).unwrap_or_default()), 3);
    }
}
