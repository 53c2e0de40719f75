// SPDX-License-Identifier: GPL-2.0
/*
 * Non-trivial C macros cannot be used in Rust, and inlined C functions cannot be
 * called: the files below wrap those that the `kernel` crate does not.
 *
 * Sorted alphabetically.
 */

#include <linux/compiler_types.h>

#include "helpers/binprm.c"
#include "helpers/crypto.c"
#include "helpers/ftrace.c"
#include "helpers/genetlink.c"
#include "helpers/lsm.c"
#include "helpers/path.c"
#include "helpers/recall.c"
#include "helpers/rhashtable.c"
#include "helpers/securityfs.c"
#include "helpers/sig.c"
#include "helpers/socket.c"
#include "helpers/task.c"
#include "helpers/tpm.c"
#include "helpers/vma.c"
#include "helpers/workqueue.c"
