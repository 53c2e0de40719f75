// SPDX-License-Identifier: GPL-2.0
/*
 * What makes the module visible to tracing: Rust functions are not in BTF and
 * cannot be probed, C functions and tracepoints can.
 */

#include <linux/module.h>

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include "tcp_lsm_trace.h"

/**
 * tcp_consensus_vote - a place to watch votes from
 * @request: first eight bytes of the request's id, big endian
 * @validator: slot of the validator that the vote names
 * @verdict: what it says
 * @result: 0, or a negative errno that says why the vote was refused
 *
 * Called once for every vote, when its fate is known. A kprobe, fentry or fexit
 * program may be attached to it; nothing that it does changes the vote's fate.
 *
 * Context: process context.
 * Return: @result.
 */
noinline int tcp_consensus_vote(u64 request, u32 validator, u32 verdict, int result)
{
	trace_tcp_lsm_vote(request, validator, verdict, result);
	return result;
}

/**
 * tcp_secure_clock_anchored - a place to watch commits from
 * @clock: what the TPM has taken
 *
 * Called once for every commit, when the TPM has it and before it is
 * acknowledged. A kprobe, fentry or fexit program may be attached to it.
 *
 * Context: process context.
 */
noinline void tcp_secure_clock_anchored(const struct tcp_secure_vector_clock *clock)
{
	trace_tcp_lsm_anchor(clock->logical_time, clock->counter);
}

/* The `module!` macro of the `kernel` crate has no key for it. */
MODULE_VERSION(TCP_LSM_VERSION);
