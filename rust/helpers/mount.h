/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TCP_HELPERS_MOUNT_H
#define TCP_HELPERS_MOUNT_H

/* `struct mount` is in no header of include/, and this one has no guard. */
#include "../fs/mount.h"

#endif
