// SPDX-License-Identifier: GPL-2.0

#include <linux/mm.h>

struct file *tcp_helper_vma_file(const struct vm_area_struct *vma)
{
	return vma->vm_file;
}

unsigned long tcp_helper_vma_flags(const struct vm_area_struct *vma)
{
	return vma->vm_flags;
}

/* A private mapping of a file whose pages were written to is no longer the file. */
bool tcp_helper_vma_has_anon(const struct vm_area_struct *vma)
{
	return vma->anon_vma;
}
