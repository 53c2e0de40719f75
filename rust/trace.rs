// SPDX-License-Identifier: GPL-2.0

//! Tracepoints and the anchor for probes.
//!
//! Each function costs one static branch while nobody listens.
//!
//! C header: [`src/tcp_lsm_trace.h`](../../src/tcp_lsm_trace.h)

use super::bindings;
use kernel::{
    ffi::c_int,
    prelude::*, //
};

/// Calls the tracepoint `$name` of `src/tcp_lsm_trace.h` if somebody listens to it.
macro_rules! trace {
    ($name:ident($($arg:expr),*)) => {
        #[cfg(CONFIG_TRACEPOINTS)]
        {
            kernel::macros::paste! {
                // SAFETY: `src/tcp_lsm_events.c` defines the tracepoint, and with it the key.
                let listening = unsafe {
                    kernel::jump_label::static_branch_unlikely!(
                        bindings::[<__tracepoint_ $name>],
                        kernel::bindings::tracepoint,
                        key
                    )
                };
                if listening {
                    // SAFETY: The tracepoint takes integers only.
                    unsafe { bindings::[<rust_do_trace_ $name>]($($arg),*) };
                }
            }
        }
        #[cfg(not(CONFIG_TRACEPOINTS))]
        {
            $(let _ = $arg;)*
        }
    };
}

/// Traces that an operation `op` of the labelled process tree `agent()` was decided: the policy's
/// `verdict`, the line `rule` that matched (0 for a default), and what the hook returned.
///
/// Context: any.
#[inline]
pub(crate) fn decision(
    op: u32,
    verdict: i32,
    agent: impl FnOnce() -> u64,
    rule: u32,
    error: c_int,
) {
    trace!(tcp_lsm_decision(op, verdict, agent(), rule, error));
}

/// Traces that the request whose id starts with the (big endian) bytes `request` is now in
/// `state`.
///
/// Context: any.
#[inline]
pub(crate) fn request(request: u64, op: u32, agent: u64, state: u32) {
    trace!(tcp_lsm_request(request, op, agent, state));
}

/// Shows a vote to the world: the tracepoint `tcp_lsm_vote`, and whoever probes the function
/// `tcp_consensus_vote`. `result` is `Ok` for a vote that was accepted.
///
/// What a probe does has no influence on the vote.
///
/// Context: process context.
#[inline]
pub(crate) fn vote(request: u64, validator: u32, verdict: u32, result: Result) {
    let result = result.map_or_else(|e| e.to_errno(), |()| 0);
    // SAFETY: The function takes integers only.
    let _ = unsafe { bindings::tcp_consensus_vote(request, validator, verdict, result) };
}

/// Traces that the validator in `slot` was quarantined for the proven fault of that number, by event
/// `number`.
///
/// Context: any.
pub(crate) fn quarantine(slot: u32, fault: u32, number: u64) {
    trace!(tcp_lsm_quarantine(slot, fault, number));
}

/// Traces that an alert for the reason of that number holds from event `number` on, or no longer.
///
/// Context: any.
pub(crate) fn alert(reason: u32, active: bool, number: u64) {
    trace!(tcp_lsm_alert(reason, u32::from(active), number));
}

/// Shows a commit to the world: the tracepoint `tcp_lsm_anchor`, and whoever probes the function
/// `tcp_secure_clock_anchored`. `head` is the chain's after event `number`, `signature` the MAC of
/// the state, zeros without one.
///
/// Context: process context.
pub(crate) fn anchored(
    node: &[u8; 32],
    number: u64,
    counter: u64,
    head: &[u8; 32],
    anchor: &[u8; 32],
    signature: &[u8; 32],
) {
    let clock = bindings::tcp_secure_vector_clock {
        logical_time: number,
        counter,
        node_id: *node,
        signature: *signature,
        causal_chain: *head,
        anchor: *anchor,
    };
    // SAFETY: `clock` is valid for reads during the call, and nothing keeps a pointer to it.
    unsafe { bindings::tcp_secure_clock_anchored(&clock) };
}
