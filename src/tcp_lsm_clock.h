/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _TCP_LSM_CLOCK_H
#define _TCP_LSM_CLOCK_H

#include <linux/types.h>

/**
 * struct tcp_secure_vector_clock - what a node knows of its own past
 * @logical_time: the node's own entry: number of the last event that the TPM's anchor covers
 * @counter: value of the TPM's counter
 * @node_id: name of the node, the digest of its attestation key
 * @signature: MAC of the committed state, under a key that only the TPM releases
 * @causal_chain: SHA-256 over every event up to that number
 * @anchor: value of the TPM's anchor
 */
struct tcp_secure_vector_clock {
	u64 logical_time;
	u64 counter;
	u8 node_id[32];
	u8 signature[32];
	u8 causal_chain[32];
	u8 anchor[32];
};

void tcp_secure_clock_anchored(const struct tcp_secure_vector_clock *clock);

#endif /* _TCP_LSM_CLOCK_H */
