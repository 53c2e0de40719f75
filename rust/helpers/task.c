// SPDX-License-Identifier: GPL-2.0

#include <linux/compat.h>
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/mm.h>
#include <linux/fs_struct.h>
#include <linux/nsproxy.h>
#include <linux/path.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/string.h>
#include <asm/syscall.h>

pid_t tcp_helper_current_tgid(void)
{
	return task_tgid_nr(current);
}

/* Nobody can add a thread to this process but this thread itself. */
bool tcp_helper_current_single_threaded(void)
{
	return thread_group_empty(current);
}

bool tcp_helper_current_mm_shared(void)
{
	struct mm_struct *mm = current->mm;

	return mm && atomic_read(&mm->mm_users) > 1;
}

bool tcp_helper_current_files_shared(void)
{
	struct files_struct *files = current->files;

	return files && atomic_read(&files->count) > 1;
}

bool tcp_helper_current_fs_shared(void)
{
	struct fs_struct *fs = current->fs;

	return fs && READ_ONCE(fs->users) > 1;
}

/*
 * Whether the root directory and the mount namespace are those of the first
 * process. Pointers are compared only; of the caller's own, the namespace is
 * stable, and the root as stable as the caller's fs_struct.
 */
bool tcp_helper_current_sees_host(void)
{
	struct nsproxy *own_ns = current->nsproxy;
	struct fs_struct *own_fs = current->fs;
	struct path root = {};
	struct task_struct *init;
	bool same = false;
	unsigned int seq;

	if (!own_ns || !own_fs)
		return false;
	do {
		seq = read_seqbegin(&own_fs->seq);
		root = own_fs->root;
	} while (read_seqretry(&own_fs->seq, seq));

	guard(rcu)();
	init = READ_ONCE(init_pid_ns.child_reaper);
	if (!init)
		return false;
	task_lock(init);
	if (init->nsproxy && init->nsproxy->mnt_ns == own_ns->mnt_ns && init->fs) {
		read_seqlock_excl(&init->fs->seq);
		same = path_equal(&init->fs->root, &root);
		read_sequnlock_excl(&init->fs->seq);
	}
	task_unlock(init);
	return same;
}

bool tcp_helper_in_task(void)
{
	return in_task();
}

bool tcp_helper_current_is_user(void)
{
	return !(current->flags & PF_KTHREAD);
}

bool tcp_helper_current_has_pt_regs(void)
{
	return !(current->flags &
		 (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER | PF_EXITING));
}

int tcp_helper_current_syscall_nr(void)
{
	return syscall_get_nr(current, task_pt_regs(current));
}

bool tcp_helper_in_compat_syscall(void)
{
	return in_compat_syscall();
}

struct files_struct *tcp_helper_current_files(void)
{
	return current->files;
}

/* SEND_SIG_PRIV, or a code that only the kernel uses. */
bool tcp_helper_siginfo_from_kernel(const struct kernel_siginfo *info)
{
	if (info == SEND_SIG_NOINFO || info == SEND_SIG_PRIV)
		return info == SEND_SIG_PRIV;
	return SI_FROMKERNEL(info);
}

bool tcp_helper_cred_caps_subset(const struct cred *new, const struct cred *old)
{
	return cap_issubset(new->cap_permitted, old->cap_permitted);
}

uid_t tcp_helper_cred_uid(const struct cred *cred)
{
	return __kuid_val(cred->uid);
}

uid_t tcp_helper_cred_euid(const struct cred *cred)
{
	return __kuid_val(cred->euid);
}

uid_t tcp_helper_cred_fsuid(const struct cred *cred)
{
	return __kuid_val(cred->fsuid);
}

gid_t tcp_helper_cred_gid(const struct cred *cred)
{
	return __kgid_val(cred->gid);
}

gid_t tcp_helper_cred_egid(const struct cred *cred)
{
	return __kgid_val(cred->egid);
}

uid_t tcp_helper_cred_suid(const struct cred *cred)
{
	return __kuid_val(cred->suid);
}

gid_t tcp_helper_cred_fsgid(const struct cred *cred)
{
	return __kgid_val(cred->fsgid);
}

gid_t tcp_helper_cred_sgid(const struct cred *cred)
{
	return __kgid_val(cred->sgid);
}

/* The supplementary groups; valid as long as the credentials. */
const kgid_t *tcp_helper_cred_groups(const struct cred *cred, size_t *len)
{
	*len = cred->group_info->ngroups;
	return cred->group_info->gid;
}

void tcp_helper_task_comm(struct task_struct *task, char *buf, size_t size)
{
	strscpy_pad(buf, task->comm, size);
}

/* The credentials that the task acts with; valid until it changes them itself. */
const struct cred *tcp_helper_current_cred(void)
{
	return current_cred();
}

/* Whether fcntl(F_SETOWN, nr) would name the calling process. */
bool tcp_helper_current_is_process(pid_t nr)
{
	return task_tgid_vnr(current) == nr;
}

/*
 * Calls @each for every mapping of a file in the calling task's memory, until it
 * returns false. @each may sleep, but not fault.
 */
void tcp_helper_current_for_each_mapping(bool (*each)(void *data, struct file *file,
						      unsigned long flags),
					 void *data)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;

	if (!mm)
		return;
	mmap_read_lock(mm);
	{
		VMA_ITERATOR(vmi, mm, 0);

		for_each_vma(vmi, vma)
			if (vma->vm_file && !each(data, vma->vm_file, vma->vm_flags))
				break;
	}
	mmap_read_unlock(mm);
}

/*
 * Whether the kernel acts for the calling task with credentials that are not its
 * own, as stacked file systems do. A worker of io_uring may have been lent some by
 * the task itself.
 */
bool tcp_helper_current_cred_overridden(void)
{
	return current->cred != current->real_cred &&
	       !(current->flags & (PF_KTHREAD | PF_IO_WORKER | PF_USER_WORKER));
}

/* The caller holds the lock of the table, as callbacks of iterate_fd() do. */
bool tcp_helper_current_close_on_exec(unsigned int fd)
{
	return close_on_exec(fd, current->files);
}
