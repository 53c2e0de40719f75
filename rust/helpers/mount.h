/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TCP_HELPERS_MOUNT_H
#define TCP_HELPERS_MOUNT_H

/* `struct mount` is in no header of include/, and this one has no guard. */
#include "../fs/mount.h"

/*
 * Goes from a mount to the one that it is mounted in, and to the place there:
 * 1. If it is mounted nowhere, 0. If it is being moved, -EAGAIN. What
 * follow_up() does, without its lock and references.
 *
 * Context: RCU.
 */
static __always_inline int tcp_mnt_up(const struct mount **mnt, struct dentry **dentry)
{
	const struct mount *parent = READ_ONCE((*mnt)->mnt_parent);
	struct dentry *mountpoint;

	if (parent == *mnt)
		return 0;
	mountpoint = READ_ONCE((*mnt)->mnt_mountpoint);
	/* The two belong together if the first is the same afterwards. */
	smp_rmb();
	if (unlikely(READ_ONCE((*mnt)->mnt_parent) != parent))
		return -EAGAIN;
	*mnt = parent;
	*dentry = mountpoint;
	return 1;
}

#endif
