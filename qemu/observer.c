// SPDX-License-Identifier: GPL-2.0
/*
 * A TCG plugin of QEMU that sees, from outside of the guest, what the module's code does: how often
 * each region of it ran (the counters of a build with -Cinstrument-coverage) and what each hook
 * returned after which decision. The guest needs no change, and the module no run-time library.
 *
 * Arguments: out=FILE, config=FILE. scripts/module-coverage-report makes the configuration; its lines:
 *   at=KIND:HEX[:NAME]  an address in the kernel (without KASLR): `init` do_init_module, `free`
 *                       free_module, `marker` tracing_mark_write, `off` kernel_power_off, `hook` a stub
 *   range=HEX-HEX       code that calls stubs (may be repeated)
 *   module=N:N:N:N      offsets in struct module: name, base of text, base of data; of the size from a base
 *   decision=HEX        offset of the tracepoint's function in the module's text
 *   permit=HEX          offset of the counter of Node::permit from the first counter
 *   counters=N          how many counters there are
 *   first=HEX:HEX       the two words that the first record of __llvm_prf_data begins with
 *   distance=HEX        offset of that record's counters from the first counter
 *
 * What it writes: `test NAME` (what follows was seen since), `load`, `count INDEX N`,
 * `hook NAME RETURNED VERDICT ERROR PERMITTED N` (VERDICT -1: nothing was decided), and `lost N`, hooks
 * whose return was not seen.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>

/* What is used of QEMU's plugin interface, version 4 (qemu/qemu-plugin.h), and of GLib. */
typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_register;
struct qemu_info;
typedef struct {
	uint8_t *data;
	unsigned int len;
} GByteArray;
typedef struct {
	char *data;
	unsigned int len;
} GArray;
struct reg_descriptor {
	struct qemu_plugin_register *handle;
	const char *name;
	const char *feature;
};
enum { CB_R_REGS = 1 };

GByteArray *g_byte_array_new(void);
GByteArray *g_byte_array_set_size(GByteArray *array, unsigned int length);
void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t id,
				       void (*cb)(qemu_plugin_id_t, unsigned int));
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t idx);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*cb)(unsigned int, void *), int flags, void *udata);
GArray *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(struct qemu_plugin_register *handle, GByteArray *buf);
bool qemu_plugin_read_memory_vaddr(uint64_t addr, GByteArray *data, size_t len);

__attribute__((visibility("default"))) int qemu_plugin_version = 4;

static uint64_t name_offset, text_offset, data_offset, size_offset;

enum kind { INIT, FREE, MARKER, OFF, HOOK };
static const char *const kinds[] = { "init", "free", "marker", "off", "hook" };

struct place {
	uint64_t address;
	enum kind kind;
	char name[64];
};
struct range {
	uint64_t from, to;
};
struct decision {
	int verdict, error, permitted;
};
#define DECISIONS 4
/* A hook that a task is in. */
struct frame {
	uint64_t stack, pointer, back;
	const struct place *hook;
	int decisions;
	struct decision decision[DECISIONS];
};
/* What a hook was seen to do. */
struct outcome {
	const struct place *hook;
	int returned;
	struct decision decision;
	uint64_t times;
};

enum { PLACES = 256, RANGES = 1024, FRAMES = 4096, OUTCOMES = 8192, CPUS = 64 };
static struct place places[PLACES];
static struct range ranges[RANGES];
static struct frame frames[FRAMES];
static struct outcome outcomes[OUTCOMES];
static size_t n_places, n_ranges, n_frames, n_outcomes;
static uint64_t lost;

static uint64_t decision_offset, permit_offset, n_counters, first[2], distance;
static uint64_t text, counters, decision_at, permits;
static uint64_t *before;
static FILE *out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

enum reg { RAX, RDI, RSI, RDX, R8, RSP, REGS };
static const char *const reg_names[] = { "rax", "rdi", "rsi", "rdx", "r8", "rsp" };
static struct qemu_plugin_register *handles[CPUS][REGS];
static GByteArray *bytes;

static void die(const char *what, const char *which)
{
	fprintf(stderr, "observer: %s%s\n", what, which);
	exit(1);
}

/* All below is called with the lock held. */

static uint64_t reg(unsigned int cpu, enum reg reg)
{
	uint64_t value = 0;

	g_byte_array_set_size(bytes, 0);
	qemu_plugin_read_register(handles[cpu][reg], bytes);
	memcpy(&value, bytes->data, bytes->len < 8 ? bytes->len : 8);
	return value;
}

static bool read_guest(uint64_t address, void *to, size_t length)
{
	if (!qemu_plugin_read_memory_vaddr(address, bytes, length) || bytes->len < length)
		return false;
	memcpy(to, bytes->data, length);
	return true;
}

static void flush_hooks(void)
{
	for (size_t i = 0; i < n_outcomes; i++) {
		const struct outcome *seen = &outcomes[i];

		fprintf(out, "hook %s %d %d %d %d %llu\n", seen->hook->name, seen->returned,
			seen->decision.verdict, seen->decision.error, seen->decision.permitted,
			(unsigned long long)seen->times);
	}
	n_outcomes = 0;
	if (lost)
		fprintf(out, "lost %llu\n", (unsigned long long)lost);
	lost = 0;
}

/* Writes down what was counted since the last time. */
static void flush(void)
{
	static uint64_t *now;

	flush_hooks();
	if (!now)
		now = calloc(n_counters, 8);
	if (counters && read_guest(counters, now, n_counters * 8)) {
		for (size_t i = 0; i < n_counters; i++)
			if (now[i] > before[i])
				fprintf(out, "count %zu %llu\n", i,
					(unsigned long long)(now[i] - before[i]));
		memcpy(before, now, n_counters * 8);
	}
	fflush(out);
}

static bool is_ours(uint64_t module)
{
	char name[8] = "";

	return read_guest(module + name_offset, name, 8) && !memcmp(name, "tcp_lsm", 8);
}

/* The module is in memory and about to run: finds its counters by what their records begin with. */
static void loaded(uint64_t module)
{
	uint64_t data;
	uint32_t size;
	uint8_t *copy;

	if (!is_ours(module))
		return;
	flush();
	if (!read_guest(module + text_offset, &text, 8) || !read_guest(module + data_offset, &data, 8) ||
	    !read_guest(module + data_offset + size_offset, &size, 4))
		die("the module's memory cannot be read", "");
	copy = malloc(size);
	if (!copy || !read_guest(data, copy, size))
		die("the module's data cannot be read", "");
	counters = 0;
	for (uint32_t at = 0; at + 24 <= size; at += 8) {
		uint64_t words[3];

		memcpy(words, copy + at, 24);
		if (words[0] == first[0] && words[1] == first[1])
			counters = data + at + words[2] - distance;
	}
	free(copy);
	if (!counters)
		die("the module has no counters", "");
	memset(before, 0, n_counters * 8);
	permits = 0;
	decision_at = text + decision_offset;
	fprintf(out, "load\n");
	fflush(out);
}

static void freed(uint64_t module)
{
	if (!counters || !is_ours(module))
		return;
	flush();
	counters = 0;
	decision_at = 0;
}

static void marked(uint64_t address, uint64_t length)
{
	char name[128] = "";

	flush();
	if (length >= sizeof(name))
		length = sizeof(name) - 1;
	if (!read_guest(address, name, length))
		return;
	name[strcspn(name, "\n")] = 0;
	if (!strncmp(name, "test ", 5))
		fprintf(out, "%s\n", name);
}

static void note(const struct place *hook, int returned, struct decision decision)
{
	struct outcome seen = { hook, returned, decision, 1 };

	for (size_t i = 0; i < n_outcomes; i++) {
		if (outcomes[i].hook == hook && outcomes[i].returned == returned &&
		    !memcmp(&outcomes[i].decision, &decision, sizeof(decision))) {
			outcomes[i].times++;
			return;
		}
	}
	if (n_outcomes == OUTCOMES)
		die("too many outcomes", "");
	outcomes[n_outcomes++] = seen;
}

/* A stack has 16 KiB, and is aligned to that. */
static uint64_t stack_of(uint64_t pointer)
{
	return pointer >> 14;
}

static struct frame *top_frame(uint64_t pointer)
{
	struct frame *top = NULL;

	for (size_t i = 0; i < n_frames; i++)
		if (frames[i].stack == stack_of(pointer) && (!top || frames[i].pointer < top->pointer))
			top = &frames[i];
	return top;
}

static void drop_frame(struct frame *frame)
{
	*frame = frames[--n_frames];
}

static void entered(const struct place *hook, uint64_t pointer)
{
	struct frame *frame;

	if (!counters)
		return;
	/* What lies below was left without being seen. */
	for (frame = top_frame(pointer); frame && frame->pointer <= pointer; frame = top_frame(pointer)) {
		drop_frame(frame);
		lost++;
	}
	if (n_frames == FRAMES)
		die("too many tasks in hooks", "");
	frame = &frames[n_frames];
	memset(frame, 0, sizeof(*frame));
	if (!read_guest(pointer, &frame->back, 8))
		return;
	frame->stack = stack_of(pointer);
	frame->pointer = pointer;
	frame->hook = hook;
	n_frames++;
}

static void decided(unsigned int cpu)
{
	struct frame *frame = top_frame(reg(cpu, RSP));
	struct decision decision = { (int)reg(cpu, RSI), (int)reg(cpu, R8), 0 };
	uint64_t now = permits;

	if (decision.error == 0 && counters)
		read_guest(counters + permit_offset, &now, 8);
	decision.permitted = now > permits;
	permits = now;
	if (frame && frame->decisions < DECISIONS)
		frame->decision[frame->decisions++] = decision;
}

static void returned(struct frame *frame, int value)
{
	if (frame->decisions == 0) {
		note(frame->hook, value, (struct decision){ -1, 0, 0 });
	} else if (value) {
		note(frame->hook, value, frame->decision[frame->decisions - 1]);
	} else {
		for (int i = 0; i < frame->decisions; i++)
			note(frame->hook, value, frame->decision[i]);
	}
	drop_frame(frame);
}

/* Callbacks of QEMU. */

static void at_place(unsigned int cpu, void *data)
{
	const struct place *place = data;

	pthread_mutex_lock(&lock);
	switch (place->kind) {
	case INIT: loaded(reg(cpu, RDI)); break;
	case FREE: freed(reg(cpu, RDI)); break;
	/* tracing_mark_write(file, buffer, length, position) */
	case MARKER: marked(reg(cpu, RSI), reg(cpu, RDX)); break;
	case OFF: flush(); break;
	case HOOK: entered(place, reg(cpu, RSP)); break;
	}
	pthread_mutex_unlock(&lock);
}

static void at_decision(unsigned int cpu, void *data)
{
	(void)data;
	pthread_mutex_lock(&lock);
	decided(cpu);
	pthread_mutex_unlock(&lock);
}

static void at_return(unsigned int cpu, void *data)
{
	uint64_t address = (uint64_t)data;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < n_frames; i++) {
		if (frames[i].back == address) {
			struct frame *frame = top_frame(reg(cpu, RSP));

			if (frame && frame->back == address && frame->pointer + 8 == reg(cpu, RSP))
				returned(frame, (int)reg(cpu, RAX));
			break;
		}
	}
	pthread_mutex_unlock(&lock);
}

static bool calls_hooks(uint64_t address)
{
	for (size_t i = 0; i < n_ranges; i++)
		if (ranges[i].from <= address && address < ranges[i].to)
			return true;
	return false;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);

	(void)id;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);

		/* The kernel's half only. */
		if (address >> 63 == 0)
			return;
		for (size_t place = 0; place < n_places; place++)
			if (places[place].address == address)
				qemu_plugin_register_vcpu_insn_exec_cb(insn, at_place, CB_R_REGS, &places[place]);
		if (decision_at && address == decision_at)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_decision, CB_R_REGS, NULL);
		/* What follows a call begins a block. */
		if (i == 0 && calls_hooks(address))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_return, CB_R_REGS, (void *)address);
	}
}

static void cpu_made(qemu_plugin_id_t id, unsigned int cpu)
{
	GArray *all = qemu_plugin_get_registers();

	(void)id;
	if (cpu >= CPUS)
		die("too many processors", "");
	for (unsigned int i = 0; i < all->len; i++) {
		const struct reg_descriptor *descriptor = (const struct reg_descriptor *)all->data + i;

		for (int name = 0; name < REGS; name++)
			if (!strcmp(descriptor->name, reg_names[name]))
				handles[cpu][name] = descriptor->handle;
	}
	for (int name = 0; name < REGS; name++)
		if (!handles[cpu][name])
			die("no register ", reg_names[name]);
}

static void add_place(const char *text)
{
	struct place *place = &places[n_places];
	char kind[8] = "";

	if (n_places == PLACES || sscanf(text, "%7[a-z]:%lx:%63s", kind, &place->address, place->name) < 2)
		die("wrong place: ", text);
	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!strcmp(kind, kinds[i])) {
			place->kind = i;
			n_places++;
			return;
		}
	}
	die("wrong kind of place: ", text);
}

/* One argument a line: there are too many for a command line of QEMU's. */
static void configure(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[256];

	if (!file)
		die("cannot read ", path);
	while (fgets(line, sizeof(line), file)) {
		struct range *range = &ranges[n_ranges];

		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "at=", 3))
			add_place(line + 3);
		else if (n_ranges < RANGES && sscanf(line, "range=%lx-%lx", &range->from, &range->to) == 2)
			n_ranges++;
		else if (sscanf(line, "decision=%lx", &decision_offset) != 1 &&
			 sscanf(line, "permit=%lx", &permit_offset) != 1 &&
			 sscanf(line, "counters=%lu", &n_counters) != 1 &&
			 sscanf(line, "first=%lx:%lx", &first[0], &first[1]) != 2 &&
			 sscanf(line, "distance=%lx", &distance) != 1 &&
			 sscanf(line, "module=%lu:%lu:%lu:%lu", &name_offset, &text_offset, &data_offset,
				&size_offset) != 4)
			die("wrong line: ", line);
	}
	fclose(file);
}

__attribute__((visibility("default")))
int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
		else if (!strncmp(argv[i], "config=", 7))
			configure(argv[i] + 7);
		else
			die("wrong argument: ", argv[i]);
	}
	if (!out || !n_counters || !n_places || !name_offset)
		die("it needs out= and config=", "");
	before = calloc(n_counters, 8);
	bytes = g_byte_array_new();
	qemu_plugin_register_vcpu_init_cb(id, cpu_made);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
