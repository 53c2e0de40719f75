// SPDX-License-Identifier: GPL-2.0

//! The table of refusals against the one in the document.

use engine::refusal::{
    errno,
    Refusal,
    MAX_MESSAGE, //
};
use engine::wire::Error;
use std::collections::BTreeMap;

const DOCUMENT: &str = include_str!("../../../Documentation/wire-format.rst");

/// Rows of "Refusal codes": number, name, name of the error number.
fn rows() -> Vec<(u16, String, String)> {
    let (_, table) = DOCUMENT.split_once("\nRefusal codes\n").unwrap();
    let (table, _) = table.split_once("\nLimits\n").unwrap();
    table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let code = words.next()?.parse().ok()?;
            Some((code, words.next()?.to_owned(), words.next()?.to_owned()))
        })
        .collect()
}

#[test]
fn the_document_and_the_code_agree() {
    let numbers: BTreeMap<&str, i32> = [
        ("EPERM", errno::EPERM),
        ("ENOENT", errno::ENOENT),
        ("EIO", errno::EIO),
        ("E2BIG", errno::E2BIG),
        ("EAGAIN", errno::EAGAIN),
        ("ENOMEM", errno::ENOMEM),
        ("EACCES", errno::EACCES),
        ("EBUSY", errno::EBUSY),
        ("EEXIST", errno::EEXIST),
        ("EXDEV", errno::EXDEV),
        ("ENODEV", errno::ENODEV),
        ("EINVAL", errno::EINVAL),
        ("ENOSPC", errno::ENOSPC),
        ("ERANGE", errno::ERANGE),
        ("ENODATA", errno::ENODATA),
        ("ETIME", errno::ETIME),
        ("EPROTO", errno::EPROTO),
        ("EBADMSG", errno::EBADMSG),
        ("EOPNOTSUPP", errno::EOPNOTSUPP),
        ("EALREADY", errno::EALREADY),
        ("EINPROGRESS", errno::EINPROGRESS),
        ("ESTALE", errno::ESTALE),
        ("ENOKEY", errno::ENOKEY),
        ("EKEYREJECTED", errno::EKEYREJECTED),
    ]
    .into();
    let document: Vec<_> = rows()
        .into_iter()
        .map(|(code, name, errno)| (code, name, numbers[errno.as_str()]))
        .collect();
    let code: Vec<_> = Refusal::ALL
        .iter()
        .map(|refusal| (refusal.code(), refusal.name().to_owned(), refusal.errno()))
        .collect();
    assert!(document.len() >= 89);
    assert_eq!(document, code);
}

#[test]
fn numbers_find_their_refusal_and_no_other() {
    for code in 0..=u16::MAX {
        let refusal = Refusal::from_code(code);
        assert_eq!(
            refusal,
            Refusal::ALL.iter().copied().find(|r| r.code() == code)
        );
    }
}

#[test]
fn messages_name_the_code_and_say_what_to_do() {
    for refusal in Refusal::ALL {
        let message = refusal.message();
        let (name, text) = message.split_once(": ").unwrap();
        assert_eq!(name, refusal.name());
        // What is wrong, then what to do.
        assert!(text.contains("; ") || text.contains(", "), "{message}");
        assert!(message.len() <= MAX_MESSAGE, "{message}");
        assert!(message.is_ascii(), "{message}");
        assert_eq!(refusal.message_c().to_str(), Ok(message));
        assert_eq!(refusal.to_string(), message);
    }
}

#[test]
fn a_wire_error_in_a_vote_is_malformed_but_for_the_magic() {
    assert_eq!(Refusal::from(Error::Magic), Refusal::VoteVersion);
    for error in [
        Error::NoSpace,
        Error::Short,
        Error::Long,
        Error::Reserved,
        Error::Field("x"),
    ] {
        assert_eq!(Refusal::from(error), Refusal::VoteMalformed);
    }
}
