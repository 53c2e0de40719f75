// SPDX-License-Identifier: GPL-2.0

//! Every operation of the policy, and the ways round it.

pub mod attacks;
pub mod exec;
pub mod files;
pub mod kernel;
pub mod mounts;
pub mod network;
pub mod outcomes;
pub mod probe;
pub mod ring;
pub mod sys;
pub mod tasks;
