// SPDX-License-Identifier: GPL-2.0
/* An object of its own: one cannot belong to two modules. */
#include "../tcp_lsm_events.c"
