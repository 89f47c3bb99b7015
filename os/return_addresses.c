/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Without frame pointers, and with an unwinder that takes the loader's locks, what is left is to look: a return address is
 * a word of the stack that points into code, right behind a call.
 */
#include "os/return_addresses.h"

#include <stdbool.h>
#include <stddef.h>

#include "os/maps.h"

#include "os/event_path.h"

#define LOOK_AT_WORDS 2048
#define CODE_MAX      64 /* mappings of code; words that point into others are left out */

struct memory {
	uintptr_t sp, stack_end;
	struct {
		uintptr_t start, end;
	} code[CODE_MAX];
	unsigned int nr;
};

static bool note(const struct mrn_mapping *m, void *arg)
{
	struct memory *t = arg;

	if (t->sp >= m->start && t->sp < m->end)
		t->stack_end = m->end;
	if (m->executable && m->readable && t->nr < CODE_MAX) {
		t->code[t->nr].start = m->start;
		t->code[t->nr].end = m->end;
		t->nr++;
	}
	return true;
}

/* How many bytes may lie between a call's first byte and its end. */
#define CALL_MAX 8

#ifdef __aarch64__
static bool is_behind_call(uintptr_t addr)
{
	uint32_t before;

	if (addr & 3)
		return false;
	before = *(const uint32_t *)(addr - 4);
	/* bl, blr */
	return before >> 26 == 0x25 || (before & 0xfffffc1f) == 0xd63f0000;
}
#else
static bool is_behind_call(uintptr_t addr)
{
	const unsigned char *end = (const unsigned char *)addr;

	/* call rel32; or the calls through a register or memory, whose length depends on how they address it. */
	if (end[-5] == 0xe8)
		return true;
	for (int length = 2; length < CALL_MAX; length++)
		if (end[-length] == 0xff && (end[1 - length] & 0x38) == 0x10)
			return true;
	return false;
}
#endif

static bool is_return_address(const struct memory *t, uintptr_t word)
{
	for (unsigned int i = 0; i < t->nr; i++)
		if (word >= t->code[i].start + CALL_MAX && word < t->code[i].end)
			return is_behind_call(word);
	return false;
}

/* Other functions' frames are read whole. */
__attribute__((no_sanitize("address", "thread"))) unsigned int mrn_return_addresses(
	const void *above, uintptr_t *addresses, unsigned int max)
{
	const uintptr_t *word = (const uintptr_t *)((uintptr_t)above & ~(sizeof(*word) - 1));
	struct memory t = {.sp = (uintptr_t)word};
	unsigned int n = 0;

	mrn_maps_visit(note, &t);
	for (int i = 0; i < LOOK_AT_WORDS && (uintptr_t)(word + 1) <= t.stack_end && n < max;
	     i++, word++)
		if (is_return_address(&t, *word))
			addresses[n++] = *word;
	return n;
}
