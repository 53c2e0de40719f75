// SPDX-License-Identifier: GPL-2.0

#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/kdev_t.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/seqlock.h>

struct inode *tcp_helper_d_inode(const struct dentry *dentry)
{
	return READ_ONCE(dentry->d_inode);
}

struct dentry *tcp_helper_d_parent(const struct dentry *dentry)
{
	return READ_ONCE(dentry->d_parent);
}

bool tcp_helper_d_is_sb_root(const struct dentry *dentry)
{
	return dentry == dentry->d_sb->s_root;
}

bool tcp_helper_d_disconnected(const struct dentry *dentry)
{
	return READ_ONCE(dentry->d_flags) & DCACHE_DISCONNECTED;
}

/* The encoding of `st_dev` for user space. */
u32 tcp_helper_sb_dev(const struct super_block *sb)
{
	return new_encode_dev(sb->s_dev);
}

struct inode *tcp_helper_file_inode(const struct file *file)
{
	return file_inode(file);
}

void tcp_helper_rename_begin(int *seq)
{
	read_seqbegin_or_lock(&rename_lock, seq);
}

bool tcp_helper_rename_retry(int seq)
{
	return need_seqretry(&rename_lock, seq);
}

void tcp_helper_rename_done(int seq)
{
	done_seqretry(&rename_lock, seq);
}

int tcp_helper_kern_path(const char *name, bool follow, struct path *path)
{
	return kern_path(name, follow ? LOOKUP_FOLLOW : 0, path);
}

/* `d_path` looks at the root of the caller, which an exiting task has lost. */
bool tcp_helper_current_has_fs(void)
{
	return current->fs;
}
