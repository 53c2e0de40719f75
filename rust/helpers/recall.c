// SPDX-License-Identifier: GPL-2.0

/*
 * The part of `recall.rs` that runs whenever an agent does something that it
 * has just done. It is in C because half of it is what the kernel has as
 * inlined functions only: from Rust, each of them would be a call.
 */

#include <linux/cred.h>
#include <linux/dcache.h>
#include <linux/fs_struct.h>
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/path.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/seqlock.h>

#include "mount.h"

/* `Cell` in filter.rs. */
struct tcp_filter_cell {
	u32 count;
	u32 number;
	unsigned long key;
};

/* `BUSY` in filter.rs. */
#define TCP_FILTER_BUSY 1

/* `NAMED` in recall.rs, as a power of two. */
#define TCP_RECALL_NAMED_BITS 15

/* `MULTIPLIER` in filter.rs. */
#define TCP_FIBONACCI 0x9e3779b97f4a7c15

/* `Place` and `ABOVE` in place.rs. */
#define TCP_PLACE_ABOVE 12

struct tcp_place {
	u64 directory;
	u64 mount;
	u64 root;
	u64 namespace;
	u64 event;
	/* The number of renames, which comes twice in no second, and about the second. */
	u32 moves;
	u32 second;
	/* Inodes from the directory to the root, 0 after the last; all 0 if they are not known. */
	u64 above[TCP_PLACE_ABOVE];
};

/* `Slot`, `SLOT_BITS` and `Recall` in recall.rs. */
struct tcp_recall_slot {
	u32 turn;
	u32 line;
	u32 uid;
	u32 generation;
	u64 act;
	u64 epoch;
	struct tcp_place place;
};

#define TCP_RECALL_SLOT_BITS 10

struct tcp_recall {
	const struct tcp_recall_slot *slots;
	const struct tcp_filter_cell *named;
	u64 epoch;
};

static __always_inline u32 tcp_moves(void)
{
	return READ_ONCE(rename_lock.seqcount.seqcount.sequence);
}

static __always_inline u32 tcp_second(void)
{
	return READ_ONCE(jiffies) >> ilog2(HZ);
}

/* Mounts are named by what is never given twice: their memory is. */
static __always_inline u64 tcp_mnt_name(const struct vfsmount *mnt)
{
	return container_of_const(mnt, struct mount, mnt)->mnt_id_unique;
}

/*
 * Whether an entry may be elsewhere without a rename: the file system may look
 * it up again, as those of networks do, or it is a file of an overlay, which is
 * in two places. Entries of a directory are alike in this, or what is looked up
 * again is not the directory.
 */
static __always_inline bool tcp_may_stray(const struct dentry *entry)
{
	return READ_ONCE(entry->d_flags) & (DCACHE_OP_REAL | DCACHE_OP_REVALIDATE);
}

/* A directory above an entry, and the mount that it is seen in. */
struct tcp_step {
	struct dentry *dir;
	const struct mount *mnt;
};

/*
 * Goes one directory up, from the root of a file system to where it is mounted:
 * what Path::walk() does. Returns false at the root of all.
 *
 * Context: RCU. What is met is of one moment only if nothing was renamed and no
 * mount was changed meanwhile.
 */
static __always_inline bool tcp_step_up(struct tcp_step *step)
{
	struct dentry *parent = READ_ONCE(step->dir->d_parent);

	if (parent == step->dir)
		return tcp_mnt_up(&step->mnt, &step->dir) > 0;
	step->dir = parent;
	return true;
}

/* Gets the inodes from a directory upwards, if they fit and none may stray. */
static void tcp_get_above(const struct path *path, struct dentry *dir, u64 *above)
{
	struct tcp_step step = { .dir = dir, .mnt = real_mount(path->mnt) };
	unsigned int i = 0;

	do {
		if (i == TCP_PLACE_ABOVE - 1 || tcp_may_stray(step.dir)) {
			i = 0;
			break;
		}
		above[i++] = (unsigned long)READ_ONCE(step.dir->d_inode);
	} while (tcp_step_up(&step));
	memset(above + i, 0, (TCP_PLACE_ABOVE - i) * sizeof(*above));
}

/*
 * Whether the same lies above, although something was renamed. Mounts are the
 * same already.
 */
static noinline bool notrace tcp_above_is(const struct path *path, struct dentry *dir,
					  const u64 *above)
{
	struct tcp_step step = { .dir = dir, .mnt = real_mount(path->mnt) };
	u32 moves = tcp_moves();
	unsigned int i = 0;

	if (moves & 1)
		return false;
	smp_rmb();
	do {
		if (i == TCP_PLACE_ABOVE - 1 ||
		    above[i++] != (unsigned long)READ_ONCE(step.dir->d_inode))
			return false;
	} while (tcp_step_up(&step));
	smp_rmb();
	return !above[i] && tcp_moves() == moves;
}

/*
 * Gets what says where the entry of `path` is: `Place` in place.rs says what
 * for.
 *
 * Mounts are moved first, and `event` is changed then. Only umount changes it
 * before, but takes the mount out of its namespace in between.
 */
bool tcp_helper_place(const struct path *path, void *words)
{
	struct tcp_place *place = words;
	const struct dentry *entry = path->dentry;
	const struct fs_struct *fs = current->fs;
	u32 moves = tcp_moves();
	const struct mnt_namespace *ns;
	struct dentry *dir;

	guard(rcu)();
	dir = READ_ONCE(entry->d_parent);
	ns = READ_ONCE(real_mount(path->mnt)->mnt_ns);
	if (dir == entry || (moves & 1) || IS_ERR_OR_NULL(ns) || !fs || tcp_may_stray(entry))
		return false;
	place->directory = (unsigned long)READ_ONCE(dir->d_inode);
	place->mount = tcp_mnt_name(path->mnt);
	place->root = tcp_mnt_name(READ_ONCE(fs->root.mnt));
	place->namespace = (unsigned long)ns;
	place->event = READ_ONCE(ns->event);
	place->moves = moves;
	place->second = tcp_second();
	tcp_get_above(path, dir, place->above);
	return true;
}

/*
 * Whether tcp_helper_place() would give this but for renames, which it gave
 * once for an entry of that directory; or for the root of a file system, then
 * for that one, which has the same above it as what is in it.
 */
static __always_inline bool tcp_place_is(const struct path *path, const struct dentry *dir,
					 const struct tcp_place *place)
{
	const struct fs_struct *fs = current->fs;
	const struct mnt_namespace *ns = READ_ONCE(real_mount(path->mnt)->mnt_ns);

	return place->directory == (unsigned long)READ_ONCE(dir->d_inode) &&
	       place->mount == tcp_mnt_name(path->mnt) && place->namespace == (unsigned long)ns &&
	       place->event == READ_ONCE(ns->event) && fs &&
	       place->root == tcp_mnt_name(READ_ONCE(fs->root.mnt)) &&
	       place->second == tcp_second();
}

/*
 * Whether a rule may name that inode: one that was added before the epoch was
 * read. Where only one inode leads that is known, it is that one and no other.
 */
static __always_inline bool tcp_may_be_named(const struct tcp_recall *recall, unsigned long inode)
{
	const struct tcp_filter_cell *cell =
		&recall->named[(inode * TCP_FIBONACCI) >> (64 - TCP_RECALL_NAMED_BITS)];
	u32 count = smp_load_acquire(&cell->count);
	unsigned long key;

	if (likely(!count))
		return false;
	key = READ_ONCE(cell->key);
	return count != 1 || key <= TCP_FILTER_BUSY || key == inode;
}

/* Must be the same function as `Act::slot` in recall.rs. */
static __always_inline const struct tcp_recall_slot *
tcp_recall_slot(const struct tcp_recall *recall, const struct dentry *dir, u64 act)
{
	u64 hash = ((unsigned long)dir ^ act) * TCP_FIBONACCI;

	return &recall->slots[hash >> (64 - TCP_RECALL_SLOT_BITS)];
}

/* What a slot says that was read at that turn: all of it is of one turn if it is still the same. */
static __always_inline u64 tcp_found(const struct tcp_recall_slot *slot, u32 turn)
{
	u64 found = BIT_ULL(32) | slot->line;

	smp_rmb();
	return likely(READ_ONCE(slot->turn) == turn) ? found : 0;
}

/*
 * The end of tcp_recalled() when something was renamed since; apart from it, so
 * that it has no registers to save.
 */
static noinline u64 notrace tcp_recalled_since(const struct path *path, struct dentry *dir,
					       const struct tcp_recall_slot *slot, u32 turn)
{
	u64 found = tcp_above_is(path, dir, slot->place.above) ? tcp_found(slot, turn) : 0;

	preempt_enable_notrace();
	return found;
}

/* What is remembered, if it is of that epoch, and of that generation or of any if 0 is given. */
static __always_inline u64 tcp_recalled(const struct tcp_recall *recall, u64 epoch, u64 act,
					const struct path *path, u32 generation)
{
	const struct tcp_recall_slot *slot;
	struct dentry *dir;
	u64 found = 0;
	u32 turn;

	/* As good as rcu_read_lock(), and inlined. */
	preempt_disable_notrace();
	dir = READ_ONCE(path->dentry->d_parent);
	slot = tcp_recall_slot(recall, dir, act);
	turn = smp_load_acquire(&slot->turn);
	if (likely(!(turn & 1) && slot->act == act && slot->epoch == epoch &&
		   slot->uid == __kuid_val(current_euid()) &&
		   (!generation || slot->generation == generation) &&
		   tcp_place_is(path, dir, &slot->place))) {
		if (unlikely(slot->place.moves != tcp_moves()))
			return tcp_recalled_since(path, dir, slot, turn);
		found = tcp_found(slot, turn);
	}
	preempt_enable_notrace();
	return found;
}

/*
 * What is remembered of the calling task doing something at `path`: 1 in the
 * upper half and the line of the rule in the lower half; 0 if nothing is. The
 * operation is the upper half of `op`. `label` is the cell that the task leads
 * to among those that may be labelled.
 */
u64 notrace tcp_helper_recalled(const void *words, const void *label, const struct path *path,
				u64 op)
{
	const struct tcp_recall *recall = words;
	const struct tcp_filter_cell *cell = label;
	/* Before anything else is looked at. */
	u64 epoch = smp_load_acquire(&recall->epoch);

	/* The task itself keeps the number from changing. */
	if (unlikely(READ_ONCE(cell->key) != (unsigned long)current))
		return 0;
	/*
	 * Of a policy that is just being replaced, too: what was remembered may
	 * come from that one.
	 */
	if (unlikely(tcp_may_be_named(recall, (unsigned long)path->dentry->d_inode)))
		return 0;
	return tcp_recalled(recall, epoch, op | READ_ONCE(cell->number), path, 0);
}

/*
 * The same of a task of the agent that is the lower half of `act`, not 0, if it
 * comes from the policy of that generation, not 0, which does not name what is
 * at `path`.
 */
u64 tcp_helper_recalled_of(const void *words, const struct path *path, u64 act, u32 generation)
{
	const struct tcp_recall *recall = words;

	return tcp_recalled(recall, smp_load_acquire(&recall->epoch), act, path, generation);
}
