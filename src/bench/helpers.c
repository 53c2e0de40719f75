// SPDX-License-Identifier: GPL-2.0
/* An object of its own: one cannot belong to two modules. */
#include "../../rust/helpers.c"

#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/vmstat.h>

/*
 * Free memory in bytes. si_meminfo() leaves out the pages that each processor
 * keeps to itself, which may be hundreds of megabytes after much was freed.
 */
u64 tcp_bench_free_bytes(void)
{
	u64 pages = 0;
	int node;

	for_each_online_node(node) {
		struct zone *zones = NODE_DATA(node)->node_zones;
		struct zone *zone;
		int cpu;

		for (zone = zones; zone < zones + MAX_NR_ZONES; zone++) {
			if (!populated_zone(zone))
				continue;
			pages += zone_page_state_snapshot(zone, NR_FREE_PAGES);
			for_each_online_cpu(cpu)
				pages += READ_ONCE(per_cpu_ptr(zone->per_cpu_pageset, cpu)->count);
		}
	}
	return pages << PAGE_SHIFT;
}
