// SPDX-License-Identifier: GPL-2.0

//! The module's files below `/sys/kernel/security`, see `Documentation/securityfs.rst`.

use std::{
    fs::{
        self,
        OpenOptions, //
    },
    io::{
        Read,
        Write, //
    },
    path::{
        Path,
        PathBuf, //
    }, //
};

use crate::{
    error::{
        Error,
        Result, //
    },
    output::clean, //
};

/// Where securityfs is mounted.
pub(crate) const MOUNT: &str = "/sys/kernel/security";

/// Path of one of the module's nodes.
pub(crate) fn node(name: &str) -> PathBuf {
    Path::new(MOUNT).join("tcp_lsm").join(name)
}

/// Result of writing a policy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// It runs.
    Done {
        /// Its name.
        name: String,
        /// Its version.
        version: u64,
    },
    /// A quorum is needed: the request.
    Pending([u8; 32]),
    /// It runs once the state with this counter has been saved and committed.
    Staged(u64),
}

/// An error of a node: the module is missing when its directory is.
fn node_error(verb: &str, path: &Path, source: std::io::Error) -> Error {
    if source.kind() == std::io::ErrorKind::NotFound {
        if Path::new("/sys/module/tcp_lsm").exists() {
            return Error::invalid(
                "securityfs",
                format!(
                    "{} does not exist: mount it with `mount -t securityfs securityfs {MOUNT}`",
                    path.display()
                ),
            );
        }
        return Error::NotLoaded;
    }
    if source.kind() == std::io::ErrorKind::PermissionDenied {
        return Error::refused(
            source.raw_os_error().unwrap_or(13),
            Some(&format!(
                "not_permitted: cannot {verb} {}: it needs CAP_MAC_ADMIN; run it as root, and not from a labelled agent",
                path.display()
            )),
        );
    }
    Error::file(verb, path, source)
}

/// Reads a whole node.
///
/// # Errors
///
/// [`Error::NotLoaded`] when the module is not loaded.
pub(crate) fn read(name: &str) -> Result<Vec<u8>> {
    let path = node(name);
    fs::read(&path).map_err(|source| node_error("read", &path, source))
}

/// Writes a node in one transaction: the line that the kernel has to say about it.
///
/// # Errors
///
/// [`Error::Refused`] with the kernel's diagnostic.
fn transact(name: &str, bytes: &[u8]) -> Result<String> {
    let path = node(name);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(|source| node_error("open", &path, source))?;
    // One write carries everything: `write_all` could split it.
    let written = file.write(bytes);
    let mut diagnostic = Vec::new();
    let read = file.read_to_end(&mut diagnostic);
    let diagnostic = String::from_utf8_lossy(&diagnostic).trim().to_owned();
    if pending(&diagnostic).is_some() || staged(&diagnostic).is_some() {
        return Ok(diagnostic);
    }
    match written {
        Ok(count) if count == bytes.len() => {
            read.map_err(|source| node_error("read", &path, source))?;
            Ok(diagnostic)
        }
        Ok(count) => Err(Error::invalid(
            "short_write",
            format!(
                "the kernel took {count} of {} bytes; nothing was changed",
                bytes.len()
            ),
        )),
        Err(source) => Err(match source.raw_os_error() {
            Some(errno) if !diagnostic.is_empty() => Error::refused(errno, Some(&diagnostic)),
            _ => node_error("write", &path, source),
        }),
    }
}

/// The kernel took what was written and said something else than it should.
fn unexpected(diagnostic: &str) -> Error {
    Error::invalid(
        "protocol",
        format!(
            "the kernel took it but said `{}`",
            clean(diagnostic.as_bytes())
        ),
    )
}

/// Writes a policy in one transaction and reads back what the kernel says about it.
///
/// # Errors
///
/// [`Error::Refused`] with the kernel's diagnostic, which names line and column where the text is at fault.
pub(crate) fn load_policy(text: &[u8]) -> Result<Load> {
    let diagnostic = transact("policy", text)?;
    pending(&diagnostic)
        .map(Load::Pending)
        .or_else(|| staged(&diagnostic).map(Load::Staged))
        .or_else(|| done(&diagnostic))
        .ok_or_else(|| unexpected(&diagnostic))
}

/// Result of giving a state back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// The kernel took it, and staged its successor with this counter.
    Staged(u64),
    /// A quorum is needed: the request.
    Pending([u8; 32]),
}

/// Gives a state back: writes `state`, or `recover` for one that is not current.
///
/// # Errors
///
/// [`Error::Refused`] with the reason why the state is not taken.
pub(crate) fn give(name: &str, state: &[u8]) -> Result<Given> {
    let diagnostic = transact(name, state)?;
    pending(&diagnostic)
        .map(Given::Pending)
        .or_else(|| staged(&diagnostic).map(Given::Staged))
        .ok_or_else(|| unexpected(&diagnostic))
}

/// Reads `pending REQUEST-ID`.
fn pending(line: &str) -> Option<[u8; 32]> {
    let hex = line.strip_prefix("pending ")?.trim();
    hex::decode(hex).ok()?.try_into().ok()
}

/// Reads `staged COUNTER`.
fn staged(line: &str) -> Option<u64> {
    line.strip_prefix("staged ")?.trim().parse().ok()
}

/// Reads `done policy NAME VERSION`.
fn done(line: &str) -> Option<Load> {
    let mut words = line.strip_prefix("done policy ")?.split(' ');
    Some(Load::Done {
        name: words.next()?.to_owned(),
        version: words.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn diagnostics_are_read() {
        let id = "ab".repeat(32);
        assert_eq!(pending(&format!("pending {id}")), Some([0xab; 32]));
        assert_eq!(pending("pending 1234"), None);
        assert_eq!(pending("done policy x 1"), None);
        assert_eq!(
            done("done policy web 7"),
            Some(Load::Done {
                name: "web".into(),
                version: 7
            })
        );
        assert_eq!(done("done policy web"), None);
        assert_eq!(done("done policy web x"), None);
        assert_eq!(done("policy_invalid: 1:1: no"), None);
        assert_eq!(staged("staged 18"), Some(18));
        for line in ["staged", "staged x", "staged -1", "done policy staged 1"] {
            assert_eq!(staged(line), None, "{line}");
        }
        assert_eq!(unexpected("\x1b").code(), "protocol");
    }

    #[test]
    fn a_missing_node_is_a_missing_module() {
        let error = node_error("read", &node("policy"), io::ErrorKind::NotFound.into());
        assert!(matches!(error, Error::NotLoaded), "{error}");
        let error = node_error("read", &node("policy"), io::Error::from_raw_os_error(13));
        assert_eq!((error.code(), error.errno()), ("not_permitted", 13));
        let error = node_error("read", &node("policy"), io::Error::from_raw_os_error(5));
        assert_eq!((error.code(), error.errno()), ("io", 5));
    }
}
