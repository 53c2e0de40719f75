// SPDX-License-Identifier: GPL-2.0

#include <linux/compat.h>
#include <linux/dcache.h>
#include <linux/fs.h>
#include <linux/fs_struct.h>
#include <linux/kdev_t.h>
#include <linux/mount.h>
#include <linux/namei.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/seqlock.h>
#include <linux/stat.h>
#include <asm/syscall.h>
#include <asm/unistd.h>

#include "mount.h"

bool tcp_helper_d_disconnected(const struct dentry *dentry)
{
	return READ_ONCE(dentry->d_flags) & DCACHE_DISCONNECTED;
}

/*
 * What is beneath a regular file of an overlay, else the same entry. The one of
 * the data would be looked up only now, with a warning when that fails.
 */
struct dentry *tcp_helper_d_real_attributes(struct dentry *dentry)
{
	return d_real(dentry, D_REAL_METADATA);
}

/* The encoding of `st_dev` for user space. */
u32 tcp_helper_sb_dev(const struct super_block *sb)
{
	return new_encode_dev(sb->s_dev);
}

/* Whether the kernel made this mount for itself; a copy of it is not. */
bool tcp_helper_mnt_is_internal(const struct vfsmount *mnt)
{
	return READ_ONCE(mnt->mnt_flags) & MNT_INTERNAL;
}

/*
 * The mount that the root directory of the task is in; NULL if it has lost it
 * already. To compare, and to look at under RCU: another task that shares the
 * `fs_struct` may change it at any time.
 */
const struct vfsmount *tcp_helper_current_root_mnt(void)
{
	struct fs_struct *fs = current->fs;

	return fs ? READ_ONCE(fs->root.mnt) : NULL;
}

/* tcp_mnt_up() for those who do not know struct mount. */
int tcp_helper_mnt_up(const struct vfsmount **path_mnt, struct dentry **path_dentry)
{
	const struct mount *mnt = container_of_const(*path_mnt, struct mount, mnt);
	int ret = tcp_mnt_up(&mnt, path_dentry);

	*path_mnt = &mnt->mnt;
	return ret;
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

/*
 * The path of the file that user space has, if this is one that the kernel
 * opened beneath it, else its own.
 */
const struct path *tcp_helper_file_shown_path(const struct file *file)
{
	if (unlikely(file->f_mode & FMODE_BACKING)) {
		const struct path *path = backing_file_user_path(file);

		if (path->mnt && path->dentry)
			return path;
	}
	return &file->f_path;
}

/*
 * Whether the task is in execve, from the first step: `in_execve` is set only
 * after the program was opened. Only numbers of tables that are known here
 * count; for others the answer is no.
 */
static bool tcp_current_in_execve(void)
{
	int nr;

	/* No memory of its own yet: a program that the kernel starts. */
	if (current->in_execve || !current->mm)
		return true;
	if (current->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER | PF_EXITING))
		return false;
	nr = syscall_get_nr(current, task_pt_regs(current));
#ifdef CONFIG_X86_64
#ifdef CONFIG_IA32_EMULATION
	if (in_ia32_syscall())
		return nr == __NR_ia32_execve || nr == __NR_ia32_execveat;
#endif
#ifdef CONFIG_X86_X32_ABI
	if (in_x32_syscall()) {
		nr &= ~__X32_SYSCALL_BIT;
		return nr == (__NR_x32_execve & ~__X32_SYSCALL_BIT) ||
		       nr == (__NR_x32_execveat & ~__X32_SYSCALL_BIT);
	}
#endif
#else
	if (in_compat_syscall())
		return false;
#endif
	return nr == __NR_execve || nr == __NR_execveat;
}

/*
 * Whether the file is being opened by execve. `__FMODE_EXEC` in the flags may
 * come from user space (mq_open, TIOCGPTPEER, XFS handles), but no such call
 * is made on the way through execve.
 */
bool tcp_helper_file_is_exec(const struct file *file)
{
	return (file->f_flags & __FMODE_EXEC) && S_ISREG(file_inode(file)->i_mode) &&
	       tcp_current_in_execve();
}

/*
 * Also of what is beneath a file of overlayfs. Once that is open, the data has
 * been looked up.
 */
bool tcp_helper_file_is_unverifiable(const struct file *file)
{
	const struct dentry *real =
		d_real(file->f_path.dentry,
		       file->f_mode & FMODE_OPENED ? D_REAL_DATA : D_REAL_METADATA);

	return ((file_inode(file)->i_sb->s_iflags | real->d_sb->s_iflags) &
		SB_I_IMA_UNVERIFIABLE_SIGNATURE) != 0;
}

static bool tcp_dir_opens(const struct dentry *dentry)
{
	const struct inode *dir;

	guard(rcu)();
	dir = READ_ONCE(READ_ONCE(dentry->d_parent)->d_inode);
	return dir && dir->i_op->atomic_open;
}

/*
 * Whether the file system of the file, or of the one that it is beneath, opens
 * files itself. It may hold the lock of the directory while it does.
 */
bool tcp_helper_file_opens_locked(const struct file *file)
{
	return tcp_dir_opens(file->f_path.dentry) ||
	       tcp_dir_opens(tcp_helper_file_shown_path(file)->dentry);
}
