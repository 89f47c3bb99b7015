/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * free, realloc, reallocarray: announce what glibc's malloc does inside itself with a large block.
 *
 * A large block is a mapping of its own, and free unmaps it by a call that cannot be interposed. userfaultfd reports
 * that call, but after the address has become free: another thread's malloc may get the same address, and look it up in
 * a cache, before anybody has been told. So free announces it beforehand. Blocks that free does not unmap are left
 * alone: their registrations stay good for the next malloc that gets them.
 *
 * Other allocators call munmap and mremap by name: map.c brackets those.
 */
#include <errno.h>
#include <stdlib.h>

#include "source/bracket/check.h"
#include "source/bracket/calls.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"
#include "source/interposer.h"

/*
 * The two words before a block, as in every glibc so far: for a block that is a mapping of its own, the distance back
 * to the mapping's start, and its size from there with three flags.
 */
struct chunk {
	size_t before, size;
};
#define CHUNK_IS_MAPPED 2ul
#define CHUNK_FLAGS	7ul

/*
 * For reading. Where memory has tags (aarch64), those of a header are 0; on x86-64 the processor ignores a pointer's
 * tag.
 */
static inline const struct chunk *chunk_of(const void *block)
{
#ifdef __aarch64__
	block = (const void *)mrn_untagged(block);
#endif
	return (const struct chunk *)block - 1;
}

/* True if free unmaps this block. */
static inline bool is_mapped(const struct mrn_real_heap *real, const void *block)
{
	const struct chunk *c = chunk_of(block);

	return block && real->is_glibcs && (c->size & CHUNK_IS_MAPPED) && !MRN_BROKEN(BRACKET_FREE);
}

static void bracket_mapped(struct mrn_bracket *b, const void *block)
{
	const struct chunk *c = (const struct chunk *)mrn_untagged(block) - 1;

	mrn_bracket_none(b);
	mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, (uintptr_t)c - c->before,
			(uintptr_t)c + (c->size & ~CHUNK_FLAGS));
}

static __attribute__((noinline)) void free_mapped(const struct mrn_real_heap *real, void *block)
{
	struct mrn_bracket b;

	bracket_mapped(&b, block);
	real->free(block);
	mrn_bracket_end(&b);
}

/*
 * The real functions are looked up at the first use, which may come before every constructor. Most blocks are small,
 * and skip the bracket.
 */
MRN_INTERPOSED void free(void *block)
{
	const struct mrn_real_heap *real = mrn_real_heap();

	/* During the look-up itself: leaks a few bytes of dlsym's, once. */
	if (__builtin_expect(!real, 0))
		return;
	if (__builtin_expect(is_mapped(real, block), 0))
		free_mapped(real, block);
	else
		real->free(block);
}

static __attribute__((noinline)) void *realloc_mapped(const struct mrn_real_heap *real, void *block,
						      size_t size)
{
	struct mrn_bracket b;
	void *r;

	bracket_mapped(&b, block);
	/* mremap may move the block, and must not fail because a part of it is armed. */
	if (b.nr)
		mrn_source_disarm_range(b.token[0].start, b.token[0].end);
	r = real->realloc(block, size);
	mrn_bracket_end(&b);
	return r;
}

MRN_INTERPOSED void *realloc(void *block, size_t size)
{
	const struct mrn_real_heap *real = mrn_real_heap();

	if (__builtin_expect(!real, 0)) {
		errno = ENOMEM;
		return NULL;
	}
	return is_mapped(real, block) ? realloc_mapped(real, block, size)
				      : real->realloc(block, size);
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
