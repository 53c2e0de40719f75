// SPDX-License-Identifier: GPL-2.0

#include <linux/binfmts.h>
#include <linux/highmem.h>
#include <linux/mm.h>

struct file *tcp_helper_bprm_file(const struct linux_binprm *bprm)
{
	return bprm->file;
}

const struct cred *tcp_helper_bprm_cred(const struct linux_binprm *bprm)
{
	return bprm->cred;
}

int tcp_helper_bprm_argc(const struct linux_binprm *bprm)
{
	return bprm->argc;
}

int tcp_helper_bprm_envc(const struct linux_binprm *bprm)
{
	return bprm->envc;
}

/*
 * Hands the bytes from `bprm->p` upwards to `each`, in pieces that do not cross
 * a page, until `each` returns false or the stack ends. The new stack cannot be
 * reached by any other task yet, so the bytes do not change meanwhile.
 */
int tcp_helper_bprm_for_each_page(struct linux_binprm *bprm,
				  bool (*each)(void *data, const char *bytes, size_t len),
				  void *data)
{
#ifdef CONFIG_MMU
	unsigned long pos = bprm->p, end = bprm->exec;
	struct mm_struct *mm = bprm->mm;

	if (!mm)
		return -EINVAL;

	while (pos < end) {
		size_t len = min_t(size_t, PAGE_SIZE - offset_in_page(pos), end - pos);
		struct page *page;
		char *address;
		bool more;
		long ret;

		if (mmap_read_lock_killable(mm))
			return -EINTR;
		ret = get_user_pages_remote(mm, pos, 1, FOLL_FORCE, &page, NULL);
		mmap_read_unlock(mm);
		if (ret <= 0)
			return ret < 0 ? ret : -EFAULT;

		address = kmap_local_page(page);
		more = each(data, address + offset_in_page(pos), len);
		kunmap_local(address);
		put_page(page);
		if (!more)
			break;
		pos += len;
	}
	return 0;
#else
	return -EOPNOTSUPP;
#endif
}
