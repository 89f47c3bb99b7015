/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/frames.h"

#include <string.h>

#include "watch/record/check.h"
#include "watch/record/modules.h"
#include "watch/record/slots.h"
#include "watch/record/walk.h"

#include "os/event_path.h"

/* So many frames of ours may lie before the program's. */
#define OURS_MAX 64

/* Longer stacks are not kept. */
#define KEPT 24

/*
 * Stacks that were taken before. A program that makes calls in a loop has the same few each time.
 *
 * One is exactly what a walk would find now: where a walk goes depends on the registers that it begins with, on the
 * modules' tables, and on what it reads of the stack. With the same registers and tables its first read is of the same
 * address; if that has the same value, so is the next one, and so on to the end. So all values are read again, in their
 * order, with the same care; only the tables are not. Nor does it matter which thread has left it. A walk that could not
 * read something, or that came to no known module, is not kept: the next one may get further.
 *
 * Not in the threads' own memory, of which there is little for a library that is loaded late.
 */
struct kept {
	bool taken; /* atomic; if a handler has left it so by longjmp, it is of no use any more */
	bool is_one;
	unsigned int max, nr;
	uint64_t version; /* of the modules */
	struct watch_regs begin;
	struct watch_slots slots;
	uint64_t pc[KEPT];
};

#define STACKS 128
static struct kept stacks[STACKS];

/* The one place for a stack that begins so; or NULL while somebody else has it. */
static struct kept *take_kept(const struct watch_regs *begin)
{
	const uint64_t hash = (begin->sp ^ begin->pc << 20) * UINT64_C(0x9e3779b97f4a7c15);
	struct kept *k = &stacks[(hash >> 32) % STACKS];

	return __atomic_exchange_n(&k->taken, true, __ATOMIC_ACQUIRE) ? NULL : k;
}

static void give_back(struct kept *k)
{
	if (k)
		__atomic_store_n(&k->taken, false, __ATOMIC_RELEASE);
}

static bool is_the_same(const struct kept *k, struct watch_walk *w, unsigned int max)
{
	const struct watch_regs *r = &w->regs, *b = &k->begin;
	const struct watch_stack before = w->stack;
	uintptr_t value;

	if (!k->is_one || k->max != max || r->pc != b->pc || r->sp != b->sp || r->bp != b->bp ||
	    r->exact != b->exact || !k->version || k->version != watch_modules_version())
		return false;
	for (unsigned int i = 0; i < k->slots.n && !MRN_BROKEN(WATCH_KEPT); i++)
		if (!watch_stack_read(&w->stack, watch_slot_address(&k->slots, i), &value) ||
		    value != k->slots.value[i]) {
			w->stack = before;
			return false;
		}
	MRN_HOOK(watch_kept, k->nr);
	return true;
}

static void begin_to_keep(struct kept *k, struct watch_walk *w, unsigned int max)
{
	k->is_one = false;
	k->max = max;
	k->version = watch_modules_version();
	k->begin = w->regs;
	k->slots.base = w->regs.sp;
	k->slots.n = 0;
	k->slots.failed = false;
	w->stack.slots = &k->slots;
}

static void keep(struct kept *k, const struct watch_walk *w, const uint64_t *pc, unsigned int nr)
{
	if (k->slots.failed || w->lost || nr > KEPT)
		return;
	memcpy(k->pc, pc, nr * sizeof(*pc));
	k->nr = nr;
	k->is_one = true;
}

static unsigned int walk(struct watch_walk *w, uint64_t *pc, unsigned int max)
{
	unsigned int nr = 0, ours = 0;

	do {
		if (watch_walk_code(w) != WATCH_CODE_OURS)
			pc[nr++] = w->regs.pc;
		else if (++ours > OURS_MAX)
			break;
	} while (nr < max && watch_walk_step(w));
	return nr;
}

__attribute__((noinline)) unsigned int watch_frames_take(uint64_t *pc, unsigned int max)
{
	unsigned int nr, ours = 0;
	struct watch_walk w;
	struct kept *k;

	if (!max)
		return 0;
	watch_walk_begin(&w);
	while (watch_walk_code(&w) == WATCH_CODE_OURS)
		if (++ours > OURS_MAX || !watch_walk_step(&w))
			return 0;
	k = take_kept(&w.regs);
	if (k && is_the_same(k, &w, max)) {
		nr = k->nr;
		memcpy(pc, k->pc, nr * sizeof(*pc));
	} else {
		if (k)
			begin_to_keep(k, &w, max);
		nr = walk(&w, pc, max);
		if (k)
			keep(k, &w, pc, nr);
	}
	give_back(k);
	return nr;
}
