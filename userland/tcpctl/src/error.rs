// SPDX-License-Identifier: GPL-2.0

//! What can go wrong, as the user and as scripts see it.
//!
//! Every error has an exit code, a short code for scripts, an errno where the kernel gave one, and a message that says
//! what to do next. Errors go to standard error; with `--json` as one object
//! `{"error": CODE, "errno": N, "message": TEXT}`.

use std::{
    fmt,
    io,
    path::Path, //
};

use engine::refusal::Refusal;
use serde_json::json;

/// Exit code: done.
pub(crate) const EXIT_DONE: u8 = 0;
/// Exit code: failed.
pub(crate) const EXIT_FAILED: u8 = 1;
/// Exit code: the command line is wrong.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Exit code: the module is not loaded.
pub(crate) const EXIT_NOT_LOADED: u8 = 3;
/// Exit code: a quorum is needed and has not decided yet.
pub(crate) const EXIT_PENDING: u8 = 4;
/// Exit code: policy or the validators have denied it.
pub(crate) const EXIT_DENIED: u8 = 5;
/// Exit code: not signed, because the signature could convict the key.
pub(crate) const EXIT_UNSIGNED: u8 = 6;

/// Result of everything in `tcpctl`.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that ends the command.
#[derive(Debug)]
pub(crate) enum Error {
    /// The command line asks for something impossible.
    Usage(String),
    /// The generic netlink family or the securityfs directory does not exist.
    NotLoaded,
    /// The kernel refused; `code` is from the table "Refusal codes" of `wire-format.rst`.
    Refused {
        /// Name of the refusal, or `errno` when the kernel gave no message.
        code: String,
        /// Positive errno.
        errno: i32,
        /// What the kernel says.
        message: String,
    },
    /// A quorum is needed: the request with this id is open.
    Pending {
        /// Identity of the request, 64 hexadecimal digits.
        request: String,
        /// The command stopped waiting, rather than not having waited at all.
        waited: bool,
    },
    /// The validators, or silence, have denied the request.
    Denied {
        /// Identity of the request, 64 hexadecimal digits.
        request: String,
        /// `denied`, `expired` or `cancelled`.
        state: &'static str,
    },
    /// A change is staged, and could not be saved or committed: it is not in effect.
    Unsaved {
        /// Counter of the staged state.
        counter: u64,
        /// Why.
        source: Box<Error>,
    },
    /// A system call failed.
    Io {
        /// What was attempted, such as `cannot read /etc/key`.
        what: String,
        /// The failure.
        source: io::Error,
    },
    /// Input that is wrong in itself; `code` names the kind.
    Invalid {
        /// Short code for scripts.
        code: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// A vote was not signed: with what the key's journal holds it could convict the key. `code` names the kind.
    Unsigned {
        /// Short code for scripts.
        code: &'static str,
        /// Why, and what to do.
        message: String,
    },
    /// Something was checked and found wanting, and the report has been printed already.
    Reported,
    /// The reader of standard output went away: not an error of ours.
    BrokenPipe,
}

impl Error {
    /// An [`Error::Io`] about a file.
    pub(crate) fn file(verb: &str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            what: format!("cannot {verb} {}", path.display()),
            source,
        }
    }

    /// An [`Error::Invalid`].
    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid {
            code,
            message: message.into(),
        }
    }

    /// An [`Error::Unsigned`].
    pub(crate) fn unsigned(code: &'static str, message: impl Into<String>) -> Self {
        Self::Unsigned {
            code,
            message: message.into(),
        }
    }

    /// What a refusal of the engine says, whoever applied its rule.
    pub(crate) fn of(refusal: Refusal) -> Self {
        Self::refused(refusal.errno(), Some(refusal.message()))
    }

    /// A refusal from an errno and the text `CODE: text` of the extended acknowledgement.
    pub(crate) fn refused(errno: i32, text: Option<&str>) -> Self {
        let text = text.map(str::trim).filter(|text| !text.is_empty());
        match text {
            Some(text) => {
                let code = text
                    .split_once(':')
                    .map(|(code, _)| code)
                    .filter(|code| {
                        !code.is_empty()
                            && code
                                .bytes()
                                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                    })
                    .unwrap_or("errno");
                Self::Refused {
                    code: code.to_owned(),
                    errno,
                    message: text.to_owned(),
                }
            }
            None => Self::Refused {
                code: "errno".to_owned(),
                errno,
                message: format!(
                    "the kernel refused: {}{}",
                    io::Error::from_raw_os_error(errno),
                    advice(errno)
                ),
            },
        }
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::NotLoaded => EXIT_NOT_LOADED,
            Self::Refused { code, .. } if code == "denied" => EXIT_DENIED,
            Self::Refused { .. }
            | Self::Unsaved { .. }
            | Self::Io { .. }
            | Self::Invalid { .. }
            | Self::Reported => EXIT_FAILED,
            Self::Pending { .. } => EXIT_PENDING,
            Self::Unsigned { .. } => EXIT_UNSIGNED,
            Self::Denied { .. } => EXIT_DENIED,
            Self::BrokenPipe => EXIT_DONE,
        }
    }

    /// The code for scripts.
    pub(crate) fn code(&self) -> &str {
        match self {
            Self::Usage(_) => "usage",
            Self::NotLoaded => "not_loaded",
            Self::Refused { code, .. } => code,
            Self::Pending { .. } => "pending",
            Self::Denied { .. } => "denied",
            Self::Unsaved { source, .. } => source.code(),
            Self::Io { .. } => "io",
            Self::Invalid { code, .. } | Self::Unsigned { code, .. } => code,
            Self::Reported => "reported",
            Self::BrokenPipe => "broken_pipe",
        }
    }

    /// Positive errno, or 0 when there is none.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Refused { errno, .. } => *errno,
            Self::Unsaved { source, .. } => source.errno(),
            Self::Io { source, .. } => source.raw_os_error().unwrap_or(0),
            _ => 0,
        }
    }

    /// The object that `--json` prints.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut object = json!({
            "error": self.code(),
            "errno": self.errno(),
            "message": self.to_string(),
        });
        if let (Self::Pending { request, .. } | Self::Denied { request, .. }, Some(fields)) =
            (self, object.as_object_mut())
        {
            fields.insert("request".to_owned(), json!(request));
        }
        if let (Self::Unsaved { counter, .. }, Some(fields)) = (self, object.as_object_mut()) {
            fields.insert("staged".to_owned(), json!(counter));
        }
        object
    }
}

/// What to do about an errno that came without a message.
fn advice(errno: i32) -> &'static str {
    const EPERM: i32 = 1;
    const EACCES: i32 = 13;
    match errno {
        EPERM | EACCES => ": run it as root (CAP_MAC_ADMIN), and not from a labelled agent",
        _ => "",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(message) => f.write_str(message),
            Self::NotLoaded => f.write_str(
                "the module tcp_lsm is not loaded: load it with `modprobe tcp_lsm` (or `insmod tcp_lsm.ko`); \
                 `tcpctl doctor` says what is missing",
            ),
            Self::Refused { message, .. } => f.write_str(message),
            Self::Pending {
                request,
                waited: false,
            } => write!(
                f,
                "a quorum must approve this first. See it with `tcpctl request show {short}`, collect the votes \
                 (`tcpctl vote approve {short} ...`), then run the same command again; or add --wait",
                short = request.get(..12).unwrap_or(request)
            ),
            Self::Pending {
                request,
                waited: true,
            } => write!(
                f,
                "stopped waiting: request {short} is still open. Run the same command again to go on waiting",
                short = request.get(..12).unwrap_or(request)
            ),
            Self::Denied { request, state } => write!(
                f,
                "request {} is {state}: nothing was changed. `tcpctl events` tells who decided; running the command \
                 again makes a new request",
                request.get(..12).unwrap_or(request)
            ),
            Self::Unsaved { source, .. } => write!(
                f,
                "{source}. The change is staged and not in effect: `tcpctl state save` finishes it when the cause is \
                 removed, `tcpctl state discard` drops it"
            ),
            Self::Io { what, source } => write!(f, "{what}: {source}"),
            Self::Invalid { message, .. } | Self::Unsigned { message, .. } => f.write_str(message),
            Self::Reported | Self::BrokenPipe => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Unsaved { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_takes_its_code_from_the_message() {
        let error = Error::refused(129, Some("vote_forged: the signature does not verify"));
        assert_eq!(error.code(), "vote_forged");
        assert_eq!(error.errno(), 129);
        assert_eq!(error.exit_code(), EXIT_FAILED);
        assert_eq!(
            error.to_string(),
            "vote_forged: the signature does not verify"
        );
    }

    #[test]
    fn refusal_without_a_code_keeps_its_text() {
        for text in ["Invalid attribute: x", "no colon"] {
            let error = Error::refused(22, Some(text));
            assert_eq!(error.code(), "errno");
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn refusal_without_a_message_says_what_to_do() {
        let error = Error::refused(1, None);
        assert!(error.to_string().contains("CAP_MAC_ADMIN"), "{error}");
        let error = Error::refused(22, Some("  "));
        assert!(!error.to_string().contains("CAP_MAC_ADMIN"), "{error}");
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let id = "ab".repeat(32);
        let pending = Error::Pending {
            request: id.clone(),
            waited: false,
        };
        let denied = Error::Denied {
            request: id.clone(),
            state: "expired",
        };
        for (error, exit) in [
            (Error::Usage("x".into()), 2),
            (Error::NotLoaded, 3),
            (pending, 4),
            (denied, 5),
            (Error::refused(13, Some("denied: policy says no")), 5),
            (Error::invalid("key", "x"), 1),
            (Error::unsigned("second_verdict", "x"), 6),
            (Error::of(Refusal::EvidenceForged), 1),
            (Error::Reported, 1),
            (Error::BrokenPipe, 0),
        ] {
            assert_eq!(error.exit_code(), exit, "{error:?}");
        }
    }

    #[test]
    fn json_carries_code_errno_and_request() {
        let id = "ab".repeat(32);
        let value = Error::Pending {
            request: id.clone(),
            waited: true,
        }
        .to_json();
        assert_eq!(value["error"], "pending");
        assert_eq!(value["request"], id);
        let unsaved = Error::Unsaved {
            counter: 7,
            source: Box::new(Error::file(
                "write",
                Path::new("/x"),
                io::Error::from_raw_os_error(28),
            )),
        };
        let value = unsaved.to_json();
        assert_eq!(
            (&value["error"], &value["errno"]),
            (&json!("io"), &json!(28))
        );
        assert_eq!(value["staged"], 7);
        for word in ["/x", "tcpctl state save", "tcpctl state discard"] {
            assert!(unsaved.to_string().contains(word), "{unsaved}");
        }
        assert_eq!(unsaved.exit_code(), EXIT_FAILED);
        let io = Error::file("read", Path::new("/x"), io::Error::from_raw_os_error(2));
        assert_eq!(io.to_json()["errno"], 2);
        assert!(std::error::Error::source(&io).is_some());
        assert!(io.to_string().starts_with("cannot read /x: "));
    }
}
