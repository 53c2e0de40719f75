// SPDX-License-Identifier: GPL-2.0

#include <linux/build_bug.h>
#include <linux/fileattr.h>
#include <linux/posix_acl.h>

/*
 * The entries of an ACL as bytes. Entries whose tag has no id leave that
 * member uninitialised, and nobody reads it: it gets a value here, so that the
 * same ACL always has the same bytes. The ACL is the caller's own, who has just
 * written to it as well (vfs_set_acl).
 */
const void *tcp_helper_posix_acl_bytes(struct posix_acl *acl, size_t *len)
{
	unsigned int i;

	static_assert(sizeof(struct posix_acl_entry) == 8);
	for (i = 0; i < acl->a_count; i++) {
		struct posix_acl_entry *entry = &acl->a_entries[i];

		if (entry->e_tag != ACL_USER && entry->e_tag != ACL_GROUP)
			entry->e_uid = INVALID_UID;
	}
	*len = acl->a_count * sizeof(struct posix_acl_entry);
	return acl->a_entries;
}

u32 tcp_helper_file_kattr_flags(const struct file_kattr *fa)
{
	return fa->flags;
}

u32 tcp_helper_file_kattr_xflags(const struct file_kattr *fa)
{
	return fa->fsx_xflags;
}
