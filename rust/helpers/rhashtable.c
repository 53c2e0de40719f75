// SPDX-License-Identifier: GPL-2.0

#include <linux/hash.h>
#include <linux/rhashtable.h>

/* The first members of `Entry` in rust/rhashtable.rs: keep them in step. */
struct tcp_rht_entry {
	struct rhash_head head;
	unsigned long key;
};

static inline u32 tcp_rht_hash(const void *data, u32 len, u32 seed)
{
	return hash_64(*(const unsigned long *)data ^ seed, 32);
}

static inline int tcp_rht_cmp(struct rhashtable_compare_arg *arg,
			      const void *obj)
{
	const struct tcp_rht_entry *entry = obj;

	return entry->key != *(const unsigned long *)arg->key;
}

/*
 * Keys are addresses or counters, not what an attacker chooses: an insertion
 * shall not fail because a chain is long while a resize is on its way.
 */
static const struct rhashtable_params tcp_rht_params = {
	.key_len = sizeof(unsigned long),
	.key_offset = offsetof(struct tcp_rht_entry, key),
	.head_offset = offsetof(struct tcp_rht_entry, head),
	.insecure_elasticity = true,
	.automatic_shrinking = true,
	.hashfn = tcp_rht_hash,
	.obj_cmpfn = tcp_rht_cmp,
};

int tcp_helper_rht_init(struct rhashtable *ht)
{
	return rhashtable_init(ht, &tcp_rht_params);
}

/* Context: RCU. */
void *tcp_helper_rht_lookup(struct rhashtable *ht, unsigned long key)
{
	return rhashtable_lookup(ht, &key, tcp_rht_params);
}

int tcp_helper_rht_insert(struct rhashtable *ht, struct rhash_head *obj)
{
	return rhashtable_lookup_insert_fast(ht, obj, tcp_rht_params);
}

/* Returns the object that is now the caller's to free after a grace period. */
void *tcp_helper_rht_remove(struct rhashtable *ht, unsigned long key)
{
	struct tcp_rht_entry *entry;

	guard(rcu)();
	entry = rhashtable_lookup(ht, &key, tcp_rht_params);
	if (!entry || rhashtable_remove_fast(ht, &entry->head, tcp_rht_params))
		return NULL;
	return entry;
}

/*
 * Puts an object in the place of the one with the same key. Returns the old
 * one, now the caller's to free after a grace period; NULL if there is none.
 */
void *tcp_helper_rht_replace(struct rhashtable *ht, struct rhash_head *obj)
{
	struct tcp_rht_entry *new = container_of(obj, struct tcp_rht_entry, head);
	struct tcp_rht_entry *old;

	guard(rcu)();
	old = rhashtable_lookup(ht, &new->key, tcp_rht_params);
	if (!old || rhashtable_replace_fast(ht, &old->head, obj, tcp_rht_params))
		return NULL;
	return old;
}
