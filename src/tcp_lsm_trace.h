/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM tcp_lsm

#if !defined(_TCP_LSM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TCP_LSM_TRACE_H

#include <linux/tracepoint.h>
#include <linux/types.h>

#include "tcp_lsm_clock.h"

int tcp_consensus_vote(u64 request, u32 validator, u32 verdict, int result);

/**
 * tcp_lsm_decision - the module decided an operation of a labelled task
 * @op: number of the operation, see Documentation/policy.rst
 * @verdict: number of the action that the policy asked for
 * @agent: number of the agent
 * @rule: line of the rule that matched, 0 for a default
 * @error: what the hook returned: 0 or a negative errno
 */
TRACE_EVENT(tcp_lsm_decision,

	TP_PROTO(u32 op, int verdict, u64 agent, u32 rule, int error),

	TP_ARGS(op, verdict, agent, rule, error),

	TP_STRUCT__entry(
		__field(u64, agent)
		__field(u32, op)
		__field(u32, rule)
		__field(int, verdict)
		__field(int, error)
	),

	TP_fast_assign(
		__entry->agent = agent;
		__entry->op = op;
		__entry->rule = rule;
		__entry->verdict = verdict;
		__entry->error = error;
	),

	TP_printk("op=%u verdict=%d agent=%llu rule=%u error=%d",
		  __entry->op, __entry->verdict, __entry->agent, __entry->rule, __entry->error)
);

/**
 * tcp_lsm_request - a request changed its state
 * @request: first eight bytes of the request's id, big endian
 * @op: number of the operation that it asks for
 * @agent: number of the agent that asks
 * @state: number of the new state
 */
TRACE_EVENT(tcp_lsm_request,

	TP_PROTO(u64 request, u32 op, u64 agent, u32 state),

	TP_ARGS(request, op, agent, state),

	TP_STRUCT__entry(
		__field(u64, request)
		__field(u64, agent)
		__field(u32, op)
		__field(u32, state)
	),

	TP_fast_assign(
		__entry->request = request;
		__entry->agent = agent;
		__entry->op = op;
		__entry->state = state;
	),

	TP_printk("request=%016llx op=%u agent=%llu state=%u",
		  __entry->request, __entry->op, __entry->agent, __entry->state)
);

/**
 * tcp_lsm_vote - a vote was accepted or refused
 * @request: first eight bytes of the request's id, big endian
 * @validator: slot of the validator that the vote names
 * @verdict: what it says
 * @result: 0, or a negative errno that says why it was refused
 */
TRACE_EVENT(tcp_lsm_vote,

	TP_PROTO(u64 request, u32 validator, u32 verdict, int result),

	TP_ARGS(request, validator, verdict, result),

	TP_STRUCT__entry(
		__field(u64, request)
		__field(u32, validator)
		__field(u32, verdict)
		__field(int, result)
	),

	TP_fast_assign(
		__entry->request = request;
		__entry->validator = validator;
		__entry->verdict = verdict;
		__entry->result = result;
	),

	TP_printk("request=%016llx validator=%u verdict=%u result=%d",
		  __entry->request, __entry->validator, __entry->verdict, __entry->result)
);

/**
 * tcp_lsm_anchor - the TPM has taken a commit
 * @number: number of the last event that it covers
 * @counter: value of the TPM's counter
 */
TRACE_EVENT(tcp_lsm_anchor,

	TP_PROTO(u64 number, u64 counter),

	TP_ARGS(number, counter),

	TP_STRUCT__entry(
		__field(u64, number)
		__field(u64, counter)
	),

	TP_fast_assign(
		__entry->number = number;
		__entry->counter = counter;
	),

	TP_printk("number=%llu counter=%llu", __entry->number, __entry->counter)
);

/**
 * tcp_lsm_quarantine - a validator was quarantined for a proven fault
 * @slot: slot of the validator
 * @fault: kind of the fault, see Documentation/byzantine.rst
 * @number: number of the event that has the evidence
 */
TRACE_EVENT(tcp_lsm_quarantine,

	TP_PROTO(u32 slot, u32 fault, u64 number),

	TP_ARGS(slot, fault, number),

	TP_STRUCT__entry(
		__field(u64, number)
		__field(u32, slot)
		__field(u32, fault)
	),

	TP_fast_assign(
		__entry->number = number;
		__entry->slot = slot;
		__entry->fault = fault;
	),

	TP_printk("slot=%u fault=%u number=%llu",
		  __entry->slot, __entry->fault, __entry->number)
);

/**
 * tcp_lsm_alert - an alert, which raises thresholds, starts or ends
 * @reason: number of its reason, see Documentation/byzantine.rst
 * @active: 1 when it starts, 0 when it ends
 * @number: number of the event that says so
 */
TRACE_EVENT(tcp_lsm_alert,

	TP_PROTO(u32 reason, u32 active, u64 number),

	TP_ARGS(reason, active, number),

	TP_STRUCT__entry(
		__field(u64, number)
		__field(u32, reason)
		__field(u32, active)
	),

	TP_fast_assign(
		__entry->number = number;
		__entry->reason = reason;
		__entry->active = active;
	),

	TP_printk("reason=%u active=%u number=%llu",
		  __entry->reason, __entry->active, __entry->number)
);

#endif /* _TCP_LSM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE tcp_lsm_trace
#include <trace/define_trace.h>
