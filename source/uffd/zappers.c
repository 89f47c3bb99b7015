/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/zappers.h"

#include "os/pages.h"
#include "os/peek.h"
#include "source/uffd/check.h"

#include "os/event_path.h"

/* ----------------------------------------------------------------------------- what malloc may zap */

/*
 * glibc's heap of a thread: it begins at a multiple of its largest size with these words, and ends with the top, which
 * belongs to no block. Its arena has the top's address. The same in glibc 2.26 to 2.36; if they are otherwise, they do
 * not fit together.
 */
#define HEAP_MAX ((uintptr_t)64 << 20)
struct heap {
	uintptr_t arena, before;
	size_t size, accessible;
};
#define TOP_IN_ARENA 96
struct chunk {
	size_t before, size;
};
#define CHUNK_FLAGS 7ul

enum owner { NOT_MALLOC, CHANGING, MALLOC_BETWEEN_BLOCKS, MALLOC_TOP };

/* Reads by the kernel: nothing need be mapped there. */
static enum owner look_at_heap(uintptr_t start, uintptr_t end)
{
	uintptr_t at = start & ~(HEAP_MAX - 1), page = mrn_page_size(), top, top_end;
	struct heap heap;
	struct chunk chunk;

	if (end - at > HEAP_MAX || mrn_peek(&heap, at, sizeof(heap)) || heap.size % page ||
	    heap.accessible % page || heap.size > heap.accessible || heap.accessible > HEAP_MAX ||
	    end - at > heap.accessible || heap.arena % sizeof(top) ||
	    mrn_peek(&top, heap.arena + TOP_IN_ARENA, sizeof(top)))
		return NOT_MALLOC;
	/* In another heap of the arena: then this one has none. */
	if (top < at + sizeof(heap) || top >= at + heap.size)
		return MALLOC_BETWEEN_BLOCKS;
	if (mrn_peek(&chunk, top, sizeof(chunk)))
		return CHANGING;
	top_end = top + (chunk.size & ~CHUNK_FLAGS);
	/* The zap is over, and its thread, which may have lost its processor, has shortened the heap but not yet the top. */
	if (start >= at + heap.size && end <= top_end)
		return MALLOC_TOP;
	if (top_end != at + heap.size)
		return CHANGING;
	return start >= top ? MALLOC_TOP : MALLOC_BETWEEN_BLOCKS;
}

/*
 * Whose [start, end) is. The zap may be over by now, and its thread at work in the heap again: then these words do not
 * fit together for some instructions, and the range may be in a block again.
 */
static enum owner owner_of(uintptr_t start, uintptr_t end)
{
	enum owner o = CHANGING;

	for (int tries = 0; tries < 4 && o == CHANGING; tries++)
		o = look_at_heap(start, end);
	return o;
}

/* ------------------------------------------------------------------------------------- who is inside */

static void anybody(struct mrn_zappers *z)
{
	z->anybody = true;
	z->n = 0;
}

static void add(struct mrn_zappers *z, struct mrn_zapper one)
{
	if (z->anybody)
		return;
	for (unsigned int i = 0; i < z->n; i++)
		if (z->of[i].caller == one.caller && z->of[i].call == one.call &&
		    z->of[i].inside == one.inside)
			return;
	if (z->n == MRN_ZAPPERS_MAX)
		anybody(z);
	else
		z->of[z->n++] = one;
}

void mrn_zappers_join(struct mrn_zappers *z, const struct mrn_zappers *other)
{
	if (other->anybody)
		anybody(z);
	for (unsigned int i = 0; i < other->n; i++)
		add(z, other->of[i]);
}

/* The threads inside a call. */
static void look_inside(struct mrn_zappers *z, struct mrn_heap_callers *all,
			enum mrn_heap_call call)
{
	uint32_t used = __atomic_load_n(&all->used, __ATOMIC_ACQUIRE);

	for (uint32_t i = 0; i < used; i++) {
		struct mrn_heap_caller *c = &all->caller[i];
		uint64_t w = __atomic_load_n(&c->word[call], __ATOMIC_ACQUIRE);

		if ((w & 1) && !mrn_heap_caller_recycle(c))
			add(z, (struct mrn_zapper){c, call, w});
	}
	if (MRN_BROKEN(UFFD_ZAPPER_MISSED) && z->n > 1)
		z->n--;
}

static struct mrn_heap_callers *all_callers(const struct mrn_heap_knowledge *k)
{
	return k ? __atomic_load_n(&k->callers, __ATOMIC_ACQUIRE) : NULL;
}

struct mrn_zappers mrn_zappers_in_trim(void)
{
	struct mrn_heap_callers *all = all_callers(mrn_heap_knowledge());
	struct mrn_zappers z = {0};

	if (all && !MRN_BROKEN(UFFD_TRIM_LATE))
		look_inside(&z, all, MRN_HEAP_TRIM);
	return z;
}

/*
 * Only malloc zaps the top, and of malloc's functions only malloc_trim zaps elsewhere. So a program that zaps its own
 * block by a raw call, or by io_uring, is not taken for malloc, unless another thread is in malloc_trim just then.
 */
struct mrn_zappers mrn_zappers_of(uintptr_t start, uintptr_t end,
				  const struct mrn_zappers *trimming)
{
	const struct mrn_heap_knowledge *k = mrn_heap_knowledge();
	struct mrn_heap_callers *all = all_callers(k);
	enum owner owner = all ? owner_of(start, end) : NOT_MALLOC;
	struct mrn_zappers z = {0};

	if (owner == MALLOC_TOP) {
		/* With nobody inside, the zap is over. */
		look_inside(&z, all, MRN_HEAP_TOP);
	} else if (owner == MALLOC_BETWEEN_BLOCKS) {
		look_inside(&z, all, MRN_HEAP_TRIM);
		/* Whoever of these has left is known to be gone. */
		mrn_zappers_join(&z, trimming);
	}
	if (owner < MALLOC_BETWEEN_BLOCKS || (owner != MALLOC_TOP && !z.n) ||
	    __atomic_load_n(&k->lost, __ATOMIC_ACQUIRE))
		anybody(&z);
	return z;
}

/* ------------------------------------------------------------------------------------- who has left */

static bool has_left(const struct mrn_zapper *one)
{
	/* Acquire pairs with the release at the end of the call: the zap is over. */
	return __atomic_load_n(&one->caller->word[one->call], __ATOMIC_ACQUIRE) != one->inside ||
	       mrn_heap_caller_recycle(one->caller);
}

bool mrn_zappers_are_gone(struct mrn_zappers *z)
{
	if (z->anybody)
		return false;
	for (unsigned int i = 0; i < z->n;) {
		if (!has_left(&z->of[i]) && !MRN_BROKEN(UFFD_ZAPS_BELIEVED)) {
			i++;
			continue;
		}
		z->of[i] = z->of[--z->n];
	}
	return !z->n;
}
