/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * free, realloc, reallocarray: for what glibc's malloc does inside itself with a large block.
 *
 * A large block is a mapping of its own, and free unmaps it by a call that nobody can stand in front
 * of. userfaultfd reports that call, but after the address has become free: another thread's malloc may
 * be given the same address, and look it up in a cache, before anybody has been told. So what is known
 * before is announced before. Blocks that free does not unmap are left alone: their registrations stay
 * good for the next malloc that gets them.
 *
 * Other allocators call munmap and mremap by name, which is seen in map.c.
 */
#include <errno.h>
#include <stdlib.h>

#include "core/check.h"
#include "source/bracket/calls.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"
#include "source/interposer.h"

/*
 * The two words before a block, as glibc has had them since it was written: in a block that is a
 * mapping of its own, the distance back to where that begins, and its size from there with three flags.
 */
struct chunk {
	size_t before, size;
};
#define CHUNK_IS_MAPPED 2ul
#define CHUNK_FLAGS	7ul

static void bracket_free(struct mrn_bracket *b, const void *block)
{
	const struct chunk *c = (const struct chunk *)mrn_untagged(block) - 1;

	mrn_bracket_none(b);
	if (!block || MRN_BROKEN(BRACKET_FREE) || !mrn_real_heap_is_glibcs() ||
	    !(c->size & CHUNK_IS_MAPPED))
		return;
	mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, (uintptr_t)c - c->before,
			(uintptr_t)c + (c->size & ~CHUNK_FLAGS));
}

/* The real ones: looked up at the first use, which may come before every constructor. */
MRN_INTERPOSED void free(void *block)
{
	const struct mrn_real_heap *real = mrn_real_heap();
	struct mrn_bracket b;

	/* Inside the look-up itself: a few bytes of dlsym's are lost, once. */
	if (!real)
		return;
	bracket_free(&b, block);
	real->free(block);
	mrn_bracket_end(&b);
}

MRN_INTERPOSED void *realloc(void *block, size_t size)
{
	const struct mrn_real_heap *real = mrn_real_heap();
	struct mrn_bracket b;
	void *r;

	if (!real) {
		errno = ENOMEM;
		return NULL;
	}
	bracket_free(&b, block);
	/* It may be moved by mremap, which must not fail for our watching a part of it. */
	if (b.nr)
		mrn_source_disarm_moving(b.token[0].start, b.token[0].end);
	r = real->realloc(block, size);
	mrn_bracket_end(&b);
	return r;
}

MRN_INTERPOSED void *reallocarray(void *block, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(block, bytes);
}
