/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Headers that the `kernel` crate's bindings lack. Sorted alphabetically.
 */

#include <crypto/sig.h>
#include <linux/dcache.h>
#include <linux/ftrace.h>
#include <linux/namei.h>
#include <linux/rcupdate.h>
#include <linux/rhashtable.h>
#include <linux/security.h>
#include <linux/tpm.h>

#include "../../src/tcp_lsm_trace.h"
