// SPDX-License-Identifier: GPL-2.0

#include <linux/fs.h>
#include <linux/kmemleak.h>

bool tcp_helper_securityfs_readable(const struct file *file)
{
	return file->f_mode & FMODE_READ;
}

bool tcp_helper_securityfs_writable(const struct file *file)
{
	return file->f_mode & FMODE_WRITE;
}

/* Context: only while @file is being opened. */
void tcp_helper_securityfs_no_llseek(struct file *file)
{
	file->f_mode &= ~FMODE_LSEEK;
}

/* Context: only from the ->open() of @file. Takes over a reference to @fops. */
void tcp_helper_securityfs_replace_fops(struct file *file,
					const struct file_operations *fops)
{
	replace_fops(file, fops);
}

void tcp_helper_kmemleak_not_leak(const void *ptr)
{
	kmemleak_not_leak(ptr);
}
