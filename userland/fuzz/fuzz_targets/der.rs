// SPDX-License-Identifier: GPL-2.0

//! See [`fuzz::der`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::der::run(data));
