// SPDX-License-Identifier: GPL-2.0

#include <linux/workqueue.h>

void tcp_helper_init_delayed_work(struct delayed_work *work, work_func_t run)
{
	INIT_DELAYED_WORK(work, run);
}

bool tcp_helper_mod_delayed_work(struct delayed_work *work, unsigned long delay)
{
	return mod_delayed_work(system_dfl_wq, work, delay);
}

/* Unlike the above it leaves alone what is pending. */
bool tcp_helper_queue_delayed_work(struct delayed_work *work, unsigned long delay)
{
	return queue_delayed_work(system_dfl_wq, work, delay);
}
