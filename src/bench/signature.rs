// SPDX-License-Identifier: GPL-2.0

//! Verifying the signature of a vote.

use super::measure::{
    each,
    Rounds, //
};
use crate::{
    abi::sha256,
    engine::{
        governance::KEY_LEN,
        refusal::Refusal,
        vote::VoteRecord, //
    },
    validator::ValidatorSet, //
};
use kernel::prelude::*;

/// Signatures of a round.
const TIMES: usize = 4;

/// The key of `Documentation/vectors/vote.json`.
pub(super) const KEY: [u8; KEY_LEN] = bytes(
    "04693292d71da35694ad50ba7b5bb11b1087d4c3f6c8ef1ec266dfaf4e789c510f\
     01fbd9936e3bed9c8e15506ae529be9a94b9d2c9660df788b05bab21c0d10143",
);

/// The first vote of `Documentation/vectors/vote.json`.
pub(super) const RECORD: [u8; 248] = bytes(
    "5443504c564f54321111111111111111111111111111111111111111111111111111111111111111\
     00000000000000072e2c77bc61ac05c60ab43bae3c1aaa9c4fab0d15677d916248db4f8af16db99e\
     ece0b216efae1dee1e4579857492fc1ad75c2e3a21af817d6006bb70f72541760101000200000000\
     0013d620000000000000000000000000000000000000000000000000000000000000000000000000\
     00000000002800010000000000000001004630440220657e0ff964d0ea5fbea4b4609cfc9d9e35cd\
     b6200ccc05d550041c7f311a4d4e0220144e727b02ae9accabcaa88913504bb18e028df2040a5c77\
     66cabf0cdea22f6d",
);

/// The bytes that `hex` spells.
const fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    const fn digit(character: u8) -> u8 {
        match character {
            b'0'..=b'9' => character - b'0',
            _ => character - b'a' + 10,
        }
    }
    let hex = hex.as_bytes();
    assert!(hex.len() == 2 * N);
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = digit(hex[2 * at]) << 4 | digit(hex[2 * at + 1]);
        at += 1;
    }
    bytes
}

/// Measures `verify.kernel` and `vote.verify`.
pub(super) fn run() -> Result {
    let record = VoteRecord::decode(&RECORD).map_err(|_| EINVAL)?;
    let vote = record.signed_vote();
    let validator = ValidatorSet::empty()?
        .candidate(b"bench", &KEY, 1)
        .map_err(|_| EINVAL)?;
    let digest = sha256::digest(&[vote.signed]);
    let mut genuine = true;

    Rounds::of(|| {
        Ok(each(
            TIMES,
            |_| (),
            |_| genuine &= validator.public.verify(&digest, vote.signature).is_ok(),
        ))
    })?
    .print("verify.kernel");
    Rounds::of(|| {
        Ok(each(
            TIMES,
            |_| (),
            |_| genuine &= validator.verify(&vote, Refusal::VoteForged).is_ok(),
        ))
    })?
    .print("vote.verify");
    if genuine {
        Ok(())
    } else {
        Err(EINVAL)
    }
}
