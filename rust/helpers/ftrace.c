// SPDX-License-Identifier: GPL-2.0

#include <linux/bpf.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/rcupdate_trace.h>
#include <linux/slab.h>

#if !defined(CONFIG_DYNAMIC_FTRACE_WITH_REGS) && !defined(CONFIG_DYNAMIC_FTRACE_WITH_ARGS)
#error "ftrace cannot change the instruction pointer on this configuration"
#endif

#ifndef CONFIG_KPROBES
#error "symbols are resolved by kprobes"
#endif

/*
 * Where redirected functions lead: all to `only`, or by a perfect hash from
 * their addresses to their targets. `ftrace.rs` fills it and has the same layout.
 */
struct tcp_redirect_slot {
	unsigned long ip;
	unsigned long target;
};

struct tcp_redirect_table {
	unsigned long only;
	unsigned long caller;
	unsigned long shared;
	u32 multiplier;
	struct tcp_redirect_slot slot[];
};

/* Must be the same function as `Table::index` in `ftrace.rs`, with its SLOT_BITS. */
static __always_inline u32 tcp_redirect_index(const struct tcp_redirect_table *table,
					      unsigned long ip)
{
	return ((u32)ip * table->multiplier) >> (32 - 9);
}

/*
 * Remembers where the trampoline that ftrace made for `ops` calls from, or else
 * that the function has another user.
 */
static noinline void notrace tcp_redirect_from(unsigned long caller, struct ftrace_ops *ops,
					       struct tcp_redirect_table *table)
{
	if (caller - ops->trampoline < ops->trampoline_size)
		WRITE_ONCE(table->caller, caller);
	else if (!READ_ONCE(table->shared))
		WRITE_ONCE(table->shared, 1);
}

/*
 * `ops->private` is the table; see `ftrace::Redirect`.
 *
 * ftrace calls this from the trampoline that it made for `ops`, always from the
 * same place, unless the same function has another user, such as a BPF program:
 * then from a loop over all.
 */
void notrace tcp_helper_ftrace_redirect(unsigned long ip, unsigned long parent_ip,
					struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	unsigned long caller = (unsigned long)__builtin_return_address(0);
	struct tcp_redirect_table *table = ops->private;
	const struct tcp_redirect_slot *slot = &table->slot[tcp_redirect_index(table, ip)];

	if (likely(slot->ip == ip))
		ftrace_regs_set_instruction_pointer(fregs, slot->target);
	if (unlikely(caller != table->caller))
		tcp_redirect_from(caller, ops, table);
}

/* The same for a single function. */
void notrace tcp_helper_ftrace_redirect_only(unsigned long ip, unsigned long parent_ip,
					     struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	unsigned long caller = (unsigned long)__builtin_return_address(0);
	struct tcp_redirect_table *table = ops->private;

	ftrace_regs_set_instruction_pointer(fregs, table->only);
	if (unlikely(caller != table->caller))
		tcp_redirect_from(caller, ops, table);
}

/*
 * What register_ftrace_direct() takes for a jump to `target`; 0 if the kernel
 * would call it, which leaves a return address too many.
 */
unsigned long tcp_helper_ftrace_jump_to(unsigned long target)
{
	return IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_JMP) ? ftrace_jmp_set(target) : 0;
}

/*
 * Finds the address that ftrace knows each of the `count` kernel functions by.
 * A kprobe that is registered disabled resolves its symbol and arms nothing.
 * On failure, `*failed` is the index of the function that is missing or
 * cannot be traced.
 */
int tcp_helper_ftrace_resolve(const char *const *symbols, unsigned long *ips, unsigned int count,
			      unsigned int *failed)
{
	struct kprobe *probes __free(kvfree) = kvcalloc(count, sizeof(*probes), GFP_KERNEL);
	struct kprobe **registered __free(kvfree) =
		kvcalloc(count, sizeof(*registered), GFP_KERNEL);
	unsigned int i;
	int ret = 0;

	*failed = count;
	if (!probes || !registered)
		return -ENOMEM;

	for (i = 0; i < count; i++) {
		probes[i].symbol_name = symbols[i];
		probes[i].flags = KPROBE_FLAG_DISABLED;
		ret = register_kprobe(&probes[i]);
		if (ret) {
			*failed = i;
			break;
		}
		registered[i] = &probes[i];
		ips[i] = (unsigned long)probes[i].addr;
		if (!kprobe_ftrace(&probes[i])) {
			*failed = i;
			ret = -EOPNOTSUPP;
			i++;
			break;
		}
	}
	/* One grace period for all. */
	if (i)
		unregister_kprobes(registered, i);
	return ret;
}

/*
 * The most programs that one BPF trampoline runs, plus one: how often a task
 * inside a trampoline may sleep before it reaches the traced function.
 */
unsigned int tcp_helper_bpf_trampoline_rounds(void)
{
#ifdef CONFIG_BPF_JIT
	return BPF_MAX_TRAMP_LINKS + 1;
#else
	return 0;
#endif
}

void tcp_helper_synchronize_rcu_tasks_trace(void)
{
	synchronize_rcu_tasks_trace();
}
